"""Answers that are already held."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import SuspectError
from fiftyone_honeyimage.core.suspects import PredictionsSuspect, load_suspect, query


def ask(predictions, digits, **kwargs):
    return query(
        PredictionsSuspect(predictions),
        digits.images,
        digits.keys,
        digits.labels,
        num_classes=10,
        **kwargs,
    )


@pytest.mark.parametrize("convert", [list, np.asarray, torch.from_numpy, tuple])
def test_rows_of_scores_give_the_losses_of_the_model(trained, trained_logits, real_digits, convert):
    held = {key: convert(row) for key, row in zip(real_digits.keys, trained_logits, strict=True)}
    answers = ask(held, real_digits)
    model = query(
        load_suspect(trained),
        real_digits.images,
        real_digits.keys,
        real_digits.labels,
        num_classes=10,
    )
    assert answers.outputs == "logits"
    np.testing.assert_allclose(answers.losses, model.losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(answers.correct, model.correct)


@pytest.mark.parametrize("convert", [int, np.int64, np.asarray, torch.tensor])
def test_class_indices(trained_logits, real_digits, convert):
    predicted = trained_logits.argmax(axis=1)
    held = {key: convert(label) for key, label in zip(real_digits.keys, predicted, strict=True)}
    answers = ask(held, real_digits)
    assert answers.kind == "labels"
    np.testing.assert_array_equal(answers.correct, predicted == real_digits.labels)


def test_missing_answers_fail_whether_failures_are_skipped_or_not(trained_logits, real_digits):
    held = dict(zip(real_digits.keys, trained_logits, strict=True))
    del held["digit-05"]
    held["digit-11"] = None
    for skip_failures in (False, True):
        answers = ask(held, real_digits, tolerance=None if skip_failures else 0, batch_size=6)
        assert np.flatnonzero(answers.failed).tolist() == [5, 11]


def test_a_row_of_the_wrong_length_names_both_numbers(real_digits):
    held = {key: [0.5, 0.5] for key in real_digits.keys}
    with pytest.raises(SuspectError, match="2 classes, and the dataset has 10"):
        ask(held, real_digits)


def test_a_row_that_is_not_finite_names_its_image(trained_logits, real_digits):
    held = dict(zip(real_digits.keys, trained_logits.copy(), strict=True))
    held["digit-09"][4] = np.nan
    with pytest.raises(SuspectError, match=r"'digit-09'.* nan for class 4"):
        ask(held, real_digits)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, "empty"),
        ({"a": None}, "empty"),
        ({"a": [0.1, 0.9], "b": 1}, r"'b' has shape \(\) and that of 'a' \(2,\)"),
        ({"a": [0.1, 0.9], "b": [0.1, 0.2, 0.7]}, r"'b' has shape \(3,\)"),
        ({"a": "cat"}, "'a' is 'cat'"),
        ({"a": True}, "'a' is True"),
        ({"a": 0.7 + 1j}, "complex128"),
        ({"a": [[0.1, 0.9]]}, r"shape \(1, 2\)"),
        ({"a": ["x", "y"]}, "'a'"),
        ({"a": {"label": 3}}, "'a'"),
    ],
)
def test_other_predictions_are_refused(held, message):
    with pytest.raises(SuspectError, match=message):
        PredictionsSuspect(held)
