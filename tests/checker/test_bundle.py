"""A bundle opens for who has Python alone, says what the evidence says, and is not made of evidence that does not hold."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fiftyone_honeyimage.__main__ import main
from fiftyone_honeyimage.core.bundle import bundle as bundles
from fiftyone_honeyimage.core.bundle.bundle import write_bundle
from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence

GOLDEN = Path(__file__).resolve().parents[1] / "golden/format2/fixed"

Make = Callable[..., Path]


def page(archive: Path) -> str:
    """The report's text, as it is read."""
    with zipfile.ZipFile(archive) as opened:
        text = opened.read("report.html").decode("utf-8")
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_a_stranger_opens_and_checks_it(make: Make, tmp_path: Path) -> None:
    evidence = make(tmp_path, 3, num_pairs=24, trained=1.0)
    commitment = json.loads(evidence.read_text(encoding="utf-8"))["commitment"]
    assert main(["bundle", str(evidence), str(tmp_path / "b.zip"), "--no-pdf"]) == 0
    place = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(place)
    for line in (place / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
    assert (
        len({*place.iterdir()})
        == len((place / "SHA256SUMS").read_text(encoding="utf-8").splitlines()) + 1
    )
    command = [sys.executable, "-I", "-S", "check_evidence.py", "evidence.json", "--commitment"]
    done = subprocess.run([*command, commitment], cwd=place, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "derived: " in done.stdout
    assert (place / "evidence.json").read_bytes() == evidence.read_bytes()
    listed = (place / "images.csv").read_text(encoding="utf-8").splitlines()
    assert len(listed) == 1 + 2 * 24
    assert sum(",withheld," in line for line in listed) == 24


def test_the_report_says_what_the_evidence_says(make: Make, kinds: Any, tmp_path: Path) -> None:
    """Of every verdict and kind of answers, in words that cannot end the page."""
    chosen = (
        *("plain", "innocent", "few", "labels", "shares", "bets, some failing", "failing"),
        "public round, recipients, portfolio",
    )
    for seed, name in enumerate(chosen):
        evidence = make(tmp_path, seed, **kinds[name])
        check = check_evidence(evidence)
        assert check.verdict is not None
        write_bundle(evidence, tmp_path / "b.zip", pdf=False, overwrite=True)
        text = page(tmp_path / "b.zip")
        assert " ".join(check.verdict.statement.split()) in text
        for line in (*check.held, *check.not_checked):
            assert " ".join(line.split()) in text
        for words in ("What it means", "What it does not mean", "How to check it yourself"):
            assert words in text
        assert text.count("images/") >= 2 * check.verdict.num_pairs
        drawn = name.startswith("public round")
        assert ("future round of public randomness" in text) == drawn
        assert ("api.drand.sh" in text) == drawn
        assert "hospital" not in text


def test_anothers_words_stay_words(make: Make, tmp_path: Path) -> None:
    from fiftyone_honeyimage.core.bundle.report import report_html

    evidence = make(tmp_path, 3)
    content = json.loads(evidence.read_text(encoding="utf-8"))
    for opened in content["pairs"]:
        for name in "ab":
            opened["leaf"][name]["files"][0]["label"] = "</td><script>alert(1)</script>\u202e"
    text = report_html(check_evidence(evidence), content, [("<b>", "<i>")])
    assert "<script" not in text
    assert "\u202e" not in text
    assert "<li>&lt;b&gt;<pre>&lt;i&gt;" in text


def test_the_same_evidence_gives_the_same_bundle(make: Make, tmp_path: Path) -> None:
    evidence = make(tmp_path, 3)
    for name in ("one.zip", "two.zip"):
        write_bundle(evidence, tmp_path / name, pdf=False)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_images_are_those_that_were_committed_to(tmp_path: Path) -> None:
    marking = tmp_path / "marking"
    shutil.copytree(GOLDEN / "marking", marking)
    written = write_bundle(GOLDEN / "thief.json", tmp_path / "b.zip", images=marking, pdf=False)
    assert sum(name.startswith("images/") for name in written.names) == 32
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extractall(tmp_path / "out")
    command = [sys.executable, "-I", "check_evidence.py", "evidence.json", "--images", "images"]
    assert subprocess.run(command, cwd=tmp_path / "out").returncode == 0
    for image in (marking / "images").rglob("*.*"):
        image.write_bytes(b"another")
    with pytest.raises(LedgerError, match="not the one that was committed to"):
        write_bundle(GOLDEN / "thief.json", tmp_path / "c.zip", images=marking, pdf=False)
    shutil.rmtree(marking)
    with pytest.raises(LedgerError, match="cannot be read"):
        write_bundle(GOLDEN / "thief.json", tmp_path / "c.zip", images=marking, pdf=False)
    assert not (tmp_path / "c.zip").exists()


def test_nothing_is_made_of_evidence_that_does_not_hold(make: Make, tmp_path: Path) -> None:
    evidence = make(tmp_path, 3)
    target = tmp_path / "b.zip"
    with pytest.raises(LedgerError, match="does not hold"):
        write_bundle(evidence, target, commitment="0" * 64, pdf=False)
    content = json.loads(evidence.read_text(encoding="utf-8"))
    content["answers"]["a"][0] = 7.5
    evidence.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LedgerError, match="the log has other answers"):
        write_bundle(evidence, target, pdf=False)
    assert not target.exists()
    target.write_text("no zip", encoding="utf-8")
    for options, words in (({}, "exists already"), ({"overwrite": True}, "never overwritten")):
        with pytest.raises(LedgerError, match=words):
            write_bundle(evidence, target, pdf=False, **options)  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="is a folder"):
        write_bundle(evidence, tmp_path)
    with pytest.raises(LedgerError, match="create it first"):
        write_bundle(evidence, tmp_path / "no" / "b.zip")


def test_without_a_printer_the_report_is_a_page(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = make(tmp_path, 3)
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    written = write_bundle(evidence, tmp_path / "b.zip")
    assert "report.html" in written.names
    assert "report.pdf" not in written.names
    assert "weasyprint is not installed" in str(written)
    with pytest.raises(ParameterError, match=r"fiftyone-honeyimage\[report\]"):
        write_bundle(evidence, tmp_path / "c.zip", pdf=True)


def test_stamps_are_in_it(make: Make, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is the authority")
    from authority import Authority, serving

    from fiftyone_honeyimage.core.ledger.authorities import request_stamp
    from fiftyone_honeyimage.core.ledger.stamps import Stamp

    authority = Authority(tmp_path / "tsa", "Honest stamps")
    evidence = make(tmp_path, 3)
    content = json.loads(evidence.read_text(encoding="utf-8"))
    with serving(authority.answer) as address:
        found = request_stamp(content["commitment"], address)
    assert isinstance(found, Stamp)
    content["stamps"] = [found.to_dict()]
    evidence.write_text(json.dumps(content), encoding="utf-8")
    write_bundle(evidence, tmp_path / "plain.zip", pdf=False)
    assert "They were not checked for this report" in page(tmp_path / "plain.zip")
    write_bundle(evidence, tmp_path / "b.zip", pdf=False, roots=[authority.root])
    text = page(tmp_path / "b.zip")
    assert "the commitment was there at 20" in text
    assert "CN=Honest stamps" in text
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extractall(authority.folder)
    # By the step that the report tells
    authority._openssl(
        *("ts", "-verify", "-in", "stamps/stamp-1.tsr", "-data", "stamps/stamp-1.txt"),
        *("-CAfile", "root.pem"),
    )


def test_six_hundred_pairs_take_seconds(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("weasyprint")
    evidence = make(tmp_path, 3, num_pairs=600, trained=0.3)
    before = time.process_time()
    written = write_bundle(evidence, tmp_path / "b.zip", pdf=True)
    # Of this process on one core, whatever else runs on the machine
    assert time.process_time() - before < 10
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.read("report.pdf").startswith(b"%PDF")
    assert written.pdf == ""
    assert bundles.IMAGES.keys() == {"digests", "files"}
