"""What the form of a verification asks and says about pairs, and about a suspect that is asked wrongly."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from .. import verify_model as run
from . import calls
from .form_errors import block, errors_on, reject
from .form_parts import dropdown, once

if TYPE_CHECKING:
    from ..core.ledger.ledger import Ledger
    from ..dataset.marking.marking import Marking


def insist(ctx: Any, inputs: types.Object, marking: Marking) -> None:
    """Offers to verify a suspect that looks asked in a wrong way; of held answers, shows it at once."""
    given = ctx.params.get("suspect")
    found = None
    if isinstance(given, str) and ctx.dataset.has_field(given):
        classes = ctx.params.get("classes") or None
        key = ("accuracy", marking.honey_key, given, str(classes), str(ctx.params.get("outputs")))
        found = once(ctx, key, lambda: _accuracy(ctx, marking, given))
    if found is not None and (found.is_wrong or found.is_doubtful):
        inputs.view(
            "accuracy",
            types.Warning(
                label="This suspect may be asked in a wrong way", description=found.sentence()
            ),
        )
    elif found is not None:
        inputs.view(
            "accuracy", types.Notice(label="On unmarked images", description=found.sentence())
        )
    prop = inputs.bool(
        "insist",
        default=False,
        label="Verify it even if it looks asked in a wrong way",
        description="The suspect is asked about unmarked images first. If it is no better there than one "
        "answer to all, far worse than the proxies, or far better if asked otherwise (order of classes, "
        "0–255 pixels, channels, normalisation), the run ends with what was found, and nothing is counted. "
        "Ticked, it goes on, and the verdict says so",
    )
    if found is not None and found.is_wrong and not ctx.params.get("insist"):
        reject(prop, f"{found.sentence()} Tick this if it has to be verified like that")


def more(ctx: Any, inputs: types.Object, ledger: Ledger | None) -> None:
    """Asks for the order of channels, and for how many new pairs."""
    from ..core.suspects import CHANNELS

    dropdown(
        inputs,
        "channels",
        CHANNELS,
        default=calls.sdk_defaults(run)["channels"],
        label="Order of channels",
    )
    if ledger is None or ctx.params.get("pairs") != "unused":
        return
    from ..core.evidence.reach import checks_left, proposed_share
    from ..core.pipeline.pair_choice import next_position

    left, position = len(ledger.pairs_left), next_position(ledger)
    share = proposed_share(ledger.plan, left, ledger.plan.alpha, position)
    checks = checks_left(ledger.plan, left, share, ledger.plan.alpha, position)
    inputs.int(
        "num_pairs",
        default=share or None,
        label="New pairs",
        description=f"The next so many in the committed order. {left:,} of {len(ledger.pairs):,} are left: with "
        f"{share:,} each, enough for {checks:,} check{'' if checks == 1 else 's'} of models whose operators "
        "have seen none of these images. More pairs find more. Empty: all that are left",
    )


def num_pairs(ctx: Any, ledger: Ledger) -> int:
    """How many pairs will be asked about."""
    if ctx.params.get("pairs") != "unused":
        return len(ledger.pairs)
    given = ctx.params.get("num_pairs")
    return given if isinstance(given, int) else len(ledger.pairs_left)


def check_pairs(
    ctx: Any, inputs: types.Object, ledger: Ledger, marking: Marking, alpha: float | None
) -> None:
    """Refuses what the run would refuse: pairs that are not there, or too few to decide anything."""
    from ..core.errors import HoneyImageError
    from ..core.pipeline.pair_choice import check_choice, check_reach, choose_pairs

    pairs = ctx.params.get("pairs") or "all"
    number = ctx.params.get("num_pairs") or None
    if "num_pairs" in inputs.properties:
        with errors_on(inputs.properties["num_pairs"]):
            choose_pairs(ledger, pairs, number)
        if inputs.properties["num_pairs"].invalid:
            return
    try:
        check_choice(pairs, number)
        chosen = choose_pairs(ledger, pairs, number)
        check_reach(ledger, len(chosen), ledger.plan.alpha_for(alpha))
    except HoneyImageError as error:
        block(inputs, "These pairs cannot show anything", str(error))


def facts(ctx: Any, ledger: Ledger) -> list[str]:
    """What is asked before a verification counts, and what was left open."""
    from ..core.pipeline.trial import NUM_AT_HAND

    found = []
    given = ctx.params.get("suspect")
    if isinstance(given, str) and given and not ctx.dataset.has_field(given):
        found.append(
            f"about {NUM_AT_HAND} queries on unmarked images before anything is counted, more where its "
            "accuracy is low: to see that it is asked in the right way"
        )
    for other in ledger.open_verifications():
        name = os.fsencode(other.suspect_name or "").decode("utf-8", "replace")
        found.append(
            f"the verification of “{name}”, opened {other.opened_at[:16].replace('T', ' ')} UTC, has no verdict "
            "yet: it runs, or was interrupted. It stays counted; the same settings go on with it"
        )
    return found


def _accuracy(ctx: Any, marking: Marking, field_name: str) -> Any:
    """How right the predictions of a field are on unmarked images; None if they cannot be read."""
    from ..core.errors import HoneyImageError
    from ..core.pipeline.trial import read_held
    from ..dataset.verification.surroundings import DatasetSurroundings
    from ..dataset.verification.suspects import open_suspect, suspect_classes

    given = ctx.params.get("classes") or None
    classes = given.splitlines() if isinstance(given, str) else given
    try:
        names = suspect_classes(marking, classes)
        suspect = open_suspect(ctx.dataset, marking, field_name, names, None, {})
        if suspect.held is None:
            return None
        outputs = ctx.params.get("outputs") or "auto"
        return read_held(
            suspect, DatasetSurroundings(ctx.dataset, marking), names, outputs
        ).competence
    except HoneyImageError:
        return None  # said where the suspect is asked for
