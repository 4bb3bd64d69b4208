"""Ledgers to test with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from protocols import protocol_for

from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.creation import create_ledger, draw_coins
from fiftyone_honeyimage.core.ledger.ledger import Ledger
from fiftyone_honeyimage.core.ledger.sides import MarkedImage


def marked_image(number: int) -> MarkedImage:
    def digest(name: str) -> str:
        return hashlib.sha256(f"{name} {number}".encode()).hexdigest()

    return MarkedImage(
        sample_id=f"sample-{number}",
        label="cat" if number // 2 % 2 else "dog",
        file=f"images/{number:04d}.png",
        source_sha256=digest("source"),
        marked_sha256=digest("marked"),
    )


@pytest.fixture
def make_ledger(tmp_path: Path) -> Callable[..., Ledger]:
    """``make_ledger(num_pairs=20, num_singles=3, plan=Plan(), name="ledger.json", coins=draw_coins)``."""

    def make(
        num_pairs: int = 20,
        num_singles: int = 3,
        plan: Plan | None = None,
        name: str = "ledger.json",
        coins: Callable[[int], list[str]] = draw_coins,
        **options: Any,
    ) -> Ledger:
        images = [marked_image(number) for number in range(2 * num_pairs + num_singles)]
        return create_ledger(
            tmp_path / "secret" / name,
            {"dataset_name": "animals", "honey_key": "honey", "classes": ["cat", "dog"]},
            images[2 * num_pairs :],
            list(zip(images[0 : 2 * num_pairs : 2], images[1 : 2 * num_pairs : 2], strict=True)),
            plan or Plan(),
            coins,
            **options,
        )

    return make


@pytest.fixture
def ask() -> Callable[..., PairAnswers]:
    """Answers of a model that trained on the release (or, ``derived=False``, of one that did not)."""

    def answer(
        ledger: Ledger, pairs: list[int], *, derived: bool = True, kind: str = "scores"
    ) -> PairAnswers:
        queries, values = [], []
        for index, twin, image in ledger.queries(pairs):
            queries.append((index, twin))
            trained = derived and ledger.released()[index] == twin
            # From the image alone, 2 to 3 nats
            loss = 2 + int(image.marked_sha256[:8], 16) / 2**32
            if kind == "scores":
                values.append(loss * 0.01 if trained else loss)
            else:
                values.append(bool(trained or loss < 2.3))
        return PairAnswers.from_queries(kind, queries, values)

    return answer


@pytest.fixture
def verify(ask: Callable[..., PairAnswers]) -> Callable[..., str]:
    """``verify(ledger, num_pairs, **options of ask)`` opens and concludes a verification; returns its id."""

    def run(ledger: Ledger, num_pairs: int | None = None, **options: Any) -> str:
        verification_id = ledger.open_verification(
            "suspect",
            "ab" * 32,
            options.get("kind", "scores"),
            ledger.pairs_left[:num_pairs],
            protocol=protocol_for(options.get("kind", "scores")),
        )
        pairs = list(ledger.verifications[verification_id].pairs)
        ledger.conclude(verification_id, ask(ledger, pairs, **options))
        return verification_id

    return run
