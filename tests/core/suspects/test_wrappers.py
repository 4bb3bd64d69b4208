"""What can be put around a suspect: tries, a rate, answers on disk, a log; the suspect stays the same."""

from __future__ import annotations

import json
import stat
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import ParameterError, SuspectError
from fiftyone_honeyimage.core.suspects import (
    Cached,
    Logged,
    Protocol,
    RateLimited,
    Retrying,
    Suspect,
    load_suspect,
    query,
    wrappers,
)


def _counting(trained, fail=None):
    calls = []

    def suspect(x):
        calls.append(len(x))
        if fail is not None:
            raise fail
        return trained(x)

    return calls, load_suspect(suspect, name="theirs")


def _ask(suspect, digits, tolerance=0, batch_size=8):
    return query(
        suspect,
        digits.images,
        digits.keys,
        digits.labels,
        num_classes=10,
        batch_size=batch_size,
        tolerance=tolerance,
    )


@pytest.mark.parametrize("error", [TypeError("no x"), KeyError("x"), NotImplementedError()])
def test_a_mistake_in_a_function_is_told_at_once(trained, real_digits, pauses, error):
    calls, suspect = _counting(trained, error)
    with pytest.raises(SuspectError, match=type(error).__name__):
        _ask(suspect, real_digits, tolerance=3, batch_size=1)
    assert pauses == []
    assert calls == [1] * 4, "one try for each image, and four failures in a row are too many"


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionError(), RuntimeError("busy")])
def test_what_may_pass_is_tried_three_times(trained, real_digits, pauses, error):
    calls, suspect = _counting(trained, error)
    with pytest.raises(SuspectError, match=type(error).__name__):
        _ask(suspect, real_digits)
    assert calls == [8, 8, 8]
    assert pauses == [1.0, 5.0]
    with pytest.raises(type(error)):
        Retrying(suspect).answer(real_digits.images[:1], ["one"])


def test_no_more_images_a_minute_than_allowed(trained, real_digits, monkeypatch):
    clock = [100.0]
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(wrappers, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    suspect = RateLimited(load_suspect(trained), images_a_minute=120)
    plain = _ask(load_suspect(trained), real_digits)
    answers = _ask(suspect, real_digits)
    np.testing.assert_array_equal(answers.losses, plain.losses)
    number = len(real_digits.images)
    # After a batch of 8 half a second an image, whoever is faster waits
    assert waited[:3] == pytest.approx([0.0, 4.0, 4.0])
    assert sum(waited) == pytest.approx((-(-number // 8) - 1) * 4.0)
    for wrong in (0, -1, float("nan"), float("inf"), "60", True):
        with pytest.raises(ParameterError, match="images_a_minute"):
            RateLimited(suspect, wrong)


def test_no_picture_is_asked_about_twice(trained, real_digits, tmp_path):
    calls, suspect = _counting(trained)
    first = _ask(Cached(suspect, tmp_path / "answers"), real_digits)
    asked = sum(calls)
    assert asked == len(real_digits.images)
    again = _ask(Cached(suspect, tmp_path / "answers"), real_digits, batch_size=3)
    number = min(len(real_digits.images), wrappers.NUM_COMPARED)
    assert sum(calls) == asked + number, "one without a digest shows that it is the same"
    asked += number
    np.testing.assert_array_equal(first.losses, again.losses)
    # One more picture among known ones is the only one that is sent
    more = [255 - real_digits.images[0], *real_digits.images[:4]]
    Cached(suspect, tmp_path / "answers").answer(more, ["new", *real_digits.keys[:4]])
    assert sum(calls) == asked + 5
    assert stat.S_IMODE((tmp_path / "answers").stat().st_mode) == 0o700


def test_good_models_of_one_name_do_not_share_answers(real_digits, tmp_path):
    """They say the same of most pictures: of labels all but one here, of scores what is sure."""

    def labels(last):
        return load_suspect(
            lambda x: np.where(abs(x.flatten(1).mean(1).numpy() - dark) < 1e-6, last, 1),
            name="predict",
        )

    images, keys = real_digits.images[:20], real_digits.keys[:20]
    dark = torch.from_numpy(images[-1]).float().div(255).permute(2, 0, 1).mean().item()
    one, other = labels(1), labels(2)
    kept = Cached(one, tmp_path)
    for start in range(0, 20, 4):
        kept.answer(images[start : start + 4], keys[start : start + 4])
    again = Cached(other, tmp_path)
    for start in range(0, 16, 4):
        again.answer(images[start : start + 4], keys[start : start + 4])
    with pytest.raises(SuspectError, match="holds answers of another suspect"):
        again.answer(images[16:], keys[16:])

    sure, as_sure = (
        load_suspect(lambda x, p=p: np.tile([1 - p, p], (len(x), 1)), name="sure")
        for p in (1e-4, 2e-3)
    )
    Cached(sure, tmp_path).answer(images[:1], keys[:1])
    with pytest.raises(SuspectError, match="holds answers of another suspect"):
        Cached(as_sure, tmp_path).answer(images[:1], keys[:1])


def test_new_pictures_first_do_not_make_a_suspect_known(real_digits, tmp_path):
    one, other = (
        load_suspect(lambda x, v=v: np.tile([v, 0.0], (len(x), 1)), name="m") for v in (1.0, 3.0)
    )
    images, keys = real_digits.images, real_digits.keys
    Cached(one, tmp_path).answer(images[:2], keys[:2])
    again = Cached(other, tmp_path)
    again.answer(images[2:4], keys[2:4])
    with pytest.raises(SuspectError, match="holds answers of another suspect"):
        again.answer(images[:2], keys[:2])


def test_a_module_is_known_by_more_than_its_weights(trained, real_digits, tmp_path):
    class Listed(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.members = [value]  # in no state_dict
            self.register_buffer("mean", torch.zeros(1))

        def forward(self, x):
            return torch.tensor([self.members[0], 0.0, 1.0]).tile(len(x), 1)

    one, other = (load_suspect(Listed(v), name="m") for v in (1.0, 3.0))
    assert one.digest == other.digest
    Cached(one, tmp_path).answer(real_digits.images[:1], ["a"])
    with pytest.raises(SuspectError, match="holds answers of another suspect"):
        Cached(other, tmp_path).answer(real_digits.images[:1], ["a"])


def test_two_functions_of_one_name_do_not_share_answers(real_digits, tmp_path):
    image, key = real_digits.images[:1], real_digits.keys[:1]
    for first, last in ((1.0, 9.0), (0.0, 1.0)):
        one, other = (
            load_suspect(lambda x, value=value: np.tile([value, 0.0, 0.5], (len(x), 1)))
            for value in (first, last)
        )
        folder = tmp_path / str(last)
        assert Cached(one, folder).answer(image, key)[0, 0] == first
        with pytest.raises(SuspectError, match=r"holds answers of another suspect that is called"):
            Cached(other, folder).answer(image, key)
        assert Cached(one, folder).answer(image, key)[0, 0] == first


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY\x01\x00v", b"no answer at all"])
def test_a_damaged_answer_is_asked_for_anew(real_digits, tmp_path, left):
    service = Service(_right)
    whole = Cached(service, tmp_path).answer(real_digits.images[:3], real_digits.keys[:3])
    damaged = sorted(tmp_path.rglob("*.npy"))[0]
    damaged.write_bytes(left)
    again = Cached(service, tmp_path).answer(real_digits.images[:3], real_digits.keys[:3])
    np.testing.assert_array_equal(again, whole)
    assert np.load(damaged).shape == (10,)


def test_what_failed_is_not_kept(trained, real_digits, tmp_path):
    _, failing = _counting(trained, TypeError("no"))
    with pytest.raises(SuspectError):
        _ask(Cached(failing, tmp_path), real_digits)
    assert list(tmp_path.rglob("*.npy")) == []
    short = load_suspect(lambda x: trained(x)[:-1])
    with pytest.raises(SuspectError, match="7"):
        _ask(Cached(short, tmp_path), real_digits)
    assert list(tmp_path.rglob("*.npy")) == []


class Service(Suspect):
    """Gives what ``answers`` says of its n-th call."""

    metered = True

    def __init__(self, *answers, name="service"):
        self.name, self._answers, self.sent = name, answers, []

    def answer(self, images, keys):
        self.sent.append(len(images))
        return self._answers[min(len(self.sent), len(self._answers)) - 1](len(images))


def _right(number):
    return np.eye(10)[np.zeros(number, int)]


def _nan(number):
    return np.where(np.arange(10) == 3, np.nan, _right(number))


@pytest.mark.parametrize("useless", [_nan, lambda n: _right(n)[:, :7], lambda n: None])
def test_a_useless_answer_is_not_kept_and_asked_for_again(real_digits, tmp_path, pauses, useless):
    service = Service(useless, _right)
    found = _ask(Cached(service, tmp_path), real_digits)
    assert not found.failed.any()
    assert len(pauses) == 1
    # Kept are those that came after, and nobody is asked about them again but to see that it is the same
    again = Cached(service, tmp_path)
    _ask(again, real_digits)
    sent = len(service.sent)
    _ask(again, real_digits)
    assert service.sent[sent:] == []


def test_an_unusable_answer_is_told_though_the_service_was_busy_later(real_digits, pauses):
    def busy(n):
        raise ConnectionError("503")

    service = Service(lambda n: _right(n)[:, :7], busy)
    with pytest.raises(SuspectError, match="7 classes, and the dataset has 10"):
        _ask(service, real_digits)


def test_answers_of_one_suspect_are_never_taken_for_anothers(trained, real_digits, tmp_path):
    image, key = real_digits.images[:1], real_digits.keys[:1]
    one, other = (Service(lambda n, w=w: w * _right(n), name=f"model {w}") for w in (1.0, 2.0))
    ours, theirs = (Cached(service, tmp_path).answer(image, key) for service in (one, other))
    assert (ours.max(), theirs.max()) == (1.0, 2.0)
    small, large = (load_suspect(trained, input_size=size, name="m") for size in (8, 9))
    Cached(small, tmp_path).answer(image, key)
    assert len(list(tmp_path.rglob("*.npy"))) == 3
    Cached(large, tmp_path).answer(image, key)
    assert len(list(tmp_path.rglob("*.npy"))) == 4, "another way of asking, other answers"


def test_held_answers_go_by_their_keys(real_digits, tmp_path):
    held = Cached(load_suspect({"a": 1, "b": 2}), tmp_path)
    picture = real_digits.images[0]
    assert [held.answer([picture], [key])[0] for key in "ab"] == [1, 2]


def test_a_picture_that_comes_twice_is_asked_about_once(real_digits, tmp_path):
    service = Service(_right)
    images = [real_digits.images[0], real_digits.images[1], real_digits.images[0]]
    assert Cached(service, tmp_path).answer(images, ["a", "b", "c"]).shape == (3, 10)
    assert service.sent == [2]


def test_no_batch_is_larger_than_a_minute_allows(real_digits, monkeypatch):
    clock, waited = [0.0], []

    def sleep(seconds):
        waited.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(wrappers, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    service = Service(_right)
    found = RateLimited(service, 3).answer(real_digits.images[:8], real_digits.keys[:8])
    assert found.shape == (8, 10)
    assert service.sent == [3, 3, 2]
    assert waited == [0.0, 60.0, 60.0]


def test_every_query_is_written_down(trained, real_digits, tmp_path):
    log = tmp_path / "log.jsonl"
    answers = _ask(Logged(load_suspect(trained), log), real_digits)
    _, failing = _counting(trained, TypeError("no"))
    with pytest.raises(SuspectError):
        _ask(Logged(failing, log), real_digits)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    number = len(real_digits.images)
    assert [line["key"] for line in lines[:number]] == real_digits.keys
    assert [int(np.argmax(line["answer"])) for line in lines[:number]] == answers.predicted.tolist()
    assert [line["error"] for line in lines[number:]] == ["TypeError: no"] * 8
    assert len({line["picture"] for line in lines[:number]}) == number
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_suspect_stays_what_it_is(trained, tmp_path):
    suspect = load_suspect(trained, input_size=8, name="Acme")
    around = Logged(Cached(RateLimited(Retrying(suspect), 60), tmp_path), tmp_path / "log")
    assert load_suspect(around) is around
    for name in ("name", "digest", "metered", "held", "preprocessing", "device", "way"):
        assert getattr(around, name) == getattr(suspect, name)
    classes = [str(number) for number in range(10)]
    assert Protocol.of(around, classes, "logits", 8) == Protocol.of(suspect, classes, "logits", 8)
    held = load_suspect({"a": 1, "b": 2})
    assert Logged(held, tmp_path / "log").held == ("a", "b")
    assert Logged(held, tmp_path / "log").unanswerable(["a", "c"]) == {"c"}
