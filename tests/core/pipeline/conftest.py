"""Ledgers with files and suspects that answer at will: verifications from their beginning to their end, in no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import Verdict
from fiftyone_honeyimage.core.files import sha256_file
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.ledger import Ledger
from fiftyone_honeyimage.core.ledger.sides import MarkedImage
from fiftyone_honeyimage.core.pipeline.verify import Call, begin, decide
from fiftyone_honeyimage.core.suspects import Suspect
from fiftyone_honeyimage.core.suspects.journal import Journal


@pytest.fixture
def make_pairs(tmp_path: Path) -> Callable[..., Ledger]:
    """``make_pairs(plan, num_pairs=30, **options of create_ledger)``: a ledger beside its images."""
    rng = np.random.default_rng(7)

    def image(name: str) -> MarkedImage:
        path = tmp_path / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(path)
        digest = sha256_file(path)
        return MarkedImage(name, "cat", path.name, digest, digest)

    def make(plan: Plan, num_pairs: int = 30, **options: Any) -> Ledger:
        number = len(list(tmp_path.glob("ledger*.json")))
        pairs = [
            (image(f"{number}-{pair}a"), image(f"{number}-{pair}b")) for pair in range(num_pairs)
        ]
        header = {"classes": ["cat", "dog", "owl"]}
        return create_ledger(tmp_path / f"ledger{number}.json", header, [], pairs, plan, **options)

    return make


@pytest.fixture
def run_verification() -> Callable[..., Verdict]:
    """``run_verification(ledger, suspect, **fields of Call)``: begins and decides."""

    def run(ledger: Ledger, suspect: Suspect, **given: Any) -> Verdict:
        losses = {image.sample_id: 1.0 for image in ledger.marked_images}
        call = Call(
            ledger,
            ledger.path.parent,
            losses,
            suspect,
            ledger.header["classes"],
            insist=True,
            **given,
        )
        with Journal.open(ledger.path, call.key()) as journal:
            return decide(call, begin(call, journal), journal)

    return run
