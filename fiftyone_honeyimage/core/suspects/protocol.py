"""How a suspect is asked: everything that could be chosen, fixed before the first query."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ParameterError
from ..ledger.protocol import FIXED, RECORDED
from .answers import OUTPUTS
from .base import CHANNELS, Preprocessing, Suspect
from .query import check_batch_size


@dataclass(frozen=True)
class Protocol:
    """How a suspect is asked in one verification.

    It stands in the ledger's *open* entry, before the first query, and in the evidence: an owner who could
    choose the order of the classes alone after looking would find one at which 37 % of innocent models fall
    below 5·10⁻⁴.

    Args:
        classes: name of each class → index of the suspect's output, 0 to C − 1, each once
        outputs: what its answers are: "logits", "probabilities", "labels" or "losses"; never "auto"
        batch_size: images a query
        input_size: ``(height, width)`` that images are resized to, None where they keep their size
        mean, std: three numbers each on the scale of [0, 1], None where nothing is taken off or divided by
        channels: the order of the input's channels, "RGB" or "BGR"
        way: the way it is reached: the name of its class, such as "TorchScriptSuspect"
        device: where it is asked; None where that is its own affair
        references: digests or names of the models that calibrate the paper's threshold, which never decides
        unmarked: what it did on unmarked images before; see :class:`~.competence.Competence`
        caution: what was wrong there and was insisted on, or could not be checked; None if nothing was

    Raises:
        ParameterError: if one of them is out of range
    """

    classes: Mapping[str, int]
    outputs: str
    batch_size: int
    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str = "RGB"
    way: str = ""
    device: str | None = None
    references: tuple[str, ...] = ()
    unmarked: Mapping[str, Any] = field(default_factory=dict, compare=False)
    caution: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", class_indices(self.classes))
        if self.outputs not in OUTPUTS or self.outputs == "auto":
            raise ParameterError(
                f"a protocol's outputs is one of {', '.join(OUTPUTS[1:])}; got {self.outputs!r}"
            )
        check_batch_size(self.batch_size)
        checked = Preprocessing(self.input_size, self.mean, self.std, self.channels)
        for name in ("input_size", "mean", "std"):
            value = getattr(checked, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        object.__setattr__(self, "references", tuple(self.references))

    @classmethod
    def of(
        cls,
        suspect: Suspect,
        classes: Sequence[str],
        outputs: str,
        batch_size: int,
        references: Sequence[Suspect] = (),
        **about: Any,
    ) -> Protocol:
        """The protocol of a loaded suspect; ``classes`` in the order of its outputs, ``about`` is what is known else."""
        how = suspect.preprocessing or Preprocessing()
        return cls(
            classes={name: index for index, name in enumerate(classes)},
            outputs=outputs,
            batch_size=batch_size,
            input_size=how.input_size,  # type: ignore[arg-type]
            mean=how.mean,  # type: ignore[arg-type]
            std=how.std,  # type: ignore[arg-type]
            channels=how.channels,
            way=suspect.way,
            device=None if suspect.device is None else str(suspect.device),
            references=tuple(one.digest or one.name for one in references),
            **about,
        )

    def asking(self) -> dict[str, Any]:
        """What decides how images are turned into answers, in JSON's own types."""
        values = self.to_dict()
        return {
            name: value for name, value in values.items() if name not in ("unmarked", "caution")
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, in JSON's own types."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
        return {
            **values,
            "classes": dict(self.classes),
            "unmarked": dict(self.unmarked),
            "score": RECORDED[self.outputs],
            **FIXED,
        }


def class_indices(classes: Mapping[str, int] | Sequence[str]) -> dict[str, int]:
    """Classes as name → index of the suspect's output.

    Args:
        classes: that, or names in the order of the outputs

    Raises:
        ParameterError: if a name or index occurs twice, an index is left out, or there are fewer than two
    """
    if isinstance(classes, str):
        raise ParameterError(f"classes are several names, got the text {classes!r}")
    if not isinstance(classes, Mapping):
        names = list(classes)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ParameterError(f"classes names a class twice: {twice[0]!r}")
        classes = {name: index for index, name in enumerate(names)}
    for name, index in classes.items():
        if not isinstance(name, str):
            raise ParameterError(f"the name of a class is a text, got {name!r}")
        if isinstance(index, bool) or not isinstance(index, int):
            raise ParameterError(
                f"classes says for each name the index of the suspect's output, 0 to "
                f"{len(classes) - 1}; got {index!r} for {name!r}"
            )
    if len(classes) < 2:
        raise ParameterError(f"a suspect has at least two classes, got {list(classes)}")
    if sorted(classes.values()) != list(range(len(classes))):
        raise ParameterError(
            f"classes needs each index from 0 to {len(classes) - 1} once, one for every output of the "
            f"suspect; got {sorted(classes.values())}"
        )
    return dict(sorted(classes.items(), key=lambda item: item[1]))


__all__ = ["CHANNELS", "Protocol", "class_indices"]
