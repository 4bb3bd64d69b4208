"""What published rules compare: probes with the same images without a secret in them, weights with carriers.

A suspect is asked about such images last, after every committed question is answered and on disk. They enter no exact verdict,
nothing that goes wrong here touches one, and a suspect whose calls may cost something is not asked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evidence.carrier_test import fisher_decision
from ..evidence.decisions import PublishedDecision
from ..evidence.ownership_tests import paired_t_decision, wilcoxon_decision
from ..images import read_image
from ..ledger.ledger import Ledger
from ..suspects import Suspect, query
from ..suspects.journal import Journal
from ..suspects.white_box import WhiteBoxSuspect
from .folder import read_manifest
from .questions import Questions

_logger = logging.getLogger(__name__)

#: An image without a secret, by its source's digest, and the class that it is asked about
Plain = tuple[str, str]


def published_decisions(
    suspect: Suspect, asked: Questions, journal: Journal, ledger: Ledger, folder: Path
) -> list[PublishedDecision]:
    """What dataset ownership verification decides about a suspect whose committed questions are answered.

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
        answered = _answered(asked, journal, ledger)
        gains = _gains(answered, _ask(suspect, asked, plain, folder, set(answered)))
        if ledger.plan.direction == "higher":
            gains = -gains
        if len(gains) < 2:
            return []
        labels = asked.kind == "labels"
        return [wilcoxon_decision(gains) if labels else paired_t_decision(gains)]
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


def _answered(asked: Questions, journal: Journal, ledger: Ledger) -> dict[Plain, list[float]]:
    """Looks at the coins: the class's probability, or whether it was told, with each released key."""
    released = ledger.released()
    found: dict[Plain, list[float]] = {}
    for (index, name), recorded in asked.recorded.items():
        if recorded is None or released[index] != name:
            continue
        for number, probe in enumerate(ledger.pairs[index].side(name).probes):
            loss, correct = journal.answers[index, name, number]
            value = float(correct) if asked.kind == "labels" else float(np.exp(-loss))
            found.setdefault((probe.source_sha256, probe.label), []).append(value)
    return found


def _ask(
    suspect: Suspect,
    asked: Questions,
    plain: Sequence[Mapping[str, Any]],
    folder: Path,
    wanted: set[Plain],
) -> dict[Plain, float]:
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
    values = answers.correct.astype(float) if asked.kind == "labels" else np.exp(-answers.losses)
    return {
        row: float(value)
        for row, value, failed in zip(rows, values, answers.failed, strict=True)
        if not failed
    }


def _gains(answered: Mapping[Plain, Sequence[float]], plain: Mapping[Plain, float]) -> np.ndarray:
    """Of each image the mean gain, float64 (m,)."""
    gains: dict[str, list[float]] = {}
    for (source, label), values in answered.items():
        if (source, label) in plain:
            own = [value - plain[source, label] for value in values]
            gains.setdefault(source, []).extend(own)
    return np.array([np.mean(values) for values in gains.values()], dtype=np.float64)
