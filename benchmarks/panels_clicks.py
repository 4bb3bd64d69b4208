"""What the benchmark of the panels opens and clicks: this project's panels, and FiftyOne's Model Evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from app_page import AppPage

PROTECT, VERIFY, BUILTIN = "HoneyImage protection", "HoneyImage verification", "Model Evaluation"

#: Clicks of the builtin panel, with which this project's are compared
EVALUATION, ITS_SAMPLES = "an evaluation", "wrong predictions"


@dataclass(frozen=True)
class Click:
    """Something to click in a panel.

    Attributes:
        name: what it is called in the results
        act: clicks it
        answered: JavaScript that is true once the answer is painted
    """

    name: str
    act: Callable[[AppPage], None]
    answered: str


@dataclass(frozen=True)
class Scenario:
    """A panel, and what is clicked in it, one after the other.

    Attributes:
        panel: its label
        painted: JavaScript that is true once the panel shows its data
        clicks: see :class:`Click`
    """

    panel: str
    painted: str
    clicks: tuple[Click, ...] = ()


def _has(selector: str, text: str = "") -> str:
    """JavaScript: whether some element shows, with a text if there is one."""
    return (
        f"[...document.querySelectorAll({json.dumps(selector)})].some(e => e.getClientRects().length"
        f" && e.textContent.includes({json.dumps(text)}))"
    )


#: The grid shows another number of samples than before
OTHER_SAMPLES = (
    "document.querySelector('[data-cy=entry-counts]')?.textContent !== window.counted && "
    + _has("[data-cy=looker]")
)


def _bar(window: AppPage) -> None:
    bars = window.plot("Hardness by class").locator(".bars path")
    window.click_plot(bars.first, "a bar")


def _point(label: str) -> Callable[[AppPage], None]:
    return lambda window: window.click_plot(
        window.plot(label).locator("path.point").first, "a point"
    )


def _picture(window: AppPage) -> None:
    window.page.get_by_alt_text("HoneyImage of sample").first.click()


def _button(label: str) -> Callable[[AppPage], None]:
    return lambda window: window.press(label)


def _form(label: str) -> Callable[[AppPage], None]:
    """Presses a button that opens a form, once the form before it is closed."""

    def act(window: AppPage) -> None:
        close_form(window)
        window.press(label)

    return act


def close_form(window: AppPage) -> None:
    """Closes the open form, if there is one."""
    if window.form.count():
        window.page.keyboard.press("Escape")
        window.form.wait_for(state="detached")


def _in_form(text: str) -> str:
    return _has("[role=dialog]", text)


def _wrong_predictions(window: AppPage) -> None:
    row = window.page.locator("tr").filter(has_text="Incorrect")
    row.locator("svg").last.click()


SCENARIOS = (
    Scenario(
        PROTECT,
        " && ".join(map(_has, (".bars path", "path.point", "img[src^='data:image']"))),
        (
            Click("a bar of the histogram", _bar, OTHER_SAMPLES),
            Click("suspected label errors", _button("Show suspected label errors"), OTHER_SAMPLES),
            Click("a HoneyImage and its original", _picture, OTHER_SAMPLES),
            Click("all HoneyImages", _button("Show all HoneyImages"), OTHER_SAMPLES),
            Click("form Compute hardness", _form("Compute hardness…"), _in_form("Hardness field")),
            Click(
                "form Generate HoneyImages",
                _form("Generate HoneyImages…"),
                _in_form("Name of the marking"),
            ),
            Click(
                "form Export release", _form("Export release…"), _in_form("Folder of the release")
            ),
            Click("form Verify a model", _form("Verify a model…"), _in_form("Model file")),
        ),
    ),
    Scenario(
        VERIFY,
        f"{_has('path.point')} && {_has('p', 'Not shown to be derived')}",
        (
            Click(
                "another verification",
                lambda window: window.choose_in_panel("Verification", "thief"),
                f"{_has('path.point')} && {_has('p', 'Derived from the release:')}",
            ),
            Click("a pair in the plot", _point("Loss on released"), OTHER_SAMPLES),
            Click("section Pairs", _button("Pairs"), _has("th", "Withheld")),
            Click(
                "section Loss gap",
                _button("Loss gap"),
                f"{_has('*', 'never decide')} && {_has('.bars path')}",
            ),
            Click("section Compare", _button("Compare"), _has("th", "Holm")),
            Click("section Record", _button("Record"), _has("th", "Provenance")),
            # The next opening may show what this one showed last
            Click(
                "the first verification again",
                lambda window: window.choose_in_panel("Verification", "innocent"),
                f"{_has('path.point')} && {_has('p', 'Not shown to be derived')}",
            ),
            Click("form Export evidence", _form("Export evidence…"), _in_form("File")),
        ),
    ),
    # What the App's own panel takes: its list, one evaluation with its plots, and samples from a click
    Scenario(
        BUILTIN,
        _has("p", "1 Model Evaluations"),
        (
            Click(
                EVALUATION,
                lambda window: window.page.get_by_text("evaluation", exact=True).last.click(),
                " && ".join((_has(".bars path"), _has("td", "Incorrect"))),
            ),
            Click(ITS_SAMPLES, _wrong_predictions, OTHER_SAMPLES),
        ),
    ),
)
