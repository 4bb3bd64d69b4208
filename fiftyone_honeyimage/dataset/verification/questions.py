"""What a suspect is asked about the twins, its answers, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import LedgerError, SuspectError
from ...core.evidence.e_process import EProcess
from ...core.evidence.exact_tests import TESTS
from ...core.evidence.published import calibrate_threshold, loss_gaps
from ...core.evidence.twins import PairAnswers
from ...core.evidence.verdict import may_stop
from ...core.images import read_image
from ...core.ledger.ledger import Ledger
from ...core.ledger.marked_files import find_wrong_file
from ...core.ledger.sides import MarkedImage
from ...core.suspects import Asking, Protocol, Suspect, query
from ...core.suspects.journal import Journal
from .. import storage
from ..marking.marking import Marking
from ..progress import StageBar

#: A pair, the twin, and its image
Query = tuple[int, str, MarkedImage]


def read_twins(ledger: Ledger, pairs: Sequence[int], folder: Path) -> dict[str, np.ndarray]:
    """The twins' images by the id of their source sample, each checked against the ledger.

    Raises:
        LedgerError: if a file is missing or altered
    """
    images = [image for _, _, image in ledger.queries(pairs)]
    wrong = find_wrong_file(images, folder)
    if wrong is not None:
        raise LedgerError(f"{wrong}; restore the marking's folder '{folder}' from a backup")
    return {image.sample_id: read_image(folder / image.file) for image in images}


#: Images in a row on which a suspect may fail before it counts as out of order, and the verification
#: stops where it is: two pairs less one image
TOLERANCE = 3


class Questions:
    """The queries of one verification and the suspect's answers so far.

    Args:
        ledger: the ledger
        pairs: the pairs to be asked about
        images: the twins' images by sample id
        protocol: how the suspect is asked

    Attributes:
        protocol: likewise
        failures: by sample id, the reason of every failure
    """

    def __init__(
        self,
        ledger: Ledger,
        pairs: Sequence[int],
        images: Mapping[str, np.ndarray],
        protocol: Protocol,
    ) -> None:
        self._queries = ledger.queries(pairs)
        self._images = images
        self._ledger = ledger
        self._released = ledger.released()
        self.protocol = protocol
        self._twin = {image.sample_id: (index, twin) for index, twin, image in self._queries}
        self._losses: dict[tuple[int, str], float] = {}
        self._correct: dict[tuple[int, str], bool] = {}
        self._failed: dict[tuple[int, str], bool] = {}
        self.failures: dict[str, str] = {}

    @property
    def kind(self) -> str:
        """What the suspect answers: "scores" or "labels"."""
        return "labels" if self.protocol.outputs == "labels" else "scores"

    def ask(
        self,
        suspect: Suspect,
        bar: StageBar,
        journal: Journal,
        verification_id: str,
        alpha: float,
        skip_failures: bool,
    ) -> PairAnswers:
        """Queries in the committed order: all at once, or pair by pair until it suffices.

        What the journal holds is not asked again, and every new answer is in it before it is used.

        Raises:
            SuspectError: if the suspect is out of order; the same call goes on where this one stopped
        """
        asking = Asking(
            suspect,
            len(self.protocol.classes),
            self.protocol.outputs,  # type: ignore[arg-type]
            None if skip_failures else TOLERANCE,
            lambda keys, losses, correct: journal.keep(
                [self._twin[key] for key in keys], losses, correct
            ),
        )
        end = len(self._queries)
        if TESTS[self._ledger.plan.test].sequential:
            end = self._ask_in_turn(asking, bar, journal, verification_id, alpha)
        else:
            self._ask(asking, self._queries, bar, journal)
        self._note_failures(asking, journal)
        return self._collected(journal, self._queries[:end])

    def replay(self, journal: Journal) -> PairAnswers:
        """The answers of a verification that was concluded, from its journal."""
        done = set(journal.answers) | set(journal.failures)
        asked = [query for query in self._queries if query[:2] in done]
        return self._collected(journal, asked)

    def ask_reference(self, suspect: Suspect) -> dict[tuple[int, str], float]:
        """A reference model's losses on every query.

        Raises:
            SuspectError: if it gives labels alone
        """
        images = [image for _, _, image in self._queries]
        answers = query(
            suspect,
            (self._images[image.sample_id] for image in images),
            [image.sample_id for image in images],
            self._labels(self._queries),
            num_classes=len(self.protocol.classes),
            batch_size=self.protocol.batch_size,
        )
        if answers.kind != "scores":
            raise SuspectError(
                f"reference model '{suspect.name}' gives labels alone; the threshold of the loss gap "
                "needs scores"
            )
        losses = zip(self._queries, answers.losses, strict=True)
        return {(index, twin): float(loss) for (index, twin, _), loss in losses}

    def _ask_in_turn(
        self, asking: Asking, bar: StageBar, journal: Journal, verification_id: str, alpha: float
    ) -> int:
        """Asks pair by pair until it suffices; returns how many queries were made."""
        process = EProcess()
        position = self._ledger.position(verification_id)
        played, last = 0, len(self._queries)
        for end in range(2, last + 1, 2):
            self._ask(asking, self._queries[end - 2 : end], bar, journal)
            if asking.is_failing and end < last:
                continue  # settled by the next pair: the suspect may be out of order
            for start in range(played, end, 2):
                pair = self._collected(journal, self._queries[start : start + 2])
                if pair.num_failed:
                    process.fail()  # after which no test stops that did not before
                else:
                    process.update(float(self._ledger.differences(pair)[0]))
            played = end
            if may_stop(process, self._ledger.plan, position, alpha):
                break
        return played

    def _ask(
        self, asking: Asking, queries: Sequence[Query], bar: StageBar, journal: Journal
    ) -> None:
        def is_new(query: Query) -> bool:
            return query[:2] not in journal.answers and query[:2] not in journal.failures

        new = [query for query in queries if is_new(query)]
        for start in range(0, len(new), self.protocol.batch_size):
            batch = new[start : start + self.protocol.batch_size]
            keys = [image.sample_id for _, _, image in batch]
            asking.ask([self._images[key] for key in keys], keys, self._labels(batch))
            if not asking.is_failing:
                self._note_failures(asking, journal)
            done = len(journal.answers) + len(asking.failures)
            bar.report("Querying", min(done, len(self._queries)), len(self._queries))

    def _note_failures(self, asking: Asking, journal: Journal) -> None:
        journal.fail({self._twin[key]: reason for key, reason in asking.failures.items()})

    def _labels(self, queries: Sequence[Query]) -> np.ndarray:
        classes = self.protocol.classes
        return np.array([classes[image.label] for _, _, image in queries], dtype=np.int64)

    def _collected(self, journal: Journal, queries: Sequence[Query]) -> PairAnswers:
        keys = [(index, twin) for index, twin, _ in queries]
        # The answer on the other twin goes too: a failure is kept beside the sample's id, so that
        # the twin without a loss would be known
        failed = np.repeat(
            np.array([key not in journal.answers for key in keys]).reshape(-1, 2).any(axis=1), 2
        )
        for (index, twin, image), is_failed in zip(queries, failed, strict=True):
            key = (index, twin)
            loss, correct = (np.nan, False) if is_failed else journal.answers[key]
            self._losses[key], self._correct[key], self._failed[key] = (
                loss,
                correct,
                bool(is_failed),
            )
            if key in journal.failures:
                self.failures[image.sample_id] = journal.failures[key]
        values = self._losses if self.kind == "scores" else self._correct
        return PairAnswers.from_queries(self.kind, keys, [values[key] for key in keys], failed)

    def released(self) -> list[tuple[int, str]]:
        """(pair, twin) of the released twins that the suspect answered, in order."""
        return [
            (index, twin)
            for index, twin, _ in self._queries
            if self._released[index] == twin and not self._failed.get((index, twin), True)
        ]

    def losses(self, keys: Sequence[tuple[int, str]]) -> np.ndarray:
        """float64, the suspect's losses; NaN for labels alone."""
        return np.array([self._losses[key] for key in keys], dtype=np.float64)

    def table(self) -> list[dict[str, Any]]:
        """One row a pair, by role: it does not say which image was released."""
        rows = []
        for index in dict.fromkeys(index for index, _, _ in self._queries):
            if (index, "a") not in self._failed:
                continue  # not reached by a test that stopped early
            released = self._released[index]
            withheld = "b" if released == "a" else "a"
            rows.append(
                {
                    "pair": index,
                    "failed": self._failed[index, "a"] or self._failed[index, "b"],
                    "released_loss": _finite(self._losses[index, released]),
                    "withheld_loss": _finite(self._losses[index, withheld]),
                    "released_correct": self._correct[index, released],
                    "withheld_correct": self._correct[index, withheld],
                }
            )
        return rows


def ask_references(
    asked: Questions, references: Sequence[Suspect], bar: StageBar
) -> list[dict[tuple[int, str], float]]:
    """Every reference model's losses on every query."""
    losses = []
    for number, reference in enumerate(references):
        losses.append(asked.ask_reference(reference))
        bar.report("Querying reference models", number + 1, len(references))
    return losses


def paper_figures(
    asked: Questions,
    answers: PairAnswers,
    marking: Marking,
    ledger: Ledger,
    reference_losses: Sequence[Mapping[tuple[int, str], float]],
) -> dict[str, Any]:
    """The paper's loss gap on the released twins, and τ if there are reference models."""
    keys = asked.released() if answers.kind == "scores" else []
    if not keys:
        return {}
    manifest = storage.read_manifest(marking.output_dir)
    proxy = {image["source"]: image["proxy_loss"] for image in manifest["images"]}
    proxies = [proxy[ledger.pairs[index].side(twin).files[0].sample_id] for index, twin in keys]
    gaps = loss_gaps(proxies, asked.losses(keys))
    figures: dict[str, Any] = {
        "mean_loss_gap": _rounded(gaps.mean()),
        "num_images": len(keys),
        "num_references": len(reference_losses),
    }
    if not reference_losses:
        return figures

    reference_gaps = [loss_gaps(proxies, [losses[k] for k in keys]) for losses in reference_losses]
    calibrated = calibrate_threshold(reference_gaps, 1 / (len(reference_losses) + 1))
    figures["reference_mean_loss_gaps"] = [_rounded(values.mean()) for values in reference_gaps]
    figures["threshold"] = _rounded(calibrated.threshold)
    figures["threshold_false_positive_rate"] = calibrated.false_positive_rate
    figures["exceeds_threshold"] = bool(gaps.mean() > calibrated.threshold)
    return figures


def _rounded(value: float) -> float:
    """Three digits, and no finer than 0.01 nats.

    An exact mean over the released twins would tell which they are: the proxy's losses of all twins
    are known, and of some thirty pairs one choice of twins alone has this sum.
    """
    return round(float(f"{value:.3g}"), 2)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
