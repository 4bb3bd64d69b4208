"""What a suspect is asked about sides of several images: every image once, a side as their mean, nothing of a coin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fiftyone_honeyimage.core.errors import SuspectError
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.sides import MarkedImage
from fiftyone_honeyimage.core.pipeline import verify
from fiftyone_honeyimage.core.pipeline.questions import Questions
from fiftyone_honeyimage.core.suspects import Protocol, Suspect
from fiftyone_honeyimage.core.suspects.journal import Journal

CLASSES = ["cat", "dog"]
NUM_PAIRS, NUM_IMAGES = 5, 3


class Grey(Suspect):
    """Its loss on class "cat" is the picture's grey value over 10; it may stop or fail."""

    name, digest = "grey", "0" * 64

    def __init__(self, stop_after: int = 10**9, refused: str = "", labels: bool = False) -> None:
        self.asked: list[str] = []
        self._stop, self._refused, self._labels = stop_after, refused, labels

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        if len(self.asked) + len(keys) > self._stop:
            raise KeyboardInterrupt
        if self._refused in keys:
            raise SuspectError("this picture is not answered")
        self.asked += keys
        losses = np.array([image[0, 0, 0] / 10 for image in images])
        if self._labels:
            return (losses > 1).astype(np.int64)
        probabilities = np.exp(-losses)
        return np.stack([probabilities, 1 - probabilities], axis=1)


@pytest.fixture
def asked() -> Any:
    """The grey values of all images by sample id, and a maker of questions about them."""
    rng = np.random.default_rng(0)
    greys, queries = {}, []
    for pair in (3, 1, 4, 0, 2):
        for side in "ab" if pair % 2 else "ba":
            for number in range(NUM_IMAGES):
                key = f"{pair}{side}{number}"
                greys[key] = int(rng.integers(1, 30))
                image = MarkedImage(key, "cat", f"{key}.png", "0" * 64, "1" * 64)
                queries.append((pair, side, image))
    images = {key: np.full((4, 4, 3), grey, np.uint8) for key, grey in greys.items()}

    def questions(
        suspect: Suspect, outputs: str = "probabilities", batch_size: int = 4
    ) -> Questions:
        return Questions(queries, images, Protocol.of(suspect, CLASSES, outputs, batch_size, ()))

    return greys, questions


def _open(folder: Path) -> Journal:
    (folder / "ledger.json").touch()
    return Journal.open(folder / "ledger.json", {"suspect": "grey"})


def test_a_side_is_the_mean_of_its_images(asked: Any, tmp_path: Path) -> None:
    greys, questions = asked
    suspect = Grey()
    with _open(tmp_path) as journal:
        journal.begin([])
        answers = questions(suspect).ask(suspect, journal)
    assert answers.pairs == (3, 1, 4, 0, 2)
    for pair, a, b in zip(answers.pairs, answers.a, answers.b, strict=True):
        for side, value in (("a", a), ("b", b)):
            own = [greys[f"{pair}{side}{number}"] / 10 for number in range(NUM_IMAGES)]
            assert value == pytest.approx(np.mean(own), rel=1e-5)


def test_stopped_within_a_side_it_goes_on_and_asks_nothing_twice(
    asked: Any, tmp_path: Path
) -> None:
    _, questions = asked
    whole = Grey()
    with _open(tmp_path) as journal:
        journal.begin([])
        expected = questions(whole).ask(whole, journal)
        journal.remove()
    first, second = Grey(stop_after=10), Grey()
    with _open(tmp_path) as journal:
        journal.begin([])
        with pytest.raises(KeyboardInterrupt):
            questions(first).ask(first, journal)
    with _open(tmp_path) as journal:
        assert questions(second).ask(second, journal) == expected
        assert questions(second).replay(journal) == expected
    assert len(first.asked) == 8, "two batches of four: within the second side"
    assert first.asked + second.asked == whole.asked


def test_one_image_that_is_not_answered_fails_its_pair(asked: Any, tmp_path: Path) -> None:
    _, questions = asked
    suspect = Grey(refused="4a1")
    with _open(tmp_path) as journal:
        journal.begin([])
        own = questions(suspect)
        answers = own.ask(suspect, journal)
    assert [pair for pair, failed in zip(answers.pairs, answers.failed, strict=True) if failed] == [
        4
    ]
    assert list(own.failures) == ["4a1"]
    assert own.recorded[4, "a"] is own.recorded[4, "b"] is None


class _Filter(Grey):
    """Refuses whatever of some pairs it is asked."""

    def __init__(self, *pairs: str) -> None:
        super().__init__()
        self._pairs = pairs

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        if any(key.startswith(self._pairs) for key in keys):
            raise SuspectError("refused by a filter")
        return super().answer(images, keys)


def test_a_pair_that_is_refused_as_a_whole_stops_nothing(asked: Any, tmp_path: Path) -> None:
    """Six images in a row are one pair; two pairs in a row are a suspect that is out of order."""
    _, questions = asked
    suspect = _Filter("1", "0")
    with _open(tmp_path) as journal:
        journal.begin([])
        answers = questions(suspect).ask(suspect, journal)
        assert answers.failed == (False, True, False, True, False)
        journal.remove()
    down = _Filter("1", "4")
    with _open(tmp_path) as journal:
        journal.begin([])
        with pytest.raises(SuspectError, match=r"12 images in a row failed"):
            questions(down).ask(down, journal)


class _Looks(Grey):
    """Answers on what it holds, and never on one side of a pair, until it is told to."""

    honest = False

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        if not self.honest and any(key[1] == "b" for key in keys):
            raise SuspectError("not one of ours")
        return super().answer(images, keys)


def test_a_suspect_that_refuses_one_side_of_every_pair_is_not_concluded(
    asked: Any, tmp_path: Path
) -> None:
    """It would cost a place in the ledger each time, and prove nothing; nor is anything lost."""
    _, questions = asked
    suspect = _Looks()
    with _open(tmp_path) as journal:
        journal.begin([])
        with pytest.raises(SuspectError, match=r"5 of 5 pairs .*not one of ours.* skip_failures"):
            questions(suspect).ask(suspect, journal)
        answered = dict(journal.answers)
        assert not journal.failures
    with _open(tmp_path) as journal:
        assert not journal.failures
        suspect.honest = True
        answers = questions(suspect).ask(suspect, journal)
        assert answers.num_failed == 0
        assert answered.items() <= journal.answers.items()
        journal.remove()
    suspect.honest = False
    with _open(tmp_path) as journal:
        journal.begin([])
        assert questions(suspect).ask(suspect, journal, skip_failures=True).num_failed == 5


def test_labels_give_the_share_that_is_right(asked: Any, tmp_path: Path) -> None:
    greys, questions = asked
    suspect = Grey(labels=True)
    with _open(tmp_path) as journal:
        journal.begin([])
        answers = questions(suspect, "labels").ask(suspect, journal)
    right = [greys[f"3a{number}"] <= 10 for number in range(NUM_IMAGES)]
    assert answers.a[0] == np.mean(right)
    assert {round(3 * value) / 3 for value in (*answers.a, *answers.b)} == {*answers.a, *answers.b}
    assert len({*answers.a, *answers.b} - {0.0, 1.0}) > 0


def test_in_turn_it_looks_after_every_pair_of_sides(asked: Any, tmp_path: Path) -> None:
    _, questions = asked
    suspect, seen = Grey(), []

    def enough(pairs: Any) -> bool:
        seen.append(list(pairs.pairs))
        return len(seen) == 2

    with _open(tmp_path) as journal:
        journal.begin([])
        answers = questions(suspect).ask(suspect, journal, suffices=enough)
    assert seen == [[3], [3, 1]]
    assert answers.pairs == (3, 1)
    assert len(suspect.asked) == 2 * 2 * NUM_IMAGES


@pytest.mark.parametrize(
    ("test", "batch_size", "expected"),
    [("e_process", 64, 6), ("e_process", 4, 4), ("signed_rank", 64, 64)],
)
def test_it_is_tried_in_the_batches_to_come(
    monkeypatch: pytest.MonkeyPatch, test: str, batch_size: int, expected: int
) -> None:
    """In turn a pair comes at once: both sides, three images each."""
    tried = []
    monkeypatch.setattr(verify, "try_out", lambda *_, **how: tried.append(how["batch_size"]))
    pair = SimpleNamespace(asked=("image",) * 6)
    ledger: Any = SimpleNamespace(pairs=[pair], plan=Plan(test=test))
    call = verify.Call(ledger, Path(), {}, Grey(), CLASSES, batch_size=batch_size)
    verify._try_out(call, {})
    assert tried == [expected]
