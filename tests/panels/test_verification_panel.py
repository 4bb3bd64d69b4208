"""The verification panel, event by event, through FiftyOne's real registry."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest


def test_a_verdict_is_shown_with_its_figures(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verification = verify(dataset, "thief", released=0.9, withheld=0.2)
    assert verification.verdict.verdict == "derived"

    event = send("on_load", dataset)

    assert event.state == {"verify_key": "thief"}
    shown = event.output
    assert event.choices("verify_key") == ["thief"]
    view = shown["verdict"]["view"]
    assert view["severity"] == "error"
    assert view["label"] == "**Derived from the release:** field thief_answers"
    assert view["description"] == verification.verdict.statement
    text = event.text()
    for figure in (
        f"{verification.verdict.p_value:.2g}",
        f"{verification.verdict.p_adjusted:.2g}",
        "14 used, 0 with a failed query, 0 not used",
        f"{verification.verdict.effect_size:+.2g}",
        "0.001",
    ):
        assert figure in text
    points = shown["pairs"]["view"]["data"][1]
    assert points["y"] == [row["released_loss"] for row in verification.pairs]
    assert "e_values" not in shown


def test_an_innocent_model_is_not_acquitted(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "innocent", released=0.5, withheld=0.5)

    event = send("on_load", dataset)

    assert event.output["verdict"]["view"]["severity"] == "info"
    assert "Not shown" in event.text()
    assert "does not prove" in event.text()


def test_labels_alone_are_shown_as_accuracies(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verification = verify(dataset, "thief", released=0.9, withheld=0.2, labels=True)

    event = send("on_load", dataset)

    traces = event.output["pairs"]["view"]["data"]
    accuracies = [sum(trace["y"][bar] for trace in traces) for bar in (0, 1)]
    assert accuracies == [1.0, 0.0]
    assert verification.verdict.kind == "labels"
    assert "paper" not in event.output, "the loss gap needs losses"


def test_failed_queries_are_counted_and_not_drawn(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verification = verify(dataset, "thief", released=0.9, withheld=0.2, skip=1, skip_failures=True)

    event = send("on_load", dataset)

    assert verification.verdict.num_failed == 1
    assert "13 used, 1 with a failed query" in event.text()
    assert len(event.output["pairs"]["view"]["data"][1]["ids"]) == 13


def test_the_evidence_of_a_sequential_test_is_drawn(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked(num_pairs=20, test="e_process")
    verification = verify(dataset, "thief", released=0.9, withheld=0.2)

    event = send("on_load", dataset)

    curve = event.output["e_values"]["view"]["data"][0]
    assert curve["y"] == list(verification.verdict.e_values)


def test_another_verification_can_be_chosen(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "first", released=0.9, withheld=0.2)
    verify(dataset, "second", released=0.5, withheld=0.5)

    newest = send("on_load", dataset)
    assert newest.state == {"verify_key": "second"}
    assert newest.choices("verify_key") == ["second", "first"]
    chosen = send("on_choose", dataset, {"verify_key": "second"}, value="first")
    assert chosen.state == {"verify_key": "first"}
    assert "Derived" in chosen.text()
    # Opened by the operator on a certain one
    assert "Derived" in send("on_load", dataset, {"verify_key": "first"}).text()


def test_a_late_report_of_the_dropdown_leaves_the_section(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "innocent", released=0.5, withheld=0.5)
    verify(dataset, "thief", released=0.9, withheld=0.2)
    shown = send("on_load", dataset)
    state = {"verify_key": "thief", "section": "record"}
    late = send("on_choose", dataset, state, value=shown.all_state["verify_key_choice"])
    assert late.requests == []
    # Chosen by the user
    assert send("on_choose", dataset, state, value="innocent").state["section"] == "verdict"


def test_the_newest_comes_first_whatever_its_name(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "zebra", released=0.9, withheld=0.2)
    verify(dataset, "ant", released=0.5, withheld=0.5)

    event = send("on_load", dataset)

    assert event.state == {"verify_key": "ant"}
    assert event.choices("verify_key") == ["ant", "zebra"]


def test_a_prompted_run_is_shown_or_announced(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "first", released=0.9, withheld=0.2)
    verify(dataset, "second", released=0.5, withheld=0.5)
    state = {"verify_key": "second"}

    done = send("on_run", dataset, state, result={"verify_key": "first"})
    assert done.state == {"verify_key": "first"}
    # Whatever was shown of the other one
    state["section"] = "pairs"
    done = send("on_run", dataset, state, result={"verify_key": "first"})
    assert done.state == {"verify_key": "first", "section": "verdict"}
    assert send("refresh", dataset, state).state == {"verify_key": "second"}
    scheduled = send("on_run", dataset, state, result={"run_state": "queued", "id": "1"})
    assert scheduled.state == {}
    assert "Scheduled" in scheduled.asked("notify")[0]["message"]


def test_a_click_shows_both_twins_of_a_pair(
    fo: Any, make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2)
    state = {"verify_key": "thief"}

    def shown(event: Any) -> Any:
        (asked,) = event.asked("set_view")
        return fo.DatasetView._build(dataset, asked["view"])

    view = shown(send("on_click_point", dataset, state, id="5"))
    pair = fhi.load_marking(dataset, "honey").load_ledger().pairs[5]
    assert set(view.values("honey.source")) == {image.sample_id for image in pair.images}
    assert view.values("honey.role") == ["original", "honeyimage"] * 2

    points = [{"id": "5"}, {"id": "2"}, {"id": None}]
    view = shown(send("on_select_points", dataset, state, data=points))
    assert sorted(set(view.values("honey.pair"))) == [2, 5]
    assert len(view) == 8
    assert len(shown(send("show_marking", dataset, state))) == 2 * 28

    for event in (
        send("on_click_point", dataset, state, id=None),
        send("on_click_point", dataset, state, id="99"),
        send("on_click_point", dataset, {"verify_key": "gone"}, id="5"),
    ):
        assert event.asked("set_view") == []


def test_nothing_is_kept_on_the_panel(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    panel = operators.get_operator("@honeyimage/ownership/verification_panel")
    before = dict(vars(panel))
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2)

    send("on_load", dataset)
    send("on_click_point", dataset, {"verify_key": "thief"}, id="5")

    assert vars(panel) == before


def test_a_deleted_verification_is_noticed(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    verify(dataset, "first", released=0.9, withheld=0.2)
    verify(dataset, "second", released=0.5, withheld=0.5)
    state = {"verify_key": "first"}
    fhi.delete_run(dataset, "first")

    event = send("show_marking", dataset, state)
    assert "Verification 'first' is no longer there" in event.text()
    assert "verdict" not in event.output
    again = send("refresh", dataset, state)
    assert again.state == {"verify_key": "second"}
    assert "Not shown" in again.text()

    fhi.delete_run(dataset, "second")
    assert "No model has been verified yet" in send("refresh", dataset, state).text()


def test_a_run_without_results_is_explained(
    make_marked: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2)
    config = dataset.init_run(honey_key="honey", suspect_name="", suspect_digest=None)
    config.method = "honeyimage/verification"
    dataset.register_run("interrupted", config)

    event = send("on_load", dataset, {"verify_key": "interrupted"})

    assert "The result cannot be read" in event.text()


def test_buttons_prompt_the_operators(make_marked: Callable[..., Any], send: Any) -> None:
    dataset = make_marked()

    event = send("on_load", dataset)
    assert "No model has been verified yet" in event.text()
    assert "verify" in event.output["steps"]["type"]["properties"]
    for method, operator in (
        ("verify", "verify_model"),
        ("compute_hardness", "compute_hardness"),
        ("generate_honeyimages", "generate_honeyimages"),
    ):
        (asked,) = send(method, dataset).asked("prompt_user_for_operation")
        assert asked["operator_uri"] == f"@honeyimage/ownership/{operator}"
        assert asked["on_success"].endswith("#on_run")


def test_an_unmarked_dataset_says_how_to_start(
    fo: Any, make_digits_dataset: Callable[..., Any], send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_digits_dataset(num=24, size=8)

    event = send("on_load", dataset)
    assert "not marked yet" in event.text()
    steps = list(event.output["steps"]["type"]["properties"])
    assert steps == ["compute_hardness", "generate_honeyimages", "refresh"]

    fhi.compute_hardness(
        dataset, "ground_truth", proxy="resnet_tiny", training={"epochs": 1}, progress=False
    )
    steps = list(send("on_load", dataset).output["steps"]["type"]["properties"])
    assert steps == ["generate_honeyimages", "compute_hardness", "refresh"]


def test_datasets_that_cannot_be_used_are_explained(fo: Any, send: Any) -> None:
    empty, video, grouped = fo.Dataset(), fo.Dataset(), fo.Dataset()
    video.add_sample(fo.Sample(filepath="/nowhere/video.mp4"))
    grouped.add_group_field("group", default="left")
    group = fo.Group()
    grouped.add_sample(fo.Sample(filepath="/nowhere/a.png", group=group.element("left")))

    for dataset, message in (
        (empty, "is empty"),
        (video, "media type 'video'"),
        (grouped, "grouped dataset"),
    ):
        event = send("on_load", dataset)
        assert message in event.text()
        assert list(event.output["steps"]["type"]["properties"]) == ["refresh"]
        dataset.delete()


def test_another_dataset_starts_anew(
    make_marked: Callable[..., Any], make_digits_dataset: Callable[..., Any], verify: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2)
    other = make_digits_dataset(num=6, size=8)

    event = send("on_change_dataset", other, {"verify_key": "thief"})

    assert event.state == {"verify_key": None}
    assert "not marked yet" in event.text()


@pytest.mark.browser
def test_the_panel_in_the_app(
    make_marked: Callable[..., Any], verify: Any, open_app: Any, screenshot: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2)
    dataset.persistent = True
    page = open_app(dataset)

    page.locator("[data-cy=new-panel-btn]").first.click()
    page.get_by_text("HoneyImage verification").first.click()
    page.get_by_text("Derived from the release:").wait_for()
    points = page.locator("path.point")
    points.first.wait_for()
    screenshot(page, "verification-panel")
    # Plotly finds the point below the mouse by itself: a layer of its own lies above
    points.first.scroll_into_view_if_needed()
    box = points.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator(".hoverlayer .hovertext").wait_for()
    page.mouse.down()
    page.mouse.up()
    page.get_by_text("4 samples").wait_for()
