"""Two windows on one dataset: what one does, the other shows, and neither changes what the other looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from app_page import AppPage

PROTECT, VERIFY = "HoneyImage protection", "HoneyImage verification"

pytestmark = pytest.mark.browser


def test_two_windows_on_one_dataset(
    make_marked: Callable[..., Any],
    verify: Callable[..., Any],
    answer: Callable[..., str],
    open_window: Callable[..., AppPage],
    screens: Callable[[AppPage, str], None],
) -> None:
    dataset = make_marked()
    dataset.persistent = True
    verify(dataset, "thief", released=0.9, withheld=0.2)
    verify(dataset, "innocent", released=0.5, withheld=0.5)
    answer(dataset, "third_answers", released=0.6, withheld=0.5)
    first, second = open_window(dataset), open_window(dataset)
    for window in (first, second):
        if not window.has_tab(VERIFY):
            window.open_panel(VERIFY)
        window.page.get_by_text("Not shown to be derived from the release:").wait_for()

    # Each looks at a verification and a section of its own
    first.choose_in_panel("Verification", "thief")
    first.page.get_by_text("Derived from the release:", exact=True).wait_for()
    second.press("Record")
    second.page.get_by_text("Provenance").first.wait_for()
    first.press("Verdict")
    first.page.get_by_text("Derived from the release:", exact=True).wait_for()
    screens(first, "first-own-run")
    assert second.page.get_by_text("Derived from the release:", exact=True).count() == 0
    screens(second, "second-own-section")

    # One makes a run; the other finds it
    first.press("Verify a model…")
    first.click(first.form.get_by_text("A field of predictions"), "A field of predictions")
    first.choose("Field", "third_answers")
    first.type_into(first.field("Name of the verification"), "third")
    first.execute()
    first.page.get_by_text("field third_answers").first.wait_for()
    screens(first, "first-made")
    second.press("Refresh")
    second.page.get_by_text("field third_answers").first.wait_for()
    screens(second, "second-found")

    # One renames it while the other looks at it
    first.press("Record")
    first.press("Rename…")
    first.type_into(first.field("New key"), "renamed")
    first.submit("Rename")
    first.page.get_by_role("combobox").filter(has_text="renamed").wait_for()
    second.press("Refresh")
    second.page.get_by_role("combobox").filter(has_text="renamed").wait_for()
    screens(second, "second-renamed")

    # One deletes it
    second.press("Record")
    second.press("Delete…")
    second.confirm("Delete 'renamed'")
    second.submit("Delete")
    second.page.get_by_role("combobox").filter(has_text="innocent").wait_for()
    first.press("Refresh")
    first.page.get_by_role("combobox").filter(has_text="innocent").wait_for()
    first.page.get_by_text("field innocent_answers").first.wait_for()
    screens(first, "first-deleted")
    dataset.reload()
    assert set(dataset.list_runs()) >= {"thief", "innocent"}
    assert not {"third", "renamed"} & set(dataset.list_runs())
