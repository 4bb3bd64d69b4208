"""The parameters of a method: each one's name, default, range and words, in one place.

A method's options are a frozen dataclass whose fields are made by :func:`option`. From them come what the
SDK takes as ``**options``, the questions of the form, and what run and ledger write down.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import ParameterError
from ..limits import Choice, Flag, Real, Whole

_logger = logging.getLogger(__name__)

Self = TypeVar("Self", bound="Options")

#: What a marking says of itself beside a method's options, as arguments, in its run and in its ledger
RESERVED = frozenset(
    [
        "adjustment",
        "alpha",
        "checkpoint_dir",
        "classes",
        "coins",
        "coins_at",
        "code",
        "colluders",
        "commitment",
        "counts",
        "dataset_id",
        "dataset_name",
        "device",
        "earlier",
        "earlier_commitments",
        "encoders",
        "exclude",
        "executor",
        "fiftyone_version",
        "files",
        "folder",
        "format",
        "hardness",
        "hardness_field",
        "honey_key",
        "ids",
        "input_size",
        "label_errors",
        "label_field",
        "labeled",
        "labels",
        "ledger_path",
        "lpips_backbone",
        "marking_method",
        "marking_number",
        "measures",
        "method",
        "num_honeyimages",
        "num_pairs",
        "num_references",
        "num_tracing_pairs",
        "options",
        "output_dir",
        "plan",
        "progress",
        "proxy",
        "python_version",
        "recipients",
        "reencode",
        "relays",
        "report",
        "samples",
        "score",
        "seed",
        "skip_failures",
        "stratum_weights",
        "test",
        "thumbnails",
        "torch_version",
        "trade_off",
        "training",
        "version",
        "was_persistent",
    ]
)

Limits = Whole | Real | Choice | Flag


@dataclass(frozen=True)
class Question:
    """What a form asks about one option.

    Attributes:
        name: of the option
        default: its value where nothing is said
        limits: what it accepts
        label: its name for a curator
        help: a sentence
        folded: whether it stays folded until further options are asked for
        later: whether it came later than ledgers that have to stay as they are, and is not written at its default
    """

    name: str
    default: Any
    limits: Limits
    label: str
    help: str
    folded: bool
    later: bool = False

    def told(self) -> str:
        """The option in words: its name, a sentence, and what it accepts."""
        parts = (self.label, self.help, f"Must be {self.limits.accepted}")
        return ". ".join(part.rstrip(".") for part in parts if part) + "."


def option(
    default: Any,
    limits: Limits,
    *,
    label: str,
    help: str = "",
    folded: bool = True,
    later: bool = False,
) -> Any:
    """A field of an options dataclass; see :class:`Question`."""
    return dataclasses.field(
        default=default,
        metadata={"limits": limits, "label": label, "help": help, "folded": folded, "later": later},
    )


@dataclass(frozen=True)
class Options:
    """What a method can be told; each value is checked against its limits.

    Raises:
        ParameterError: naming the option, if a value is out of range
    """

    def __post_init__(self) -> None:
        for question in self.questions():
            value = question.limits.check(question.name, getattr(self, question.name))
            if isinstance(question.limits, Real):
                value = float(value)
            object.__setattr__(self, question.name, value)
        self.check_together()

    def check_together(self) -> None:
        """Checks what depends on several options.

        Raises:
            ParameterError: if they do not fit together
        """

    @classmethod
    def questions(cls) -> tuple[Question, ...]:
        """What a form asks, in the order of the fields."""
        names = [field.name for field in dataclasses.fields(cls)]
        taken = sorted(RESERVED.intersection(names))
        if taken:
            raise ParameterError(
                f"{cls.__name__} has an option {taken[0]!r}, which every marking has by that name and would lose; "
                "give the option another name"
            )
        return tuple(
            Question(field.name, field.default, **field.metadata)
            for field in dataclasses.fields(cls)
        )

    @classmethod
    def read(cls: type[Self], values: Mapping[str, Any]) -> Self:
        """The options among other values, such as a ledger's header; defaults for those that are not there.

        Raises:
            ParameterError: if a value is out of range
        """
        return cls(**{q.name: values[q.name] for q in cls.questions() if q.name in values})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, safe for JSON; without those that came later and have their defaults."""
        silent = {
            q.name for q in self.questions() if q.later and getattr(self, q.name) == q.default
        }
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in silent}


def check_known(
    options: Mapping[str, Any], method: str, known: Mapping[str, type[Options]]
) -> dict[str, Any]:
    """The options of one method among those given; others are named and have no effect.

    Args:
        options: as given
        method: the method
        known: the options of every method

    Returns:
        the method's own, and those of other methods left out

    Raises:
        ParameterError: if no method has one of them
    """
    own = {question.name for question in known[method].questions()}
    idle = sorted(set(options) - own)
    anywhere = {question.name for kind in known.values() for question in kind.questions()}
    unknown = sorted(set(idle) - anywhere)
    if unknown:
        listed = ", ".join(sorted(own)) or "none"
        raise ParameterError(
            f"method '{method}' has no option {unknown[0]!r}; its options are: {listed}"
        )
    if idle:
        _logger.warning("method '%s' does not use %s", method, ", ".join(idle))
    return {name: value for name, value in options.items() if name in own}
