"""Views that show something else than the dataset holds, and several calls at once on one dataset."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fiftyone import ViewField as F

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.dataset.runs import VERIFICATION, run_results, save_run
from fiftyone_honeyimage.dataset.samples import read_labels


@pytest.fixture(scope="module")
def hard(make_dataset: Any) -> Any:
    return make_dataset(30, hardness=True)


def mapped(dataset: Any) -> Any:
    return dataset.map_labels("ground_truth", {"1": "one"})


def set_label(dataset: Any) -> Any:
    return dataset.set_field("ground_truth.label", F("label").upper().concat("x"))


def partly_filtered(dataset: Any) -> Any:
    return dataset.filter_labels("ground_truth", F("label") != "1", only_matches=False)


def other_files(dataset: Any) -> Any:
    return dataset.set_field("filepath", F("filepath").concat(".png"))


def grouped(dataset: Any) -> Any:
    return dataset.group_by("ground_truth.label")


CHANGED = "the view changes what the dataset holds: it shows sample"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (mapped, CHANGED),
        (set_label, CHANGED),
        (partly_filtered, CHANGED),
        (other_files, CHANGED),
        (grouped, "the view groups samples"),
    ],
)
def test_a_view_that_shows_something_else_is_refused(
    hard: Any, mark: Any, tiny: dict[str, Any], unchanged: Any, change: Any, message: str
) -> None:
    view = change(hard)
    before = unchanged(hard)
    for call in (
        lambda: mark(view, output_dir=Path(hard.first().filepath).parent.with_name("out")),
        lambda: fhi.compute_hardness(view, "ground_truth", "again", **tiny, progress=False),
    ):
        with pytest.raises(fhi.SamplesError, match=message):
            call()
    assert unchanged(hard) == before


def test_a_view_that_only_chooses_works(hard: Any) -> None:
    view = hard.filter_labels("ground_truth", F("label") != "1")
    assert read_labels(view, "ground_truth").classes == ["0", "2"]
    assert len(read_labels(grouped(hard).flatten(), "ground_truth")) == 30


def test_three_threads_on_one_dataset(
    make_dataset: Any, mark: Any, guessing_suspect: Any, tmp_path: Path
) -> None:
    """A second marking, a verification and a release of the first, at once."""
    dataset = make_dataset(48, classes=4, hardness=True)
    first = mark(dataset, step_size=2, num_honeyimages=11, num_pairs=11)
    places = [tmp_path / "release-0", tmp_path / "release-1"]
    calls = [
        lambda: mark(dataset, "second", step_size=2),
        lambda: fhi.verify_model(dataset, "honey", guessing_suspect, "check", progress=False),
        *(
            lambda place=place: fhi.export_release(dataset, "honey", place, progress=False)
            for place in places
        ),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()

    dataset.reload()
    assert {run.key for run in fhi.list_runs(dataset)} == {"honey", "second", "check"}
    assert {release.export_dir for release in fhi.list_releases(dataset, "honey")} == set(places)
    second = fhi.load_marking(dataset, "second")
    assert len(dataset) == 48 + 22 + 7
    assert set(dataset.get_field_schema()) >= {"honey", "second"}
    assert set(dataset.list_saved_views()) >= {"honey", "second"}
    assert (len(first.view()), len(second.view())) == (44, 14)
    withheld = {
        digest
        for image in first.load_ledger().withheld_images()
        for digest in (image.marked_sha256, image.source_sha256)
    }
    for place in places:
        content = [p.read_bytes() for p in place.rglob("*.png")]
        assert len(content) in (37, 37 - 7), "before or after the second marking"
        assert not withheld & {hashlib.sha256(data).hexdigest() for data in content}
    fhi.export_release(dataset, "second", tmp_path / "second", progress=False)


def test_results_are_read_while_another_process_replaces_them(make_dataset: Any) -> None:
    # A verification's are, when its random images were asked: the panel reads at any moment
    dataset = make_dataset(4)
    save_run(dataset, "theirs", VERIFICATION, {}, {"number": -1})
    code = (
        "import sys, time, fiftyone as fo\n"
        "from fiftyone_honeyimage.dataset.runs import save_results\n"
        "dataset = fo.load_dataset(sys.argv[1])\n"
        "for number in range(100):\n"
        "    save_results(dataset, 'theirs', {'number': number})\n"
        "    time.sleep(0.05)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, dataset.name])
    seen = set()
    while other.poll() is None:
        dataset.reload()
        seen.add(run_results(dataset, "theirs")["number"])
    assert other.returncode == 0
    dataset.reload()
    assert run_results(dataset, "theirs") == {"number": 99}
    assert len(seen) > 2
