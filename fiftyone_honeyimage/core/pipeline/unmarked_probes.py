"""What published rules compare: probes with the same images without a secret in them, weights with carriers.

A suspect is asked about such images last, after every committed question is answered and on disk. They enter no exact verdict,
nothing that goes wrong here touches one, and a suspect whose calls may cost something is not asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evidence.carrier_test import fisher_decision
from ..evidence.decisions import PublishedDecision
from ..evidence.ownership_tests import (
    loss_decision,
    paired_t_decision,
    wilcoxon_decision,
    with_success_rate,
)
from ..images import read_image
from ..ledger.ledger import Ledger
from ..methods import METHODS
from ..suspects import Suspect, query
from ..suspects.journal import Journal
from ..suspects.white_box import WhiteBoxSuspect
from .folder import read_manifest
from .questions import Questions

_logger = logging.getLogger(__name__)

#: An image without a secret, by its source's digest, and the class that it is asked about
Plain = tuple[str, str]


@dataclass(frozen=True)
class Told:
    """An answer: the loss, NaN of a suspect that gives labels alone, and whether the class asked about was told."""

    loss: float
    is_class: bool


def published_decisions(
    suspect: Suspect, asked: Questions, journal: Journal, ledger: Ledger, folder: Path
) -> list[PublishedDecision]:
    """What the method's published test decides about a suspect whose committed questions are answered.

    Of each test image the gains with the released keys are averaged, so that the m gains are of m different images, as
    the published tests presume. Pairs with a failed query are left out.

    Returns:
        one decision; none where the marking has no such images, the suspect is metered or holds its answers by name, or
        it cannot be asked
    """
    try:
        if isinstance(suspect, WhiteBoxSuspect):
            return _of_weights(suspect, asked, ledger)
        if suspect.metered or suspect.held is not None or asked.protocol.outputs == "losses":
            return []
        plain = read_manifest(folder).get("probe_sources", [])
        if not plain:
            return []
        with_key = _answered(asked, journal, ledger)
        without = _ask(suspect, asked, plain, folder, set(with_key))
        kept = {row: answers for row, answers in with_key.items() if row in without}
        if len({source for source, _ in kept}) < 2:
            return []
        return [_decide(kept, without, asked.kind, ledger)]
    except Exception as error:
        _logger.warning(
            "What the published rule says of '%s' was left out; the verdict does not need it: %s",
            suspect.name,
            error,
        )
        return []


def _of_weights(
    suspect: WhiteBoxSuspect, asked: Questions, ledger: Ledger
) -> list[PublishedDecision]:
    released = ledger.released()
    cosines = [
        suspect.cosine(ledger.pairs[index].side(name).asked[0].sample_id)
        for (index, name), recorded in asked.recorded.items()
        if recorded is not None and released[index] == name
    ]
    return [fisher_decision(cosines, suspect.dimension)] if cosines else []


def _decide(
    with_key: Mapping[Plain, Sequence[Told]],
    without: Mapping[Plain, Told],
    kind: str,
    ledger: Ledger,
) -> PublishedDecision:
    """The rule that was published for the method, and how often the mark did what it should."""
    untargeted = ledger.plan.direction == "higher"

    def gains(value: Callable[[Told], float]) -> np.ndarray:
        """Of each image the mean gain, float64 (m,)."""
        found: dict[str, list[float]] = {}
        for row, answers in with_key.items():
            own = [value(told) - value(without[row]) for told in answers]
            found.setdefault(row[0], []).extend(own)
        mean = np.array([np.mean(values) for values in found.values()], dtype=np.float64)
        return -mean if untargeted else mean

    if kind == "labels":
        decision = wilcoxon_decision(gains(lambda told: float(told.is_class)))
    elif METHODS[ledger.header["method"]].published_by_loss:
        decision = loss_decision(gains(lambda told: -told.loss))
    else:
        decision = paired_t_decision(gains(lambda told: float(np.exp(-told.loss))))
    keyed = [told.is_class for answers in with_key.values() for told in answers]
    plain = [without[row].is_class for row in with_key]
    return with_success_rate(decision, np.array(keyed), np.array(plain), untargeted)


def _answered(asked: Questions, journal: Journal, ledger: Ledger) -> dict[Plain, list[Told]]:
    """Looks at the coins: what was said with each released key."""
    released = ledger.released()
    found: dict[Plain, list[Told]] = {}
    for (index, name), recorded in asked.recorded.items():
        if recorded is None or released[index] != name:
            continue
        for number, probe in enumerate(ledger.pairs[index].side(name).probes):
            loss, correct = journal.answers[index, name, number]
            found.setdefault((probe.source_sha256, probe.label), []).append(
                Told(float(loss), bool(correct))
            )
    return found


def _ask(
    suspect: Suspect,
    asked: Questions,
    plain: Sequence[Mapping[str, Any]],
    folder: Path,
    wanted: set[Plain],
) -> dict[Plain, Told]:
    """The same without a key, of every image and class that was asked about with one."""
    file_of = {entry["source_sha256"]: entry["file"] for entry in plain}
    rows = sorted(row for row in wanted if row[0] in file_of)
    classes = asked.protocol.classes
    answers = query(
        suspect,
        (read_image(folder / file_of[source]) for source, _ in rows),
        [f"{file_of[source]} as {label}" for source, label in rows],
        np.array([classes[label] for _, label in rows], dtype=np.int64),
        num_classes=len(classes),
        batch_size=asked.protocol.batch_size,
        outputs=asked.protocol.outputs,  # type: ignore[arg-type]
        tolerance=None,
    )
    return {
        row: Told(float(loss), bool(correct))
        for row, loss, correct, failed in zip(
            rows, answers.losses, answers.correct, answers.failed, strict=True
        )
        if not failed
    }
