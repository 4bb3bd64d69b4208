"""Text is UTF-8 on every machine: files name their encoding, and no console or locale changes a class's name."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Latin-1 has these letters, and other bytes for them than UTF-8
CLASSES = {"0": "größe", "1": "naïve", "2": "café"}

#: Calls that read or write text in the machine's encoding unless they are told another, and where a mode stands
#: that can make it bytes
_OPENERS = {"open": 1, "fdopen": 1, "NamedTemporaryFile": 0, "TemporaryFile": 0}
_TEXT = ("read_text", "write_text", "TextIOWrapper")
_PROCESSES = ("run", "Popen", "check_output")

#: Modules whose ``open`` is not the one of files
_NO_FILES = ("Image", "Journal", "os", "tarfile", "webbrowser")

CODE = """
import json, locale, sys
from pathlib import Path
import fiftyone as fo
import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.__main__ import main

name, folder = sys.argv[1], Path(sys.argv[2])
found = {"encoding": locale.getpreferredencoding(False), "given": json.loads(sys.argv[3])}
options = ["--proxy", "resnet_tiny", "--epochs", "1", "--num-pairs", "12"]
release, evidence = folder / "release", str(folder / "evidence.json")
protect = ["protect", name, "ground_truth", "honey", str(release), "--output-dir", str(folder / "honey")]
verify = ["verify", name, "honey", str(folder / "suspect.pt"), "--insist", "--evidence", evidence]
found["status"] = [main([*protect, *options]), main(verify), main(["check", evidence])]

dataset = fo.load_dataset(name)
marking = fhi.load_marking(dataset, "honey")
ledger = marking.load_ledger()
types = fo.types.FiftyOneImageClassificationDataset, fo.types.FiftyOneDataset
for kind in types:
    fhi.export_release(dataset, "honey", folder / kind.__name__, dataset_type=kind, progress=False)
try:
    # FiftyOne's importer of this type reads in the machine's encoding, whatever was written
    fhi.export_release(dataset, "honey", folder / "csv", dataset_type=fo.types.CSVDataset, progress=False)
except fhi.ReleaseError as error:
    found["refused"] = str(error)
found["dataset"] = dataset.distinct("ground_truth.label")
found["marked"] = dataset.match_tags("honeyimage").distinct("ground_truth.label")
found["ledger"] = sorted({image.label for image in ledger.released_images()})
for path, kind, field in (
    (release, fo.types.ImageClassificationDirectoryTree, "ground_truth"),
    (folder / types[0].__name__, types[0], "ground_truth"),
    (folder / types[1].__name__, types[1], "ground_truth"),
):
    loaded = fo.Dataset.from_dir(dataset_dir=str(path), dataset_type=kind)
    found[kind.__name__] = loaded.distinct(f"{field}.label")
print("\\u03b1 \\u2192 " + json.dumps(found))
"""


def places_without_encoding(source: str) -> Iterator[int]:
    """Lines of calls that leave the encoding of text to the machine."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", ""))
        owner = getattr(function, "value", None)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if "encoding" in given or None in given or getattr(owner, "id", "") in _NO_FILES:
            continue
        if name in _OPENERS:
            # A path's own method has no argument before the mode
            place = _OPENERS[name] - (name == "open" and owner is not None)
            mode: Any = given.get("mode") or (node.args[place : place + 1] or [None])[0]
            binary = isinstance(mode, ast.Constant) and "b" in str(mode.value)
            if not binary and (mode is not None or name in ("open", "fdopen")):
                yield node.lineno
        elif name in _TEXT or (name in _PROCESSES and {"text", "universal_newlines"} & set(given)):
            yield node.lineno


def test_every_text_file_names_its_encoding() -> None:
    folders = [ROOT / name for name in ("fiftyone_honeyimage", "scripts", "benchmarks", "tests")]
    files = [ROOT / "__init__.py", *(path for folder in folders for path in folder.rglob("*.py"))]
    assert len(files) > 200
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line in places_without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("path.read_text()", 1),
        ("(folder / name).write_text(text)", 1),
        ("open(path)", 1),
        ("path.open('w', newline='')", 1),
        ("subprocess.run(command, text=True)", 1),
        ("path.read_text(encoding='utf-8')", 0),
        ("open(path, 'rb')", 0),
        ("path.open('wb')", 0),
        ("Image.open(path)", 0),
        ("tempfile.TemporaryFile()", 0),
        ("tempfile.NamedTemporaryFile('w')", 1),
        ("subprocess.run(command)", 0),
    ],
)
def test_the_rule_finds_what_it_has_to_find(source: str, count: int) -> None:
    assert len(list(places_without_encoding(source))) == count


@pytest.fixture
def latin1(tmp_path: Path) -> dict[str, str]:
    """The environment of a process on a machine whose encoding is Latin-1, with no network."""
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef, which makes a locale in Latin-1")
    name = "de_DE.ISO-8859-1"
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / name)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip(f"localedef cannot make a locale in Latin-1: {made.stderr!r}")
    return {
        **os.environ,
        "LOCPATH": str(tmp_path),
        "LC_ALL": name,
        "PYTHONUTF8": "0",
        "PYTHONPATH": str(ROOT),
        # LPIPS fetches 233 MB where it can
        "TORCH_HOME": str(tmp_path / "torch"),
        "https_proxy": "http://127.0.0.1:9",
    }


def test_classes_keep_their_names_where_the_machine_has_another_encoding(
    make_digits_dataset: Callable[..., Any], latin1: dict[str, str], tmp_path: Path
) -> None:
    import torch

    dataset = make_digits_dataset(num=72, size=8)
    dataset.set_values(
        "ground_truth.label",
        [CLASSES[label] for label in dataset.values("ground_truth.label")],
    )
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    torch.jit.save(torch.jit.trace(module, torch.zeros(2, 3, 8, 8)), str(tmp_path / "suspect.pt"))
    classes = sorted(CLASSES.values())

    done = subprocess.run(
        [sys.executable, "-c", CODE, dataset.name, str(tmp_path), json.dumps(classes)],
        capture_output=True,
        env={**latin1, "PYTHONIOENCODING": ""},
    )

    printed = done.stdout.decode("latin-1")
    assert done.returncode == 0, done.stderr.decode("latin-1")
    # What the console cannot show is shown by its number
    head, _, text = printed.splitlines()[-1].partition(" \\u2192 ")
    assert head == "\\u03b1"
    found = json.loads(text)
    assert found.pop("encoding") == "ISO-8859-1"
    assert found.pop("status") == [0, 0, 0]
    assert "PYTHONUTF8=1" in found.pop("refused")
    assert not (tmp_path / "csv").exists()
    # The hardest images are of some classes, and no others
    for part in ("marked", "ledger"):
        assert found[part]
        assert set(found.pop(part)) <= set(classes)
    assert found == dict.fromkeys(found, classes)
    assert len(found) == 5

    manifest = json.loads((tmp_path / "honey" / "manifest.json").read_bytes())
    assert {image["label"] for image in manifest["images"]} <= set(classes)
