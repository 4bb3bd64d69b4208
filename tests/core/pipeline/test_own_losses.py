"""Suspects that tell one loss an image, of a kind and scale of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from answering import Answering

from fiftyone_honeyimage.core.errors import ParameterError, SuspectError
from fiftyone_honeyimage.core.evidence.plan import Plan, check_own_losses
from fiftyone_honeyimage.core.evidence.verdict import Verdict
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.scores import SCORES, Access, deciding_scores
from fiftyone_honeyimage.core.suspects import Cached, load_suspect
from fiftyone_honeyimage.core.suspects.answers import alike
from fiftyone_honeyimage.core.suspects.competence import judge


def _thief(ledger: Ledger) -> Answering:
    """Losses around 10⁻⁶, a little lower on what was released."""
    released = {image.sample_id for image in ledger.released_images()}
    order = [image.sample_id for image in ledger.marked_images]
    known = {key: 1e-6 * (1 + 0.001 * row) for row, key in enumerate(order)}
    suspect = Answering(lambda key: known.get(key, 1.0) * (0.9 if key in released else 1.0))
    suspect.outputs = "losses"
    return suspect


def test_losses_of_any_scale_decide(
    make_pairs: Callable[..., Ledger], run_verification: Callable[..., Verdict]
) -> None:
    ledger = make_pairs(Plan())
    verdict = run_verification(ledger, _thief(ledger))
    assert (verdict.verdict, verdict.kind) == ("derived", "scores")
    assert verdict.paper == {}
    assert "in the suspect's own unit" in verdict.effect_name
    (logged,) = load_ledger(ledger.path).verifications.values()
    assert logged.protocol["outputs"] == "losses"


def test_a_plan_that_needs_scores_of_classes_is_refused_before_anything(
    make_pairs: Callable[..., Ledger], run_verification: Callable[..., Verdict]
) -> None:
    ledger = make_pairs(Plan(score="confidence"))
    suspect = _thief(ledger)
    for given in ({}, {"outputs": "losses"}):
        with pytest.raises(
            ParameterError, match=r"committed to score='confidence', which is made of scores of"
        ):
            run_verification(ledger, suspect, **given)
    assert suspect.asked == 0
    assert load_ledger(ledger.path).verifications == {}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        *(({"score": name}, f"score='{name}'") for name in deciding_scores() if name != "loss"),
        ({"adjustment": "references"}, "adjustment='references', which takes off other models'"),
        ({"direction": "higher"}, "being more often wrong"),
    ],
)
def test_which_plans_cannot_compare_them(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_own_losses(Plan(**plan))


def test_the_loss_alone_takes_any() -> None:
    check_own_losses(Plan())
    assert [n for n, score in SCORES.items() if score.access is Access.LOSSES] == ["loss"]


def test_small_losses_tell_two_suspects_apart(tmp_path: Any) -> None:
    """Those of two diffusion models differ by less than what scores of one model do."""
    before, now = [0.021, 0.034, 0.018], [0.023, 0.033, 0.017]
    assert alike(before, [loss * 1.001 for loss in before])
    assert not alike(before, now)
    # Nor do two models that are both sure of an easy image
    assert not alike([1e-4, 2e-4], [3e-4, 1e-4], 1e-5)
    assert alike([1e-4, 2e-8], [1e-4, 3e-7], 1e-5)

    image = [np.zeros((4, 4, 3), np.uint8)]
    one, other = (load_suspect(lambda x, v=v: np.full(len(x), v), name="own") for v in (0.02, 0.03))
    Cached(one, tmp_path).answer(image, ["a"])
    Cached(one, tmp_path).answer(image, ["a"])
    with pytest.raises(SuspectError, match="holds answers of another suspect"):
        Cached(other, tmp_path).answer(image, ["a"])


def _competence(losses: list[float], blank_loss: float | None) -> Any:
    number = len(losses)
    nothing = np.full(number, -1)
    return judge(
        nothing,
        np.zeros(number, np.int64),
        ["a", "b"],
        chance=0.5,
        proxies=0.9,
        losses=np.array(losses),
        blank_loss=blank_loss,
    )


def test_a_mean_loss_shows_whether_it_knows_anything() -> None:
    good = _competence([0.2] * 10 + [np.nan], 1.0)
    assert not good.is_wrong
    assert "0.2 in the mean on 10 unmarked images; one that knows nothing has 1." in good.sentence()
    assert _competence([1.02] * 10, 1.0).is_wrong
    for untold in (_competence([1.02] * 10, None), _competence([1.02] * 7, 1.0)):
        assert not untold.is_wrong
        assert "could not be checked" in untold.sentence()
    assert "mean_loss" not in good.to_dict(), (
        "the protocol has no room for it; the sentence tells it"
    )
