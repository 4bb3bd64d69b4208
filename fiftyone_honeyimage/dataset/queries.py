"""What a suspect is asked about the twins, its answers, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import LedgerError, SuspectError
from ..core.evidence.ledger import Ledger
from ..core.evidence.loss_gap import calibrate_threshold, loss_gaps
from ..core.evidence.sequential import EProcess
from ..core.evidence.twins import PairAnswers
from ..core.evidence.verdict import may_stop
from ..core.images import read_image
from ..core.suspects import Answers, Suspect, query
from . import storage
from .marked_files import find_wrong_file
from .marking import Marking
from .progress import StageBar


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


class Questions:
    """The queries of one verification and the suspect's answers so far."""

    def __init__(
        self,
        ledger: Ledger,
        pairs: Sequence[int],
        images: Mapping[str, np.ndarray],
        classes: Sequence[str],
        batch_size: int,
        outputs: str,
        skip_failures: bool,
    ) -> None:
        self._queries = ledger.queries(pairs)
        self._images = images
        self._classes = list(classes)
        # Whole pairs a batch, so that a batch that fails spends no half pair.
        self._batch_size = max(2, batch_size // 2 * 2)
        self._skip_failures = skip_failures
        self._ledger = ledger
        self._seen = 0
        self.outputs = outputs
        self.failures: dict[str, str] = {}
        self._losses: dict[tuple[int, str], float] = {}
        self._correct: dict[tuple[int, str], bool] = {}
        self._failed: dict[tuple[int, str], bool] = {}

    @property
    def num_pairs_seen(self) -> int:
        """How many pairs the suspect may have seen, also of a batch that failed."""
        return (self._seen + 1) // 2

    def ask(
        self,
        suspect: Suspect,
        bar: StageBar,
        ledger: Ledger,
        verification_id: str,
        alpha: float,
    ) -> PairAnswers:
        """Queries in the committed order: all at once, or pair by pair until it suffices."""
        if not self._queries:
            return PairAnswers("scores", (), (), ())
        if ledger.plan.test != "e_process":
            return self._answers(suspect, self._queries, bar)

        process = EProcess()
        position = ledger.position(verification_id)
        answers: PairAnswers | None = None
        for end in range(2, len(self._queries) + 1, 2):
            pair = self._answers(suspect, self._queries[end - 2 : end], bar)
            if pair.num_failed:
                process.fail()
            else:
                process.update(_difference(pair, ledger))
            answers = self._collected(pair.kind, end)
            if may_stop(process, ledger.plan, position, alpha):
                break
        assert answers is not None
        return answers

    def ask_reference(self, suspect: Suspect) -> dict[tuple[int, str], float]:
        """A reference model's losses on every query.

        Raises:
            SuspectError: if it gives labels alone
        """
        answers = self._query(suspect, self._queries, skip_failures=False, outputs="auto")
        if answers.kind != "scores":
            raise SuspectError(
                f"reference model '{suspect.name}' gives labels alone; the threshold of the loss gap "
                "needs scores"
            )
        losses = zip(self._queries, answers.losses, strict=True)
        return {(index, twin): float(loss) for (index, twin, _), loss in losses}

    def _answers(self, suspect: Suspect, queries: Sequence[Any], bar: StageBar) -> PairAnswers:
        before = self._seen

        def report(stage: str, done: int, total: int) -> None:
            self._seen = before + min(done + self._batch_size, len(queries))
            bar.report("Querying", before + done, len(self._queries))

        # A batch counts as seen when it is sent, not when its answers arrive.
        self._seen = before + min(self._batch_size, len(queries))
        answers = self._query(suspect, queries, self._skip_failures, self.outputs, report)
        if self.outputs == "auto" and not answers.failed.all():
            self.outputs = answers.outputs
        self.failures.update(answers.failures)
        # The answer on the other twin goes too: a failure is kept beside the sample's id, so that
        # the twin without a loss would be known
        failed = np.repeat(answers.failed.reshape(-1, 2).any(axis=1), 2)
        for row, (index, twin, _) in enumerate(queries):
            self._losses[index, twin] = np.nan if failed[row] else float(answers.losses[row])
            self._correct[index, twin] = bool(answers.correct[row] and not failed[row])
            self._failed[index, twin] = bool(failed[row])
        values = answers.losses if answers.kind == "scores" else answers.correct
        keys = [(index, twin) for index, twin, _ in queries]
        return PairAnswers.from_queries(answers.kind, keys, values, failed)

    def _collected(self, kind: str, end: int) -> PairAnswers:
        keys = [(index, twin) for index, twin, _ in self._queries[:end]]
        values = self._losses if kind == "scores" else self._correct
        return PairAnswers.from_queries(
            kind, keys, [values[key] for key in keys], [self._failed[key] for key in keys]
        )

    def _query(
        self,
        suspect: Suspect,
        queries: Sequence[Any],
        skip_failures: bool,
        outputs: str,
        report: Any = None,
    ) -> Answers:
        images = [image for _, _, image in queries]
        return query(
            suspect,
            (self._images[image.sample_id] for image in images),
            [image.sample_id for image in images],
            np.array([self._classes.index(image.label) for image in images], dtype=np.int64),
            num_classes=len(self._classes),
            batch_size=self._batch_size,
            outputs=outputs,  # type: ignore[arg-type]
            skip_failures=skip_failures,
            report=report,
        )

    def released(self) -> list[tuple[int, str]]:
        """(pair, twin) of the released twins that the suspect answered, in order."""
        return [
            (index, twin)
            for index, twin, _ in self._queries
            if self._ledger.pairs[index].released == twin
            and not self._failed.get((index, twin), True)
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
            released = self._ledger.pairs[index].released
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
    proxies = [proxy[getattr(ledger.pairs[index], twin).sample_id] for index, twin in keys]
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


def _difference(pair: PairAnswers, ledger: Ledger) -> float:
    """``d`` of one answered pair, from scores or labels."""
    compared = pair.compare(ledger.released())
    if isinstance(compared, tuple):
        released, withheld = compared
        return float(released[0]) - float(withheld[0])
    return float(compared[0])


def _rounded(value: float) -> float:
    """Three digits, and no finer than 0.01 nats.

    An exact mean over the released twins would tell which they are: the proxy's losses of all twins
    are known, and of some thirty pairs one choice of twins alone has this sum.
    """
    return round(float(f"{value:.3g}"), 2)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
