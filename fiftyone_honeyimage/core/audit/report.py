"""What an audit found, in a form that can be shown, stored and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .cleaning import Cleaning, cleaning_table

METADATA = "metadata"
PIXELS = "pixels"
LOSS = "loss"

#: Marked files that a finding names
NUM_EXAMPLES = 5


#: The AUROC from which on pixels give the marks away
NEARLY_CERTAIN = 0.95


@dataclass(frozen=True)
class Leak:
    """Something besides the pixels that tells marked from unmarked files; a release must have none.

    Attributes:
        feature: what separates them
        reason: a sentence
        files: some of the marked files that it gives away, relative to the release's folder
        p_adjusted: the probability of such a finding, anywhere in the audit, if the marks had fallen
            at random; None for what is certain, such as a withheld twin among the files
    """

    feature: str
    reason: str
    files: tuple[str, ...] = ()
    p_adjusted: float | None = None

    def __str__(self) -> str:
        text = f"{self.feature}: {self.reason}"
        if self.files:
            text += f" (for example {', '.join(self.files[:3])})"
        return text


@dataclass(frozen=True)
class Separation:
    """How well one feature tells marked from unmarked images.

    Attributes:
        feature: its name
        group: "metadata", "pixels" or "loss"
        test: the test with the smallest p-value: "rank", "spread", "block" or "tell-tale"
            (:mod:`.separation`), or "permutation" for classifiers
        auroc: against unmarked images of the same class and similar hardness; of a categorical
            feature, for the value named in ``detail``. None if nothing could be compared
        interval: Wilson's interval of 95 % for ``auroc`` with the effective number of matched sets; for
            classifiers widened by what the folds have in common
        auroc_class: against all unmarked images of the same class
        p_value: of that test, two-sided; of classifiers one-sided
        p_adjusted: corrected over all tests of the group (metadata: Tarone, others: Holm)
        separates: whether ``p_adjusted`` is at most the audit's alpha
        detail: what the finding is, in words
        files: some of the marked files that it rests on
    """

    feature: str
    group: str
    test: str
    auroc: float | None
    interval: tuple[float, float] | None
    auroc_class: float | None
    p_value: float
    p_adjusted: float
    separates: bool
    detail: str = ""
    files: tuple[str, ...] = ()

    def leak(self) -> Leak:
        """The same as a leak."""
        return Leak(self.feature, self.detail, self.files, self.p_adjusted)


@dataclass(frozen=True)
class AuditReport:
    """The audit of a release.

    Attributes:
        num_files: images in the release
        num_marked: HoneyImages among them
        num_compared: marked images that have unmarked ones to be compared with
        compared_by: what the compared images have in common
        alpha: the probability that a group reports any separation if there is none
        metadata: features that vary among the files; one that separates fails the release
        constant: features that are the same for all files, and so tell nothing
        pixels: features of the decoded images; they are shown and fail nothing
        found: leaks that are certain, without a test
        named: what is no leak for certain and has to be looked at: values that HoneyImages alone have, which their
            originals may have had, and documents in the folder
        notes: what was not audited, and why
        cleanings: what the cheapest ways of leaving out images would take of the HoneyImages; they fail nothing
    """

    num_files: int
    num_marked: int
    num_compared: int
    compared_by: str
    alpha: float
    metadata: tuple[Separation, ...]
    constant: tuple[str, ...]
    pixels: tuple[Separation, ...] = ()
    found: tuple[Leak, ...] = ()
    named: tuple[Leak, ...] = ()
    notes: tuple[str, ...] = ()
    cleanings: tuple[Cleaning, ...] = ()

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """What must not be released: certain leaks, and metadata that separate."""
        return (*self.found, *(row.leak() for row in self.metadata if row.separates))

    @property
    def passed(self) -> bool:
        """Whether nothing but the pixels separates marked from unmarked images."""
        return not self.leaks

    @property
    def signals(self) -> tuple[Separation, ...]:
        """Features of the pixels that separate; they are shown and fail nothing."""
        return tuple(row for row in self.pixels if row.separates)

    def without_files(self) -> AuditReport:
        """The same without names of files: those of twins would tell the coins to whoever reads it."""
        return replace(
            self,
            metadata=tuple(replace(row, files=()) for row in self.metadata),
            pixels=tuple(replace(row, files=()) for row in self.pixels),
            found=tuple(replace(leak, files=()) for leak in self.found),
            named=tuple(replace(leak, files=()) for leak in self.named),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe content."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AuditReport:
        """The inverse of :meth:`to_dict`, also after JSON."""
        values = dict(content)
        for name in ("metadata", "pixels"):
            values[name] = tuple(_separation(row) for row in values[name])
        for name in ("found", "named"):
            values[name] = tuple(
                Leak(**{**row, "files": tuple(row["files"])}) for row in values[name]
            )
        values["cleanings"] = tuple(Cleaning(**row) for row in values.get("cleanings", ()))
        for name in ("constant", "notes"):
            values[name] = tuple(values[name])
        return cls(**values)

    @property
    def files_result(self) -> str:
        """What files, names and labels give away, in a few words."""
        count = len(self.leaks)
        return (
            f"{count} leak{'s' if count > 1 else ''}" if count else "nothing gives HoneyImages away"
        )

    @property
    def pixels_result(self) -> str:
        """What the pixels give away, in a few words."""
        if not self.pixels:
            return "not compared"
        if not self.signals:
            return "nothing tells HoneyImages apart"
        found = sorted(self.signals, key=lambda row: row.p_adjusted)
        words = ", ".join(f"{_PLAIN.get(row.feature, row.feature)}{_share(row)}" for row in found)
        how = "nearly for certain" if self.pixels_tell else "not for certain"
        return f"HoneyImages can be told apart, {how}, by {words}"

    @property
    def pixels_tell(self) -> bool:
        """Whether a pixel feature alone ranks nearly all HoneyImages on one side of similar images."""
        return any(
            row.auroc is not None and max(row.auroc, 1 - row.auroc) >= NEARLY_CERTAIN
            for row in self.signals
        )

    @property
    def headline(self) -> str:
        """Both results in one line: what the files give away, which fails, and what the pixels do."""
        return f"Files: {self.files_result}. Pixels: {self.pixels_result}."

    @property
    def severity(self) -> str:
        """How the App shows it: "error" for leaks and pixels that tell nearly all, "warning" for less, else "success"."""
        if not self.passed or self.pixels_tell:
            return "error"
        return "warning" if self.signals else "success"

    def summary(self) -> str:
        """A few sentences, the headline first."""
        parts = [
            self.headline,
            f"{self.num_marked} HoneyImages among {self.num_files} images were compared by {self.compared_by}.",
        ]
        if self.leaks:
            parts.append("Leaks: " + "; ".join(str(leak) for leak in self.leaks) + ".")
        if self.named:
            parts.append("To look at: " + "; ".join(str(leak) for leak in self.named) + ".")
        return " ".join(parts)

    def markdown(self) -> str:
        """Tables of the leaks and of the pixel features."""
        parts = []
        for title, leaks in (("Leak", self.leaks), ("To look at", self.named)):
            if leaks:
                rows = [f"| {_cell(leak.feature)} | {_cell(leak.reason)} |" for leak in leaks]
                parts.append("\n".join([f"| {title} | |", "| --- | --- |", *rows]))
        if self.pixels:
            rows = [
                f"| {_cell(row.feature)} | {_auroc_text(row)} | {_number(row.auroc_class)} | "
                f"{row.p_adjusted:.2g} | {_cell(row.detail)} |"
                for row in self.pixels
            ]
            head = "| Pixels | AUROC, similar images | AUROC, same class | p | |"
            parts.append("\n".join([head, "| --- | --- | --- | --- | --- |", *rows]))
        if self.cleanings:
            parts.append(cleaning_table(self.cleanings))
        parts += [f"- {note}" for note in self.notes]
        return "\n\n".join(parts)


def _separation(row: Mapping[str, Any]) -> Separation:
    interval = row["interval"]
    return Separation(
        **{
            **row,
            "interval": None if interval is None else (interval[0], interval[1]),
            "files": tuple(row["files"]),
        }
    )


#: Features of pixels in a curator's words
_PLAIN = {
    "loss, trained": "how hard they are for a model that was trained on the release",
    "loss, held out": "how hard they are for a model that has not seen them",
    "loss, memorised": "how much easier training on them makes them",
    "noise classifier": "a classifier of noise",
    "compression classifier": "a classifier of traces of compression",
    "noise level": "how noisy they are",
    "colour noise": "how alike the noise of the three colours is",
    "unusual noise": "how unusual their noise is",
    "nearness to another image": "how near they are to another image",
    "size of the coded pixels": "the size of their coded pixels",
}


def _share(row: Separation) -> str:
    """How often the feature ranks a HoneyImage on its side of a similar image."""
    if row.auroc is None:
        return ""
    return f" ({max(row.auroc, 1 - row.auroc):.0%} of comparisons)"


def _auroc_text(row: Separation) -> str:
    if row.auroc is None or row.interval is None:
        return "–"
    return f"{row.auroc:.2f} ({row.interval[0]:.2f}–{row.interval[1]:.2f})"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
