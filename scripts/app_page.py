"""A page of the FiftyOne App, as the browser tests and the benchmark of the panels drive it.

What a person does is a method here: each counts its clicks and what is typed.
"""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from browser import LAUNCH_ARGUMENTS

START_SECONDS = 120

#: Of the mouse to meet a mark of a plot that may still be moving
_TRIES = 100

#: An advertisement covers the page until someone has seen it
_SEEN = "localStorage.setItem('fiftyone-enterprise-tooltip-seen', 'true')"


class AppPage:
    """One window of the App.

    Args:
        page: a Playwright page that shows a dataset

    Attributes:
        page: likewise
        clicks: what was clicked, in order
        typed: what was typed, in order
        errors: what went wrong in the page and is not FiftyOne's own, see :func:`is_noise`
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.clicks: list[str] = []
        self.typed: list[str] = []
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self._note(f"page error: {error}"))
        page.on("console", self._on_console)

    def click(self, locator: Any, what: str, **options: Any) -> None:
        """Clicks once."""
        locator.click(**options)
        self.clicks.append(what)

    def type_into(self, locator: Any, text: str) -> None:
        """Clicks a field and types."""
        self.click(locator, "field")
        locator.press("Control+a")
        locator.press_sequentially(text)
        self.typed.append(text)

    def open_panel(self, label: str) -> None:
        """Opens a panel as a tab: two clicks."""
        self.click(self.page.get_by_test_id("new-panel-btn").first, "new panel")
        self.click(self.page.get_by_text(label, exact=True).first, label)

    def press(self, label: str) -> None:
        """Clicks the button of that name, of the open form if there is one."""
        inside = self.form if self.form.count() else self.page
        self.click(inside.get_by_role("button", name=label, exact=True).first, label)

    @property
    def form(self) -> Any:
        """The open form of an operator."""
        return self.page.get_by_role("dialog")

    def field(self, label: str) -> Any:
        """A text field of the open form, by the label above it."""
        title = self.form.get_by_text(label, exact=True)
        return title.locator("xpath=following::input[1]")

    def choose(self, label: str, value: str) -> None:
        """Chooses from a dropdown of the open form, by the label above it: two clicks."""
        title = self.form.get_by_text(label, exact=True)
        self.click(title.locator("xpath=following::*[@role='combobox'][1]"), label)
        self.click(self.page.get_by_role("option", name=value), value)

    def choose_in_panel(self, label: str, value: str) -> None:
        """Chooses from a dropdown of a panel, by the label above it: two clicks."""
        title = self.page.get_by_text(label, exact=True).last
        self.click(title.locator("xpath=following::*[@role='combobox'][1]"), label)
        self.click(self.page.get_by_role("option", name=value, exact=True), value)

    def confirm(self, label: str) -> None:
        """Sets a switch or a tick of the open form, by its label."""
        self.click(self.form.get_by_label(label), label)

    def execute(self) -> None:
        """Executes a form at once that would be scheduled: opens the menu, chooses, executes."""
        self.start_at_once()
        self.press("Close")
        self.form.wait_for(state="detached")

    def start_at_once(self) -> None:
        """Executes a form at once that would be scheduled, and waits for nothing."""
        self.click(self.form.get_by_role("button").filter(has=self._arrow), "menu")
        self.click(self.page.get_by_role("menuitem", name="Execute"), "Execute at once")
        self.press("Execute")

    def submit(self, label: str) -> None:
        """Executes a form and closes what it tells."""
        self.press(label)
        self.press("Close")
        self.form.wait_for(state="detached")

    @property
    def _arrow(self) -> Any:
        return self.page.locator("[data-testid=ArrowDropDownIcon]")

    def has_tab(self, label: str) -> bool:
        """Whether a panel is open."""
        return bool(self.page.locator("[data-cy^=panel-tab-]").filter(has_text=label).count())

    def show_tab(self, label: str) -> None:
        """Turns to a panel that is open."""
        tab = self.page.locator("[data-cy^=panel-tab-]").filter(has_text=label)
        self.click(tab.get_by_text(label), label)

    def close_tab(self, label: str) -> None:
        """Closes a panel that is open."""
        tab = self.page.locator("[data-cy^=panel-tab-]").filter(has_text=label)
        self.click(tab.locator("[data-testid=CloseIcon]"), f"close {label}")

    def open_from_plot(self, mark: Any, what: str, fits: Callable[[int], bool]) -> int:
        """Clicks a mark of a plot, and waits until the grid shows a fitting number of samples.

        A click gets lost while the plot is just being drawn anew, so it is tried again.
        """
        for _ in range(3):
            self.click_plot(mark, what)
            try:
                return self.wait_for_samples(fits, START_SECONDS / 4)
            except TimeoutError:
                continue
        return self.wait_for_samples(fits)

    def wait_for_samples(self, fits: Callable[[int], bool], seconds: float = START_SECONDS) -> int:
        """Waits until the grid shows a fitting number of samples, and returns it."""
        counts = self.page.get_by_test_id("entry-counts")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = re.match(r"([\d,]+)", counts.first.inner_text())
            if found and fits(int(found[1].replace(",", ""))):
                self.page.get_by_test_id("looker").first.wait_for()
                return int(found[1].replace(",", ""))
            self.page.wait_for_timeout(50)
        raise TimeoutError(f"the grid shows {counts.first.inner_text()}")

    def plot(self, label: str) -> Any:
        """The plot below a label."""
        title = self.page.get_by_text(label).first
        return title.locator("xpath=following::*[contains(@class, 'js-plotly-plot')][1]")

    def click_plot(self, mark: Any, what: str) -> None:
        """Clicks a mark of a plot. Plotly finds what lies below the mouse by itself: a layer lies above."""
        hover = self.page.locator(".hoverlayer .hovertext")
        for _ in range(_TRIES):
            mark.scroll_into_view_if_needed()
            box = mark.bounding_box()
            if box is not None:
                self.page.mouse.move(box["x"] - 1, box["y"] - 1)
                self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            self.page.wait_for_timeout(300)
            # What was drawn above it meanwhile has pushed the plot down
            if box is not None and hover.count() and mark.bounding_box() == box:
                self.page.mouse.down()
                self.page.mouse.up()
                self.clicks.append(what)
                return
        raise TimeoutError(f"the mouse does not find {what}")

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self._note(f"{message.text} ({message.location.get('url')})")

    def _note(self, text: str) -> None:
        if not is_noise(text):
            self.errors.append(text)


#: What FiftyOne's App itself raises, on any dataset and without this plugin
NOISE: tuple[str, ...] = (
    # A page that is opened while its first query still runs
    "^page error: entry is loading$",
)


def is_noise(text: str) -> bool:
    """Whether an error is known to come from FiftyOne's App and not from the plugin."""
    return any(re.search(pattern, text) for pattern in NOISE)


@contextmanager
def open_browser(path: str | None) -> Iterator[Any]:
    """A headless Chromium in which :func:`open_page` opens pages, until the context ends.

    Args:
        path: of the browser, as ``browser.find_browser`` finds it
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The App names its parts for tests in this attribute, not in Playwright's own: page.get_by_test_id("fo-grid")
        playwright.selectors.set_test_id_attribute("data-cy")
        browser = playwright.chromium.launch(executable_path=path, args=LAUNCH_ARGUMENTS)
        yield browser
        browser.close()


def open_page(
    browser: Any, address: str, dataset_name: str, width: int = 1280, height: int = 720
) -> AppPage:
    """Opens a dataset in a browser context of its own. Nothing outside the App is fetched.

    Args:
        browser: what :func:`open_browser` gives, in which the App's parts are found by their names
        address: of the App, as :func:`launch_app` gives it
        dataset_name: the dataset, perhaps with a query such as ``?view=honey``
        width, height: of the window in pixels
    """
    context = browser.new_context(viewport={"width": width, "height": height})
    # Fonts and statistics come from elsewhere: an empty answer is no error, as a refused one would be
    context.route(lambda url: not url.startswith(address), lambda route: route.fulfill(body=""))
    context.add_init_script(_SEEN)
    page = context.new_page()
    page.set_default_timeout(120_000)
    opened = AppPage(page)
    page.goto(f"{address}/datasets/{dataset_name}")
    return opened


@contextmanager
def launch_app(fo: Any) -> Iterator[str]:
    """Runs the App on a free port until the context ends.

    Args:
        fo: the module ``fiftyone``

    Yields:
        its address

    Raises:
        TimeoutError: if it does not start
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    session = fo.launch_app(remote=True, address="127.0.0.1", port=port)
    address = f"http://127.0.0.1:{port}"
    _wait_for_session(session, address)
    yield address
    session.close()
    fo.close_app()


def _wait_for_session(session: Any, address: str) -> None:
    """A session that connects after a page has opened takes the page's dataset away."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{address}/fiftyone", timeout=10).close()
        except OSError:
            time.sleep(0.2)
            continue
        # The client tries again ten seconds after a first try that came too early
        if session._client._connected:
            return
        time.sleep(0.2)
    raise TimeoutError(f"the App at {address} did not start in {START_SECONDS} seconds")
