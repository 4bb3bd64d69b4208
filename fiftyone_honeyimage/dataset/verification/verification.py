"""Verifications as they are kept on the dataset, and the evidence for others."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo

from ...core.bundle.bundle import IMAGES, Bundle, check_new_bundle, write_bundle
from ...core.evidence.controls import read_comparisons
from ...core.evidence.decisions import read_decisions
from ...core.evidence.pair_answers import PairAnswers
from ...core.evidence.recipients import RecipientVerdict
from ...core.evidence.statement import word_controls
from ...core.evidence.verdict import Verdict
from ...core.ledger.evidence_file import check_new_evidence
from ...core.ledger.evidence_file import export_evidence as write_evidence
from ...core.limits import check_choice, check_path
from ..marking.marking import load_marking, open_marking
from ..runs import VERIFICATION, root_dataset, run_config, run_results


@dataclass(frozen=True)
class Verification:
    """A verification as it is kept on the dataset.

    Attributes:
        verify_key: the run's key
        honey_key: the marking
        verdict: the :class:`~..core.evidence.verdict.Verdict`
        suspect_name: what the suspect is called
        suspect_digest: SHA-256 of its file or weights, None where it has none
        pairs: one dict a pair in the order queried: ``pair``, ``released_loss``, ``withheld_loss``
            (nats; None for labels alone), ``released_correct``, ``withheld_correct`` (None where it tells no classes), ``failed``
        config: the run's whole config
        timestamp: when the run was registered, UTC
        random_images: the paper's controls, which never decide: ``ids`` of unmarked samples and
            their loss ``gaps`` (nats), or a ``note`` that says why there are none; empty if none
            were asked for. ``compared`` tells how the "released" and the "withheld" twins compare with them, see
            :class:`~..core.evidence.controls.ControlComparison`
        recipients: whose release the model comes from, an exact p for each; None where all got the same
    """

    verify_key: str
    honey_key: str
    verdict: Verdict
    suspect_name: str
    suspect_digest: str | None
    pairs: list[dict[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    timestamp: Any = None
    random_images: Mapping[str, Any] = field(default_factory=dict)
    recipients: RecipientVerdict | None = None

    @property
    def beside(self) -> str:
        """How released marked images compare with random unmarked ones, in words; empty if that was not compared."""
        return word_controls(read_comparisons(self.random_images.get("compared") or {}))

    def __str__(self) -> str:
        lines = [f"{self.suspect_name}: {self.verdict.verdict}. {self.verdict.statement}"]
        if self.recipients is not None:
            lines.append(str(self.recipients))
        for one in read_decisions(self.verdict.paper):
            says = "would accuse" if one.accuses else "would not accuse"
            lines.append(f"Beside it, and never deciding: {one.rule} {says}: {one.text}")
        if beside := self.beside:
            lines.append(f"Beside it, and never deciding: {beside}")
        return "\n".join(lines)


def load_verification(
    samples: fo.core.collections.SampleCollection, verify_key: str
) -> Verification:
    """Loads a verification from the dataset's runs.

    Raises:
        SamplesError: if there is no such verification
    """
    dataset = root_dataset(samples)
    config = run_config(dataset, verify_key, VERIFICATION)
    results = run_results(dataset, verify_key)
    whose = results.get("recipients")
    return Verification(
        verify_key=verify_key,
        honey_key=config["honey_key"],
        verdict=Verdict.from_dict(results["verdict"]),
        suspect_name=config["suspect_name"],
        suspect_digest=config["suspect_digest"],
        pairs=results["pairs"],
        config=config,
        timestamp=config["timestamp"],
        random_images=results.get("random_images") or {},
        recipients=RecipientVerdict.from_dict(whose) if whose else None,
    )


def next_verify_key(dataset: fo.Dataset, honey_key: str) -> str:
    """The first free key ``<honey_key>_verification_<n>``."""
    taken = {*dataset.list_runs(), *dataset.get_field_schema(), *dataset.list_saved_views()}
    number = 1
    while f"{honey_key}_verification_{number}" in taken:
        number += 1
    return f"{honey_key}_verification_{number}"


def export_evidence(
    samples: fo.core.collections.SampleCollection,
    verify_key: str,
    path: str | Path,
    overwrite: bool = False,
) -> Path:
    """See :func:`fiftyone_honeyimage.export_evidence`."""
    target = check_path("path", path)
    check_new_evidence(target, overwrite)
    dataset = root_dataset(samples)
    verification = load_verification(dataset, verify_key)
    place = verification.config["ledger_path"]
    ledger = open_marking(dataset, verification.honey_key, place).ledger
    kind = verification.verdict.kind
    what = "loss" if kind == "scores" else "correct"
    values: dict[str, list[Any]] = {"a": [], "b": []}
    for row in verification.pairs:
        released = ledger.released()[row["pair"]]
        withheld = "b" if released == "a" else "a"
        values[released].append(None if row["failed"] else row[f"released_{what}"])
        values[withheld].append(None if row["failed"] else row[f"withheld_{what}"])
    pairs = tuple(row["pair"] for row in verification.pairs)
    answers = PairAnswers(kind, pairs, tuple(values["a"]), tuple(values["b"]))
    verification_id = verification.config["verification_id"]
    write_evidence(ledger, verification_id, answers, target, overwrite=overwrite)
    return target


def export_bundle(
    samples: fo.core.collections.SampleCollection,
    verify_key: str,
    path: str | Path,
    images: str = "digests",
    roots: Sequence[str | Path] | None = None,
    pdf: bool | None = None,
    overwrite: bool = False,
) -> Bundle:
    """See :func:`fiftyone_honeyimage.export_bundle`."""
    check_choice("images", images, IMAGES)
    target = check_new_bundle(check_path("path", path), overwrite)
    trusted = None if roots is None else [check_path("roots", one) for one in roots]
    dataset = root_dataset(samples)
    marking = load_marking(dataset, load_verification(dataset, verify_key).honey_key)
    with tempfile.TemporaryDirectory(prefix="honeyimage-") as folder:
        evidence = export_evidence(dataset, verify_key, Path(folder) / "evidence.json")
        return write_bundle(
            evidence,
            target,
            images=marking.output_dir if images == "files" else None,
            roots=trusted,
            pdf=pdf,
            overwrite=overwrite,
        )
