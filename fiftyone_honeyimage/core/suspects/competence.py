"""Whether a suspect is asked rightly: its accuracy on unmarked images, before it sees a marked one.

A suspect that is asked in the wrong way (another order of classes, 0–255 pixels for [0, 1], swapped channels, a
missing normalisation) answers like an innocent one, and its verdict would be a silent "not shown". Everything
here depends on unmarked images alone, of which every release holds the same file, and so not on the coins.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import linear_sum_assignment

from ..errors import HoneyImageError
from .base import Preprocessing, Suspect
from .query import query

#: With fewer answers nothing can be said
MIN_IMAGES = 8

#: By how much another way of asking must be more accurate to be named
FAR_BETTER = 0.1

#: Of the proxies' accuracy above chance, less than this is wrong and less than that is doubtful
WRONG, DOUBTFUL = 0.5, 0.8

#: With more losses that are exactly 0 the answers tell nothing
SATURATED = 0.5

#: Scales that differ by more are no two normalisations, but pixels of 0–255 and of [0, 1]
_OTHER_SCALE = 16.0

_LEVEL = 0.05
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_BYTES = (1 / 255, 1 / 255, 1 / 255)


@dataclass(frozen=True)
class Competence:
    """What a suspect did on unmarked images.

    Attributes:
        num_images: images that it answered
        accuracy: share that it classified correctly; None if too few answered to say, or it tells no classes
        chance: the share of the largest class, which a constant answer reaches
        proxies: out-of-fold accuracy of the marking's proxies, None where it is not known
        better: other ways of asking that are far more accurate on the same images, in words → accuracy; they
            show that it is asked in a wrong way
        saturated: share of losses that are exactly 0, as of scores too extreme to be told apart
        hints: other normalisations that are far more accurate, in words → accuracy, of a suspect that knows
            enough without: one that is asked rightly may gain by them too, if it was trained for a short time
        mean_loss: of a suspect that tells one loss an image; None of others
        blank_loss: the mean loss of one that knows nothing, None where it is not known
    """

    num_images: int
    accuracy: float | None
    chance: float
    proxies: float | None
    better: Mapping[str, float]
    saturated: float = 0.0
    hints: Mapping[str, float] = field(default_factory=dict)
    mean_loss: float | None = None
    blank_loss: float | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether it looks asked in a wrong way, so that a verdict would mean nothing."""
        if self.accuracy is None:
            return self._is_like_blank
        if self.better:
            return True
        # Few images tell a model that knows little from one that knows nothing as seldom as from a good one
        if self._is_like_constant and self._less_than(WRONG, 1.0):
            return True
        return self._less_than(WRONG, self.proxies)

    @property
    def is_doubtful(self) -> bool:
        """Whether it is notably worse than the proxies or than it could be, or too extreme to be compared."""
        if self.accuracy is None:
            return False
        if self.saturated > SATURATED or self.hints or self._is_like_constant:
            return True
        return self._less_than(DOUBTFUL, self.proxies)

    def sentence(self) -> str:
        """What was found, for the record and for errors."""
        if self.mean_loss is not None and self.blank_loss is not None:
            return (
                "The suspect tells one loss an image and no class, so that whether it is asked in the right way could "
                f"be checked by its loss alone: {self.mean_loss:.3g} in the mean on {self.num_images} unmarked images; "
                f"one that knows nothing has {self.blank_loss:.3g}."
            )
        if self.mean_loss is not None:
            return (
                "The suspect tells one loss an image and no class, so that it could not be checked whether it is "
                "asked in the right way."
            )
        if self.accuracy is None:
            return (
                "It could not be checked whether the suspect is asked in the right way: it answered "
                f"{self.num_images} unmarked images, and {MIN_IMAGES} are needed."
            )
        known = "" if self.proxies is None else f", the proxies {_percent(self.proxies)}"
        text = (
            f"On {self.num_images} unmarked images the suspect is right on {_percent(self.accuracy)} "
            f"(the same answer to all would be on {_percent(self.chance)}{known})."
        )
        for way, accuracy in (*self.better.items(), *self.hints.items()):
            text += f" With {way} it is right on {_percent(accuracy)} of the same images."
        if self.saturated > SATURATED:
            text += (
                f" Its loss is exactly 0 on {_percent(self.saturated)} of them: between such answers nothing "
                "can be told. Pixels of 0–255 where [0, 1] is expected do this, and probabilities that are "
                "rounded."
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain values, safe for JSON. Losses stand in the sentence alone."""
        return {
            "num_images": self.num_images,
            "accuracy": self.accuracy,
            "chance": self.chance,
            "proxies": self.proxies,
            "better": dict(self.better),
            "saturated": self.saturated,
            "hints": dict(self.hints),
        }

    @property
    def _is_like_blank(self) -> bool:
        """Whether its losses are no lower than those of a model that knows nothing."""
        if self.mean_loss is None or self.blank_loss is None:
            return False
        return self.mean_loss >= self.blank_loss

    @property
    def _is_like_constant(self) -> bool:
        """Whether it is not shown to be better than a constant answer, where any answers could be."""
        if self.accuracy is None or self.chance**self.num_images > _LEVEL:
            return False
        right = round(self.accuracy * self.num_images)
        return bool(stats.binom.sf(right - 1, self.num_images, self.chance) > _LEVEL)

    def _less_than(self, share: float, known: float | None) -> bool:
        """Whether it knows less than a share of what a model of a known accuracy knows above chance."""
        if self.accuracy is None or known is None or known <= self.chance:
            return False
        least = self.chance + share * (known - self.chance)
        right = round(self.accuracy * self.num_images)
        return bool(stats.binom.cdf(right, self.num_images, least) < _LEVEL)


def judge(
    predicted: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    chance: float,
    proxies: float | None,
    others: Mapping[str, np.ndarray] | None = None,
    normalisations: Mapping[str, np.ndarray] | None = None,
    losses: np.ndarray | None = None,
    blank_loss: float | None = None,
) -> Competence:
    """Judges a suspect by its answers on unmarked images.

    Args:
        predicted: int (n,), its classes; -1 where it gave none
        labels: int (n,), the true classes
        classes: names in the order of its outputs
        chance: share of the largest class among unmarked images
        proxies: the proxies' out-of-fold accuracy, if known
        others (None): what it answers if it is asked in other ways, in words → int (m,), the first m images
        normalisations (None): the same for ways that differ in the normalisation alone
        losses (None): float (n,), nats, or the suspect's own; NaN where there is none
        blank_loss (None): the mean loss of a suspect that tells losses alone and knows nothing
    """
    answered = predicted >= 0
    number = int(answered.sum())
    if losses is not None and not number:
        known = losses[np.isfinite(losses)]
        mean = float(known.mean()) if len(known) >= MIN_IMAGES else None
        return Competence(
            len(known), None, chance, proxies, {}, mean_loss=mean, blank_loss=blank_loss
        )
    if number < MIN_IMAGES:
        return Competence(number, None, chance, proxies, {})
    right = predicted == labels
    better: dict[str, float] = {}
    reordered, order = _reordered(predicted[answered], labels[answered], len(classes))
    # The two halves agree by chance together: a tenth of the level
    if _far_better(reordered, right[answered], 10):
        better[_order_in_words(order, classes)] = float(reordered.mean())
    accuracy, given = float(right[answered].mean()), right
    hints: dict[str, float] = {}
    others, normalisations = others or {}, normalisations or {}
    number_tried = len(others) + len(normalisations)
    ways: Mapping[str, np.ndarray] = {**others, **normalisations}
    if best := _best_way(normalisations, labels, right, number_tried):
        known = float(best[1].mean())
        # A model may gain by it that is asked rightly, but not if it then knows less than it should
        least = WRONG * (known - chance)
        if proxies is not None:
            least = max(least, DOUBTFUL * (proxies - chance))
        little = accuracy - chance < least
        if not little and not Competence(number, accuracy, chance, proxies, {}).is_doubtful:
            # What this explains as well is no other scale or order of channels
            hints[best[0]], given, ways = known, best[1], others
    if best := _best_way(ways, labels, given, number_tried):
        better[best[0]] = float(best[1].mean())
    saturated = 0.0 if losses is None else float((losses[answered] == 0).mean())
    return Competence(number, accuracy, chance, proxies, better, saturated, hints)


def ask_otherwise(
    suspect: Suspect,
    images: Sequence[np.ndarray],
    keys: Sequence[str],
    labels: np.ndarray,
    *,
    num_classes: int,
    batch_size: int,
    outputs: Any,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The classes that a suspect at hand predicts if images are prepared in other ways, each in words.

    Ways that differ in the scale or order of channels first, and those that differ in the normalisation alone.
    Nothing for one whose preparation is its own affair or whose calls may cost something.
    """
    if suspect.preprocessing is None or suspect.metered:
        return {}, {}
    others: dict[str, np.ndarray] = {}
    normalisations: dict[str, np.ndarray] = {}
    for way, preprocessing in _other_ways(suspect.preprocessing, images).items():
        other = copy.copy(suspect)
        other.preprocessing = preprocessing
        try:
            answers = query(
                other,
                images,
                keys,
                labels,
                num_classes=num_classes,
                batch_size=batch_size,
                outputs=outputs,
                tolerance=None,
            )
        except HoneyImageError:
            continue  # it is only a hint
        mild = _differs_in_normalisation(suspect.preprocessing, preprocessing)
        (normalisations if mild else others)[way] = answers.predicted
    return others, normalisations


def _differs_in_normalisation(given: Preprocessing, other: Preprocessing) -> bool:
    one, two = (np.array(p.std or (1.0,), dtype=float) for p in (given, other))
    scales = float(np.max(np.maximum(one / two, two / one)))
    return given.channels == other.channels and scales <= _OTHER_SCALE


def _other_ways(given: Preprocessing, images: Sequence[np.ndarray]) -> dict[str, Preprocessing]:
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    own = pixels.mean(axis=0), np.maximum(pixels.std(axis=0), 1e-3)
    scales: dict[str, tuple[Any, Any]] = {
        "": (given.mean, given.std),
        "pixels in [0, 1], without mean and std": (None, None),
        "pixels of 0–255 (std=[1/255, 1/255, 1/255])": (None, _BYTES),
        "ImageNet's mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]": _IMAGENET,
        "mean and std of 0.5": ((0.5,) * 3, (0.5,) * 3),
        "pixels of 0–255 less ImageNet's mean": (_IMAGENET[0], _BYTES),
        "the images' own mean {} and std {}".format(
            *([round(float(value), 3) for value in values] for values in own)
        ): (tuple(own[0].tolist()), tuple(own[1].tolist())),
    }
    swapped = "RGB" if given.channels == "BGR" else "BGR"
    ways = {}
    for scale, (mean, std) in scales.items():
        for channels in (given.channels, swapped):
            order = "" if channels == given.channels else f'channels="{channels}"'
            words = " and ".join(part for part in (scale, order) if part)
            if words and (order or (mean, std) != (given.mean, given.std)):
                ways[words] = replace(given, mean=mean, std=std, channels=channels)
    return ways


def _reordered(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, dict[int, int]]:
    """Whether each answer is right in the best other order, found on the other half; and that order."""
    right = np.zeros(len(labels), dtype=bool)
    half = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):  # every class in both halves, where there are two of it
        half[np.flatnonzero(labels == label)[::2]] = True
    for part in (half, ~half):
        order = _best_order(predicted[~part], labels[~part], num_classes)
        right[part] = [
            order.get(int(p), -1) == label
            for p, label in zip(predicted[part], labels[part], strict=True)
        ]
    return right, _best_order(predicted, labels, num_classes)


def _best_order(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[int, int]:
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (predicted, labels), 1)
    rows, columns = linear_sum_assignment(-counts)
    return {
        int(output): int(label)
        for output, label in zip(rows, columns, strict=True)
        if counts[output, label]
    }


def _order_in_words(order: Mapping[int, int], classes: Sequence[str]) -> str:
    named = [f"{index}: {classes[order[index]]!r}" for index in sorted(order)]
    rest = ", …" if len(named) > 12 else ""
    return f"its outputs in another order of classes ({', '.join(named[:12])}{rest})"


def _best_way(
    ways: Mapping[str, np.ndarray], labels: np.ndarray, given: np.ndarray, number_tried: int
) -> tuple[str, np.ndarray] | None:
    """The best of the ways that are far better than what was right, and what is right with it."""
    found = {}
    for way, predicted in ways.items():
        right = predicted == labels[: len(predicted)]
        if _far_better(right, given[: len(right)], number_tried):
            found[way] = right
    return max(found.items(), key=lambda item: float(item[1].mean())) if found else None


def _far_better(other: np.ndarray, given: np.ndarray, number_tried: int) -> bool:
    """McNemar's exact test, held to a share of the level for each way tried."""
    if len(other) < MIN_IMAGES or other.mean() - given.mean() < FAR_BETTER:
        return False
    wins, losses = int((other & ~given).sum()), int((given & ~other).sum())
    p_value = stats.binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
    return bool(p_value <= 0.01 / max(1, number_tried))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
