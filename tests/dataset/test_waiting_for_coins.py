"""Markings whose coins a public round decides, on real datasets: waited for, interrupted, brought by hand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from beacons import OWN, answer, make_quick, relay, sign

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.__main__ import main
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.pipeline import coins as pipeline_coins

NOWHERE = ["http://127.0.0.1:9"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


@pytest.fixture
def dataset(make_dataset: Any) -> Any:
    return make_dataset(60, hardness=True)


def wait_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    real = pipeline_coins.await_round

    def short(*args: Any, **options: Any) -> bytes:
        return real(*args, **{**options, "patience": 0})

    monkeypatch.setattr(pipeline_coins, "await_round", short)


def test_it_publishes_waits_and_draws(
    dataset: Any, mark: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages = []
    with relay() as address, caplog.at_level(logging.WARNING):
        marking = mark(
            dataset,
            num_honeyimages=12,
            num_pairs=10,
            alpha=0.05,
            coins="beacon",
            relays=[address],
            progress=lambda bar: stages.append(bar.stage),
        )
    assert any("published by" in stage and "coins at" in stage for stage in stages)
    assert "Publish or time-stamp this commitment by " in caplog.text
    assert marking.commitment in caplog.text
    ledger = marking.load_ledger()
    assert marking.coins == "beacon"
    assert not marking.pending
    assert "which came out at" in str(marking)
    assert ledger.beacon is not None
    assert ledger.beacon.signature == sign(ledger.beacon.round)
    assert ledger.header["coins"] == "beacon"
    # Nothing of the coins but the round is in the database
    assert ledger.pairs[0].lot is not None
    assert ledger.pairs[0].lot.secret not in str(marking.config)

    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    known = {image.file for image in ledger.released_images()}
    assert len(known) == 12
    found = fhi.verify_model(
        dataset, "honey", lambda batch: batch.mean(dim=(2, 3)), "v", insist=True, progress=False
    )
    path = fhi.export_evidence(dataset, found.verify_key, tmp_path / "evidence.json")
    check = check_evidence(path, marking.commitment, release=tmp_path / "release")
    assert check.ok, check.failed
    assert dict(check.facts)["coins"].startswith(f"beacon: from round {ledger.beacon.round}")
    assert len(dict(check.facts)["dataset digest"]) == 64


def test_without_internet_it_waits_for_a_round_that_is_brought(
    dataset: Any,
    mark: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wait_no_longer(monkeypatch)
    call = {"coins": "beacon", "relays": NOWHERE, "output_dir": tmp_path / "marking"}
    marking = mark(dataset, **call)
    assert "cannot be reached" in caplog.text
    assert "draw_coins(dataset, 'honey')" in caplog.text
    assert marking.pending
    assert fhi.load_marking(dataset, "honey").pending
    assert "Not finished: the coins are not drawn yet" in str(marking)
    release = tmp_path / "release"
    for refused in (
        lambda: fhi.export_release(dataset, "honey", release, progress=False),
        lambda: fhi.verify_model(dataset, "honey", lambda batch: batch, "v", progress=False),
        lambda: fhi.audit_release(tmp_path, marking.ledger_path, progress=False),
    ):
        with pytest.raises(fhi.LedgerError, match=r"not drawn yet.*draw_coins"):
            refused()
    assert not release.exists()

    number = marking.load_ledger().beacon.round
    path = tmp_path / "round.json"
    path.write_bytes(answer(number + 1, sign(number + 1)))
    with pytest.raises(fhi.LedgerError, match=f"asked was {number}"):
        fhi.draw_coins(dataset, "honey", path)
    with pytest.raises(fhi.LedgerError, match="cannot be reached"):
        fhi.draw_coins(dataset, "honey", relays=NOWHERE, progress=False)
    path.write_bytes(answer(number, sign(number)))
    assert main(["draw", dataset.name, "honey", "--round", str(path)]) == 0
    assert f"Coins: from round {number}" in capsys.readouterr().out
    drawn = fhi.draw_coins(dataset, "honey", path)
    assert not drawn.pending
    assert drawn.commitment == marking.commitment
    coins = drawn.load_ledger().released()
    assert fhi.draw_coins(dataset, "honey", relays=NOWHERE).load_ledger().released() == coins
    fhi.export_release(dataset, "honey", release, progress=False)


def test_the_same_call_goes_on_where_it_was_killed(
    dataset: Any, mark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def killed(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    call: dict[str, Any] = {"coins": "beacon", "output_dir": tmp_path / "marking"}
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline_coins, "await_round", killed)
            with pytest.raises(KeyboardInterrupt):
                mark(dataset, **call)
    first = fhi.load_marking(dataset, "honey")
    assert first.pending
    with pytest.raises(fhi.ParameterError):
        mark(dataset, **{**call, "seed": 5})
    with relay() as address:
        second = mark(dataset, **call, relays=[address])
    assert second.commitment == first.commitment
    assert not second.pending
    with pytest.raises(fhi.ParameterError):
        mark(dataset, **call)


def test_local_coins_are_the_default_and_need_no_round(
    dataset: Any, mark: Any, tmp_path: Path
) -> None:
    marking = mark(dataset)
    assert marking.coins == "local"
    assert not marking.pending
    assert "beacon" not in marking.load_ledger().header
    assert "coins" not in marking.load_ledger().header
    with pytest.raises(fhi.LedgerError, match="needs no public round"):
        fhi.draw_coins(dataset, "honey", tmp_path / "round.json")
    assert fhi.draw_coins(dataset, "honey").commitment == marking.commitment


def test_wrong_times_are_told_before_anything_is_done(dataset: Any, mark: Any) -> None:
    for wrong, why in (
        ({"coins": "dice"}, "one of local, beacon"),
        (
            {"coins": "beacon", "coins_at": "2020-01-01T00:00:00Z"},
            "genesis|must lie between|before",
        ),
        ({"coins": "beacon", "coins_at": "2024-01-01T00:00:00Z"}, "must lie between"),
        ({"coins": "beacon", "coins_at": "soon"}, "must be a time"),
        ({"coins_at": "2099-01-01T00:00:00Z"}, "coins='beacon'"),
        ({"coins": "beacon", "relays": []}, "relays must be a list"),
    ):
        with pytest.raises(fhi.HoneyImageError, match=why):
            mark(dataset, **wrong)
    assert not dataset.list_runs(method="honeyimage/marking")
    assert OWN.hash not in str(dataset.info)
