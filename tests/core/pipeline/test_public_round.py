"""A marking on a bare machine whose coins a public round decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beacons import answer, make_quick, relay, sign

from fiftyone_honeyimage.core.errors import BeaconError, LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence.code_words import Code
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.core.pipeline import coins, crafting
from fiftyone_honeyimage.core.pipeline.labeled import LabeledSamples
from fiftyone_honeyimage.core.pipeline.mark import dataset_digest, mark
from fiftyone_honeyimage.core.training import TrainingConfig


@pytest.fixture
def call(
    write_digits: Callable[..., list[tuple[Path, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    monkeypatch.setattr(crafting, "_load_lpips", lambda file: (None, "not asked for"))
    make_quick(monkeypatch)
    files = write_digits(60, 3, 8)
    labels = np.array([int(label) for _, label in files])
    ids = [f"image {number}" for number in range(60)]
    labeled = LabeledSamples(ids, [str(path) for path, _ in files], labels, ["0", "1", "2"])

    def make(**changes: Any) -> Any:
        given: dict[str, Any] = {
            "num_honeyimages": 8,
            "num_pairs": 8,
            "input_size": 8,
            "method": "unperturbed",
            "proxy": "resnet_tiny",
            "training": TrainingConfig(epochs=1, batch_size=32),
            "exclude": (),
            "device": "cpu",
            "coins": "beacon",
        }
        hardness = np.random.default_rng(0).exponential(1.0, 60)
        return mark(tmp_path / "marked", labeled, hardness, **{**given, **changes})

    return make


def test_killed_while_it_waits_it_goes_on(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    earlier = ["12" * 32, "34" * 32]
    with monkeypatch.context() as patch:
        patch.setattr(coins, "await_round", killed)
        with pytest.raises(KeyboardInterrupt):
            call(earlier_commitments=earlier)
    path = tmp_path / "marked" / "ledger.json"
    pending = load_ledger(path)
    assert pending.pending
    assert pending.header["earlier_commitments"] == earlier
    assert pending.header["marking_number"] == 3
    number = pending.beacon.round  # type: ignore[union-attr]
    with relay() as address:
        with pytest.raises(ParameterError, match="exists already"):
            call(relays=[address])  # other earlier commitments: another call
        ledger = call(earlier_commitments=earlier, relays=[address])
    assert ledger.commitment == pending.commitment
    assert ledger.released() == load_ledger(path, pending.commitment).released()
    assert not (tmp_path / "marked" / "request.json").exists()
    coins.draw_by_hand(pending, answer(number, sign(number)).decode())
    assert pending.released() == ledger.released()


def test_a_round_decides_what_everybody_gets_and_code_words_are_there_before(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    names = ("hospital-a", "hospital-b")
    more = {"code": Code(names), "num_tracing_pairs": 6, "num_honeyimages": 15}
    with monkeypatch.context() as patch:
        patch.setattr(coins, "await_round", killed)
        with pytest.raises(KeyboardInterrupt):
            call(**more)
    path = tmp_path / "marked" / "ledger.json"
    pending = load_ledger(path)
    assert pending.pending
    assert {"beacon", "tracing"} < set(pending.header)
    assert pending.header["counts"] == {"singles": 1, "pairs": 8, "tracing_pairs": 6}
    assert all(pair.released == {} and pair.lot is not None for pair in pending.pairs)
    assert all(pair.lot is None for pair in pending.tracing_pairs)
    words = [dict(pair.released) for pair in pending.tracing_pairs]
    assert all(set(word) == set(names) for word in words)
    for refused in (
        lambda: pending.released_images("hospital-a"),
        lambda: pending.for_recipient("hospital-a"),
        lambda: pending.record_release("0" * 64, 3, "hospital-a"),
        lambda: pending.record("trace", "0" * 16, {"subject": "copy", "draws": 1, "seed": 1}, {}),
    ):
        with pytest.raises(BeaconError, match="not drawn yet"):
            refused()
    assert load_ledger(path).log == []

    with relay() as address:
        ledger = call(relays=[address], **more)
    assert ledger.commitment == pending.commitment
    assert [dict(pair.released) for pair in ledger.tracing_pairs] == words
    one, other = (set(ledger.released_images(name)) for name in names)
    for pair in ledger.pairs:
        (ours,), (theirs,) = pair.released_side().files, pair.withheld_side().files
        assert {ours} <= one & other
        assert theirs not in one | other
    for pair in ledger.tracing_pairs:
        sides = dict(zip("ab", (pair.a.files[0], pair.b.files[0]), strict=True))
        for name, held in zip(names, (one, other), strict=True):
            assert sides[pair.released[name]] in held
            assert len(held & set(sides.values())) == 1

    content = path.read_text(encoding="utf-8")
    word = words[0]["hospital-a"]
    swapped = content.replace(
        f'"hospital-a": "{word}"', f'"hospital-a": "{"b" if word == "a" else "a"}"', 1
    )
    assert swapped != content
    path.write_text(swapped, encoding="utf-8")
    with pytest.raises(LedgerError, match="altered"):
        load_ledger(path)


def test_a_marking_has_one_kind_of_recipients(call: Callable[..., Any], tmp_path: Path) -> None:
    ledger = call(coins="local", code=Code(("a", "b")), num_tracing_pairs=2, num_honeyimages=10)
    sides = [(pair.a, pair.b) for pair in ledger.pairs]
    traced = [(pair.a, pair.b) for pair in ledger.tracing_pairs]
    for more, match in (
        ({"recipients": ("a", "b")}, "named by code"),
        ({"code": None}, "2 tracing pairs with no recipients"),
    ):
        given = {"code": Code(("a", "b")), "tracing_pairs": traced, **more}
        with pytest.raises(LedgerError, match=match):
            create_ledger(tmp_path / "new.json", {}, [], sides, ledger.plan, **given)


def test_a_round_that_does_not_come_is_asked_for_again(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = coins.await_round
    monkeypatch.setattr(
        coins, "await_round", lambda *a, **more: real(*a, **{**more, "patience": 0})
    )
    told: list[str] = []
    with relay(lambda path: (500, b"")) as broken, pytest.raises(BeaconError, match="HTTP 500"):
        call(relays=[broken], report=lambda stage, *_: told.append(stage))
    assert any(stage.startswith("Waiting for the coins: commitment published by") for stage in told)
    with relay() as address:
        assert not call(relays=[address]).pending


def test_local_coins_need_no_round(call: Callable[..., Any], tmp_path: Path) -> None:
    ledger = call(coins="local")
    assert ledger.beacon is None
    with pytest.raises(LedgerError, match="needs no public round"):
        coins.draw_by_hand(ledger, "00" * 48)
    with pytest.raises(ParameterError, match="coins='beacon'"):
        call(coins="local", coins_at="2099-01-01T00:00:00Z")


def test_a_dataset_has_one_digest_whatever_its_files_are_called(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two", "three")]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    first = dataset_digest(list(map(str, paths)))
    assert first == dataset_digest([*map(str, reversed(paths)), str(tmp_path / "missing")])
    paths[0].rename(tmp_path / "four")
    assert first == dataset_digest([str(tmp_path / "four"), *map(str, paths[1:])])
    assert first != dataset_digest(list(map(str, paths[1:])))
