"""How long a panel takes in a real browser to appear and to answer, and how many bytes the server sends for it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from app_page import AppPage, open_page

from .panels_clicks import Scenario, close_form

SETTLE_MS = 2_000
TIMEOUT_MS = 180_000


def time_panel(
    browser: Any, address: str, dataset: str, scenario: Scenario, repeats: int
) -> dict[str, Any]:
    """Opens a panel again and again and clicks; the very first opening is told apart.

    It is the first time that the server hears of the panel: it imports what the panel needs.
    """
    runs: list[dict[str, dict[str, float]]] = []
    for _ in range(1 + repeats):
        window = _open(browser, address, dataset)
        found = {"first_paint": _opening(window, scenario)}
        for click in scenario.clicks:
            found[click.name] = _answer_time(window, partial(click.act, window), click.answered)
        runs.append(found)
        print(scenario.panel, {name: times["total"] for name, times in found.items()}, flush=True)
        _close(window, scenario)
    cold, *warm = runs
    return {
        "first_opening_of_a_server": cold["first_paint"]["total"],
        **{
            name: {
                "median": round(statistics.median(run[name]["total"] for run in warm), 3),
                "largest": max(run[name]["total"] for run in warm),
                "answer_of_the_panel": round(
                    statistics.median(run[name]["panel"] for run in warm), 3
                ),
                "after_data_arrived": round(
                    statistics.median(run[name]["after_data"] for run in warm), 3
                ),
            }
            for name in cold
        },
    }


def bytes_sent(browser: Any, address: str, dataset: str, scenario: Scenario) -> int:
    """Bytes that the server sends for a panel until it is painted, before compression."""
    window, sent = _open(browser, address, dataset), []

    def count(response: Any) -> None:
        if "/operators/execute" in response.url:
            sent.append(response)

    window.page.on("response", count)
    _opening(window, scenario)
    window.page.wait_for_timeout(SETTLE_MS)
    total = sum(len(response.body()) for response in sent)
    _close(window, scenario)
    return total


def _open(browser: Any, address: str, dataset: str) -> AppPage:
    # The server remembers the view that was shown last; this one has its own number of samples
    window = open_page(browser, address, f"{dataset}?view=honey")
    window.page.set_default_timeout(TIMEOUT_MS)
    window.page.get_by_test_id("looker").first.wait_for()
    # The grid goes on loading for a moment, which is not the panel's doing
    window.page.wait_for_timeout(SETTLE_MS)
    return window


def _close(window: AppPage, scenario: Scenario) -> None:
    """Closes the panel too: the server would open it in the next page."""
    close_form(window)
    window.close_tab(scenario.panel)
    window.page.wait_for_timeout(SETTLE_MS)
    window.page.context.close()


def _opening(window: AppPage, scenario: Scenario) -> dict[str, float]:
    window.page.get_by_test_id("new-panel-btn").first.click()
    entry = window.page.get_by_text(scenario.panel, exact=True).first
    return _answer_time(window, entry.click, scenario.painted)


#: Notes what the grid shows, and when the mouse goes down, in the page's own clock
_WATCH = """() => {
    performance.clearResourceTimings();
    window.pressed = null;
    window.counted = document.querySelector("[data-cy=entry-counts]").textContent;
    window.pressed = performance.now();  // a menu may keep the mouse's events to itself
    for (const kind of ["pointerdown", "mousedown"])
        addEventListener(kind, () => { window.pressed = performance.now() }, {capture: true});
}"""

#: Two frames later at the latest, what is true now is on the screen
_PAINTED = """() => (%s) && new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
    const ends = performance.getEntriesByType("resource")
        .filter(entry => entry.name.includes("/operators/execute")).map(entry => entry.responseEnd)
        .filter(end => end >= window.pressed);
    const end = performance.now();  // a builtin panel may ask no operator
    done({start: window.pressed, first: Math.min(end, ...ends), data: ends.length ? Math.max(...ends) : 0, end});
})))"""


def _answer_time(window: AppPage, act: Callable[[], None], answered: str) -> dict[str, float]:
    """Seconds from a click to its painted answer, to the panel's own answer, and from the last data to the paint.

    The panel's own answer tells the App which samples to show; the App then loads them by itself.
    """
    window.page.evaluate(_WATCH)
    act()
    times = window.page.wait_for_function(_PAINTED % answered, polling="raf").json_value()
    total, after = times["end"] - times["start"], times["end"] - (times["data"] or times["start"])
    first = times["first"] - times["start"]
    return {
        "total": round(total / 1000, 3),
        "panel": round(first / 1000, 3),
        "after_data": round(after / 1000, 3),
    }
