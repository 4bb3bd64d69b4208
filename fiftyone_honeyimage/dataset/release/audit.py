"""audit_release: what an adversary who holds a release, and not the ledger, can find in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import fiftyone as fo

from ...core.audit import STAGES, AuditReport, Leak, audit_files
from ...core.audit.files import is_image_name, list_files
from ...core.audit.originals import Policies, altered_files
from ...core.audit.practice import practised_method
from ...core.audit.report import NUM_EXAMPLES
from ...core.codecs import encoder_versions
from ...core.errors import LedgerError, ReleaseError, SamplesError
from ...core.files import sha256_file
from ...core.ledger.ledger import Ledger, load_ledger
from ...core.ledger.release_digest import read_release
from ...core.ledger.sides import MarkedImage
from ...core.ledger.tracing import recipient_of
from ...core.limits import PROXY_SIZE, SEED, Real, check_path
from ...core.methods import most_changed
from ...core.models import Proxy
from ...core.pipeline.loading import for_each
from ...core.progress import Report
from ...core.training import TrainingConfig
from ..checks import media_folders
from ..hardness import training_config
from ..identity import originals
from ..progress import Progress, StageBar
from ..runs import root_dataset
from ..samples import usual_size
from .history import record_audit

_ALPHA = Real(0, 0.5, without_least=True)


@dataclass(frozen=True)
class FoundImages:
    """The HoneyImages of a ledger among the files of a release.

    Attributes:
        marked: file relative to the release → its entry in the ledger
        leaks: files that must not be there: withheld twins, originals of HoneyImages, copies
        digests: file → SHA-256, of every file
    """

    marked: dict[str, MarkedImage]
    leaks: list[Leak]
    digests: dict[str, str]


@dataclass(frozen=True)
class _Originals:
    """What the working dataset knows of a release's files.

    Attributes:
        hardness: file → hardness, None if it is not known of unmarked files
        sources: HoneyImage → its original, None unless all are there and unchanged
        originals: SHA-256 → an image of the dataset that is no HoneyImage
    """

    hardness: dict[str, float] | None = None
    sources: dict[str, str] | None = None
    originals: dict[str, str] = field(default_factory=dict)


def audit_release(
    export_dir: str | Path,
    ledger: str | Path | Ledger,
    *,
    samples: fo.core.collections.SampleCollection | None,
    hardness_field: str | None,
    proxy: Proxy | None,
    input_size: int | None,
    training: TrainingConfig | Mapping[str, Any] | str | None,
    alpha: float,
    seed: int,
    device: str | None,
    progress: Progress,
    recipient: str | None = None,
) -> AuditReport:
    """See :func:`fiftyone_honeyimage.audit_release`."""
    _ALPHA.check("alpha", alpha)
    SEED.check("seed", seed)
    # Short: it looks for what stands out at once
    config = training_config("quick" if training is None else training)
    if input_size is not None:
        PROXY_SIZE.check("input_size", input_size)
    if hardness_field is not None:
        _check_hardness_field(samples, hardness_field)
    opened = open_ledger(ledger)
    opened.check_drawn()
    if opened.recipients and recipient is None:
        recipient = recipient_of(opened, read_release(check_path("export_dir", export_dir)).digests)
    opened = opened.for_recipient(recipient)
    dataset = None if samples is None else root_dataset(samples)
    folder = exported_folder(export_dir, opened, dataset)

    method, marks = practised_method(opened.header)
    with StageBar({"Finding HoneyImages": 5, **STAGES}, progress) as bar:
        found = find_images(folder, opened, bar.report)
        known = _Originals() if dataset is None else _read_samples(dataset, hardness_field, found)
        policies = Policies(
            thumbnails_dropped=opened.header.get("thumbnails") == "drop",
            epsilon=most_changed(opened.header.get("method"), opened.header),
            same_encoders=opened.header.get("encoders") == encoder_versions(),
        )
        others = {
            name: digest
            for name, digest in found.digests.items()
            if name not in found.marked and is_image_name(name)
        }
        leaks = found.leaks
        named: list[Leak] = []
        if dataset is not None:
            altered, named, anew = altered_files(folder, others, known.originals, policies)
            strangers = {name for leak in leaks for name in leak.files}
            leaks = [*leaks, *(leak for leak in altered if not set(leak.files) <= strangers)]
            policies = replace(policies, reencoded=anew)
        report = audit_files(
            folder,
            found.marked,
            labels={name: image.label for name, image in found.marked.items()},
            hardness=known.hardness,
            sources=known.sources,
            policies=policies,
            proxy=proxy,
            config=config,
            input_size=input_size
            or usual_size([folder / name for name in sorted(found.marked)])
            or 32,
            method=method,
            marks=marks,
            found=leaks,
            named=named,
            secrets=_secrets(opened, dataset),
            alpha=alpha,
            seed=seed,
            device=device,
            report=bar.report,
        )
    record_audit(dataset, opened, folder, report)
    return report


def exported_folder(export_dir: str | Path, ledger: Ledger, dataset: fo.Dataset | None) -> Path:
    """The folder of a release, absolute; its files are not read.

    Raises:
        ParameterError: if no folder can have this path
        ReleaseError: if it is none, or holds the originals or the HoneyImages instead
    """
    folder = check_path("export_dir", export_dir)
    if not folder.is_dir():
        raise ReleaseError(f"there is no release at '{folder}'; pass the folder that was exported")
    real = Path(os.path.realpath(folder))
    secret = Path(os.path.realpath(ledger.path.parent))
    if real == secret or secret in real.parents:
        raise ReleaseError(
            f"'{folder}' holds the marking's ledger or its HoneyImages, withheld ones too; pass the "
            "folder that was exported"
        )
    if dataset is not None:
        paths = originals(dataset).values("filepath")
        media = {Path(os.path.realpath(folder)) for folder in media_folders(paths)}
        if any(real == each or real in each.parents for each in media):
            raise ReleaseError(
                f"'{folder}' holds the originals of dataset '{dataset.name}'; pass the "
                "folder that was exported"
            )
    return folder


def open_ledger(ledger: str | Path | Ledger) -> Ledger:
    """A ledger, from its file if it is not open yet.

    Raises:
        LedgerError: if it is missing, altered or none
    """
    # Compared by name: a plugin and a script hold two copies of this class
    if type(ledger).__name__ == Ledger.__name__:
        return ledger  # type: ignore[return-value]
    if not isinstance(ledger, (str, os.PathLike)):
        raise LedgerError(f"ledger must be a path or a Ledger; found {type(ledger).__name__}")
    return load_ledger(check_path("ledger", ledger))


def find_images(folder: Path, ledger: Ledger, report: Report) -> FoundImages:
    """Finds the HoneyImages of a ledger in a release by their digests.

    Raises:
        ReleaseError: if a HoneyImage that the ledger lists as released is not there byte by byte
    """
    names = list_files(folder)
    digests: dict[str, str] = {}

    def digest(row: int) -> None:
        digests[names[row]] = sha256_file(folder / names[row])

    for_each(digest, range(len(names)), report, "Finding HoneyImages")
    files: dict[str, list[str]] = {}
    for name in names:
        files.setdefault(digests[name], []).append(name)

    marked: dict[str, MarkedImage] = {}
    leaks: list[Leak] = []
    missing = []
    for image in ledger.released_images():
        # Two HoneyImages can be the same bytes only if two originals were
        own = [name for name in files.get(image.marked_sha256, []) if name not in marked]
        own.sort(key=lambda name: (image.label not in PurePosixPath(name).parts, name))
        if own:
            marked[own[0]] = image
        else:
            missing.append(image)
    if missing:
        raise ReleaseError(
            f"{len(missing)} of {len(ledger.released_images())} HoneyImages of the ledger are not in "
            f"'{folder}' byte by byte, the first of class {missing[0].label!r}. "
            "Is it a release of another marking, or were its files changed since the export?"
        )
    leaks += _strangers(ledger, files, marked)
    return FoundImages(marked, leaks, digests)


def _strangers(
    ledger: Ledger, files: Mapping[str, list[str]], marked: Mapping[str, MarkedImage]
) -> list[Leak]:
    """Files that a release must not hold."""
    withheld = {image.marked_sha256 for image in ledger.withheld_images()}
    released = {image.marked_sha256 for image in ledger.released_images()}
    everything = (*ledger.released_images(), *ledger.withheld_images())
    originals = {i.source_sha256 for i in everything if i.source_sha256 != i.marked_sha256}
    leaks = []
    for feature, wanted, reason in (
        ("withheld twins", withheld - released, "withheld twins are in the release"),
        ("originals", originals, "originals of marked images are in the release"),
        ("copies", released, "HoneyImages are in the release more than once"),
    ):
        names = sorted(
            name for digest in wanted for name in files.get(digest, []) if name not in marked
        )
        if names:
            leaks.append(Leak(feature, f"{len(names)} {reason}", tuple(names[:NUM_EXAMPLES])))
    return leaks


def _check_hardness_field(
    samples: fo.core.collections.SampleCollection | None, hardness_field: str
) -> None:
    if samples is None:
        raise SamplesError(
            f"hardness_field='{hardness_field}' needs the samples that hold it; pass samples="
        )
    if not samples.has_field(hardness_field) or not isinstance(
        samples.get_field(hardness_field), fo.FloatField
    ):
        raise SamplesError(
            f"there is no field '{hardness_field}' with hardness scores; pass another field, or None to "
            "have the audit train models of its own"
        )


def _read_samples(
    dataset: fo.Dataset, hardness_field: str | None, found: FoundImages
) -> _Originals:
    """What the working dataset knows of a release's files.

    HoneyImages are found by their sample, other files by their bytes. The hardness of files that were encoded
    anew is not known.
    """
    fields = ["id", "filepath", *([hardness_field] if hardness_field else [])]
    values = dataset.values(fields)
    ids, paths = values[:2]
    scores = values[2] if hardness_field else [None] * len(ids)
    by_id = {key: (path, score) for key, path, score in zip(ids, paths, scores, strict=True)}
    wanted = set(found.digests.values())
    by_digest: dict[str, Any] = {}
    by_content: dict[str, str] = {}
    no_honeyimages = set(originals(dataset).values("id"))
    for key, path, score in zip(ids, paths, scores, strict=True):
        digest = sha256_file(path) if os.path.isfile(path) else ""
        if digest and key in no_honeyimages:
            by_content[digest] = path
        if digest in wanted:
            by_digest[digest] = score

    sources: dict[str, str] = {}
    hardness: dict[str, float] = {}
    num_others = 0
    for name, digest in found.digests.items():
        image = found.marked.get(name)
        if image is None:
            num_others += digest in by_digest
            score = by_digest.get(digest)
        else:
            path, score = by_id.get(image.sample_id, ("", None))
            if os.path.isfile(path) and sha256_file(path) == image.source_sha256:
                sources[name] = path
        if score is not None:
            hardness[name] = float(score)
    return _Originals(
        hardness=hardness if hardness_field and num_others else None,
        sources=sources if len(sources) == len(found.marked) else None,
        originals=by_content,
    )


def _secrets(ledger: Ledger, dataset: fo.Dataset | None) -> set[str]:
    """What must not be in a release: ids and digests, the key and the commitment."""
    images = (*ledger.released_images(), *ledger.withheld_images())
    secrets = {image.sample_id for image in images}
    secrets |= {image.source_sha256 for image in images} | {image.marked_sha256 for image in images}
    secrets.add(ledger.commitment)
    for name in ("honey_key", "dataset_id"):
        value = ledger.header.get(name)
        if isinstance(value, str):
            secrets.add(value)
    if dataset is not None:
        secrets.update(dataset.values("id"))
    return secrets
