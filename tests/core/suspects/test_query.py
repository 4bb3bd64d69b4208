"""Queries: what each kind of answer becomes, and what each kind of failure does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fiftyone_honeyimage.core.errors import ImageError, ParameterError, SuspectError
from fiftyone_honeyimage.core.suspects import (
    MAX_LOSS,
    Asking,
    PredictionsSuspect,
    Suspect,
    cause_of,
    check_answerable,
    load_suspect,
    query,
)


class Held(Suspect):
    """Answers with given rows by key, and counts what it was asked."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.name = "held"
        self.answers = answers
        self.asked: list[list[str]] = []

    def answer(self, images, keys):
        self.asked.append(list(keys))
        return np.stack([np.asarray(self.answers[key]) for key in keys])


def ask(rows, labels, **kwargs):
    """Queries a suspect that answers the rows; pixels do not matter."""
    keys = [f"k{i}" for i in range(len(rows))]
    image = np.zeros((4, 4, 3), np.uint8)
    kwargs.setdefault("num_classes", 3)
    suspect = Held(dict(zip(keys, rows, strict=True)))
    return query(suspect, [image] * len(rows), keys, np.asarray(labels), **kwargs)


def ask_model(model, digits, **kwargs):
    suspect = load_suspect(model, name="the model")
    kwargs.setdefault("num_classes", 10)
    return query(suspect, iter(digits.images), digits.keys, digits.labels, **kwargs)


def test_losses_of_a_trained_model_are_its_cross_entropies(trained, trained_logits, real_digits):
    answers = ask_model(trained, real_digits, batch_size=7)
    expected = F.cross_entropy(
        torch.from_numpy(trained_logits).double(),
        torch.from_numpy(real_digits.labels),
        reduction="none",
    ).numpy()
    assert answers.kind == "scores"
    assert answers.outputs == "logits"
    assert answers.losses.dtype == np.float64
    np.testing.assert_allclose(answers.losses, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        answers.correct, trained_logits.argmax(axis=1) == real_digits.labels
    )
    assert answers.correct.mean() > 0.8
    assert not answers.failed.any()


def test_probabilities_give_the_losses_of_their_logits(trained, real_digits):
    logits = ask_model(trained, real_digits)
    probabilities = ask_model(lambda x: trained(x).softmax(dim=1), real_digits)
    assert probabilities.outputs == "probabilities"
    np.testing.assert_allclose(probabilities.losses, logits.losses, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("digits_kept", [2, 3, 6])
def test_rounded_probabilities_are_still_probabilities(trained, real_digits, digits_kept):
    answers = ask_model(lambda x: trained(x).softmax(1).numpy().round(digits_kept), real_digits)
    assert answers.outputs == "probabilities"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_probabilities_are_still_probabilities(dtype):
    rows = torch.randn(500, 100, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    answers = ask(list(rows.to(dtype).float().numpy()), np.zeros(500, int), num_classes=100)
    assert answers.outputs == "probabilities"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_the_batch_size_cannot_turn_logits_into_probabilities(batch_size, at):
    # every row but one looks like probabilities
    rows = [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]]
    rows.insert(at, [4.0, -1.0, 0.0])
    answers = ask(rows, [0, 1, 2, 0], batch_size=batch_size)
    assert answers.outputs == "logits"
    expected = F.cross_entropy(
        torch.tensor(rows).double(), torch.tensor([0, 1, 2, 0]), reduction="none"
    )
    np.testing.assert_allclose(answers.losses, expected.numpy())


def test_the_way_of_reading_can_be_carried_over_to_later_queries():
    first = ask([[4.0, -1.0, 0.0]], [0])
    later = ask([[0.2, 0.3, 0.5]], [0], outputs=first.outputs)
    assert later.outputs == "logits"


def test_a_probability_of_zero_costs_more_than_any_other_and_stays_finite():
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    answers = ask([[0.0, 1.0, 0.0], [tiny, 1.0, 0.0], [1.0, 0.0, 0.0]], [0, 0, 0])
    assert answers.losses[0] == pytest.approx(744.4400719213812)
    assert 103 < answers.losses[1] < answers.losses[0]
    assert answers.losses[2] == 0


def test_losses_of_huge_logits_are_cut_at_the_stated_maximum():
    answers = ask([[1e30, -1e30, 0.0], [500.0, -500.0, 0.0], [1.7e308, -1.7e308, 0.0]], [1, 1, 1])
    assert answers.losses.tolist() == [MAX_LOSS, 1000.0, MAX_LOSS]


def test_labels_are_right_or_wrong_and_have_no_loss(trained, real_digits, trained_logits):
    answers = ask_model(lambda x: trained(x).argmax(dim=1), real_digits)
    assert answers.kind == "labels"
    assert answers.outputs == "labels"
    assert np.isnan(answers.losses).all()
    np.testing.assert_array_equal(
        answers.correct, trained_logits.argmax(axis=1) == real_digits.labels
    )


def test_scores_are_reduced_to_labels_on_request(trained, real_digits, trained_logits):
    answers = ask_model(trained, real_digits, outputs="labels")
    assert answers.kind == "labels"
    assert np.isnan(answers.losses).all()
    np.testing.assert_array_equal(
        answers.correct, trained_logits.argmax(axis=1) == real_digits.labels
    )


def test_whole_numbers_stored_as_floats_are_labels_only_on_request():
    assert ask([0.0, 2.0], [0, 1], outputs="labels").correct.tolist() == [True, False]
    with pytest.raises(SuspectError, match="if these are class indices, pass outputs='labels'"):
        ask([0.0, 2.0], [0, 1])


def test_integer_scores_are_logits():
    assert ask(np.array([[250, 3, 0], [9, 200, 1]], np.uint8), [0, 0]).losses.tolist() == [
        pytest.approx(0.0),
        pytest.approx(191.0),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 5)), r"answered with 5 classes, and the dataset has 3"),
        (np.zeros((2, 1)), r"answered with 1 classes, and the dataset has 3"),
        (np.zeros((2, 3, 1, 1)), r"shape \(2, 3, 1, 1\), expected \(2, 3\) or \(2,\)"),
        (np.array([[0.0, 1.0, 2.0], [0.0, np.nan, 0.0]]), r"'k1'.* nan for class 1"),
        (np.array([[0.0, 1.0, -np.inf], [0.0, 0.0, 0.0]]), r"'k0'.* -inf for class 2"),
        (np.array([0, 3]), r"'k1'.* class 3, and classes are 0 to 2"),
        (np.array([-1, 2]), r"'k0'.* class -1, and classes are 0 to 2"),
        (np.array([True, False]), r"true or false"),
        (np.array(["cat", "dog"]), r"numbers are needed"),
    ],
)
def test_unusable_answers_are_errors_that_say_why(rows, message):
    with pytest.raises(SuspectError, match=message) as caught:
        ask(rows, [0, 1])
    assert "'held'" in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "outputs", "message"),
    [
        ([[0.2, 0.3, 0.5], [2.5, 0.1, 0.2]], "probabilities", r"'k1'.* 2.5 for class 0"),
        ([[0.2, 0.3, 0.5], [-0.5, 1.0, 0.5]], "probabilities", r"'k1'.* -0.5 for class 0"),
        ([0, 1], "probabilities", "3 probabilities are needed"),
        ([0, 1], "logits", "3 logits are needed"),
        ([0.0, 1.5], "labels", r"'k1'.* class 1.5"),
        ([0.0, np.nan], "labels", r"'k1'.* class nan"),
    ],
)
def test_answers_that_are_not_what_was_promised_are_errors(rows, outputs, message):
    with pytest.raises(SuspectError, match=message):
        ask(rows, [0, 1], outputs=outputs)


def test_too_few_answers_are_an_error(trained, real_digits):
    with pytest.raises(SuspectError, match=r"shape \(7, 10\), expected \(8, 10\)"):
        ask_model(lambda x: trained(x)[1:], real_digits, batch_size=8)


def test_unsqueezed_answers_are_an_error(trained, real_digits):
    with pytest.raises(SuspectError, match=r"shape \(40, 10, 1, 1\)"):
        ask_model(lambda x: trained(x)[:, :, None, None], real_digits)


def test_answers_of_two_kinds_are_an_error():
    with pytest.raises(SuspectError, match="labels to some images and with scores to others"):
        ask([1, [0.1, 0.2, 0.7]], [1, 1], batch_size=1)


class Unlucky(torch.nn.Module):
    """Raises on any batch that holds one image, as a service that crashes on odd pixels does."""

    def __init__(self, model, batch, at):
        super().__init__()
        self.model = model
        self.odd = batch[at]
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        if (x == self.odd).flatten(1).all(dim=1).any():
            raise RuntimeError("internal server error 500")
        return self.model(x)


def test_a_suspect_that_raises_is_an_error_that_names_the_batch(trained, real_digits):
    suspect = Unlucky(trained, real_digits.batch(), at=21)
    expected = r"'the model' failed on images 16 to 23 \('digit-16' to 'digit-23'\): RuntimeError: internal"
    with pytest.raises(SuspectError, match=expected) as caught:
        ask_model(suspect, real_digits, batch_size=8)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_only_the_image_that_fails_is_skipped(trained, real_digits):
    suspect = Unlucky(trained, real_digits.batch(), at=21)
    answers = ask_model(suspect, real_digits, batch_size=8, tolerance=None)
    whole = ask_model(trained, real_digits)
    assert np.flatnonzero(answers.failed).tolist() == [21]
    assert list(answers.failures) == ["digit-21"]
    assert "internal server error 500" in answers.failures["digit-21"]
    assert np.isnan(answers.losses[21])
    assert not answers.correct[21]
    others = ~answers.failed
    np.testing.assert_allclose(answers.losses[others], whole.losses[others], rtol=1e-5, atol=1e-6)
    # its batch twice whole, then image by image, the failing one twice; the others once
    assert suspect.sizes == [8, 8, 8, 8] + [1] * 9 + [8, 8]


@pytest.mark.parametrize("bad", [(), (21,), (16, 31), (17, 18, 19)])
def test_a_metered_suspect_is_never_asked_image_by_image(trained, real_digits, bad):
    """What fails is found by halves: 2 calls a halving and not 32; the others' answers are kept."""
    refused = {real_digits.keys[i] for i in bad}
    calls = []

    class Paid(Suspect):
        name, metered = "paid", True

        def answer(self, images, keys):
            calls.append(len(images))
            if refused & set(keys):
                raise RuntimeError("not answered")
            return np.tile([1.0, 2.0, 3.0], (len(images), 1))

    asking = Asking(Paid(), 3, "logits", tolerance=3)
    asking.ask(real_digits.images[:32], real_digits.keys[:32], np.zeros(32, int))
    assert np.flatnonzero(asking.answers().failed).tolist() == list(bad)
    assert calls[: 3 if bad else 1] == [32] * (3 if bad else 1)
    # 3 tries, then two calls for each of 5 halvings a bad image, whose own third and second try end it
    assert len(calls) <= 3 + len(bad) * (2 * 5 + 2)
    assert calls.count(1) <= 4 * len(bad)


def test_rows_that_are_not_finite_are_skipped():
    rows = [[1.0, 2.0, 3.0], [0.0, np.nan, 0.0], [np.inf, 0.0, 0.0], [3.0, 2.0, 1.0]]
    answers = ask(rows, [2, 0, 0, 2], tolerance=None)
    assert answers.failed.tolist() == [False, True, True, False]
    assert answers.correct.tolist() == [True, False, False, False]
    assert np.isnan(answers.losses).tolist() == [False, True, True, False]


def test_failed_rows_have_no_say_in_what_the_others_are():
    answers = ask([[0.2, 0.3, 0.5], [np.nan, 9.0, 9.0]], [0, 0], tolerance=None)
    assert answers.outputs == "probabilities"
    assert answers.losses[0] == pytest.approx(-np.log(0.2))


def test_a_suspect_that_never_answers_gives_only_failures(trained, real_digits):
    answers = ask_model(lambda x: trained(x)[:, :9], real_digits, tolerance=None)
    assert answers.failed.all()
    assert np.isnan(answers.losses).all()
    assert "9 classes, and the dataset has 10" in answers.failures["digit-00"]


def test_a_failure_that_passes_is_no_failure(trained, real_digits):
    calls = []

    def flaky(x):
        calls.append(len(x))
        if len(calls) == 2:
            raise TimeoutError
        return trained(x)

    answers = ask_model(flaky, real_digits, batch_size=20, tolerance=None)
    assert not answers.failed.any()
    assert calls == [20, 20, 20]


def test_one_answer_that_cannot_be_used_is_asked_for_again(trained, real_digits, pauses):
    calls = []

    def hiccup(x):
        calls.append(len(x))
        logits = trained(x)
        if len(calls) in (1, 2, 3, 4):
            logits[0, 0] = float("nan")
        return logits

    answers = ask_model(hiccup, real_digits, batch_size=20, tolerance=3)
    assert not answers.failed.any()
    assert calls == [20, 20, 20, 10, 5, 5, 10, 20]
    assert pauses == [1.0, 5.0], "a service gets time, and the number of tries is bounded"


def test_a_module_at_hand_is_not_waited_for(trained, real_digits, pauses):
    suspect = Unlucky(trained, real_digits.batch(), at=3)
    ask_model(suspect, real_digits, batch_size=8, tolerance=None)
    assert set(pauses) == {0.0}


@pytest.mark.parametrize("batch_size", [1, 2, 5, 40])
def test_a_suspect_that_is_out_of_order_is_told_from_one_that_fails_on_an_image(
    trained, real_digits, batch_size
):
    calls = []

    def down(x):
        calls.append(len(x))
        if (x == batch[10:]).flatten(1).all(1).any() if len(x) == 30 else x_in(x, batch[10:]):
            raise ConnectionError("refused")
        return trained(x)

    def x_in(x, rest):
        return any((row == rest).flatten(1).all(1).any() for row in x)

    batch = real_digits.batch()
    with pytest.raises(SuspectError, match=r"refused \(4 images in a row failed\)"):
        ask_model(down, real_digits, batch_size=batch_size, tolerance=3)
    held = ask_model(down, real_digits, batch_size=batch_size, tolerance=None)
    assert held.failed.tolist() == [False] * 10 + [True] * 30


def test_answers_are_kept_before_they_are_used(trained, real_digits):
    kept = {}

    def keep(keys, losses, correct):
        kept.update(zip(keys, zip(losses, correct, strict=True), strict=True))

    suspect = load_suspect(Unlucky(trained, real_digits.batch(), at=3))
    asking = Asking(suspect, 10, "logits", 3, keep)
    asking.ask(real_digits.images[:8], real_digits.keys[:8], real_digits.labels[:8])
    answers = asking.answers()
    assert list(kept) == [key for key in real_digits.keys[:8] if key != "digit-03"]
    for key, (loss, correct) in kept.items():
        row = real_digits.keys.index(key)
        assert (answers.losses[row], answers.correct[row]) == (loss, correct)


def test_what_cannot_be_kept_is_no_failure_of_the_suspect(trained, real_digits):
    def full(keys, losses, correct):
        raise OSError("no space left")

    asking = Asking(load_suspect(trained), 10, "logits", 3, full)
    with pytest.raises(OSError, match="no space left"):
        asking.ask(real_digits.images[:2], real_digits.keys[:2], real_digits.labels[:2])


def test_predicted_classes_are_told(trained, real_digits, trained_logits):
    answers = ask_model(trained, real_digits)
    np.testing.assert_array_equal(answers.predicted, trained_logits.argmax(axis=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "ValueError"),
        ("one\ntwo", "ValueError: one two"),
        ("what\nwhere\nwhen\nadvice\nuse X", "ValueError: what … advice use X"),
        (
            "The following operation failed in the TorchScript interpreter.\n"
            "Traceback of TorchScript (most recent call last):\n  File a, line 1, in forward\n"
            "    return torch.addmm(b, x, w)\n           ~~~ <--- HERE\n"
            "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x12 and 4x3)\n",
            "ValueError: RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x12 and 4x3)",
        ),
    ],
)
def test_an_error_keeps_its_cause(text, expected):
    assert cause_of(ValueError(text)) == expected


def test_an_interrupt_is_never_skipped(real_digits):
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_model(interrupted, real_digits, tolerance=None)


def test_images_of_several_sizes_need_an_input_size(trained, real_digits):
    images = [*real_digits.images[:3], np.zeros((6, 9, 3), np.uint8)]
    keys, labels = real_digits.keys[:4], real_digits.labels[:4]
    for batch_size in (1, 4):
        with pytest.raises(SuspectError, match=r"'digit-03' is 9x6 .* input_size"):
            query(
                load_suspect(trained), images, keys, labels, num_classes=10, batch_size=batch_size
            )
    skipped = query(load_suspect(trained), images, keys, labels, num_classes=10, tolerance=None)
    assert skipped.failed.tolist() == [False, False, False, True]
    resized = query(load_suspect(trained, input_size=8), images, keys, labels, num_classes=10)
    assert not resized.failed.any()


def test_what_is_not_asked_is_not_sent(trained_logits, real_digits):
    held = dict(zip(real_digits.keys, trained_logits, strict=True))
    del held["digit-03"]
    answers = query(
        PredictionsSuspect(held),
        real_digits.images,
        real_digits.keys,
        real_digits.labels,
        num_classes=10,
    )
    assert np.flatnonzero(answers.failed).tolist() == [3]
    assert "holds no answer for image 'digit-03'" in answers.failures["digit-03"]


def test_answers_under_other_keys_are_found_out_beforehand(trained_logits, real_digits):
    suspect = PredictionsSuspect({f"/data/{i}.png": row for i, row in enumerate(trained_logits)})
    with pytest.raises(SuspectError, match=r"'digit-00'; are its answers stored under other keys"):
        check_answerable(suspect, real_digits.keys)
    check_answerable(PredictionsSuspect({"digit-07": 1}), real_digits.keys)


def test_progress_is_reported_in_images(trained, real_digits):
    seen = []
    ask_model(trained, real_digits, batch_size=16, report=lambda *step: seen.append(step))
    assert seen == [("Querying", 16, 40), ("Querying", 32, 40), ("Querying", 40, 40)]


def test_images_are_asked_once_and_in_order():
    rows = np.eye(3)[[0, 1, 2, 0, 1]]
    keys = list("edcba")
    suspect = Held(dict(zip(keys, rows, strict=True)))
    image = np.zeros((4, 4, 3), np.uint8)
    query(suspect, [image] * 5, keys, np.zeros(5, int), num_classes=3, batch_size=2)
    assert suspect.asked == [["e", "d"], ["c", "b"], ["a"]]


def test_no_images_give_no_answers():
    answers = ask([], np.zeros(0, int))
    assert len(answers.losses) == len(answers.correct) == len(answers.failed) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "num_classes is at least 2, got 1"),
        ({"num_classes": 3.0}, "num_classes is a whole number, got 3.0"),
        ({"batch_size": 0}, "batch_size must be an integer from 1 to 4096; found 0"),
        ({"batch_size": True}, "batch_size"),
        ({"outputs": "scores"}, "outputs is one of auto, logits, .*'scores'"),
        ({"labels": [0, 3]}, "label of image 'k1' is 3, and classes are 0 to 2"),
        ({"labels": [0, -1]}, "label of image 'k1' is -1"),
        ({"labels": [0.0, 1.0]}, "labels are whole numbers, got float64"),
        ({"labels": [0]}, r"2 keys were given, but labels of shape \(1,\)"),
    ],
)
def test_arguments_are_checked_before_anything_is_asked(change, message):
    suspect = Held({"k0": [0, 0, 1], "k1": [0, 0, 1]})
    given = {"num_classes": 3, "labels": [0, 1], **change}
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ParameterError, match=message):
        query(suspect, [image, image], ["k0", "k1"], np.asarray(given.pop("labels")), **given)
    assert suspect.asked == []


@pytest.mark.parametrize(
    ("num_images", "message"), [(1, "2 keys .* but 1 images"), (3, "more images")]
)
def test_keys_and_images_have_to_match(num_images, message):
    suspect = Held({"k0": [0, 0, 1], "k1": [0, 0, 1]})
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ParameterError, match=message):
        query(suspect, [image] * num_images, ["k0", "k1"], np.array([0, 1]), num_classes=3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        [[[0, 0, 0]]],
    ],
)
def test_images_are_arrays_of_bytes(image):
    with pytest.raises(ImageError, match="image 'k0'"):
        query(Held({}), [image], ["k0"], np.array([0]), num_classes=3)


def test_one_loss_an_image_is_taken_as_it_is():
    answers = ask([0.25, 3.0, 0.0], [0, 1, 2], outputs="losses")
    assert answers.kind == "scores"
    assert answers.outputs == "losses"
    assert answers.losses.tolist() == [0.25, 3.0, 0.0]
    assert answers.predicted.tolist() == [-1, -1, -1]
    assert not answers.correct.any()
    assert ask([1e30], [0], outputs="losses").losses.tolist() == [1e6]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.1, 0.2, 0.7]], "answered with 3 numbers an image, and one loss an image is needed"),
        ([0.5, -0.1], r"'k1'.* loss -0\.1, and losses are finite and 0 or more"),
        ([float("nan")], r"'k0'.* loss nan"),
        ([float("inf")], r"'k0'.* loss inf"),
    ],
)
def test_what_is_no_loss_is_told(rows, message):
    with pytest.raises(SuspectError, match=message):
        ask(rows, [0] * len(rows), outputs="losses")
