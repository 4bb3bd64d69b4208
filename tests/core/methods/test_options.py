"""A method's parameters are written once: names, defaults, ranges, words."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.limits import Whole
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.options import RESERVED, Options, check_known, option
from fiftyone_honeyimage.core.pipeline.mark import mark

PACKAGE = Path(fhi.__file__).parent
KNOWN = {name: method.Options for name, method in METHODS.items()}


def test_values_are_checked_and_made_plain() -> None:
    options = HoneyImageOptions(epsilon=8, step_size=1)
    assert options.to_dict() == {
        "selection": "hardest",
        "matched": False,
        "diverse": False,
        "epsilon": 8.0,
        "step_size": 1.0,
        "num_steps": 20,
        "inner": "warm",
        "robust": False,
        "smoothing": 1.0,
        "unchanged_share": 0.0,
    }
    assert isinstance(options.epsilon, float)
    assert HoneyImageOptions.read({**options.to_dict(), "seed": 3}) == options
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.epsilon = 4.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": 0}, "epsilon must be between 1 and 64"),
        ({"step_size": 5}, "at most epsilon=4; found 5"),
        ({"num_steps": 2.5}, "num_steps must be an integer"),
        ({"inner": "cold"}, "inner must be 'warm', 'retrain' or 'redrawn'"),
        ({"robust": 1}, "robust must be True or False"),
        ({"smoothing": -1}, "smoothing must be between 0 and 16"),
    ],
)
def test_a_wrong_value_is_named(changes: dict, message: str) -> None:
    with pytest.raises(fhi.ParameterError, match=re.escape(message)):
        HoneyImageOptions(**changes)


def test_options_of_other_methods_are_told_from_unknown_ones() -> None:
    given = {"epsilon": 3, "weight": 0.5, "selection": "random"}
    assert check_known(given, "honeyimage", KNOWN) == {"epsilon": 3, "selection": "random"}
    assert check_known(given, "unperturbed", KNOWN) == {"selection": "random"}
    with pytest.raises(
        fhi.ParameterError,
        match=r"no option 'epsilom'; its options are: diverse, diversity, epsilon",
    ):
        check_known({"epsilom": 3}, "honeyimage", KNOWN)


def test_what_a_user_reads() -> None:
    told = fhi.method_options("honeyimage")
    assert told["epsilon"][0] == 4
    assert "Pixels, 0 to 16" in told["smoothing"][1]
    assert "Must be an integer from 1 to" in told["num_steps"][1]
    assert '"retrain" (Trains that model anew' in told["inner"][1]
    assert "Must be between 0 and 64." not in told["step_size"][1], "0 is not accepted"
    with pytest.raises(fhi.ParameterError, match="method must be"):
        fhi.method_options("no_such_method")


def test_an_option_is_defined_in_one_place() -> None:
    # Where it is read it is an attribute; where it is explained, text
    written = re.compile(r"\bsmoothing(: [a-z | ]+)? = |[\"']smoothing[\"']")
    places = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if written.search(path.read_text(encoding="utf-8"))
    ]
    assert places == ["core/methods/honeyimage.py"]


def test_no_option_has_the_name_of_what_every_marking_has() -> None:
    """Else one would silently take the other's place in run, ledger and files."""
    told = set(inspect.signature(fhi.generate_honeyimages).parameters)
    told |= set(inspect.signature(mark).parameters)
    assert told - {"options"} <= RESERVED
    for name in ("num_pairs", "classes", "seed"):
        fields = [(name, int, option(3, Whole(1, 16), label="x"))]
        taken = dataclasses.make_dataclass("Taken", fields, bases=(Options,), frozen=True)
        with pytest.raises(fhi.ParameterError, match=f"Taken has an option '{name}'"):
            taken()
