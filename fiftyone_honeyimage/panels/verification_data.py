"""What the verification panel reads on each event: the chosen run, its ledger, the dataset of today.

Everything is read anew each time, so that what another window or process changed is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone as fo

from ..core.errors import HoneyImageError
from . import comparison_figures

if TYPE_CHECKING:
    from ..core.ledger.ledger import Ledger
    from ..dataset.verification.verification import Verification


@dataclass(frozen=True)
class Notice:
    """Something that the user should know about a verification.

    Attributes:
        label: what is the matter
        text: what it means, and what to do
        severity: of the alert
    """

    label: str
    text: str
    severity: str = "warning"


@dataclass(frozen=True)
class LedgerState:
    """A marking's ledger as it is found today.

    Attributes:
        ledger: None if it cannot be used
        reason: why not, else empty
    """

    ledger: Ledger | None
    reason: str = ""


def verification_keys(dataset: fo.Dataset | None, honey_key: str | None = None) -> list[str]:
    """Every verification of the dataset, or of one marking, oldest first."""
    from ..dataset.runs import VERIFICATION, list_keys

    if dataset is None:
        return []
    config = {} if honey_key is None else {"honey_key": honey_key}
    return list_keys(dataset, VERIFICATION, **config)


def load(dataset: fo.Dataset, key: Any) -> Verification | None:
    """A verification, or None if it cannot be loaded."""
    from ..dataset.verification.verification import load_verification

    try:
        return load_verification(dataset, key)
    except (HoneyImageError, KeyError, TypeError):
        return None  # interrupted, or written by another version


def open_ledger(dataset: fo.Dataset, honey_key: str, ledger_path: Any = None) -> LedgerState:
    """A marking's ledger, where it was when the verification was made."""
    from ..dataset.marking.marking import load_marking
    from ..dataset.marking.marking import open_ledger as run

    try:
        return LedgerState(run(load_marking(dataset, honey_key), ledger_path))
    except (HoneyImageError, OSError) as error:
        text = str(error)
        return LedgerState(None, f"{text[:1].upper()}{text[1:]}.")


def family(dataset: fo.Dataset, honey_key: str, ledger: Ledger | None) -> list[Any]:
    """All verifications of a marking: those on the dataset, and those that only the ledger knows.

    Returns:
        a list of ``comparison_figures.ComparedSuspect``, in the order of the ledger
    """
    found = []
    known = []
    for key in verification_keys(dataset, honey_key):
        verification = load(dataset, key)
        if verification is None:
            continue
        known.append(verification.config.get("verification_id"))
        found.append(
            comparison_figures.from_verdict(
                key,
                verification.suspect_name,
                verification.verdict,
                verification.config.get("outputs", ""),
            )
        )
    if ledger is not None:
        found += comparison_figures.from_ledger(ledger.verifications, known)
    return sorted(found, key=lambda suspect: suspect.position)


def unfinished(dataset: fo.Dataset, honey_key: str) -> list[Any]:
    """Verifications that were begun and gave no verdict."""
    ledger = open_ledger(dataset, honey_key).ledger
    if ledger is None:
        return []
    return [
        suspect
        for suspect in comparison_figures.from_ledger(ledger.verifications, ())
        if suspect.verdict == comparison_figures.UNFINISHED
    ]


def notices(
    dataset: fo.Dataset, verification: Verification, state: LedgerState
) -> Iterator[Notice]:
    """What has changed since the verification: its ledger, its samples, their files and labels."""
    if state.ledger is None:
        yield Notice(
            "The ledger cannot be used",
            f"{state.reason} This verdict stands as it was recorded, but without the ledger no "
            "evidence can be exported and no model verified.",
        )
    elif not _holds(state.ledger, verification.config.get("ledger_head")):
        yield Notice(
            "The ledger is older than this verification",
            f"`{state.ledger.path}` does not hold it: an older copy was put back. Restore the "
            "newest one; with this one, earlier verifications would not be counted.",
            "error",
        )
    yield from _sample_notices(dataset, verification, state.ledger)


def pair_samples(dataset: fo.Dataset, honey_key: str) -> list[dict[str, Any]]:
    """The samples of all pairs: originals and HoneyImages with ``pair``, ``role``, ``filepath``, …

    ``source`` is the original's id in the ledger. Every original is followed by its HoneyImage.
    """
    from ..dataset.identity import recorded_images
    from ..dataset.marking.marking import load_marking

    told = {
        image[name]: {"pair": image["pair"], "role": role, "source": image["source"]}
        for image in sorted(
            (i for i in recorded_images(dataset, honey_key) if i["pair"] is not None),
            key=lambda image: (image["pair"], image["source"]),
        )
        for name, role in (("sample", "original"), ("honey", "honeyimage"))
        if image[name]
    }
    names = {"id": "id", "filepath": "filepath"}
    try:
        label_field = load_marking(dataset, honey_key).config["label_field"]
    except HoneyImageError:
        label_field = None
    if label_field and dataset.has_field(label_field):
        names["label"] = f"{label_field}.label"
    columns = dataset.select(list(told), ordered=True).values(list(names.values()))
    return [
        {**dict(zip(names, row, strict=True)), **told[row[0]]} for row in zip(*columns, strict=True)
    ]


def marking_config(dataset: fo.Dataset, verification: Verification) -> Mapping[str, Any]:
    """How the images were marked and what was committed; empty if the marking was deleted."""
    from ..dataset.marking.marking import load_marking

    try:
        return load_marking(dataset, verification.honey_key).config
    except HoneyImageError:
        return {}


def exactness(config: Mapping[str, Any], verification: Verification) -> str:
    """Which secret a verdict's exactness rests on, and how small a p so many pairs can reach.

    Args:
        config: of the marking's run; empty if it was deleted
        verification: of that marking
    """
    from ..core.evidence.reach import exactness_text
    from ..core.methods import METHODS

    method = METHODS.get(config.get("marking_method", ""))  # it may be none of today's
    secret = "images" if method is None else method.secret
    return exactness_text(verification.verdict.test, len(verification.pairs), secret)


def honey_gaps(
    dataset: fo.Dataset, verification: Verification, ledger: Ledger | None
) -> tuple[list[int], list[float]]:
    """The loss gaps of the released twins that were asked: numbers of their pairs, and nats.

    Computed here and kept nowhere: beside a pair's loss, its gap would tell which twin was released.
    """
    from ..dataset.identity import recorded_images

    if ledger is None or not dataset.has_field(verification.honey_key):
        return [], []
    key = verification.honey_key
    sources = {image["honey"]: image["source"] for image in recorded_images(dataset, key)}
    losses = zip(*dataset.select(list(sources)).values(["id", f"{key}.proxy_loss"]), strict=True)
    proxy = {sources[sample_id]: loss for sample_id, loss in losses}
    numbers, gaps = [], []
    for row in verification.pairs:
        loss = None if row["failed"] else row["released_loss"]
        side = ledger.pairs[row["pair"]].released_side()
        own = [proxy.get(image.sample_id) for image in side.asked]
        known = [float(value) for value in own if value is not None]
        if loss is not None and len(known) == len(own):
            numbers.append(int(row["pair"]))
            gaps.append(sum(known) / len(known) - loss)
    return numbers, gaps


def _holds(ledger: Ledger, head: str | None) -> bool:
    """Whether the ledger's log holds an entry; one that was not recorded is not looked for."""
    return head is None or any(entry["hash"] == head for entry in ledger.log)


def _sample_notices(
    dataset: fo.Dataset, verification: Verification, ledger: Ledger | None
) -> Iterator[Notice]:
    key = verification.honey_key
    if not dataset.has_field(key):
        yield Notice(
            f"Field '{key}' was deleted",
            "The grid's sidebar shows nothing of the pairs without it. Neither the verdict nor a release "
            "depends on it. *Attach HoneyImage marking* brings it back from the ledger.",
        )
        return
    from ..dataset.identity import recorded_images

    asked = {int(row["pair"]) for row in verification.pairs}
    samples = [row for row in pair_samples(dataset, key) if row["pair"] in asked]
    expected = sum(image["pair"] in asked for image in recorded_images(dataset, key))
    for role, name, advice in (
        (
            "honeyimage",
            "HoneyImages",
            "Their files and the ledger still hold them, so the verdict stands.",
        ),
        ("original", "originals", "The verdict does not depend on them; a new release would."),
    ):
        gone = expected - sum(row["role"] == role for row in samples)
        if gone > 0:
            yield Notice(
                f"{gone:,} of {expected:,} {name} of the pairs were deleted from the dataset",
                f"{advice} They cannot be shown here.",
            )
    missing = [row["filepath"] for row in samples if not os.path.isfile(row["filepath"])]
    if missing:
        yield Notice(
            f"{len(missing):,} image files of the pairs are missing",
            f"The first is `{missing[0]}`. The verdict stands, but they cannot be shown, and the "
            "suspect cannot be asked again. Put them back from a backup.",
        )
    changed = _num_relabeled(samples, asked, ledger)
    if changed:
        yield Notice(
            f"The labels of {changed:,} samples of the pairs were edited since",
            "The verdict rests on the labels at the time of the marking, which the release "
            "carries. Mark the dataset again before you release it with the new labels.",
        )


def _num_relabeled(samples: list[dict[str, Any]], asked: set[int], ledger: Ledger | None) -> int:
    """How many samples no longer have the label that they were marked with."""
    if ledger is None:
        return 0
    images = [image for index in asked for image in ledger.pairs[index].images]
    labels: dict[tuple[str, str], str] = {}
    for image in images:
        labels[image.sample_id, "honeyimage"] = image.label
        labels[image.sample_id, "original"] = image.source_label or image.label
    return sum(
        "label" in row and labels.get((row["source"], row["role"]), row["label"]) != row["label"]
        for row in samples
    )
