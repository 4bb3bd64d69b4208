"""What a suspect is asked about the twins, and its answers. Nothing here knows a coin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import SuspectError
from ..evidence.pair_answers import PairAnswers
from ..ledger.sides import MarkedImage
from ..progress import Report, silent
from ..suspects import Asking, Protocol, Suspect, query
from ..suspects.journal import Journal

#: A pair, and which of its twins
Key = tuple[int, str]

#: Is told the answers on the next pairs, each by itself; returns whether the rest can be kept
Suffices = Callable[[Sequence[PairAnswers]], bool]

#: A pair, the twin, and its image
Query = tuple[int, str, MarkedImage]


#: Images in a row on which a suspect may fail before it counts as out of order, and the verification
#: stops where it is: two pairs less one image
TOLERANCE = 3


class Questions:
    """The queries of one verification and the suspect's answers so far. It knows no coin.

    Args:
        queries: what is asked, in the committed order: both twins of a pair one after the other
        images: the twins' images by sample id
        protocol: how the suspect is asked

    Attributes:
        protocol: likewise
        recorded: the suspect's loss and whether it was right, of every query so far; None where its pair has a failed
            one
        failures: by sample id, the reason of every failure
    """

    def __init__(
        self, queries: Sequence[Query], images: Mapping[str, np.ndarray], protocol: Protocol
    ) -> None:
        self._queries = list(queries)
        self._images = images
        self.protocol = protocol
        self._twin = {image.sample_id: (index, twin) for index, twin, image in self._queries}
        self.recorded: dict[Key, tuple[float, bool] | None] = {}
        self.failures: dict[str, str] = {}

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
            None if skip_failures else TOLERANCE,
            lambda keys, losses, correct: journal.keep(
                [self._twin[key] for key in keys], losses, correct
            ),
        )
        end = len(self._queries)
        if suffices is None:
            self._ask(asking, self._queries, report, journal)
        else:
            end = self._ask_in_turn(asking, report, journal, suffices)
        self._note_failures(asking, journal)
        return self._collected(journal, self._queries[:end])

    def replay(self, journal: Journal) -> PairAnswers:
        """The answers of a verification that was concluded, from its journal."""
        done = set(journal.answers) | set(journal.failures)
        asked = [query for query in self._queries if query[:2] in done]
        return self._collected(journal, asked)

    def ask_reference(self, suspect: Suspect) -> dict[Key, float]:
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
        self, asking: Asking, report: Report, journal: Journal, suffices: Suffices
    ) -> int:
        """Asks pair by pair until it suffices; returns how many queries were made."""
        played, last = 0, len(self._queries)
        for end in range(2, last + 1, 2):
            self._ask(asking, self._queries[end - 2 : end], report, journal)
            if asking.is_failing and end < last:
                continue  # settled by the next pair: the suspect may be out of order
            pairs = [
                self._collected(journal, self._queries[start : start + 2])
                for start in range(played, end, 2)
            ]
            played = end
            if suffices(pairs):
                break
        return played

    def _ask(
        self, asking: Asking, queries: Sequence[Query], report: Report, journal: Journal
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
            report("Querying", min(done, len(self._queries)), len(self._queries))

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
            self.recorded[key] = None if is_failed else journal.answers[key]
            if key in journal.failures:
                self.failures[image.sample_id] = journal.failures[key]
        which = 0 if self.kind == "scores" else 1
        values = [(self.recorded[key] or (np.nan, False))[which] for key in keys]
        return PairAnswers.from_queries(self.kind, keys, values, failed)


def ask_references(
    asked: Questions, references: Sequence[Suspect], report: Report = silent
) -> list[dict[Key, float]]:
    """Every reference model's losses on every query."""
    losses = []
    for number, reference in enumerate(references):
        losses.append(asked.ask_reference(reference))
        report("Querying reference models", number + 1, len(references))
    return losses
