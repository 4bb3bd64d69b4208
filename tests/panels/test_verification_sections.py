"""Sections, runs and odd states of the verification panel, through FiftyOne's real registry."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def verified(make_marked: Callable[..., Any], verify: Callable[..., Any]) -> Any:
    """A dataset with two verifications: ``thief``, which is derived, and ``innocent``."""
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2)
    verify(dataset, "innocent", released=0.5, withheld=0.5)
    return dataset


@pytest.fixture
def ledger_path(verified: Any) -> Path:
    """The ledger of that dataset."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    return Path(fhi.load_marking(verified, "honey").ledger_path)


def state(section: str, key: str = "thief", **more: Any) -> dict[str, Any]:
    return {"verify_key": key, "section": section, **more}


def sent(event: Any) -> dict[str, Any]:
    """The panel's data that an event sends."""
    data: dict[str, Any] = {}
    for params in event.asked("patch_panel_data"):
        data.update(params["data"])
    return data


def view_of(fo: Any, dataset: Any, event: Any) -> Any:
    """The view that an event shows in the grid."""
    (asked,) = event.asked("set_view")
    return fo.DatasetView._build(dataset, asked["view"])


def test_sections_are_chosen_by_buttons(verified: Any, send: Any) -> None:
    event = send("on_section", verified, state("verdict"), section="compare")
    assert event.state == {"section": "compare"}
    assert "verdict" not in event.output
    buttons = event.output["sections"]["type"]["properties"]
    shown = {name: prop["view"]["variant"] for name, prop in buttons.items()}
    assert shown["section_compare"] == "contained"
    assert shown["section_verdict"] == "outlined"
    assert send("on_section", verified, state("verdict"), section="nonsense").state == {}


def test_rows_of_pairs_open_their_images(fo: Any, verified: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    event = send("on_section", verified, state("pairs"), section="pairs")
    rows = sent(event)["pair_table"]
    asked = [str(row["pair"]) for row in fhi.load_verification(verified, "thief").pairs]
    assert [row["id"] for row in rows] == asked
    assert "**14** pairs used, **0** with a failed query, **0** left" in event.text()
    assert event.output["pair_table"]["view"]["row_actions"][0]["tooltip"] == "Show images"

    opened = view_of(fo, verified, send("on_open_pair", verified, state("pairs"), row=3))
    assert set(opened.values("honey.pair")) == {int(asked[3])}
    assert opened.values("honey.role") == ["original", "honeyimage"] * 2
    for row in (99, None, -1):
        assert send("on_open_pair", verified, state("pairs"), row=row).asked("set_view") == []


def test_losses_of_a_suspects_own_have_no_nats_and_no_gap(
    make_marked: Callable[..., Any], send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    honey = dataset.match_tags("honeyimage")
    honey.set_values("loss", [0.01 * (row + 1) for row in range(len(honey))])
    fhi.verify_model(dataset, "honey", "loss", "generator", outputs="losses", progress=False)

    for section in ("verdict", "pairs", "gap", "compare"):
        event = send("on_section", dataset, state("verdict", "generator"), section=section)
        assert "nats" not in json.dumps(event.output) + json.dumps(sent(event)), section
        if section == "gap":
            assert "losses of its own" in event.text()
        if section == "pairs":
            assert "in the suspect's own unit" in event.text()


def test_pages_stay_within_the_table(verified: Any, send: Any) -> None:
    event = send("on_page", verified, state("pairs"), page=7)
    assert "Page 1 of 1" in event.text()
    buttons = event.output["pair_actions"]["type"]["properties"]
    assert buttons["previous"]["view"]["disabled"]
    assert buttons["next"]["view"]["disabled"]


def test_bars_of_the_histogram_show_their_pairs(fo: Any, verified: Any, send: Any) -> None:
    event = send("on_load", verified, state("verdict"))
    bars = event.output["histogram"]["view"]["data"][0]
    bar = next(bar for bar, count in zip(bars["ids"], bars["y"], strict=True) if count)
    count = bars["y"][bars["ids"].index(bar)]

    view = view_of(fo, verified, send("on_click_point", verified, state("verdict"), id=bar))
    assert len(view) == 4 * count


def test_all_suspects_are_compared_in_one_view(verified: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    fhi.delete_run(verified, "innocent")
    event = send("on_section", verified, state("compare"), section="compare")

    rows = sent(event)["suspects"]
    assert [row["run"] for row in rows] == ["thief", "not on the dataset"]
    assert [row["verdict"] for row in rows] == ["derived", "not shown"]
    assert rows[1]["suspect"] == "field innocent_answers"
    verdict = fhi.load_verification(verified, "thief").verdict
    # Two p-values, of which the ledger remembers the deleted one
    assert rows[0]["holm"] == f"{2 * verdict.p_value:.2g}"
    assert event.output["evidence"]["view"]["data"][0]["ids"] == ["number-2", "thief"]
    text = event.text()
    assert "What decides" in text
    assert "Holm's correction" in text

    opened = send("on_open_suspect", verified, state("compare", note=""), row=0)
    assert opened.state["section"] == "verdict"
    assert "Derived" in opened.text()
    clicked = send("on_click_suspect", verified, state("compare"), id="thief")
    assert clicked.state["section"] == "verdict"
    gone = send("on_open_suspect", verified, state("compare"), row=1)
    assert "section" not in gone.state
    assert "only in the ledger" in gone.asked("notify")[0]["message"]


def test_the_loss_gap_comes_with_its_warning(
    fo: Any, verified: Any, answer: Any, send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    event = send("on_section", verified, state("gap"), section="gap")
    assert "never decide" in event.text()
    assert "no unmarked image has predictions in field 'thief_answers'" in event.text()
    honey, none = event.output["gaps"]["view"]["data"]
    assert sum(honey["y"]) == pytest.approx(1.0)
    assert sum(none["y"]) == 0

    answer(verified, "wide", released=0.9, withheld=0.2)
    own = verified.match_tags("honeyimage", bool=False)
    own.set_values("wide", [[0.5, 0.3, 0.2]] * len(own))
    found = fhi.verify_model(verified, "honey", "wide", "wide_run", progress=False, insist=True)
    event = send("on_section", verified, state("gap", "wide_run"), section="gap")
    honey, random = event.output["gaps"]["view"]["data"]
    # Nothing that is stored tells the gap of a pair: with its loss, it would tell the coin
    assert "HoneyImages (28)" not in honey["name"]
    assert f"({len(found.random_images['gaps'])})" in random["name"]
    mean = found.verdict.paper["mean_loss_gap"]
    assert f"**{mean:.2f} nats**" in event.text()

    bar = next(i for i, share in zip(random["ids"], random["y"], strict=True) if share)
    shown = view_of(fo, verified, send("on_click_gap", verified, state("gap", "wide_run"), id=bar))
    assert set(shown.values("id")) <= set(found.random_images["ids"])
    bar = next(i for i, share in zip(honey["ids"], honey["y"], strict=True) if share)
    shown = view_of(fo, verified, send("on_click_gap", verified, state("gap", "wide_run"), id=bar))
    assert sorted(set(shown.values("honey.role"))) == ["honeyimage", "original"]
    assert send("on_click_gap", verified, state("gap", "wide_run"), id="x").asked("set_view") == []


def test_labels_alone_have_no_loss_gap(make_marked: Any, verify: Any, send: Any) -> None:
    dataset = make_marked()
    verify(dataset, "thief", released=0.9, withheld=0.2, labels=True)
    event = send("on_load", dataset, state("gap"))
    assert "There is no loss gap" in event.text()
    pairs = send("on_load", dataset, state("pairs"))
    assert sent(pairs)["pair_table"][0]["difference"] == ""


def test_the_record_tells_who_and_keeps_a_note(verified: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    event = send("on_section", verified, state("record"), section="record")
    config = fhi.load_verification(verified, "thief").config
    text = event.text().replace("` `", "")
    for value in (config["user"], config["commitment"], config["ledger_head"], "fiftyone"):
        assert value in text

    saved = send("save_note", verified, state("record", note=" ask Kim "))
    assert saved.state == {"note": "ask Kim"}
    assert fhi.read_note(verified, "thief").text == "ask Kim"
    assert saved.output["note"]["default"] == "ask Kim"
    # Shown beside the verdict, in every window, and put into the field when the run is chosen
    assert "ask Kim" in send("on_load", verified, state("verdict")).text()
    chosen = send("on_choose", verified, state("record", "innocent"), value="thief")
    assert chosen.state == {"verify_key": "thief", "note": "ask Kim", "section": "verdict"}

    too_long = send("save_note", verified, state("record", note="x" * 10_001))
    assert "not saved" in too_long.asked("notify")[0]["message"]
    assert fhi.read_note(verified, "thief").text == "ask Kim"


def test_the_runs_of_others_are_renamed_and_deleted_by_their_operators(
    verified: Any, send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    for method, operator, params in (
        ("rename", "rename_run", {"key": "thief"}),
        ("delete", "delete_run", {"key": "thief"}),
        ("export_evidence", "export_evidence", {"verify_key": "thief"}),
    ):
        (asked,) = send(method, verified, state("record")).asked("prompt_user_for_operation")
        assert asked["operator_uri"] == f"@honeyimage/ownership/{operator}"
        assert asked["params"] == params

    fhi.rename_run(verified, "thief", "their_model")
    result = {"key": "thief", "new_key": "their_model"}
    renamed = send("on_renamed", verified, state("record"), result=result)
    assert renamed.state == {"verify_key": "their_model"}
    fhi.delete_run(verified, "their_model")
    deleted = send("on_deleted", verified, state("record", "their_model"), result={})
    assert deleted.state["verify_key"] == "innocent"


def test_a_missing_ledger_is_said_and_the_verdict_stands(
    verified: Any, ledger_path: Path, send: Any
) -> None:
    ledger_path.rename(ledger_path.with_name("moved"))

    event = send("on_load", verified, state("verdict"))

    assert "Derived" in event.text()
    assert event.output["notice_0"]["view"]["label"] == "The ledger cannot be used"
    button = event.output["actions"]["type"]["properties"]["export_evidence"]["view"]
    assert button["disabled"]
    assert "is not at" in button["title"]
    assert "The ledger cannot be read" in send("on_load", verified, state("compare")).text()
    assert "needs the ledger" in send("on_load", verified, state("gap")).text()


def test_an_older_copy_of_the_ledger_is_noticed(
    verified: Any, ledger_path: Path, verify: Any, send: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.json"
    shutil.copy(ledger_path, copy)
    verify(verified, "later", released=0.9, withheld=0.2)
    assert "notice_0" not in send("on_load", verified, state("verdict", "later")).output
    shutil.copy(copy, ledger_path)

    event = send("on_load", verified, state("verdict", "later"))

    assert event.output["notice_0"]["view"]["label"] == "The ledger is older than this verification"
    assert "notice_0" not in send("on_load", verified, state("verdict")).output


def test_what_changed_in_the_dataset_is_said(fo: Any, verified: Any, send: Any) -> None:
    paired = verified.match(fo.ViewField("honey.pair") != None)  # noqa: E711 (a query)
    honey = paired.match(fo.ViewField("honey.role") == "honeyimage")
    original = paired.match(fo.ViewField("honey.role") == "original").first()
    other = "1" if original.ground_truth.label != "1" else "2"
    original.ground_truth = fo.Classification(label=other)
    original.save()
    Path(original.filepath).unlink()
    first = honey.first()
    number = first["honey"].pair
    verified.delete_samples([first.id])

    text = send("on_load", verified, state("verdict")).text()

    assert "1 of 28 HoneyImages of the pairs were deleted" in text
    assert "The labels of 1 samples" in text
    assert f"1 image files of the pairs are missing\nThe first is `{original.filepath}`" in text
    view = view_of(fo, verified, send("on_click_point", verified, state("verdict"), id=str(number)))
    assert len(view) == 3
    verified.delete_samples(view)
    nothing = send("on_click_point", verified, state("verdict"), id=str(number))
    assert nothing.asked("set_view") == []
    assert "no longer in the dataset" in nothing.asked("notify")[0]["message"]


def test_a_deleted_field_is_said(verified: Any, send: Any) -> None:
    verified.delete_sample_field("honey")
    event = send("on_load", verified, state("verdict"))
    assert "Field 'honey' was deleted" in event.text()
    assert "Derived" in event.text()
    assert "Attach HoneyImage marking" in event.text()
    # The run's record still tells which samples belong to which pair
    clicked = send("on_click_point", verified, state("verdict"), id="5")
    assert len(clicked.asked("set_view")) == 1


def test_a_marking_without_pairs_verifies_nothing(make_marked: Any, verify: Any, send: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked(num_pairs=0, num_honeyimages=6)
    with pytest.raises(fhi.ParameterError, match="0 pairs of twins cannot show anything"):
        verify(dataset, "thief", released=0.9, withheld=0.2)
    assert "No model has been verified yet" in send("on_load", dataset).text()


def test_a_verification_that_failed_half_way_is_told(
    make_marked: Any, answer: Any, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    # A suspect that fails is given seconds before it is asked again, twice a batch
    wrappers = importlib.import_module("fiftyone_honeyimage.core.suspects.wrappers")
    monkeypatch.setattr(wrappers, "PAUSES", (0.0, 0.0))
    dataset = make_marked()
    seen = []

    def gives_up(batch: Any) -> Any:
        seen.append(len(batch))
        if sum(seen) > 20:  # sixteen unmarked images first
            raise RuntimeError("quota is used up")
        return batch.mean(dim=3)[:, :, 0]

    with pytest.raises(fhi.SuspectError, match="quota"):
        fhi.verify_model(
            dataset,
            "honey",
            gives_up,
            "thief",
            name="their API",
            batch_size=2,
            progress=False,
            insist=True,
        )

    event = send("on_load", dataset)
    ledger = json.loads(
        Path(fhi.load_marking(dataset, "honey").ledger_path).read_text(encoding="utf-8")
    )
    assert [entry["event"] for entry in ledger["log"]] == ["open"]
    assert "No model has been verified yet" in event.text()
    assert "1 that began and gave no verdict yet (their API): stopped half-way" in event.text()

    answer(dataset, "again_answers", released=0.9, withheld=0.2)
    # While one runs nobody is told to start another, which would count too
    operators = importlib.import_module("fiftyone.operators")
    service = importlib.import_module("fiftyone.operators.delegated").DelegatedOperationService()
    run_id = operators.execute_operator(
        "@honeyimage/ownership/verify_model",
        dataset=dataset,
        params={"honey_key": "honey", "suspect": "again_answers"},
        request_delegation=True,
    ).result["id"]
    assert "if it was stopped, verify it again" in send("on_load", dataset).text()
    service.set_running(run_id)
    running = send("on_load", dataset).text()
    assert "One is running now: its verdict will show here" in running
    assert "verify it again" not in running
    service.delete_operation(run_id)

    fhi.verify_model(dataset, "honey", "again_answers", "again", progress=False)
    rows = sent(send("on_load", dataset, state("compare", "again")))["suspects"]
    assert [row["verdict"] for row in rows] == ["no verdict", "derived"]


def test_images_without_class_labels_are_explained(
    fo: Any, make_digits_dataset: Any, send: Any
) -> None:
    dataset = make_digits_dataset(num=6, size=8)
    dataset.delete_sample_field("ground_truth")
    event = send("on_load", dataset)
    assert "There are no labels" in event.text()
    assert list(event.output["steps"]["type"]["properties"]) == ["refresh"]


def test_an_unreadable_run_can_be_deleted(verified: Any, send: Any) -> None:
    config = verified.init_run(honey_key="honey", suspect_name="", suspect_digest=None)
    config.method = "honeyimage/verification"
    verified.register_run("interrupted", config)

    event = send("on_load", verified, state("verdict", "interrupted"))
    assert "delete" in event.output["run_actions"]["type"]["properties"]
    for method in ("on_open_pair", "on_click_gap", "on_open_suspect", "show_marking"):
        assert send(method, verified, state("verdict", "interrupted"), row=0, id="1").output
