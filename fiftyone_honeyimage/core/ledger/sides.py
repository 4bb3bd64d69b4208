"""What a marking leaves behind: single HoneyImages, pairs of sides and the order of the queries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ..errors import LedgerError, ParameterError
from ..evidence.pair_answers import PairAnswers
from ..scores import SideReferences
from .hashes import check_text, is_digest
from .lots import Beacon, Lot

TWINS = ("a", "b")

#: The recipient of a release that everybody gets
EVERYBODY = ""


@dataclass(frozen=True)
class MarkedImage:
    """One HoneyImage.

    Attributes:
        sample_id: the id of the sample it was made from
        label: the class name in the release, and what a suspect is asked about
        file: its path relative to the marking's folder, with forward slashes
        source_sha256: the digest of the original file
        marked_sha256: the digest of the HoneyImage's file
        source_label: the class name of the original where the method changed it, else None
    """

    sample_id: str
    label: str
    file: str
    source_sha256: str
    marked_sha256: str
    source_label: str | None = None

    def __post_init__(self) -> None:
        for name in ("sample_id", "label", "file"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise LedgerError(f"A marked image needs a {name} in words, not {value!r}")
        kept = self.source_label is None
        if not kept and (
            not isinstance(self.source_label, str) or self.source_label in ("", self.label)
        ):
            raise LedgerError(
                f"Sample {self.sample_id}: source_label {self.source_label!r} is no other class than "
                f"{self.label!r}; leave it out where the label is kept"
            )
        path = PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts or "\\" in self.file or ":" in self.file:
            raise LedgerError(
                f"The file {self.file!r} of sample {self.sample_id} must be a path below the "
                "marking's folder, with forward slashes"
            )
        for name in ("source_sha256", "marked_sha256"):
            if not is_digest(getattr(self, name)):
                raise LedgerError(
                    f"The {name} of sample {self.sample_id} must be 64 hexadecimal digits, not "
                    f"{getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class Side:
    """One of the two things that a coin chooses between.

    Attributes:
        files: its images in a release: one, or several that share a secret
        secret: what they hold, such as a trigger; empty where they hold nothing
        probes: what a suspect is asked about in their stead, such as other images with that trigger; never released
        covariates: name → what models said of it that never saw a coin, such as an out-model's loss on the original;
            and its kind, where a marking has two: :data:`..evidence.twins.UNCHANGED`
        references: the losses of reference models, each trained on a random half of all sides, None without them
    """

    files: tuple[MarkedImage, ...]
    secret: Mapping[str, Any] = field(default_factory=dict)
    covariates: Mapping[str, float] = field(default_factory=dict)
    probes: tuple[MarkedImage, ...] = ()
    references: SideReferences | None = None

    def __post_init__(self) -> None:
        if not self.files:
            raise LedgerError("A side needs a file at least")
        for name, value in self.covariates.items():
            if type(value) is not float or not 0 <= value < math.inf:
                raise LedgerError(
                    f"Sample {self.files[0].sample_id}: the covariate {name!r} must be a loss, a finite number of at "
                    f"least 0, not {value!r}"
                )

    @classmethod
    def of(cls, side: Side | MarkedImage) -> Side:
        """A side, also of one image alone."""
        return cls((side,)) if isinstance(side, MarkedImage) else side

    @property
    def asked(self) -> tuple[MarkedImage, ...]:
        """What a suspect is asked about; the side's value is the mean over these images."""
        return self.probes or self.files


@dataclass(frozen=True)
class Pair:
    """Two sides, one of which a fair coin released; a coin for each recipient.

    Attributes:
        index: the pair's position among the pairs
        a: one side
        b: the other side
        released: recipient → "a" or "b"; :data:`EVERYBODY` where there is one release for all. Nobody as long as a public
            round has not decided
        lot: what a public round decides by; None where the coins were drawn here
    """

    index: int
    a: Side
    b: Side
    released: Mapping[str, str]
    lot: Lot | None = None

    def __post_init__(self) -> None:
        if not self.released and self.lot is None:
            raise LedgerError(f"Pair {self.index} was released to nobody")
        for recipient, side in self.released.items():
            if not isinstance(recipient, str) or side not in TWINS:
                raise LedgerError(
                    f"Pair {self.index}: released must be a or b, not {side!r}, for each recipient"
                )

    @property
    def images(self) -> tuple[MarkedImage, ...]:
        """Every image of both sides that is or could have been released."""
        return (*self.a.files, *self.b.files)

    @property
    def asked(self) -> tuple[MarkedImage, ...]:
        """Every image that a suspect is asked about."""
        return (*self.a.asked, *self.b.asked)

    def side(self, name: str) -> Side:
        """Side "a" or "b"."""
        return self.a if name == "a" else self.b

    def released_side(self, recipient: str = EVERYBODY) -> Side:
        """The side in a recipient's release."""
        return self.side(self.released[recipient])

    def withheld_side(self, recipient: str = EVERYBODY) -> Side:
        """The side that this recipient has not."""
        return self.b if self.released[recipient] == "a" else self.a


def check_shares(answers: PairAnswers, pairs: Mapping[int, Pair]) -> None:
    """Checks that labels are what so many images can give: a boolean of one, a share of several.

    Raises:
        LedgerError: naming the first that is not. A share that no images give would be a difference where there is none
    """
    if answers.kind != "labels":
        return
    for index, *values in zip(answers.pairs, answers.a, answers.b, strict=True):
        for name, value in zip(TWINS, values, strict=True):
            number = len(pairs[index].side(name).asked)
            if value is None or (isinstance(value, bool) and number == 1):
                continue
            if isinstance(value, bool) or number == 1 or value != round(value * number) / number:
                raise LedgerError(
                    f"Pair {index}, side {name}: {value!r} is no share of {number} answers"
                )


def pair_entry(pair: Pair, version: int) -> dict[str, Any]:
    """Returns a pair as plain values, as a ledger of a version holds it."""
    if version > 2:
        both = {"index": pair.index, "a": _side_entry(pair.a), "b": _side_entry(pair.b)}
        if pair.lot is None:
            return {**both, "released": dict(pair.released)}
        # What is committed before the round: the coins follow, and stand nowhere
        everybody = pair.lot.recipients == (EVERYBODY,)
        named = {} if everybody else {"recipients": list(pair.lot.recipients)}
        return {**both, "secret": pair.lot.secret, **named}
    # One image a side, one release, nothing else
    (a,), (b,) = pair.a.files, pair.b.files
    sides = {"a": image_entry(a), "b": image_entry(b)}
    return {"index": pair.index, **sides, "released": pair.released[EVERYBODY]}


def read_pair(entry: Mapping[str, Any], version: int, beacon: Beacon | None = None) -> Pair:
    """Reads a pair from plain values; undoes :func:`pair_entry`.

    Args:
        entry: the values
        version: of the ledger's format
        beacon (None): the public round that decides, where one does
    """
    if not isinstance(entry, Mapping):
        raise LedgerError(f"A pair must be a JSON object, not {entry!r}")
    if type(entry["index"]) is not int:
        raise LedgerError(f"A pair's index must be a whole number, not {entry['index']!r}")
    if beacon is not None:
        return _read_lot_pair(entry, beacon)
    if set(entry) != {"index", "a", "b", "released"}:
        raise LedgerError(f"Pair {entry['index']} has other parts than those of a pair")
    if version > 2:
        a, b = (_read_side(entry[name]) for name in TWINS)
        return Pair(entry["index"], a, b, _object(entry["released"]))
    a, b = (Side((MarkedImage(**entry[name]),)) for name in TWINS)
    return Pair(entry["index"], a, b, {EVERYBODY: entry["released"]})


def _read_lot_pair(entry: Mapping[str, Any], beacon: Beacon) -> Pair:
    """Reads a pair whose coins follow from a public round."""
    if set(entry) - {"recipients"} != {"index", "a", "b", "secret"}:
        raise LedgerError(
            f"Pair {entry['index']} has other parts than those of a pair whose coins a public round decides"
        )
    recipients = entry.get("recipients", [EVERYBODY])
    if not isinstance(recipients, list):
        raise LedgerError(f"Pair {entry['index']}: recipients must be a list of names")
    lot = Lot(entry["secret"], tuple(recipients))
    a, b = (_read_side(entry[name]) for name in TWINS)
    return Pair(entry["index"], a, b, beacon.coins(entry["index"], lot), lot)


def image_entry(image: MarkedImage) -> dict[str, Any]:
    """Returns an image as plain values, as a ledger holds it: a label that was kept is there once."""
    entry = dataclasses.asdict(image)
    if image.source_label is None:
        del entry["source_label"]
    return entry


def _side_entry(side: Side) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "files": [image_entry(image) for image in side.files],
        "secret": dict(side.secret),
        "covariates": dict(side.covariates),
    }
    if side.probes:
        entry["probes"] = [image_entry(image) for image in side.probes]
    if side.references is not None:
        entry["references"] = references_entry(side.references)
    return entry


def references_entry(references: SideReferences) -> dict[str, Any]:
    """Returns what reference models said of a side as plain values, as a ledger holds it."""
    return {"losses": list(references.losses), "members": list(references.members)}


def read_references(entry: Any) -> SideReferences:
    """Undoes :func:`references_entry`."""
    values = _object(entry)
    losses = tuple(map(_number, values.pop("losses")))
    try:
        return SideReferences(losses, tuple(values.pop("members")), **values)
    except ParameterError as error:
        raise LedgerError(f"Reference models' losses of a side cannot be used: {error}") from error


def _read_side(entry: Mapping[str, Any]) -> Side:
    values = _object(entry)
    files = tuple(MarkedImage(**image) for image in values.pop("files"))
    # JSON knows no whole numbers of its own: 2.0 may come back as 2
    covariates = {name: _number(value) for name, value in _object(values.pop("covariates")).items()}
    probes = tuple(MarkedImage(**image) for image in values.pop("probes", ()))
    references = None
    if "references" in values:
        references = read_references(values.pop("references"))
    return Side(files, _object(values.pop("secret")), covariates, probes, references, **values)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LedgerError(f"A JSON object is needed, not {value!r}")
    return dict(value)


def _number(value: Any) -> Any:
    return float(value) if type(value) is int else value


def read_query_order(entries: Sequence[Any], num_pairs: int) -> list[tuple[int, str]]:
    """Reads the query order from plain values.

    Raises:
        LedgerError: if it is no order of the pairs
    """
    order = [(index, first) for index, first in entries]
    indices = [index for index, _ in order]
    if not all(type(index) is int for index in indices) or sorted(indices) != list(
        range(num_pairs)
    ):
        raise LedgerError(f"The query order is no permutation of {num_pairs} pairs")
    if not all(first in TWINS for _, first in order):
        raise LedgerError("The query order must name a or b as the first of each pair")
    return order


def check_images(singles: Sequence[MarkedImage], pairs: Sequence[tuple[Side, Side]]) -> None:
    """Checks that marked images can stand in one ledger, or one evidence file.

    Args:
        singles: HoneyImages without a twin
        pairs: the sides (a, b) of each pair

    Raises:
        LedgerError: if an image occurs twice, twins have different labels, or a text is outside UTF-8
    """
    sides = [side for pair in pairs for side in pair]
    released = [*singles, *(image for side in sides for image in side.files)]
    images = [*released, *(image for side in sides for image in side.probes)]
    for image in images:
        check_text(dataclasses.asdict(image), f"Sample {image.sample_id!a}:")
    for side in sides:
        check_text(dict(side.secret), f"The secret of sample {side.files[0].sample_id!a}:")
    numbers = {len(side.references.losses) if side.references else 0 for side in sides}
    if len(numbers) > 1:
        raise LedgerError(
            f"Sides were told by {min(numbers)} to {max(numbers)} reference models; each needs all of them"
        )
    for a, b in pairs:
        for here, there in ((a.files, b.files), (a.probes, b.probes)):
            labels = [sorted(image.label for image in images) for images in (here, there)]
            if labels[0] != labels[1]:
                raise LedgerError(
                    f"Twins need the same labels, but the side of sample {a.files[0].sample_id} has "
                    f"{labels[0]!r:.200} and that of {b.files[0].sample_id} {labels[1]!r:.200}"
                )
    for name in ("sample_id", "file"):
        seen: set[str] = set()
        for image in images:
            value = getattr(image, name)
            if value in seen:
                raise LedgerError(
                    f"Two marked images have the {name} {value!r}; each needs its own"
                )
            seen.add(value)

    # A twin that also lies in the release under another name would not be withheld
    owner: dict[str, MarkedImage] = {}
    in_pairs = {image.marked_sha256 for side in sides for image in side.files}
    for image in released:
        other = owner.setdefault(image.marked_sha256, image)
        if other is not image and image.marked_sha256 in in_pairs:
            raise LedgerError(
                f"The HoneyImages of samples {other.sample_id} and {image.sample_id} are the same "
                "file, so that one would give the other away; remove duplicates first"
            )
