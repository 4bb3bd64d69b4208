"""What backdoor watermarks share: secret keys, the images that hold them, and the images that are asked about.

A side is a key. Both keys of a pair are drawn alike, from the same generator, and go into images of the same classes
and neighbouring hardness with the same new labels; a coin, tossed later, decides which of them is released. A
suspect is asked about other images with either key in them. For an innocent one it is a fair coin which of
the two it answers to more strongly, whatever it is.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import ParameterError, SamplesError
from ..images import LazyImages
from ..limits import Choice, Real, Whole
from ..seeds import derive_seed
from .base import DEFAULT_IMAGES_A_KEY, Method, RunSize
from .options import Options, option
from .selection import (
    NO_MEASURES,
    RULES,
    Candidates,
    left_over,
    select_by_class,
    select_candidates,
)

if TYPE_CHECKING:
    import torch

    from .finishing import FinishedFiles
    from .request import CraftRequest, CraftResult

#: Draw a class for each pair of keys
ANY_CLASS = -1


@dataclass(frozen=True)
class KeyOptions(Options):
    """Attributes:
    num_probes: m, the images that a suspect is asked about with each key in them
    selection: which images get a key, a name in :data:`.selection.RULES`
    """

    num_probes: int = option(
        30,
        Whole(2, 1000),
        label="Test images",
        help="A suspect is asked about so many images with each secret in them, of both sides of every pair",
        folded=False,
    )
    selection: str = option("random", Choice(RULES), label="Which images")


@dataclass(frozen=True)
class TargetOptions(KeyOptions):
    """Attributes:
    target_class: the class that images with a key get, by its place in the sorted order; :data:`ANY_CLASS` draws
        one for each pair of keys
    """

    target_class: int = option(
        ANY_CLASS,
        Whole(ANY_CLASS, 100_000),
        label="Target class",
        help="The label that images with a secret get: 0 for the first class in alphabetical order, and so on; "
        "-1 draws one for each pair of secrets, so that a model has to learn each by itself",
    )


def epsilon_option(default: float, published: str = "") -> Any:
    """ε, the largest change of any value, 0–255; ``published`` ends the note of its range."""
    return option(
        default,
        Real(1, 64, note=f" in 0–255 units{published}"),
        label="Largest change",
        help="Of any value of a pixel, on the scale of 0 to 255",
        folded=False,
    )


#: A key, and rows of the probe sources → these images with the key in them
Asked = Callable[[Mapping[str, Any], Sequence[int]], list[np.ndarray]]


@dataclass(frozen=True)
class Keys:
    """The keys of a marking.

    Attributes:
        request: what was asked for
        pairs: of sides a and b of each pair
        targets: int64 (M,), what :meth:`KeyMethod.targets` returned
        rng: secret
    """

    request: CraftRequest
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]
    targets: np.ndarray
    rng: np.random.Generator

    def sides(self) -> Iterator[tuple[np.ndarray, dict[str, Any], int]]:
        """Of every side which candidates it holds, its key and its pair's target; a before b."""
        for sides, both, target in zip(self.request.sides, self.pairs, self.targets, strict=True):
            for places, key in zip(sides, both, strict=True):
                yield places, key, int(target)


@dataclass(frozen=True)
class KeyedImages:
    """Images with keys in them.

    Attributes:
        changed, files, out_model: see :func:`.changed_images.finish_changed`
        asked: makes the images that a suspect is asked about
    """

    changed: Sequence[np.ndarray]
    asked: Asked
    files: FinishedFiles | None = None
    out_model: torch.nn.Module | None = None


class KeyMethod(Method):
    """A method whose sides are keys.

    Attributes:
        one_class: whether all images of a pair of keys are of one class, and keep it
    """

    Options: ClassVar[type[Options]] = KeyOptions
    shares_secrets = True
    default_number = f"1 % of the images, at least {DEFAULT_IMAGES_A_KEY} a secret where a tenth of the images suffices"
    one_class: ClassVar[bool] = False

    @abstractmethod
    def draw(self, rng: np.random.Generator, options: Any) -> dict[str, Any]:
        """A new key: JSON's own types."""

    def labels(
        self, request: CraftRequest, targets: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        """int64 (K,), the classes of the images in a release, the same on both sides; None if they are kept."""
        return None

    def targets(self, request: CraftRequest, rng: np.random.Generator) -> np.ndarray:
        """int64 (M,): the class that a suspect is asked about with each pair's keys; -1 for the images' own."""
        if self.one_class:
            return np.array(request.candidate_labels)[request.sides[:, 0, 0]]
        return np.full(len(request.sides), -1)

    def default_num_honeyimages(self, num_images: int, num_pairs: int) -> int:
        """1 % of the private set; at least :data:`DEFAULT_IMAGES_A_KEY` a key, if a tenth of the set suffices."""
        if not num_pairs:
            return max(1, num_images // 100)
        least = min(DEFAULT_IMAGES_A_KEY, num_images // (10 * num_pairs))
        return num_pairs * max(1, least, num_images // (100 * num_pairs))

    def choose(
        self,
        hardness: np.ndarray,
        labels: np.ndarray,
        *,
        options: Any,
        num_honeyimages: int,
        num_pairs: int,
        excluded: Mapping[str, np.ndarray],
        seed: int,
        measures: Mapping[str, np.ndarray] = NO_MEASURES,
    ) -> Candidates:
        """Images by the rule, dealt out to the keys at random; then images to ask about, of those left.

        Raises:
            ParameterError: if there is no such target class, or images and pairs do not fit
            SamplesError: if there are too few images
        """
        target = getattr(options, "target_class", ANY_CLASS)
        num_classes = int(labels.max(initial=-1)) + 1
        if target >= num_classes:
            raise ParameterError(
                f"target_class must be the number of a class, 0 to {num_classes - 1}, or {ANY_CLASS}; "
                f"found {target}"
            )
        files = self.files_a_side(num_honeyimages, num_pairs)
        rng = np.random.default_rng(derive_seed(seed, "keys", "images"))
        if self.one_class:
            of_others = {} if target == ANY_CLASS else {"other_classes": labels != target}
            found = select_by_class(
                hardness,
                labels,
                num_pairs=num_pairs,
                files_a_side=files,
                excluded={**excluded, **of_others},
                rule=options.selection,
                seed=seed,
                measures=measures,
            )
        else:
            if target != ANY_CLASS:
                excluded = {**excluded, "target_class": labels == target}
            found = select_candidates(
                hardness,
                labels,
                num_honeyimages=num_honeyimages,
                num_pairs=num_pairs,
                excluded=excluded,
                rule=options.selection,
                seed=seed,
                measures=measures,
                files_a_side=files,
            )
            found = replace(found, pairs=found.pairs[rng.permutation(len(found.pairs))])
        free = left_over(found, len(labels), excluded)
        if len(free) < options.num_probes:
            raise SamplesError(
                f"num_probes={options.num_probes} images to ask about are not left beside {len(found.rows)} that "
                f"get a secret; {len(free)} are. Ask for fewer of either, or exclude less"
            )
        return replace(found, probes=_draw_probes(free, labels, options.num_probes, rng))

    def craft(self, request: CraftRequest) -> CraftResult:
        """Draws the keys and puts them into the images; both sides by the same steps."""
        from .changed_images import finish_changed
        from .request import Probe

        secret = secret_digest(request)
        rng = secret_rng(secret)
        targets = self.targets(request, rng)
        labels = self.labels(request, targets, rng)
        keys = [
            (
                self.draw(secret_rng(secret, pair, "a"), request.options),
                self.draw(secret_rng(secret, pair, "b"), request.options),
            )
            for pair in range(len(request.sides))
        ]
        asked = [_asked_about(request, int(target)) for target in targets]
        keyed = self.put_all(Keys(request, keys, targets, rng))
        probes = []
        for both, wanted in zip(keys, asked, strict=True):
            sources = [source for source, _ in wanted]
            a, b = (
                [
                    Probe(source, image, label)
                    for (source, label), image in zip(
                        wanted, keyed.asked(key, sources), strict=True
                    )
                ]
                for key in both
            )
            probes.append((a, b))
        return finish_changed(
            request,
            labels=labels,
            secrets=[
                (_with_target(a, target), _with_target(b, target))
                for (a, b), target in zip(keys, targets, strict=True)
            ],
            probes=probes,
            changed=keyed.changed,
            files=keyed.files,
            out_model=keyed.out_model,
        )

    @abstractmethod
    def put_all(self, keys: Keys) -> KeyedImages:
        """Puts every key into its images."""

    def most_changed(self, options: Any) -> float:
        """ε of a method that has one."""
        return float(getattr(options, "epsilon", super().most_changed(options)))

    def num_asked(self, options: Any) -> int:
        return int(options.num_probes)

    def passes(self, size: RunSize, options: Any) -> int:
        return (size.num_images - size.num_marked) * size.epochs


class TriggerMethod(KeyMethod):
    """A method whose keys are put into one image at a time."""

    @abstractmethod
    def put(self, image: np.ndarray, key: Mapping[str, Any], options: Any) -> np.ndarray:
        """A uint8 (H, W, 3) image with a key in it, a new array."""

    def put_all(self, keys: Keys) -> KeyedImages:
        request = keys.request
        key_of = {int(place): key for places, key, _ in keys.sides() for place in places}

        def changed(row: int) -> np.ndarray:
            image = request.candidates[row]  # raises IndexError at the end
            return self.put(image, key_of[row], request.options)

        return KeyedImages(LazyImages(len(request.candidates), changed), self.asked_with(request))

    def asked_with(self, request: CraftRequest) -> Asked:
        """What :attr:`KeyedImages.asked` is."""
        return lambda key, sources: [
            self.put(request.probe_sources[row], key, request.options) for row in sources
        ]


def _draw_probes(
    free: np.ndarray, labels: np.ndarray, number: int, rng: np.random.Generator
) -> np.ndarray:
    """int64 (number,): at random, and not more than half of one class as long as there are others to ask about."""
    drawn = rng.permutation(free)
    by_class = np.argsort(labels[drawn], kind="stable")
    _, starts, counts = np.unique(labels[drawn][by_class], return_index=True, return_counts=True)
    nth = np.empty(len(drawn), dtype=np.int64)  # of its class, in the order drawn
    nth[by_class] = np.arange(len(drawn)) - starts.repeat(counts)
    order = np.argsort(nth >= (number + 1) // 2, kind="stable")
    return np.sort(drawn[order[:number]])


def _asked_about(request: CraftRequest, target: int) -> list[tuple[int, int]]:
    """Which probe sources a suspect is asked about and as which class: those of other classes as the target class.

    Raises:
        SamplesError: if there are none
    """
    asked = [
        (source, int(own) if target < 0 else target)
        for source, own in enumerate(request.probe_labels)
        if own != target
    ]
    if not asked:
        raise SamplesError(
            f"all {len(request.probe_labels)} images to ask about are of class {target}, which a secret stands for: too "
            "few images of other classes are left. Mark fewer images, or exclude less"
        )
    return asked


def _with_target(key: Mapping[str, Any], target: int) -> dict[str, Any]:
    """A key and the class that is asked about with it, if that is not each image's own."""
    return {**key, "target": int(target)} if target >= 0 else dict(key)


def secret_digest(request: CraftRequest) -> bytes:
    """What must stay secret is drawn from: the seed and the originals of the images that get a key.

    Most runs have the same seed, and everybody has this code. Nobody but the owner has all of these images without a key
    in them; the same seed still gives the same files.
    """
    digest = hashlib.sha256(f"keys/{request.seed}".encode())
    for row in range(len(request.candidates)):
        digest.update(np.ascontiguousarray(request.candidates[row]).tobytes())
    return digest.digest()


def secret_rng(secret: bytes, *names: object) -> np.random.Generator:
    """A generator for one named part: from a key that evidence opens no other can be worked out."""
    text = "/".join(map(str, names))
    return np.random.default_rng(
        int.from_bytes(hashlib.sha256(secret + text.encode()).digest(), "big")
    )


def draw_targets(request: CraftRequest, rng: np.random.Generator) -> np.ndarray:
    """int64 (M,): for each pair the class asked for, or one that is rarest among the pair's own images."""
    if request.options.target_class != ANY_CLASS:
        return np.full(len(request.sides), request.options.target_class)
    drawn = []
    for sides in request.sides:
        counts = np.bincount(request.candidate_labels[sides.ravel()], minlength=request.num_classes)
        drawn.append(rng.choice(np.flatnonzero(counts == counts.min())))
    return np.array(drawn, dtype=np.int64).reshape(len(request.sides))
