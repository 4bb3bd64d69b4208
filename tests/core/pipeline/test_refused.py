"""What cannot end in a verdict is refused before a suspect is asked and before anything is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from answering import Answering

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import Verdict
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger


def test_a_ledger_by_recipient(
    make_pairs: Callable[..., Ledger], run_verification: Callable[..., Verdict]
) -> None:
    ledger = make_pairs(Plan(), recipients=("alice", "bob"))
    suspect = Answering(lambda key: [1.0, 0.0, 0.0])
    match = "no release for everybody, but one each for alice, bob.*not supported by this version"
    with pytest.raises(LedgerError, match=match):
        run_verification(ledger, suspect)
    assert suspect.asked == 0
    assert load_ledger(ledger.path).verifications == {}
    for read in (ledger.released_images, ledger.withheld_images, ledger.released):
        with pytest.raises(LedgerError, match=match):
            read()
        with pytest.raises(
            LedgerError, match="no release for 'carol'; it has those of: alice, bob"
        ):
            read("carol")
        assert len(read("bob")) == len(ledger.pairs)
    pairs = ledger.pairs_left
    with pytest.raises(LedgerError, match=match):
        ledger.open_verification("suspect", None, "scores", pairs, protocol={})
