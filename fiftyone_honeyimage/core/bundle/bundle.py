"""Writing the zip: evidence, report, checker, images or digests, stamps, and the digests of all of these."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import LedgerError, ParameterError
from ..files import sha256_bytes, write_atomic
from ..ledger.evidence_check import EvidenceCheck
from ..ledger.evidence_file import check_evidence
from ..ledger.hashes import parse_json
from ..ledger.stamps import read_entries
from .report import report_html, side_images

#: What can be put in of the opened images
IMAGES = {
    "digests": "Their SHA-256 alone: whoever has the images can compare them",
    "files": "The marked images themselves, released and withheld ones",
}
_CHECKER = "check_evidence.py"
#: The earliest time that a zip knows: the same evidence gives the same zip
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written.

    Attributes:
        path: the zip
        names: of the files in it
        check: what was found in the evidence
        pdf: why the report is in HTML alone; empty where it is in PDF too
    """

    path: Path
    names: tuple[str, ...]
    check: EvidenceCheck
    pdf: str

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.names)} files"]
        if self.pdf:
            lines.append(f"No PDF of the report: {self.pdf}")
        return "\n".join(lines)


def check_new_bundle(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Checks, before anything expensive, that a bundle may be written to a path.

    Raises:
        LedgerError: if there is no folder for it, or there is a file that is no zip or may not be replaced
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise LedgerError(f"There is no folder {target.parent}; create it first")
    if target.is_dir():
        raise LedgerError(f"{target} is a folder; add the name of a file, such as bundle.zip")
    if os.path.lexists(target) and not overwrite:
        raise LedgerError(f"{target} exists already; choose another name, or pass overwrite=True")
    if os.path.lexists(target) and not (target.is_file() and zipfile.is_zipfile(target)):
        raise LedgerError(f"{target} is no bundle and is never overwritten; choose another name")
    return target


def write_bundle(
    evidence: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    roots: Sequence[str | Path] | None = None,
    commitment: str | None = None,
    pdf: bool | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Checks evidence and writes a bundle of it.

    Args:
        evidence: the evidence file
        path: the zip to write; its folder must exist
        images (None): the marking's folder, of which the opened images are put in; None puts in their digests alone
        roots (None): files with root certificates of time-stamp authorities, under which the stamps are checked for the report
        commitment (None): the one that was published before the release, to compare with
        pdf (None): whether the report is written as PDF too, which takes weasyprint; None where that is installed
        overwrite (False): whether an older bundle may be replaced

    Raises:
        LedgerError: if the evidence does not hold, an image is missing or another one, or the path is taken
        ParameterError: if a PDF is asked for and cannot be made
        OSError: if the zip cannot be written
    """
    target = check_new_bundle(path, overwrite)
    printer, why = (None, "it was not asked for") if pdf is False else _printer()
    if pdf and printer is None:
        raise ParameterError(
            f"a PDF cannot be made here: {why}. Install it with: pip install 'fiftyone-honeyimage[report]', or pass pdf=False"
        )
    data = Path(evidence).read_bytes()
    check = check_evidence(evidence, commitment, roots=roots)
    if check.verdict is None:
        raise LedgerError(
            f"{evidence} does not hold, and no bundle is made of it: {'; '.join(check.failed)}"
        )
    content = parse_json(data.decode("utf-8"), str(evidence))
    opened = _opened_images(content, check.released)
    files = {"evidence.json": data, _CHECKER: _checker(), "images.csv": _image_list(opened)}
    if images is not None:
        files |= _image_files(Path(images), opened)
    for number, stamp in enumerate(read_entries(content.get("stamps", [])), start=1):
        files[f"stamps/stamp-{number}.tsr"] = stamp.response
        files[f"stamps/stamp-{number}.txt"] = stamp.message
    steps = _steps(content, images is not None)
    files["report.html"] = report_html(check, content, steps).encode("utf-8")
    if printer is not None:
        files["report.pdf"] = printer(report_html(check, content, steps, for_print=True))
    sums = [f"{sha256_bytes(files[name])}  {name}\n" for name in sorted(files)]
    files["SHA256SUMS"] = "".join(sums).encode("utf-8")
    write_atomic(target, _zipped(files), mode=0o600)
    return Bundle(target, tuple(sorted(files)), check, "" if printer else why)


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def _checker() -> bytes:
    return resources.files("fiftyone_honeyimage.checker").joinpath(_CHECKER).read_bytes()


def _printer() -> tuple[Any, str]:
    """(what makes a PDF of a page, "") or (None, why there is none)."""
    try:
        import weasyprint
    except ImportError:
        return None, "weasyprint is not installed"
    except OSError as error:  # of the libraries that it needs
        return None, f"weasyprint does not start ({error})"

    def refuse(url: str, *_: object, **__: object) -> Any:
        raise ValueError(f"the report loads nothing, not {url!r:.100}")

    return lambda page: weasyprint.HTML(string=page, url_fetcher=refuse).write_pdf(), ""


def _opened_images(
    content: Mapping[str, Any], released: Mapping[int, str]
) -> list[tuple[int, str, str, Mapping[str, Any]]]:
    """(pair, side, what became of it, image) of every image that a suspect was asked about or that could be released."""
    found = []
    for opened in content["pairs"]:
        leaf = opened["leaf"]
        coin = released[leaf["index"]]
        for name in "ab":
            fate = "released" if name == coin else "withheld"
            found += [(leaf["index"], name, fate, image) for image in side_images(leaf[name])]
            probes = leaf[name].get("probes", ())
            found += [(leaf["index"], name, "asked about", image) for image in probes]
    return found


def _image_list(opened: Sequence[tuple[int, str, str, Mapping[str, Any]]]) -> bytes:
    import csv

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("pair", "side", "fate", "label", "file", "sha256", "sha256_of_original"))
    for pair, side, fate, image in opened:
        digests = (image["marked_sha256"], image["source_sha256"])
        writer.writerow((pair, side, fate, image["label"], image["file"], *digests))
    return buffer.getvalue().encode("utf-8")


def _image_files(
    folder: Path, opened: Sequence[tuple[int, str, str, Mapping[str, Any]]]
) -> dict[str, bytes]:
    """The opened images' files, each of which must be what was committed to."""
    found = {}
    for _, _, _, image in opened:
        path = folder / image["file"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LedgerError(
                f"The image {path} cannot be read ({error.strerror}); give the marking's folder, or leave images out"
            ) from error
        if sha256_bytes(data) != image["marked_sha256"]:
            raise LedgerError(
                f"The image {path} is not the one that was committed to; restore it, or leave images out"
            )
        found[f"images/{image['file']}"] = data
    return found


def _steps(content: Mapping[str, Any], has_images: bool) -> list[tuple[str, str]]:
    """How a stranger checks the bundle."""
    images = " --images images" if has_images else ""
    steps = [
        (
            "Unpack the zip, and compare its files with their digests.",
            "sha256sum --check SHA256SUMS",
        ),
        (
            "Take the commitment from where the owner published it before the release, not from this report, and recompute everything with Python "
            "3.10 or newer; nothing needs to be installed. The program is short enough to be read, and another can be written from the specification "
            "(docs/evidence.md of fiftyone-honeyimage).",
            f"python3 {_CHECKER} evidence.json --commitment PUBLISHED{images}",
        ),
        (
            "With a copy of the release, see that it holds the released images and none of the withheld ones.",
            f"python3 {_CHECKER} evidence.json --release FOLDER",
        ),
    ]
    if "beacon" in content:
        steps.append(
            (
                "The coins follow from a round of public randomness. Its signature is verified where py-ecc is installed; compare it with the one that "
                "https://api.drand.sh gives, too.",
                f"pip install py-ecc && python3 {_CHECKER} evidence.json",
            )
        )
    if content.get("stamps"):
        before = (
            "; a stamp of the commitment must lie before the public round"
            if "beacon" in content
            else ""
        )
        steps.append(
            (
                f"Check the time-stamps under the root certificate of each authority, which you get from it, with OpenSSL{before}.",
                "openssl ts -verify -in stamps/stamp-1.tsr -data stamps/stamp-1.txt -CAfile ROOT.pem",
            )
        )
    steps.append(
        (
            "Ask the model again about the images, in the way that is written above under “asked”, and compare the answers with those in evidence.json.",
            "",
        )
    )
    return steps
