"""The repository as a whole: what FiftyOne, pip and a fresh Python find in it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import fiftyone_honeyimage

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "@honeyimage/ownership"
HEAVY = ("torch", "torchvision", "lpips", "onnxruntime", "scipy", "sklearn", "skimage")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "fiftyone.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def requirements() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in parsed}


def run_python(code: str, *arguments: str) -> Any:
    """Runs code in a fresh Python and returns what it printed last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8", cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_manifest_names_the_package_as_it_is(
    manifest: dict[str, Any], requirements: dict[str, Requirement]
) -> None:
    assert manifest["name"] == PLUGIN
    assert manifest["version"] == fiftyone_honeyimage.__version__
    assert manifest["license"] == "Apache-2.0"
    assert manifest["fiftyone"]["version"] == str(requirements["fiftyone"].specifier)


def test_manifest_lists_what_is_registered(fo: Any, manifest: dict[str, Any]) -> None:
    # FiftyOne silently ignores a class that its manifest does not list
    operators = importlib.import_module("fiftyone_honeyimage.operators").OPERATORS
    panels = importlib.import_module("fiftyone_honeyimage.panels").PANELS

    assert [operator().config.name for operator in operators] == manifest["operators"]
    assert [panel().config.name for panel in panels] == manifest["panels"]


def test_icons_exist(fo: Any) -> None:
    operators = importlib.import_module("fiftyone_honeyimage.operators").OPERATORS
    configs = [operator().config for operator in operators]
    icons = {icon for c in configs for icon in (c.icon, c.light_icon, c.dark_icon) if icon}

    files = {icon for icon in icons if icon.startswith("/")}
    assert files, "no operator shows an icon of ours"
    assert [icon for icon in files if not (ROOT / icon.lstrip("/")).is_file()] == []


def test_requirements_leave_the_environment_whole(requirements: dict[str, Requirement]) -> None:
    # The distribution `eta` overwrites the `eta` that FiftyOne imports, which `voxel51-eta` provides
    assert "eta" not in requirements
    for name in ("torch", "torchvision"):
        bounds = {clause.operator for clause in requirements[name].specifier}
        assert bounds <= {">=", "!="}, f"{name} has an upper bound"


def test_fiftyone_reads_the_requirements(fo: Any, requirements: dict[str, Requirement]) -> None:
    loaded = fo.plugins.load_plugin_requirements(PLUGIN)

    assert {Requirement(line).name for line in loaded} == set(requirements)
    fo.plugins.ensure_plugin_requirements(PLUGIN)


def test_core_imports_without_fiftyone() -> None:
    # None in sys.modules makes an import fail. What is optional is blocked too.
    code = """
import sys
for name in ("fiftyone", "eta", "onnx", "onnxruntime", "kornia"):
    sys.modules[name] = None
import importlib, json, pkgutil
import fiftyone_honeyimage.core as core
names = [module.name for module in pkgutil.walk_packages(core.__path__, core.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps(names))
"""
    names = run_python(code)

    files = (ROOT / "fiftyone_honeyimage" / "core").rglob("*.py")
    assert len(names) == len(list(files)) - 1, "every module but core/__init__.py itself"


def test_importing_the_package_is_light() -> None:
    code = f"""
import json, sys
import fiftyone_honeyimage, fiftyone_honeyimage.core
from fiftyone_honeyimage.core import errors, progress
print(json.dumps([name for name in {("fiftyone", "numpy", *HEAVY)!r} if name in sys.modules]))
"""
    assert run_python(code) == []


def test_importing_the_entry_point_is_light() -> None:
    # As FiftyOne does it: a module of another name, from its file
    code = f"""
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location(
    "orgs_honeyimage_ownership", sys.argv[1], submodule_search_locations=[]
)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert callable(module.register)
print(json.dumps([name for name in {("fiftyone", "numpy", *HEAVY)!r} if name in sys.modules]))
"""
    assert run_python(code, str(ROOT / "__init__.py")) == []


def test_discovery_through_a_linked_folder(fo: Any, manifest: dict[str, Any]) -> None:
    # The plugins folder, with a link to this repository, comes from the environment (conftest.py)
    code = f"""
import json, sys
import fiftyone, fiftyone.operators
before = set(sys.modules)
from fiftyone.plugins.context import build_plugin_contexts
(context,) = [c for c in build_plugin_contexts() if c.name == {PLUGIN!r}]
print(json.dumps({{
    "errors": context.errors,
    "names": [operator.config.name for operator in context.instances],
    "modules": sorted({{type(operator).__module__ for operator in context.instances}}),
    "heavy": [name for name in {HEAVY!r} if name in sys.modules and name not in before],
}}))
"""
    found = run_python(code)

    assert found["errors"] == []
    assert found["names"] == manifest["operators"] + manifest["panels"]
    prefix = "fiftyone.plugins.orgs.honeyimage.ownership."
    assert [name for name in found["modules"] if not name.startswith(prefix)] == []
    assert found["heavy"] == [], "listing operators loads what only running them needs"


@pytest.mark.browser
def test_app_offers_the_operators(
    make_digits_dataset: Callable[..., Any], open_app: Callable[[Any], Any], screenshot: Any
) -> None:
    operators = importlib.import_module("fiftyone_honeyimage.operators").OPERATORS
    configs = [operator().config for operator in operators]
    page = open_app(make_digits_dataset(num=6))

    page.keyboard.press("`")
    for config in configs:
        if not config.unlisted:
            page.get_by_placeholder("Search operations by name").fill(config.label)
            page.get_by_text(config.label, exact=True).first.wait_for()
    screenshot(page, "operators")
