"""Releases, pending runs, notes, brushing and the rest of the protection panel's sections."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STATE = {"hardness_key": "honey_hardness", "honey_key": "honey", "beside_sample": False}
PLUGIN = "@honeyimage/ownership"


@pytest.fixture
def panel_uri() -> str:
    return f"{PLUGIN}/protect_panel"


@pytest.fixture
def marked(make_marked: Callable[..., Any]) -> Any:
    return make_marked(num_pairs=6, num_honeyimages=8, step_size=2)


def data(event: Any, path: str) -> Any:
    """What was last sent to a path of the panel's data."""
    sent = [params["data"] for params in event.asked("patch_panel_data") if path in params["data"]]
    return sent[-1][path] if sent else None


def prompted(event: Any) -> tuple[str, dict[str, Any]]:
    """The operator that is prompted, and the parameters that its form starts with."""
    (asked,) = event.asked("prompt_user_for_operation")
    return asked["operator_uri"].rpartition("/")[2], asked["params"]


def shown(dataset: Any, event: Any) -> Any:
    fo = importlib.import_module("fiftyone")
    (asked,) = event.asked("set_view")
    return fo.DatasetView._build(dataset, asked["view"])


def buttons(event: Any, row: str) -> dict[str, Any]:
    return event.output[row]["type"]["properties"]


def test_dragging_over_bars_shows_their_images(marked: Any, send: Any) -> None:
    traces = send("on_load", marked).output["hardness_histogram"]["view"]["data"]
    chosen = [(trace["ids"][0], trace["y"][0]) for trace in traces]

    points = [{"id": bar} for bar, _ in chosen] + [{"id": None}, {"id": "99/0"}, {}]
    view = shown(marked, send("on_select_bars", marked, STATE, data=points))

    assert len(view) == sum(count for _, count in chosen)
    hardness = view.values("honey_hardness")
    assert hardness == sorted(hardness, reverse=True)
    for none in ([], None, [{"id": "99/0"}]):
        assert send("on_select_bars", marked, STATE, data=none).asked("set_view") == []


def test_hardness_by_the_classes_of_another_field(fo: Any, marked: Any, send: Any) -> None:
    assert "label_field_choice" not in send("on_load", marked).output
    originals = marked.match_tags("honeyimage", bool=False)
    labels = [
        fo.Classification(label="even" if number % 2 else "odd") for number in range(len(originals))
    ]
    originals.set_values("parity", labels)
    marked.reload()

    event = send("on_load", marked)
    assert event.choices("label_field")[0] == "ground_truth"
    event = send("on_choose_label_field", marked, STATE, value="parity")
    assert event.state == {"label_field": "parity"}
    state = {**STATE, "label_field": "parity"}
    traces = send("on_tick", marked, state).output["hardness_histogram"]["view"]["data"]
    assert [trace["name"] for trace in traces] == ["even", "odd"]
    view = shown(marked, send("on_click_bar", marked, state, id=traces[0]["ids"][0]))
    assert set(view.values("parity.label")) == {"even"}
    # A field that was deleted meanwhile falls back to the run's own
    marked.delete_sample_field("parity")
    traces = send("on_tick", marked, state).output["hardness_histogram"]["view"]["data"]
    assert [trace["name"] for trace in traces] == ["0", "1", "2"]


def test_the_hardest_come_first(marked: Any, send: Any) -> None:
    view = shown(marked, send("show_hardest", marked, STATE))
    hardness = view.values("honey_hardness")
    assert len(hardness) == 72
    assert hardness == sorted(hardness, reverse=True)


def test_releases_are_listed_and_audited_from_their_row(
    marked: Any, send: Any, tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    assert "Nothing was released yet" in send("on_load", marked).text()
    name, params = prompted(send("audit_release", marked, STATE))
    assert (name, params) == ("audit_release", {"honey_key": "honey"})

    fhi.export_release(marked, "honey", tmp_path / "first", progress=False)
    fhi.export_release(
        marked,
        "honey",
        tmp_path / "second",
        reencode="all",
        unpublished=[tmp_path / "first"],
        progress=False,
    )
    event = send("on_load", marked)
    rows = data(event, "releases")
    assert [row["release"] for row in rows] == ["second", "first"]
    assert {row["audit"] for row in rows} == {"not yet"}
    assert {row["changed"] for row in rows} == {"unchanged"}
    assert "Not audited yet: second and 1 more" in event.text()
    (first, second) = event.output["releases"]["view"]["tooltips"]
    assert str(tmp_path / "second") in first["value"]
    assert "encoded anew" in first["value"]
    assert str(tmp_path / "first") in second["value"]
    # The next step is to verify
    assert buttons(event, "actions_1")["verify_model"]["view"]["variant"] == "contained"

    name, params = prompted(send("audit_row", marked, STATE, row=1))
    assert name == "audit_release"
    assert params == {"export_dir": str(tmp_path / "first"), "honey_key": "honey"}
    for row in (None, 7, -1, "1"):
        assert send("audit_row", marked, STATE, row=row).asked("prompt_user_for_operation") == []

    ledger = fhi.load_marking(marked, "honey").ledger_path
    fast = {"proxy": None, "progress": False, "alpha": 1e-6}
    (tmp_path / "first" / "notes.txt").write_text(
        fhi.load_marking(marked, "honey").commitment, encoding="utf-8"
    )
    fhi.audit_release(tmp_path / "first", ledger, samples=marked, **fast)
    (tmp_path / "second").rename(tmp_path / "published")
    event = send("on_load", marked)
    rows = data(event, "releases")
    assert rows[0]["release"] == "second (gone)"
    assert rows[1]["audit"].startswith("files failed: 1 leak; pixels: ")
    assert "HoneyImages stand out in first" in event.text()
    assert event.output["release_advice"]["view"]["severity"] == "error"


def test_forms_start_with_what_is_shown(marked: Any, send: Any) -> None:
    for method, operator, params in (
        ("generate_honeyimages", "generate_honeyimages", {"hardness_field": "honey_hardness"}),
        ("export_release", "export_release", {"honey_key": "honey"}),
        ("verify_model", "verify_model", {"honey_key": "honey"}),
        ("rename_marking", "rename_run", {"key": "honey"}),
        ("delete_marking", "delete_run", {"key": "honey"}),
        ("delete_hardness", "delete_run", {"key": "honey_hardness"}),
        ("compute_hardness", "compute_hardness", {}),
    ):
        assert prompted(send(method, marked, STATE)) == (operator, params)
    # A run that was deleted in another window is not asked about
    gone = {**STATE, "honey_key": "gone"}
    assert prompted(send("delete_marking", marked, gone)) == ("delete_run", {})


def test_a_renamed_or_deleted_run_is_followed(marked: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    fhi.rename_run(marked, "honey", "renamed")
    event = send("on_run", marked, STATE, result={"key": "honey", "new_key": "renamed"})
    assert event.state["honey_key"] == "renamed"
    assert "is no longer there" not in event.text()

    fhi.delete_run(marked, "renamed")
    state = {**STATE, "honey_key": "renamed"}
    event = send("on_run", marked, state, result={"key": "renamed", "delete_files": False})
    assert event.state["honey_key"] is None
    assert "not marked yet" in event.text()


def test_a_note_is_kept(marked: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    event = send("save_note", marked, {**STATE, "marking_note": " For the spring release "})
    assert event.asked("notify")[0]["variant"] == "success"
    assert fhi.read_note(marked, "honey").text == "For the spring release"
    assert send("on_load", marked).state["marking_note"] == "For the spring release"

    gone = {**STATE, "honey_key": "gone", "marking_note": "x"}
    assert send("save_note", marked, gone).asked("notify")[0]["variant"] == "error"


def test_pictures_are_shown_in_turns(marked: Any, send: Any) -> None:
    event = send("flip", marked, STATE)
    assert event.state == {"flip": "original"}
    original = data(event, "flip_image")
    event = send("flip", marked, {**STATE, "flip": "original"})
    assert event.state == {"flip": "honeyimage"}
    assert data(event, "flip_image") not in (None, original)
    assert "pictures_0" not in event.output
    assert event.output["flip_image"]["view"]["alt"].startswith("HoneyImage of sample")
    event = send("unflip", marked, {**STATE, "flip": "honeyimage"})
    assert "pictures_0" in event.output
    assert data(event, "pictures_0.original") == original


def test_the_other_picture_opens_at_full_size(marked: Any, send: Any) -> None:
    honey = marked.match_tags("honeyimage").first()
    source = honey.honey.source
    state = {**STATE, "sample": source}

    # From the grid: its HoneyImage, with the original one arrow key away
    event = send("open_full_size", marked, state)
    assert event.asked("open_sample")[0]["id"] == honey.id
    assert shown(marked, event).values("id") == [source, honey.id]
    # Beside the open sample: the one that is not open
    for opened, other, label in ((honey.id, source, "original"), (source, honey.id, "HoneyImage")):
        state = {**STATE, "sample": opened, "beside_sample": True}
        event = send("open_full_size", marked, state, current_sample=opened)
        assert event.asked("open_sample")[0]["id"] == other
        assert event.asked("set_view") == []
        # Nothing else changes, so the panel is not drawn anew
        assert event.asked("show_panel_output") == []
        event = send("flip", marked, state, current_sample=opened)
        text = buttons(event, "comparison_actions")["open_full_size"]["view"]["label"]
        assert text == f"Open the {label} at full size"
    assert send("open_full_size", marked, {**STATE, "honey_key": "gone"}).asked("open_sample") == []


def test_a_lost_state_is_found_again(marked: Any, send: Any) -> None:
    honey = marked.match_tags("honeyimage").first()
    event = send("on_change_current_sample", marked, {}, current_sample=honey.id)
    assert event.state["honey_key"] == "honey"
    assert event.state["beside_sample"] is True
    assert "no longer there" not in event.text()
    assert "comparison_caption" in event.output


def test_the_trade_off_is_drawn(fo: Any, marked: Any, send: Any) -> None:
    assert "was not measured" in send("on_load", marked).text()
    points = [
        {"epsilon": e, "gap": e / 2, "gap_error": 0.1, "psnr": 50 - e, "ssim": 1 - e / 100}
        for e in (1, 2, 4, 8, 16)
    ]
    trade_off = {"num_images": 5, "num_steps": 8, "points": points, "produced": points[2]}
    run = marked.load_run_results("honey", cache=False)
    stored = {k: v for k, v in run.serialize().items() if k != "cls"}
    results = marked.init_run_results("honey", **{**stored, "trade_off": trade_off})
    marked.save_run_results("honey", results)

    event = send("on_load", marked)
    curve, own = event.output["trade_off"]["view"]["data"]
    assert curve["x"] == [49, 48, 46, 42, 34]
    assert own["y"] == [2]
    assert event.choices("measure") == ["PSNR, dB", "SSIM"]
    event = send("on_choose_measure", marked, STATE, value="ssim")
    assert event.state == {"measure": "ssim"}
    assert event.output["trade_off"]["view"]["data"][1]["x"] == [0.96]


def test_labels_and_files_that_changed_are_told(fo: Any, marked: Any, send: Any) -> None:
    first, second = marked.match_tags("honeyimage").limit(2)
    sample = marked[first.honey.source]
    sample.ground_truth.label = "another"
    sample.save()
    Path(marked[second.honey.source].filepath).unlink()

    text = send("on_load", marked).text()
    assert "1 marked originals have another label now" in text
    assert "1 marked original files are missing" in text

    marked.delete_sample_field("ground_truth")
    marked.add_sample_field("other", fo.EmbeddedDocumentField, fo.Classification)
    event = send("on_load", marked)
    assert "Label field 'ground_truth' was deleted" in event.text()


def test_scheduled_runs_are_shown_at_once_and_opened_when_done(
    marked: Any, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    delegated = importlib.import_module("fiftyone.operators.delegated")
    service = delegated.DelegatedOperationService()
    tiny = {"proxy": "resnet_tiny", "training": {"epochs": 1}, "device": "cpu"}
    operator = operators.get_operator(f"{PLUGIN}/compute_hardness")
    queued = operator(marked, "ground_truth", "later", delegate=True, **tiny)
    try:
        result = {"run_state": "scheduled"}
        event = send("on_run", marked, STATE, result=result)
        assert "Scheduled" in event.asked("notify")[0]["message"]
        assert "Hardness of ground_truth" in event.text()
        assert "waits in the queue" in event.text()
        assert "pending_timer" in event.output
        state = {**STATE, **event.state}

        service.execute_queued_operations(operator=f"{PLUGIN}/compute_hardness")
        # A note that is being written is not taken away
        writing = send("on_tick", marked, {**state, "marking_note": "ask K"})
        assert "hardness_key" not in writing.state
        assert writing.asked("notify")
        event = send("on_tick", marked, state)
        assert event.state["hardness_key"] == "later"
        assert event.asked("reload_dataset")
        assert "pending_timer" not in event.output
        assert "Finished" in event.asked("notify")[0]["message"]
    finally:
        if queued.result and "id" in queued.result:
            service.delete_operation(queued.result["id"])


def test_a_failed_run_says_why_and_can_be_dismissed(marked: Any, send: Any, tmp_path: Path) -> None:
    operators = importlib.import_module("fiftyone.operators")
    delegated = importlib.import_module("fiftyone.operators.delegated")
    operator = operators.get_operator(f"{PLUGIN}/export_release")
    operator(marked, "honey", tmp_path / "release", delegate=True)
    state = {**STATE, **send("on_load", marked).state}
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "mine.txt").write_text("not to be overwritten", encoding="utf-8")
    service = delegated.DelegatedOperationService()
    service.execute_queued_operations(operator=f"{PLUGIN}/export_release")

    event = send("on_tick", marked, state)
    assert "failed" in event.text()
    run_id = buttons(event, "failed_0_actions")["dismiss"]["view"]["params"]["run_id"]
    assert prompted(send("on_retry", marked, STATE, run_id=run_id))[0] == "export_release"
    assert "failed_0" not in send("on_dismiss", marked, STATE, run_id=run_id).output


def test_what_is_sent_does_not_grow_with_the_samples(fo: Any, marked: Any, send: Any) -> None:
    def size() -> int:
        return len(str(send("on_load", marked).output))

    before = size()
    path = marked.match_tags("honeyimage", bool=False).first().filepath
    rng = np.random.default_rng(51)
    marked.add_samples(
        [
            fo.Sample(
                filepath=path,
                ground_truth=fo.Classification(label=str(number % 3)),
                honey_hardness=float(rng.uniform(0, 2)),
            )
            for number in range(2000)
        ]
    )
    # More bars may be filled, and a note tells of the new samples
    assert size() < before + 20_000
