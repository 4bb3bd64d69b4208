"""Who imports whom: no circle, nothing from a layer above, and ARCHITECTURE.md draws what is there."""

from __future__ import annotations

import ast
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: From the ground up: a folder imports from its own and from those before it. "" is the package itself: the SDK.
#: "core" and "dataset" are the modules that lie in no folder of these.
LAYERS = (
    "version",
    "core",
    "core.codecs",
    "core.scores",
    "core.evidence",
    "core.ledger",
    "core.methods",
    "core.suspects",
    "core.pipeline",
    "core.audit",
    "core.bundle",
    "dataset",
    "dataset.marking",
    "dataset.release",
    "dataset.verification",
    "dataset.management",
    "checker",
    "public",
    "sdk",
    "",
    "app",
    "operators",
    "panels",
    "demo",
    "__main__",
)


@pytest.fixture(scope="module")
def imports() -> ModuleType:
    spec = importlib.util.spec_from_file_location("imports", ROOT / "scripts" / "imports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _layer(name: str) -> int:
    """The longest layer that a module lies in."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in LAYERS:
            return LAYERS.index(".".join(parts[:length]))
    if name == "":
        return LAYERS.index("")
    raise AssertionError(f"{name} lies in no layer: add its folder to LAYERS")


def test_what_is_imported_is_there(imports: ModuleType) -> None:
    """Also inside functions, where nothing else would notice before they are called."""
    graph = imports.read_imports()
    for name, targets in graph.items():
        assert targets <= set(graph), f"{name} imports {targets - set(graph)}"


def test_no_modules_import_each_other(imports: ModuleType) -> None:
    assert imports.find_circle(imports.read_imports()) == []


def test_nothing_is_imported_from_a_layer_above(imports: ModuleType) -> None:
    upward = [
        (name, target)
        for name, targets in imports.read_imports().items()
        for target in targets
        if _layer(target) > _layer(name)
    ]
    assert upward == []


def test_core_knows_no_fiftyone() -> None:
    for path in (ROOT / "fiftyone_honeyimage" / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in ("fiftyone", "eta")], path


def test_the_picture_is_what_the_imports_are(imports: ModuleType) -> None:
    text = imports.ARCHITECTURE.read_text(encoding="utf-8")
    assert imports.BEGIN in text
    assert imports.drawn_into(text, imports.read_imports()) == text, "run python scripts/imports.py"


def test_it_would_see_a_circle_and_an_import_upward(imports: ModuleType, tmp_path: Path) -> None:
    """Also one inside a function, and none for the type checker."""
    shutil.copytree(ROOT / "fiftyone_honeyimage", tmp_path / "fiftyone_honeyimage")
    module = tmp_path / "fiftyone_honeyimage" / "core" / "errors.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(f"{text}\nif TYPE_CHECKING:\n    from .limits import x\n", encoding="utf-8")
    assert imports.find_circle(imports.read_imports(tmp_path)) == []
    module.write_text(f"{text}\ndef late():\n    from .limits import x\n", encoding="utf-8")
    found = imports.read_imports(tmp_path)
    assert "core.limits" in found["core.errors"]
    assert {"core.errors", "core.limits"} <= set(imports.find_circle(found))
