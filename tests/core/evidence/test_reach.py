"""How many pairs a verification needs, and how many follow one another."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.reach import (
    can_reach,
    checks_left,
    pairs_needed,
    proposed_share,
)
from fiftyone_honeyimage.core.evidence.verdict import decide


@pytest.mark.parametrize("test", ["signed_rank", "e_process"])
@pytest.mark.parametrize("kind", ["scores", "labels"])
@pytest.mark.parametrize(("alpha", "position"), [(0.05, 1), (0.001, 1), (0.001, 4), (1e-6, 2)])
def test_the_best_answers_on_so_many_pairs_convict_and_on_one_less_do_not(
    test, kind, alpha, position
):
    plan = Plan(alpha=alpha, test=test, min_pairs=3)
    needed = pairs_needed(plan, alpha, position)

    def verdict(number):
        won = np.ones(number)
        answers = won if kind == "scores" else (won > 0, won < 0)
        return decide(plan, answers, kind=kind, num_left=0, position=position).verdict

    assert verdict(needed) == "derived"
    assert verdict(needed - 1) == "inconclusive"
    assert can_reach(plan, needed, alpha, position)
    assert not can_reach(plan, needed - 1, alpha, position)


def test_the_planned_number_is_needed_in_any_case():
    plan = Plan(alpha=0.05, min_pairs=15)
    assert pairs_needed(plan, 0.05, 1) == 15


def test_a_level_below_all_numbers_is_no_endless_search():
    assert pairs_needed(Plan(), 1e-320, 1) == 2_000


def test_shares_leave_room_for_further_checks():
    plan = Plan()
    share = proposed_share(plan, 60, plan.alpha, 1)
    assert share == 20
    assert checks_left(plan, 60, share, plan.alpha, 1) == 3
    # Few pairs: as many as decide anything, for one check
    share = proposed_share(plan, 20, plan.alpha, 1)
    assert can_reach(plan, share, plan.alpha, 1)
    assert checks_left(plan, 20, share, plan.alpha, 1) == 1
    assert proposed_share(plan, 7, plan.alpha, 1) == 7
    assert checks_left(plan, 7, 7, plan.alpha, 1) == 0
    # Levels shrink: at some position so few pairs show nothing any more
    assert checks_left(plan, 1000, 12, plan.alpha, 1) == 1
