"""The rows of a marking's releases, from plain values."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def release(fo: Any, tmp_path: Path) -> Any:
    from fiftyone_honeyimage.dataset.release.history import Release

    def make(name: str = "release", there: bool = True, **changes: Any) -> Any:
        folder = tmp_path / name
        if there:
            folder.mkdir(exist_ok=True)
        known = {
            "exported_at": datetime(2026, 3, 4, 5, 6, tzinfo=timezone.utc),
            "dataset_type": "CSVDataset",
            "num_files": 1234,
            "reencode": "all",
            **changes,
        }
        return Release(export_dir=folder, commitment="c0ffee", **known)

    return make


def test_rows_say_what_became_of_a_release(release: Any) -> None:
    from fiftyone_honeyimage.panels import release_figures as figures

    audited = datetime(2026, 3, 5, 6, 7, tzinfo=timezone.utc)
    made = [
        release(num_added=2, num_edited=1000),
        release("second", there=False, audit_passed=False, num_leaks=1, audited_at=audited),
        release(
            "third",
            exported_at=None,
            num_files=None,
            audit_passed=True,
            audited_at=audited,
            audit_pixels="nothing tells HoneyImages apart",
        ),
    ]

    rows = figures.rows(made)

    assert set(rows[0]) == {key for key, _ in figures.COLUMNS}
    assert rows[0] == {
        "release": "release",
        "exported": "2026-03-04 05:06",
        "audit": "not yet",
        "changed": "2 added, 1,000 edited",
    }
    assert rows[1]["release"] == "second (gone)"
    assert rows[1]["audit"] == "files failed: 1 leak, 2026-03-05 06:07"
    assert rows[1]["changed"] == "unchanged"
    assert rows[2]["exported"] == "not by this dataset"
    assert rows[2]["changed"] == "unknown"
    assert rows[2]["audit"] == (
        "files passed; pixels: nothing tells HoneyImages apart, 2026-03-05 06:07"
    )


def test_details_name_folder_and_format(release: Any) -> None:
    from fiftyone_honeyimage.panels import release_figures as figures

    text = figures.details(release(names="renumber"))
    assert "/release`; CSV; 1,234 files; every file encoded anew; files numbered anew" in text
    assert "no longer there" in figures.details(release("second", there=False))


def test_the_most_urgent_comes_first(release: Any) -> None:
    from fiftyone_honeyimage.panels import release_figures as figures

    passed, failed, fresh = (
        release("passed", audit_passed=True),
        release("failed", audit_passed=False, num_leaks=2),
        release("fresh"),
    )
    assert figures.advice([passed]) is None
    label, _, severity = figures.advice([fresh, failed, passed])
    assert (label, severity) == ("HoneyImages stand out in failed", "error")
    label, _, severity = figures.advice([fresh, passed])
    assert (label, severity) == ("Not audited yet: fresh", "info")
    assert figures.advice([release("old", there=False)]) is None
