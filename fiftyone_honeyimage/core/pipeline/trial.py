"""What a suspect is asked before its verification is opened: unmarked images, in the shapes to come.

A suspect that cannot be used, or is asked in a wrong way, is found out here, where it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from ..errors import ParameterError, SuspectError
from ..suspects import Answers, Asking, Suspect, check_answerable, query
from ..suspects.competence import FAR_BETTER, Competence, ask_otherwise, judge
from .surroundings import Surroundings

#: Unmarked images that a suspect at hand is asked about, and one whose calls may cost something
NUM_AT_HAND, NUM_METERED = 128, 16

#: Of these, how many are asked in other ways where its accuracy leaves room
_NUM_OTHERWISE = 64

_CAUSES_OF_LOSSES = (
    "Likely causes: pixels on another scale (mean=, std=) or of another size, another schedule of noise, a model that "
    "predicts something else."
)

_CAUSES = (
    "Likely causes: another order of classes (classes=), pixels of 0–255 where [0, 1] is sent or the other way "
    "round (std=), swapped channels (channels=), a missing or another normalisation (mean=, std=), another "
    "input size (input_size=)."
)


@dataclass(frozen=True)
class Trial:
    """What was found on unmarked images.

    Attributes:
        outputs: what the suspect's answers are, never "auto"
        competence: its accuracy there
        fingerprint: its answers there: losses in nats, or classes
    """

    outputs: str
    competence: Competence
    fingerprint: list[float]

    def caution(self, insist: bool) -> str | None:
        """What the record has to say about it; None if nothing.

        Raises:
            SuspectError: if the suspect looks asked in a wrong way and nobody insists
        """
        found = self.competence
        if found.is_wrong:
            if not insist:
                causes = _CAUSES if found.accuracy is not None else _CAUSES_OF_LOSSES
                raise SuspectError(
                    f"{found.sentence()} Asked like this it would look innocent whatever it was trained on, so "
                    f"it was not verified, and nothing was counted. {'' if found.better else causes + ' '}"
                    "If this is how it is, pass insist=True: the record will say so"
                )
            return f"{found.sentence()} The owner insisted on verifying it all the same."
        if found.is_doubtful or found.accuracy is None:
            return found.sentence()
        return None


def try_out(
    suspect: Suspect,
    around: Surroundings,
    classes: Sequence[str],
    *,
    outputs: str,
    batch_size: int,
    twins: Mapping[str, np.ndarray],
    num_queries: int,
) -> Trial:
    """Asks a suspect about unmarked images, in the batches that the twins will come in.

    Args:
        suspect: as loaded
        around: where the images come from
        classes: in the order of its outputs
        outputs: as :func:`fiftyone_honeyimage.verify_model` takes it
        batch_size: images a query
        twins: the twins' images by sample id, for their sizes alone
        num_queries: how many of them will be asked

    Raises:
        SuspectError: if it cannot be used
        ParameterError: if the twins differ in size and nothing resizes them
    """
    shape = _check_sizes(suspect, twins)
    if suspect.held is not None:
        check_answerable(suspect, list(twins))
        return read_held(suspect, around, classes, outputs)

    least = NUM_METERED if suspect.metered else NUM_AT_HAND
    sizes = batch_sizes(num_queries, batch_size)
    ids, labels, images = around.some_unmarked(
        classes,
        max(least, sum(sizes)),
        shape if suspect.needs_equal_sizes else None,
    )
    while sum(sizes) + sizes[0] <= len(ids):
        sizes.append(sizes[0])
    known = len(ids)
    if not known:  # some picture has to be sent all the same
        ids, labels = ["a grey image"], [0]
        images = [np.full(shape, 127, np.uint8)]
    answers = _ask(suspect, sizes, ids, np.array(labels), images, len(classes), outputs)
    number = min(known, len(answers.failed))
    truth = np.array(labels[:number], dtype=np.int64)
    others: dict[str, np.ndarray] = {}
    normalisations: dict[str, np.ndarray] = {}
    tells_classes = answers.outputs != "losses"
    if number and tells_classes and answers.correct[:number].mean() <= 1 - FAR_BETTER:
        others, normalisations = ask_otherwise(
            suspect,
            images[:number][:_NUM_OTHERWISE],
            ids[:number][:_NUM_OTHERWISE],
            truth[:_NUM_OTHERWISE],
            num_classes=len(classes),
            batch_size=sizes[0],
            outputs=answers.outputs,
        )
    found = judge(
        answers.predicted[:number],
        truth,
        classes,
        chance=around.chance(),
        proxies=around.proxies(),
        others=others,
        normalisations=normalisations,
        losses=answers.losses[:number],
        blank_loss=suspect.blank_loss,
    )
    return Trial(answers.outputs, found, _fingerprint(answers))


def batch_sizes(num_queries: int, batch_size: int) -> list[int]:
    """The sizes of batches that so many queries come in: the full one, and the last if it is smaller."""
    full = min(batch_size, num_queries)
    rest = num_queries % full if full else 0
    return [size for size in (full, rest) if size]


def _ask(
    suspect: Suspect,
    sizes: Sequence[int],
    ids: Sequence[str],
    labels: np.ndarray,
    images: Sequence[np.ndarray],
    num_classes: int,
    outputs: str,
) -> Answers:
    asking = Asking(suspect, num_classes, outputs)  # type: ignore[arg-type]
    rows = cycle(range(len(ids)))
    sent = 0
    for size in sizes:
        batch = list(islice(rows, size))
        # Where there are too few images some are sent twice, under other names
        keys = [
            ids[row] if sent + i < len(ids) else f"{ids[row]} again {sent + i}"
            for i, row in enumerate(batch)
        ]
        pictures = [images[row] for row in batch]
        try:
            asking.ask(pictures, keys, labels[batch])
        except SuspectError as error:
            some = [*pictures[:3], *images[:3]]
            _check_shape(suspect, size, some, num_classes, outputs, error)
            # The shape is right, and some of these images are not answered
            asking.tolerance = None
            asking.ask(pictures, keys, labels[batch])
            asking.tolerance = 0
            if asking.answers().failed.all():
                raise
        sent += size
    return asking.answers()


def _check_shape(
    suspect: Suspect,
    size: int,
    images: Sequence[np.ndarray],
    num_classes: int,
    outputs: str,
    error: SuspectError,
) -> None:
    """Finds out whether a batch failed because of its size or because of an image in it.

    Raises:
        SuspectError: ``error``, with the number of images that are answered at a time if there is one
    """

    def works(batch: Sequence[np.ndarray]) -> bool:
        asking = Asking(suspect, num_classes, outputs)  # type: ignore[arg-type]
        keys = [f"probe {row}" for row in range(len(batch))]
        try:
            asking.ask(batch, keys, np.zeros(len(batch), dtype=np.int64))
        except SuspectError:
            return False
        return True

    good = next((image for image in images if works([image])), None)
    if good is None:
        raise error
    fits = size
    while fits > 1 and not works([good] * fits):
        fits //= 2
    if fits < size:
        raise SuspectError(
            f"{error}. It answers {fits} image{'s' * (fits > 1)} at a time and not {size}: pass "
            f"batch_size={fits}. No marked image was sent, and nothing was counted"
        ) from error


def read_held(
    suspect: Suspect,
    around: Surroundings,
    classes: Sequence[str],
    outputs: str,
) -> Trial:
    """What a suspect's held answers on unmarked images tell; nothing has to be asked.

    Raises:
        SuspectError: if no held answer can be used
    """
    picture = np.zeros((1, 1, 3), np.uint8)

    def read(names: Sequence[str], labels: np.ndarray, what: str) -> Answers:
        return query(
            suspect,
            [picture] * len(names),
            names,
            labels,
            num_classes=len(classes),
            outputs=what,  # type: ignore[arg-type]
            tolerance=None,
        )

    all_held = list(suspect.held or ())
    known = set(all_held)
    everything = read(all_held, np.zeros(len(all_held), dtype=np.int64), outputs)
    if everything.failed.all():
        reason = next(iter(everything.failures.values()))
        raise SuspectError(f"{reason}. None of its answers can be used, and nothing was counted")
    meaning = everything.outputs
    truth = {
        key: classes.index(label)
        for key, label in around.true_classes().items()
        if key in known and label in classes
    }
    labels = np.array(list(truth.values()), dtype=np.int64)
    answers = read(list(truth), labels, meaning)
    found = judge(
        answers.predicted,
        labels,
        classes,
        chance=around.chance(),
        proxies=around.proxies(),
        losses=answers.losses,
    )
    return Trial(meaning, found, _fingerprint(everything))


def _fingerprint(answers: Answers) -> list[float]:
    values = answers.predicted if answers.kind == "labels" else answers.losses
    return [float(f"{value:.6g}") for value in np.nan_to_num(values, nan=-1.0)]


def _check_sizes(suspect: Suspect, twins: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """The twins' shape; of the first one, if they differ and that does not matter."""
    shapes = sorted({image.shape for image in twins.values()})
    if suspect.needs_equal_sizes:
        check_one_size([(width, height) for height, width, _ in shapes], suspect.name)
    return shapes[0] if shapes else (8, 8, 3)


def check_one_size(sizes: Iterable[tuple[int, int]], name: str) -> None:
    """Checks that images that no one resizes are of one size.

    Args:
        sizes: (width, height), pixels
        name: the suspect's

    Raises:
        ParameterError: naming sizes that occur
    """
    different = sorted(set(sizes))
    if len(different) > 1:
        some = ", ".join(f"{width}x{height}" for width, height in different[:3])
        more = ", …" if len(different) > 3 else ""
        raise ParameterError(
            f"input_size is needed: the marked images have {len(different)} sizes ({some}{more}), and the "
            f"suspect {name!r} takes one. Give the size in pixels that it was trained at"
        )
