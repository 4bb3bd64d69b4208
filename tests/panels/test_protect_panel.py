"""The protection panel, event by event, through FiftyOne's real registry."""

from __future__ import annotations

import base64
import importlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_page import is_noise
from PIL import Image


@pytest.fixture
def panel_uri() -> str:
    return "@honeyimage/ownership/protect_panel"


@pytest.fixture
def marked(make_marked: Callable[..., Any]) -> Any:
    return make_marked(num_pairs=6, num_honeyimages=8, step_size=2)


STATE = {"hardness_key": "honey_hardness", "honey_key": "honey", "beside_sample": False}


def shown(dataset: Any, event: Any) -> Any:
    """The view that the App is asked to show."""
    fo = importlib.import_module("fiftyone")
    (asked,) = event.asked("set_view")
    return fo.DatasetView._build(dataset, asked["view"])


def pictures(event: Any) -> dict[str, np.ndarray]:
    """The pictures that are sent, by name."""
    found = {}
    for params in event.asked("patch_panel_data"):
        for path, url in params["data"].items():
            data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
            found[path.split(".")[1]] = np.asarray(Image.open(io.BytesIO(data)))
    return found


def buttons(event: Any, row: str = "actions") -> list[str]:
    return list(event.output[row]["type"]["properties"])


def test_a_marking_is_shown_with_its_figures(marked: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    marking = fhi.load_marking(marked, "honey")

    event = send("on_load", marked)

    assert event.state == {**STATE, "sample": None, "marking_note": ""}
    text = event.text()
    for figure in (
        "72",  # images scored
        "out-of-fold accuracy",
        "**8**",
        "**6**, so that 6 images are withheld",
        "HoneyImages, largest change ε 4, step size 2, rounds 1",
        "**14**: each became a HoneyImage",
        "32 candidates: 16 HoneyImages in a release, 16 of them with a withheld twin",
        f"| PSNR, dB | {marking.metrics['psnr']:.1f} | {marking.worst['psnr']:.1f} |",
        "| LPIPS | not measured | not measured |",
        "LPIPS was left out: not asked for",
        f"`{marking.commitment[:32]}` `{marking.commitment[32:]}`",
        "| method | HoneyImages, ",
        "matches the commitment",
        "Nothing was released yet",
    ):
        assert figure in text
    names = ["compute_hardness", "generate_honeyimages", "export_release"]
    assert [name for name in buttons(event) if name in names] == names
    assert not [name for name in event.output if "stale" in name]
    traces = event.output["visibility"]["view"]["data"]
    assert sorted(len(trace["ids"]) for trace in traces) == [2, 12]


def test_what_is_shown_gives_no_coin_away(marked: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    marking = fhi.load_marking(marked, "honey")
    before = send("on_load", marked).output

    # The same marking with every coin turned: only the state of the ledger differs
    text = marking.ledger_path.read_text(encoding="utf-8")
    turn = {'"a"': '"b"', '"b"': '"a"'}
    turned = re.sub('(?<="": )"[ab]"', lambda coin: turn[coin[0]], text)
    assert turned != text
    marking.ledger_path.write_text(turned, encoding="utf-8")
    after = send("on_load", marked).output

    assert [name for name in after if after[name] != before[name]] == ["ledger"]
    assert after["ledger"]["view"]["severity"] == "error"


def test_bars_open_their_images(marked: Any, send: Any) -> None:
    event = send("on_load", marked)
    traces = event.output["hardness_histogram"]["view"]["data"]
    assert sum(sum(trace["y"]) for trace in traces) == 72

    trace = traces[1]
    seen: list[str] = []
    for bar, count in zip(trace["ids"], trace["y"], strict=True):
        view = shown(marked, send("on_click_bar", marked, STATE, id=bar))
        assert len(view) == count
        assert set(view.values("ground_truth.label")) == {trace["name"]} == {"1"}
        seen += view.values("id")
    # Every bar together: each scored image of the class once
    assert len(set(seen)) == len(seen) == 24

    for bar in (None, "", "99/0", "0/9", "gone"):
        assert send("on_click_bar", marked, STATE, id=bar).asked("set_view") == []


def test_suspected_label_errors_are_shown_hardest_first(marked: Any, send: Any) -> None:
    runs = importlib.import_module("fiftyone_honeyimage.dataset.runs")
    # As if the proxies were good enough to judge labels
    found = runs.run_results(marked, "honey_hardness")
    runs.save_results(marked, "honey_hardness", {**found, "labels_judged": True})
    flags = "honey_hardness_label_error"
    hard = marked.exists("honey_hardness").sort_by("honey_hardness", reverse=True).values("id")
    # As found: the hardest, the tenth and the easiest image
    chosen = [hard[0], hard[9], hard[-1]]
    marked.set_values(flags, {i: i in chosen for i in hard}, key_field="id")

    event = send("on_load", marked)

    assert "**3 labels look wrong**, 1 of them among the 8 hardest" in event.text()
    view = shown(marked, send("show_label_errors", marked, STATE))
    assert view.values("id") == chosen


def test_points_open_their_pair_and_its_pictures(marked: Any, send: Any) -> None:
    traces = send("on_load", marked).output["visibility"]["view"]["data"]
    source = traces[0]["ids"][2]

    event = send("on_click_point", marked, STATE, id=source)

    view = shown(marked, event)
    assert view.values("honey.role") == ["original", "honeyimage"]
    assert view.values("honey.source") == [source, source]
    original, honey = (np.asarray(Image.open(path)) for path in view.values("filepath"))
    sent = pictures(event)
    assert list(sent) == ["original", "honeyimage", "difference_10", "difference_50"]
    assert {picture.shape for picture in sent.values()} == {(512, 512, 3)}
    assert (sent["original"][::64, ::64] == original).all()
    assert (sent["honeyimage"][::64, ::64] == honey).all()
    change = honey.astype(int) - original.astype(int)
    assert (sent["difference_10"][::64, ::64] == np.clip(128 + 10 * change, 0, 255)).all()
    assert len(shown(marked, send("show_marking", marked, STATE))) == 2 * 14


def test_the_selected_sample_is_compared(marked: Any, send: Any) -> None:
    honey = marked.match_tags("honeyimage").first()
    other = marked.match_tags("honeyimage", bool=False).match({"honey": None}).first()

    event = send("on_change_selected", marked, STATE, selected=[honey.id])
    assert event.state == {"sample": honey.id}
    path = marked[honey.honey.source].filepath
    assert (pictures(event)["original"][::64, ::64] == np.asarray(Image.open(path))).all()

    event = send("on_change_selected", marked, STATE, selected=[other.id])
    assert "not part of the marking" in event.text()
    assert "pictures" not in event.output
    assert pictures(event) == {}
    # Nothing is selected any more: what was shown stays
    assert send("on_change_selected", marked, STATE).state == {}


def test_beside_an_open_sample_its_images_are_compared(marked: Any, send: Any) -> None:
    honey = marked.match_tags("honeyimage").last()

    event = send("on_load", marked, current_sample=honey.id)

    assert event.state == {
        **STATE,
        "sample": honey.id,
        "beside_sample": True,
        "marking_note": "",
    }
    assert list(event.output)[:2] == ["honey_key_choice", "comparison_caption"]
    assert len(pictures(event)) == 4
    # The sample is closed
    event = send("on_change_current_sample", marked, event.state)
    assert "hardness_histogram" in event.output


def test_nothing_is_kept_on_the_panel(marked: Any, send: Any, panel_uri: str) -> None:
    operators = importlib.import_module("fiftyone.operators")
    panel = operators.get_operator(panel_uri)
    before = dict(vars(panel))

    send("on_load", marked)
    send("on_click_point", marked, STATE, id="5")

    assert vars(panel) == before


def test_buttons_prompt_the_operators(marked: Any, send: Any) -> None:
    for name in ("compute_hardness", "generate_honeyimages", "export_release"):
        (asked,) = send(name, marked).asked("prompt_user_for_operation")
        assert asked["operator_uri"] == f"@honeyimage/ownership/{name}"
        assert asked["on_success"].endswith("#on_run")


def test_changes_since_the_marking_are_told(fo: Any, marked: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    marking = fhi.load_marking(marked, "honey")
    first, second, third = marked.match_tags("honeyimage").limit(3)
    Path(first.filepath).unlink()
    marking.ledger_path.rename(marking.ledger_path.with_name("moved.json"))
    path = marked[second.honey.source].filepath
    marked.delete_samples([second.id, third.honey.source])
    marked.add_samples([fo.Sample(filepath=path, ground_truth=fo.Classification(label="1"))] * 3)
    marked.delete_saved_view("honey")

    event = send("on_load", marked)

    text = event.text()
    for message in (
        "The ledger is missing",
        "1 of 14 HoneyImages were deleted",
        "1 of 14 marked originals were deleted",
        "1 HoneyImage files are missing",
        "2 samples are not covered by this marking",
        "3 samples have no score",
    ):
        assert message in text
    assert event.output["marking_actions"]["type"]["properties"]["show_marking"]["view"]["disabled"]
    assert send("show_marking", marked, STATE).asked("set_view") == []

    event = send("on_click_point", marked, STATE, id=first.honey.source)
    assert "The images cannot be compared" in event.text()
    assert first.filepath in event.text()


def test_deleted_runs_and_fields_are_noticed(marked: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    marked.delete_sample_field("honey_hardness")
    assert "Field 'honey_hardness' was deleted since" in send("on_load", marked).text()

    fhi.delete_run(marked, "honey_hardness")
    event = send("show_label_errors", marked, STATE)
    assert "No hardness has been computed yet" in event.text()

    for key in ("hardness_key", "honey_key"):
        method = {"hardness_key": "hardness", "honey_key": "marking"}[key]
        config = marked.init_run(label_field="ground_truth", hardness_field="later")
        config.method = f"honeyimage/{method}"
        marked.register_run(f"later_{method}", config)
    event = send("on_load", marked, STATE)
    assert "Run 'honey_hardness' is no longer there" in event.text()
    event = send("refresh", marked, STATE)
    assert event.state["honey_key"] == "later_marking"
    assert "The results of 'later_marking' cannot be read" in event.text()
    assert "The results of 'later_hardness' cannot be read" in event.text()

    marked.delete_sample_field("honey")
    assert "Field 'honey' was deleted since" in send("on_load", marked, STATE).text()
    for method in ("on_click_point", "show_sample", "on_choose_marking"):
        send(method, marked, STATE, id="5", value="honey")


def test_an_unmarked_dataset_says_how_to_start(
    make_digits_dataset: Callable[..., Any], send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_digits_dataset(num=24, size=8)

    event = send("on_load", dataset)
    assert "No hardness has been computed yet" in event.text()
    assert "not marked yet" in event.text()
    assert buttons(event) == ["compute_hardness", "generate_honeyimages", "refresh"]

    fhi.compute_hardness(
        dataset, "ground_truth", proxy="resnet_tiny", training={"epochs": 1}, progress=False
    )
    event = send("on_run", dataset)
    assert event.state["hardness_key"] == "honey_hardness"
    view = event.output["actions"]["type"]["properties"]["generate_honeyimages"]["view"]
    assert view["variant"] == "contained"


def test_datasets_that_cannot_be_used_are_explained(fo: Any, send: Any) -> None:
    empty, video, grouped, unlabeled = (fo.Dataset() for _ in range(4))
    video.add_sample(fo.Sample(filepath="/nowhere/video.mp4"))
    grouped.add_group_field("group", default="left")
    group = fo.Group()
    grouped.add_sample(fo.Sample(filepath="/nowhere/a.png", group=group.element("left")))
    unlabeled.add_sample(fo.Sample(filepath="/nowhere/a.png"))

    for dataset, message in (
        (empty, "is empty"),
        (video, "media type 'video'"),
        (grouped, "grouped dataset"),
        (unlabeled, "a field of type Classification is needed"),
    ):
        event = send("on_load", dataset)
        assert message in event.text()
        assert buttons(event) == ["refresh"]
        dataset.delete()


def test_another_dataset_starts_anew(
    marked: Any, make_digits_dataset: Callable[..., Any], send: Any
) -> None:
    other = make_digits_dataset(num=6, size=8)

    event = send("on_change_dataset", other, {**STATE, "sample": marked.first().id})

    assert event.state == {
        "hardness_key": None,
        "honey_key": None,
        "sample": None,
        "marking_note": "",
    }
    assert "not marked yet" in event.text()


@pytest.mark.browser
def test_the_panel_in_the_app(marked: Any, open_app: Any, screenshot: Any, tmp_path: Path) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    fhi.export_release(marked, "honey", tmp_path / "spring-release", progress=False)
    marked.persistent = True
    page = open_app(marked)
    page.set_viewport_size({"width": 1280, "height": 720})
    errors: list[str] = []
    # As in tests/app: what FiftyOne's App raises by itself, without this plugin, is not ours
    page.on(
        "pageerror",
        lambda error: None if is_noise(f"page error: {error}") else errors.append(str(error)),
    )
    page.on(
        "console",
        lambda line: errors.append(line.text) if "honeyimage" in line.text.lower() else None,
    )

    # The workspace, from the list of operators
    page.keyboard.press("`")
    search = page.get_by_placeholder("Search operations by name")
    search.fill("HoneyImage: open workspace")
    page.get_by_text("HoneyImage: open workspace", exact=True).first.click()
    page.get_by_text("matches the commitment").wait_for()
    page.locator(".bars path").first.wait_for()
    screenshot(page, "protect-panel-hardness")
    # Nothing is wider than the panel
    assert page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot, table')]"
        ".every(e => e.getBoundingClientRect().right <= innerWidth)"
    )
    page.get_by_text("spring-release").first.scroll_into_view_if_needed()
    screenshot(page, "protect-panel-releases")
    page.get_by_text("Visibility and effect").scroll_into_view_if_needed()
    screenshot(page, "protect-panel-marking")

    image = page.get_by_alt_text("HoneyImage of sample")
    image.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => [...document.querySelectorAll('img[src^=\"data:image/png\"]')]"
        ".filter(image => image.naturalWidth === 512).length === 4"
    )
    screenshot(page, "protect-panel-comparison")
    page.get_by_role("button", name="Flip between them").click()
    page.get_by_alt_text("Original of sample").wait_for()
    page.get_by_role("button", name="Flip", exact=True).click()
    page.get_by_alt_text("HoneyImage of sample").wait_for()
    page.get_by_role("button", name="Side by side").click()

    # Dragging over bars
    drag = page.locator(".js-plotly-plot .nsewdrag").first
    drag.scroll_into_view_if_needed()
    box = drag.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()
    page.get_by_text("72 samples").wait_for()
    page.locator('[data-testid="LightModeIcon"]').click()
    page.locator('[data-testid="DarkModeIcon"]').wait_for()
    screenshot(page, "protect-panel-light")

    # The sample at hand, in the modal: the HoneyImage first, then its original
    page.get_by_role("button", name="Open the HoneyImage").click()
    modal = page.get_by_test_id("modal")
    modal.get_by_text("HoneyImage protection").click()
    other = modal.get_by_role("button", name="Open the original")
    other.wait_for()
    modal.get_by_alt_text("Difference ×50 of sample").wait_for()
    screenshot(page, "protect-panel-modal")
    other.click()
    modal.get_by_role("button", name="Open the HoneyImage").wait_for()
    assert errors == []


def test_edited_roles_and_tags_mislead_nobody(
    make_marked: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """Which samples are HoneyImages is told by the run, whatever scripts write into fields and tags."""
    from fiftyone_honeyimage.panels.marking_section import _points

    dataset = make_marked(num_pairs=4)
    before = send("on_load", dataset, {}).text()
    points = {point["id"] for point in _points(dataset, "honey")}
    own = dataset.match_tags("honeyimage", bool=False)
    own.set_values("honey.role", ["honeyimage"] * len(own))
    dataset.untag_samples("honeyimage")
    dataset.reload()

    assert {point["id"] for point in _points(dataset, "honey")} == points
    assert len(points) == 8
    after = send("on_load", dataset, {}).text()
    assert "not covered by this marking" not in after
    assert ("were deleted" in after) == ("were deleted" in before)
