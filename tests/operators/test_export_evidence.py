"""The operator that writes the evidence: its form, and a file that convinces a third party."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def verified(make_marked: Callable[..., Any], suspect_file: str) -> Any:
    """A marked dataset on which a model was verified as ``theirs``."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    fhi.verify_model(dataset, "honey", suspect_file, "theirs", progress=False)
    return dataset


def test_the_file_convinces_a_third_party(
    verified: Any, execute: Any, resolve: Any, tmp_path: Path
) -> None:
    check = importlib.import_module("fiftyone_honeyimage.core.ledger.evidence_file").check_evidence
    path = tmp_path / "new" / "evidence.json"
    form = resolve("export_evidence", verified, verify_key="theirs", path=str(path))
    assert form.errors() == {}
    assert "12 pairs were released" in form.text("consequence")

    result = execute("export_evidence", verified, verify_key="theirs", path=str(path))

    command = result.result.pop("check")
    assert command.startswith("python ")
    assert command.endswith(f" check {path}")
    assert result.result == {"verify_key": "theirs", "path": str(path)}
    assert check(path).ok
    again = resolve("export_evidence", verified, verify_key="theirs", path=str(path))
    assert "exists already" in again.errors()["path"]
    folder = resolve("export_evidence", verified, verify_key="theirs", path=str(tmp_path))
    assert "is a folder" in folder.errors()["path"]


def test_python_calls_the_operator_like_the_sdk(fo: Any, verified: Any, tmp_path: Path) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    operators = importlib.import_module("fiftyone.operators")
    by_sdk, by_operator = tmp_path / "sdk.json", tmp_path / "operator.json"

    fhi.export_evidence(verified, "theirs", by_sdk)
    operators.get_operator("@honeyimage/ownership/export_evidence")(verified, "theirs", by_operator)

    assert by_sdk.read_bytes() == by_operator.read_bytes()


def test_an_empty_form_proposes_the_newest_and_a_new_file(
    fo: Any, verified: Any, resolve: Any, execute: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path))
    form = resolve("export_evidence", verified)
    assert form.errors() == {}
    proposed = tmp_path / "honeyimage-evidence" / f"{verified.slug}-theirs.json"
    assert str(proposed) in form.text("path")

    execute("export_evidence", verified, verify_key="theirs")
    assert proposed.is_file()
    assert f"{verified.slug}-theirs-2.json" in resolve("export_evidence", verified).text("path")


def test_what_keeps_the_evidence_from_being_written_is_said(
    verified: Any, make_hard: Any, resolve: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    assert "Verify a model" in resolve("export_evidence", make_hard()).errors()["blocked"]
    unknown = resolve("export_evidence", verified, verify_key="other")
    assert "theirs" in unknown.errors()["verify_key"]

    ledger = Path(fhi.load_marking(verified, "honey").ledger_path)
    ledger.rename(ledger.with_name("moved"))
    assert "moved" in str(resolve("export_evidence", verified).errors()["blocked"])


def test_a_bundle_is_written_and_downloaded(
    fo: Any, verified: Any, execute: Any, resolve: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path))
    form = resolve("export_evidence", verified, written="bundle")
    assert form.errors() == {}
    proposed = tmp_path / "honeyimage-evidence" / f"{verified.slug}-theirs.zip"
    assert str(proposed) in form.text("path")
    assert "written" in resolve("export_evidence", verified, written="all").errors()

    result = execute("export_evidence", verified, verify_key="theirs", written="bundle_with_images")

    assert result.result["path"] == str(proposed)
    asked = [r for r in result.executor._requests if "browser_download" in r.operator_uri]
    assert asked[0].params["filename"] == proposed.name
    with zipfile.ZipFile(proposed) as archive:
        names = archive.namelist()
    assert {"report.html", "evidence.json", "check_evidence.py", "images.csv"} <= set(names)
    assert sum(name.startswith("images/") for name in names) == 24
    plain = tmp_path / "evidence.json"
    plain.write_text("no zip", encoding="utf-8")
    taken = resolve("export_evidence", verified, written="bundle", path=str(plain), overwrite=True)
    assert "no bundle" in taken.errors()["path"]
