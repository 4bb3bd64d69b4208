"""Checks of single values; test_bad_input.py sends them through the SDK."""

from __future__ import annotations

import numpy as np
import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.dataset.checks import whole_number


def test_whole_numbers_have_a_range() -> None:
    assert whole_number(np.int8(3), "n", 3, 3) == 3
    with pytest.raises(fhi.ParameterError, match="n must be an integer from 1 to 2; found 3"):
        whole_number(3, "n", 1, 2)
