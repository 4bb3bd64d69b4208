"""Words and tables that stand in forms as well as in panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Starts a worker, which needs no setting of its own
START_WORKER = "fiftyone delegated launch -m"

#: Verdict → (headline, severity of its alert). "Not shown" is no acquittal and gets no green.
VERDICTS = {
    "derived": ("Derived from the release", "error"),
    "not shown": ("Not shown to be derived from the release", "info"),
    "inconclusive": ("Inconclusive", "warning"),
}


def table(header: tuple[str, str], rows: Sequence[tuple[str, Any]]) -> str:
    """Label and value as a Markdown table."""
    lines = [f"| {label} | {value} |" for label, value in (header, ("---", "---"), *rows)]
    return "\n".join(lines)


def plan_rows(
    config: Mapping[str, Any], test: str | None = None, kind: str = "scores"
) -> list[tuple[str, str]]:
    """What a marking's verdicts rest on: how answers are compared, what is allowed for, and the test.

    Args:
        config: of the marking's run, or an empty one where it is gone; earlier versions knew no score and no adjustment
        test (None): that was used, the committed one by default
        kind ("scores"): what a suspect answers; of "labels" neither score nor adjustment can be used
    """
    from ..core.evidence.adjustment import ADJUSTMENTS
    from ..core.evidence.exact_tests import TESTS
    from ..core.scores import SCORES

    test = test or config.get("test", "signed_rank")
    if kind == "labels":
        compared = f"{SCORES['correct'].title}: the model tells no more"
        allowed = "Nothing to allow for in labels alone"
    else:
        score, adjustment = config.get("score", "loss"), config.get("adjustment", "none")
        compared = SCORES[score].title if score in SCORES else score
        allowed = ADJUSTMENTS.get(adjustment, adjustment)
    rows = [
        ("how answers are compared", compared),
        ("images that are harder than their twins", allowed),
    ]
    found = f"{TESTS[test].title}: {TESTS[test].meaning}" if test in TESTS else test
    return [*(rows if config else []), ("test", found)]


def weakness_text(results: Mapping[str, Any]) -> str:
    """What cannot be relied on, because the proxies are too weak; empty if nothing is."""
    if results["labels_judged"]:
        return ""
    right = (
        f"{results['accuracy']:.0%} of unseen images, where guessing gets {results['chance']:.0%}"
    )
    better = "Train them for more epochs, or take a stronger proxy or more images."
    if results["reliable"]:
        return (
            f"**No label is called wrong**: the proxies are right on {right}, and most of the labels that "
            f"they contradict would be correct. {better}"
        )
    return (
        f"**This hardness is unreliable**: the proxies are right on {right}. What is hard for them may be easy "
        f"for any other model, and no label is called wrong. {better}"
    )
