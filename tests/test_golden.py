"""What was written before the contracts is read as it was, and the same inputs give the same again."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.__main__ import main
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence

from .golden import make as golden

GOLDEN = Path(__file__).with_name("golden") / "format2"
FIXED = GOLDEN / "fixed"
EVIDENCE = sorted(path for path in GOLDEN.glob("*/*.json") if ".verdict" not in path.name)

#: Parameters that a method's own options took over
OPTIONS = {"generate_honeyimages": set(fhi.method_options("honeyimage"))}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.skipif(
    os.environ.get("HONEYIMAGE_GOLDEN") != "write",
    reason="the golden files are there; HONEYIMAGE_GOLDEN=write makes them",
)
def test_writing_them(fo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden.make(fo, fhi, tmp_path, GOLDEN, monkeypatch)
    signatures = {name: _signature(getattr(fhi, name)) for name in _functions()}
    text = json.dumps(signatures, indent=1)
    (GOLDEN / "signatures.json").write_text(text, encoding="utf-8")


def _functions() -> list[str]:
    return [name for name in fhi.__all__ if inspect.isfunction(getattr(fhi, name))]


def _signature(function: Any) -> list[list[str]]:
    found = inspect.signature(function).parameters.values()
    return [[p.name, p.kind.name, repr(p.default)] for p in found]


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_old_evidence_is_valid(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evidence, verdict = read(path), read(path.with_suffix(".verdict.json"))
    log = read(path.parent / "marking" / "ledger.json")["log"]
    published = ["--commitment", evidence["commitment"], "--head", log[0]["hash"]]
    if path.parent == FIXED:
        published += ["--release", str(FIXED / "release"), "--images", str(FIXED / "marking")]
    assert main(["check", str(path), *published]) == 0
    said = capsys.readouterr().out
    checked = check_evidence(path).verdict
    assert checked is not None
    # What was said against the asking is told apart from the verdict
    assert verdict["statement"].startswith(checked.statement)
    assert checked.statement in said
    numbers = {**verdict, "statement": checked.statement, "paper": {}}
    now = {**checked.to_dict(), "paper": {}}
    assert set(now) == set(numbers)
    for name, then in numbers.items():
        # Processors differ in the last bits
        is_number = isinstance(then, (float, list))
        assert now[name] == (pytest.approx(then, rel=1e-9, abs=1e-12) if is_number else then)
    assert main(["check", str(path), "--commitment", "0" * 64]) == 1


@pytest.fixture
def original(fo: Any) -> Any:
    files = sorted((GOLDEN / "originals").iterdir())
    dataset = golden.make_dataset(
        fo, [(path, str(index % golden.CLASSES)) for index, path in enumerate(files)]
    )
    yield dataset
    dataset.delete()


def test_an_old_marking_is_attached_and_verified_again(
    original: Any, fo: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "marking"
    shutil.copytree(FIXED / "marking", folder)
    fhi.attach_marking(original, folder / "ledger.json", folder, label_field="ground_truth")
    marking = fhi.load_marking(original, "honey")
    ledger = marking.load_ledger()
    assert len(ledger.pairs) == 16
    assert len(ledger.verifications) == 5

    from fiftyone_honeyimage.core.images import read_image

    known = golden.released(ledger, folder, read_image)
    found = fhi.verify_model(
        original,
        "honey",
        golden.Suspect(known),
        name="next",
        classes=[str(c) for c in range(golden.CLASSES)],
        insist=True,
        progress=False,
    )
    first = read(FIXED / "thief.verdict.json")
    assert found.verdict.p_value == first["p_value"]
    assert found.verdict.effect_size == pytest.approx(first["effect_size"], rel=1e-12)
    assert found.verdict.family_size == 6
    path = fhi.export_evidence(original, found.verify_key, tmp_path / "evidence.json")
    assert main(["check", str(path), "--commitment", ledger.commitment]) == 0
    report = fhi.export_release(original, "honey", tmp_path / "release", progress=False)
    old = {p.name: p.read_bytes() for p in (FIXED / "release").rglob("*") if p.is_file()}
    new = {p.name: p.read_bytes() for p in report.export_dir.rglob("*") if p.is_file()}
    assert new == old


def test_the_same_images_are_chosen_and_written(
    original: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with golden.fixed_randomness(monkeypatch):
        marking = fhi.generate_honeyimages(
            original, "ground_truth", "honey", output_dir=tmp_path / "honey", **golden.SETTINGS
        )
    names = ("label", "pair", "source_sha256", "file_suffix")
    manifests = read(FIXED / "marking" / "manifest.json"), read(tmp_path / "honey/manifest.json")
    headers = [read(f / "ledger.json")["header"] for f in (FIXED / "marking", marking.output_dir)]
    if headers[0]["encoders"] == headers[1]["encoders"]:
        names = (*names, "marked_sha256")
    old, new = (
        [
            [({**i, "file_suffix": Path(i["file"]).suffix})[name] for name in names]
            for i in manifest["images"]
        ]
        for manifest in manifests
    )
    assert new == old
    for image in manifests[1]["images"]:
        content = (marking.output_dir / image["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == image["marked_sha256"]


@pytest.mark.parametrize("name", read(GOLDEN / "signatures.json") if GOLDEN.exists() else [])
def test_calls_of_then_are_accepted(name: str) -> None:
    then = read(GOLDEN / "signatures.json")[name]
    now = _signature(getattr(fhi, name))
    taken_over = OPTIONS.get(name, set())
    kept = [parameter for parameter in then if parameter[0] not in taken_over]
    names = {parameter[0] for parameter in then}
    assert [parameter for parameter in now if parameter[0] in names] == kept
    added = [parameter for parameter in now if parameter[0] not in names]
    assert all(kind in ("KEYWORD_ONLY", "VAR_KEYWORD") for _, kind, _ in added)
    assert not taken_over or any(kind == "VAR_KEYWORD" for _, kind, _ in added)
