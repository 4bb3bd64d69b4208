"""What a suspect is asked about the twins, and its answers. Nothing here knows a coin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np

from ..errors import SuspectError
from ..evidence.pair_answers import PairAnswers
from ..ledger.sides import MarkedImage
from ..progress import Report, silent
from ..suspects import Asking, Protocol, Suspect, query
from ..suspects.journal import Journal, Place

#: A pair, and which of its sides
Key = tuple[int, str]

#: Is told the answers on all pairs so far; returns whether the rest can be kept
Suffices = Callable[[PairAnswers], bool]

#: A pair, the side, and an image of it
Query = tuple[int, str, MarkedImage]


#: Pairs in a row, less one image, on which a suspect may fail before it counts as out of order, and the
#: verification stops where it is
TOLERANCE = 2

#: The share of the pairs that may have a failed query. A suspect that refuses whatever it has not seen fails on one side
#: of every pair and never twice in a row: concluded, it would cost a place in the ledger each time and prove nothing
MOST_FAILED = 0.25

#: Images that a suspect of labels alone is asked about once more, unless it is a file, before it goes on with what was
#: interrupted
NUM_COMPARED = 16


class Questions:
    """The queries of one verification and the suspect's answers so far. It knows no coin.

    Args:
        queries: what is asked, in the committed order: both sides of a pair one after the other
        images: their images by sample id
        protocol: how the suspect is asked

    Attributes:
        protocol: likewise
        recorded: the suspect's loss and how often it was right, from 0 to 1, of every side so far: the mean over its
            images; None where the pair has a failed query
        failures: by sample id, the reason of every failure
    """

    def __init__(
        self, queries: Sequence[Query], images: Mapping[str, np.ndarray], protocol: Protocol
    ) -> None:
        self._queries = list(queries)
        self._images = images
        self.protocol = protocol
        self._place: dict[str, Place] = {}
        asked: Counter[Key] = Counter()
        for index, side, image in self._queries:
            self._place[image.sample_id] = (index, side, asked[index, side])
            asked[index, side] += 1
        self.recorded: dict[Key, tuple[float, float] | None] = {}
        self.failures: dict[str, str] = {}

    def _tolerance(self) -> int:
        """How many images may fail in a row: one less than :data:`TOLERANCE` pairs have."""
        of_pairs = Counter(index for index, _, _ in self._queries)
        return TOLERANCE * max(of_pairs.values(), default=1) - 1

    @property
    def num_queries(self) -> int:
        """How many images there are to ask about."""
        return len(self._queries)

    @property
    def kind(self) -> str:
        """What the suspect answers: "scores" or "labels"."""
        return "labels" if self.protocol.outputs == "labels" else "scores"

    def ask(
        self,
        suspect: Suspect,
        journal: Journal,
        *,
        skip_failures: bool = False,
        suffices: Suffices | None = None,
        report: Report = silent,
    ) -> PairAnswers:
        """Queries in the committed order: all at once, or pair by pair until it suffices.

        What the journal holds is not asked again, and every new answer is in it before it is used.

        Args:
            suspect: the suspect
            journal: of this call
            skip_failures (False): whether any number of images may fail in a row
            suffices (None): is told every pair, and whether to stop comes from whoever knows the coins
            report: progress

        Raises:
            SuspectError: if the suspect is out of order; the same call goes on where this one stopped
        """
        asking = Asking(
            suspect,
            len(self.protocol.classes),
            self.protocol.outputs,  # type: ignore[arg-type]
            None if skip_failures else self._tolerance(),
            lambda keys, losses, correct: journal.keep(
                [self._place[key] for key in keys], losses, correct
            ),
        )
        end = len(self._queries)
        if suffices is None:
            self._ask(asking, self._queries, report, journal)
        else:
            end = self._ask_in_turn(asking, report, journal, suffices)
        self._note_failures(asking, journal)
        answers = self._collected(journal, self._queries[:end])
        if not skip_failures:
            self._refuse_many_failures(answers, journal)
        return answers

    def labels_alike(self, suspect: Suspect, journal: Journal) -> bool:
        """Whether a suspect that gives labels alone answers images that the journal holds as they were answered then.

        Of unmarked images, most of them easy, all good models say the same; of the hardest ones they do not.
        """
        held = [q for q in self._queries if self._place[q[2].sample_id] in journal.answers]
        again = held[:NUM_COMPARED] if self.kind == "labels" else []
        if not again:
            return True
        keys = [image.sample_id for _, _, image in again]
        now = query(
            suspect,
            [self._images[key] for key in keys],
            keys,
            self._labels(again),
            num_classes=len(self.protocol.classes),
            batch_size=self.protocol.batch_size,
            outputs="labels",
            tolerance=None,
        )
        before = [journal.answers[self._place[key]][1] for key in keys]
        return bool((now.failed | (now.correct == before)).all())

    def replay(self, journal: Journal) -> PairAnswers:
        """The answers of a verification that was concluded, from its journal."""
        done = set(journal.answers) | set(journal.failures)
        asked = [query for query in self._queries if self._place[query[2].sample_id] in done]
        return self._collected(journal, asked)

    def ask_reference(self, suspect: Suspect) -> dict[Key, float]:
        """A reference model's loss on every side.

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
        losses: dict[Key, list[float]] = {}
        for (index, side, _), loss in zip(self._queries, answers.losses, strict=True):
            losses.setdefault((index, side), []).append(float(loss))
        return {key: float(np.mean(values)) for key, values in losses.items()}

    def _refuse_many_failures(self, answers: PairAnswers, journal: Journal) -> None:
        failed, number = answers.num_failed, len(answers.pairs)
        if failed <= max(TOLERANCE, int(MOST_FAILED * number)):
            return
        reason = next(iter(self.failures.values()), "no reason is known")
        journal.ask_again()
        raise SuspectError(
            f"{failed} of {number} pairs have an image that the suspect did not answer ({reason}). The same call asks "
            "about those images again; with skip_failures=True it concludes without them, and each of those pairs counts "
            "against you"
        )

    def _ask_in_turn(
        self, asking: Asking, report: Report, journal: Journal, suffices: Suffices
    ) -> int:
        """Asks pair by pair until it suffices; returns how many queries were made."""
        pairs = [list(each) for _, each in groupby(self._queries, key=lambda query: query[0])]
        played = 0
        for end, queries in enumerate(pairs, 1):
            self._ask(asking, queries, report, journal)
            if asking.is_failing and end < len(pairs):
                continue  # settled by the next pair: the suspect may be out of order
            played = end
            if suffices(self._collected(journal, self._first(pairs, played))):
                break
        return len(self._first(pairs, played))

    def _first(self, pairs: Sequence[Sequence[Query]], number: int) -> list[Query]:
        return [query for each in pairs[:number] for query in each]

    def _ask(
        self, asking: Asking, queries: Sequence[Query], report: Report, journal: Journal
    ) -> None:
        def is_new(query: Query) -> bool:
            place = self._place[query[2].sample_id]
            return place not in journal.answers and place not in journal.failures

        new = [query for query in queries if is_new(query)]
        for start in range(0, len(new), self.protocol.batch_size):
            batch = new[start : start + self.protocol.batch_size]
            keys = [image.sample_id for _, _, image in batch]
            asking.ask([self._images[key] for key in keys], keys, self._labels(batch))
            if not asking.is_failing:
                self._note_failures(asking, journal)
            done = len(journal.answers) + len(asking.failures)
            report("Querying", min(done, len(self._queries)), len(self._queries))

    def _note_failures(self, asking: Asking, journal: Journal) -> None:
        journal.fail({self._place[key]: reason for key, reason in asking.failures.items()})

    def _labels(self, queries: Sequence[Query]) -> np.ndarray:
        classes = self.protocol.classes
        return np.array([classes[image.label] for _, _, image in queries], dtype=np.int64)

    def _collected(self, journal: Journal, queries: Sequence[Query]) -> PairAnswers:
        answered: dict[Key, list[tuple[float, bool]]] = {}
        failed = set()
        for index, side, image in queries:
            place = self._place[image.sample_id]
            answers = answered.setdefault((index, side), [])
            if place in journal.answers:
                answers.append(journal.answers[place])
            else:
                failed.add(index)
            if place in journal.failures:
                self.failures[image.sample_id] = journal.failures[place]
        which = 0 if self.kind == "scores" else 1
        values: list[float | bool] = []
        for (index, side), answers in answered.items():
            # The answer on the other side goes too: a failure is kept beside the sample's id, so that
            # the side without a loss would be known
            mean = None if index in failed else _mean(answers)
            self.recorded[index, side] = mean
            values.append((mean or (np.nan, False))[which])
        lost = [index in failed for index, _ in answered]
        return PairAnswers.from_queries(self.kind, list(answered), values, lost)


def _mean(answers: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """A side's loss, and how often it was answered rightly: a bool where it has one image."""
    if len(answers) == 1:
        return answers[0]
    losses, correct = zip(*answers, strict=True)
    return float(np.mean(losses)), float(np.mean(correct))


def ask_references(
    asked: Questions, references: Sequence[Suspect], report: Report = silent
) -> list[dict[Key, float]]:
    """Every reference model's loss on every side."""
    losses = []
    for number, reference in enumerate(references):
        losses.append(asked.ask_reference(reference))
        report("Querying reference models", number + 1, len(references))
    return losses
