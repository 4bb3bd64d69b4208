"""The operator verify_model: one verdict in three ways, and a form that says what a verification costs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def comparable(verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict without what depends on how many came before it."""
    drop = {"p_adjusted", "family_size", "statement", "num_left"}
    return {name: value for name, value in verdict.items() if name not in drop}


def test_sdk_app_and_delegated_run_agree(
    make_marked: Callable[..., Any],
    suspect_file: str,
    execute: Any,
    delegate: Any,
    triggered: Any,
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    # Enough pairs for a verdict at the third verification
    dataset = make_marked(num_pairs=14)
    params = {"honey_key": "honey", "suspect": suspect_file, "name": "theirs", "device": "cpu"}

    sdk = fhi.verify_model(dataset, verify_key="by_sdk", progress=False, **params)
    immediate = execute("verify_model", dataset, verify_key="by_app", **params)
    delegated = delegate("verify_model", dataset, verify_key="by_worker", **params)

    expected = comparable(sdk.verdict.to_dict())
    for number, result in ((2, immediate.result), (3, delegated.result)):
        assert comparable(result["verdict"]) == expected
        assert result["verdict"]["family_size"] == number
        assert result["pairs"] == sdk.pairs
        assert result["suspect_digest"] == sdk.suspect_digest
    assert len(sdk.pairs) == 14
    dataset.reload()
    assert fhi.load_verification(dataset, "by_worker").pairs == sdk.pairs
    assert len(sdk.random_images["gaps"]) == 44, "all unmarked images there are"
    for key in ("by_app", "by_worker"):
        found = fhi.load_verification(dataset, key)
        assert found.random_images == sdk.random_images
        # FiftyOne without a login knows no user, so it is the operating system's in all three
        assert found.config["user"] == sdk.config["user"]

    asked = triggered(immediate)
    assert asked["open_panel"]["name"] == "verification_panel"
    assert asked["open_panel"]["state"] == {"verify_key": "by_app"}
    assert "reload_dataset" in asked
    assert delegated.document.label == "Verify theirs with 'honey'"
    shown = delegated.outputs["type"]["properties"]["verdict"]["view"]
    assert shown["description"] == delegated.result["verdict"]["statement"]


def test_a_field_of_predictions_can_be_the_suspect(
    fo: Any, make_marked: Callable[..., Any], execute: Any, resolve: Any
) -> None:
    dataset = make_marked()
    assert "no field of predictions" in str(
        resolve("verify_model", dataset, source="A field of predictions").schema
    )
    honey = dataset.match_tags("honeyimage")
    labels = honey.values("ground_truth.label")
    honey.set_values("guess", [fo.Classification(label=label) for label in labels])

    form = resolve("verify_model", dataset, suspect="guess")
    assert form.errors() == {}
    assert form.values("suspect") == ["guess"]
    honey.set_values("loss", [0.01 * row for row in range(len(labels))])
    assert resolve("verify_model", dataset, suspect="guess").values("suspect") == ["guess"]
    form = resolve("verify_model", dataset, suspect="loss", outputs="losses")
    assert form.errors() == {}
    assert {"loss", "guess"} & set(form.values("suspect")) == {"loss"}
    result = execute("verify_model", dataset, honey_key="honey", suspect="guess").result
    assert result["verdict"]["kind"] == "labels"
    assert result["verdict"]["effect_size"] == 0
    assert result["verify_key"] == "honey_verification_1"


def test_lists_are_text_in_the_form(
    make_marked: Callable[..., Any], suspect_file: str, resolve: Any
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    dataset = make_marked()
    operator = operators.get_operator("@honeyimage/ownership/verify_model")

    result = operator(
        dataset,
        "honey",
        suspect_file,
        classes=["0", "1", "2"],
        mean=[0.5, 0.5, 0.5],
        std=[0.25, 0.25, 0.25],
        input_size=8,
        references=[suspect_file],
        alpha=0.0005,
    ).result

    assert result["verdict"]["alpha"] == 0.0005
    # The suspect itself as a reference: its gap is that of the reference
    paper = result["verdict"]["paper"]
    assert paper["reference_mean_loss_gaps"] == [paper["mean_loss_gap"]]
    params = {"mean": "0.5, 0.5 0.5", "classes": "2\n1\n0\n"}
    # The second one of twelve pairs could decide nothing
    dataset = make_marked()
    assert resolve("verify_model", dataset, suspect=suspect_file, **params).errors() == {}


@pytest.mark.parametrize(
    ("params", "path", "message"),
    [
        ({"suspect": "/nowhere/model.pt"}, "suspect", "neither a file nor a field"),
        ({"suspect": __file__}, "suspect", "of no kind that can be loaded"),
        ({"suspect": "ground_truth_2"}, "suspect", "neither a file nor a field"),
        ({"verify_key": "honey"}, "verify_key", "is taken"),
        ({"verify_key": "1"}, "verify_key", "valid identifier"),
        ({"alpha": 0.01}, "alpha", "weaker than"),
        ({"classes": "0\n1"}, "classes", "is missing"),
        ({"mean": "0.5, half"}, "mean", "three numbers"),
        ({"std": "0.5"}, "std", "three numbers"),
        ({"input_size": 0}, "input_size", ""),
        ({"num_random": -1}, "num_random", "num_random"),
        ({"references": "/nowhere/model.pt"}, "suspect", "neither a file nor a field"),
        ({"device": "quantum"}, "device", "Unknown device"),
    ],
)
def test_form_shows_what_the_sdk_refuses(
    make_marked: Callable[..., Any],
    suspect_file: str,
    resolve: Any,
    params: dict[str, Any],
    path: str,
    message: str,
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    params = {"suspect": suspect_file, **params}

    errors = resolve("verify_model", dataset, advanced=True, **params).errors()

    assert list(errors) == [path]
    assert message in errors[path]
    ledger = fhi.load_marking(dataset, "honey").load_ledger()
    assert ledger.verifications == {}, "a form asks nobody"


def test_form_shows_what_a_verification_costs(
    make_marked: Callable[..., Any], suspect_file: str, resolve: Any, execute: Any
) -> None:
    dataset = make_marked()

    cost = resolve("verify_model", dataset, suspect=suspect_file).text("cost")
    assert "**24 queries** about 12 pairs" in cost
    assert "12 of 12 pairs have not been used yet" in cost
    assert "`signed_rank`, α = 0.001" in cost
    assert "verification number 1, which is held to the level 0.0005" in cost

    execute("verify_model", dataset, honey_key="honey", suspect=suspect_file)
    form = resolve("verify_model", dataset, suspect=suspect_file)
    assert "0 of 12 pairs have not been used yet" in form.text("cost")
    assert "verification number 2, which is held to the level 0.00017" in form.text("cost")
    refused = form.errors()["blocked"]
    assert "12 pairs of twins cannot show anything" in refused
    assert "at least 13 pairs can reach" in refused, "computed for this position and level"


def test_form_needs_a_marking_first(fo: Any, make_hard: Callable[..., Any], resolve: Any) -> None:
    errors = resolve("verify_model", make_hard(num=24)).errors()
    assert "*Generate HoneyImages* first" in errors["blocked"]

    empty = fo.Dataset()
    assert "is empty" in resolve("verify_model", empty).errors()["blocked"]
    empty.delete()


def test_the_grid_offers_it(fo: Any) -> None:
    operators = importlib.import_module("fiftyone.operators")
    operator = operators.get_operator("@honeyimage/ownership/verify_model")
    executor = importlib.import_module("fiftyone.operators.executor")
    placement = operator.resolve_placement(executor.ExecutionContext({"params": {}})).to_json()
    assert placement["view"]["label"].endswith("(no dataset is open)")

    assert placement["place"] == "samples-grid-secondary-actions"
    root = Path(__file__).resolve().parents[2]
    for icon in ("icon", "darkIcon"):
        assert (root / placement["view"][icon].lstrip("/")).is_file()


def test_the_cost_tells_of_random_images(
    make_marked: Callable[..., Any], suspect_file: str, resolve: Any
) -> None:
    dataset = make_marked()
    usual = resolve("verify_model", dataset, suspect=suspect_file)
    assert "up to 50 queries more on random unmarked images" in usual.text("cost")
    none = resolve("verify_model", dataset, suspect=suspect_file, num_random=0)
    assert "random" not in none.text("cost")


def test_it_cannot_be_run_again_as_it_takes_a_place_in_the_ledger(
    make_marked: Callable[..., Any], suspect_file: str, delegate: Any
) -> None:
    service = importlib.import_module("fiftyone.operators.delegated").DelegatedOperationService()
    dataset = make_marked()
    done = delegate("verify_model", dataset, honey_key="honey", suspect=suspect_file, device="cpu")
    with pytest.raises(ValueError, match="not marked as rerunnable"):
        service.rerun_operation(done.document.id)


def test_form_proposes_a_share_of_new_pairs_and_says_what_is_left(
    make_marked: Callable[..., Any], suspect_file: str, resolve: Any, execute: Any
) -> None:
    dataset = make_marked(num_pairs=29, alpha=0.05)
    open_form = {"suspect": suspect_file, "advanced": True, "pairs": "unused"}
    form = resolve("verify_model", dataset, **open_form)
    assert form.properties["num_pairs"]["default"] == 10
    assert "29 of 29 are left: with 10 each, enough for 2 checks" in form.text("num_pairs")
    assert "**20 queries**" in resolve("verify_model", dataset, **open_form, num_pairs=10).text(
        "cost"
    )
    for number, message in ((30, "29 of 29 pairs have not been used"), (-1, "num_pairs")):
        errors = resolve("verify_model", dataset, **open_form, num_pairs=number).errors()
        assert message in errors["num_pairs"]
    few = resolve("verify_model", dataset, **open_form, num_pairs=7).errors()
    assert "7 pairs of twins cannot show anything" in few["blocked"]
    assert "Pass num_pairs=10 or more; 29 are left" in few["blocked"]
    assert "num_pairs" not in resolve("verify_model", dataset, advanced=True).properties

    params = {"honey_key": "honey", "suspect": suspect_file, "pairs": "unused", "num_pairs": 10}
    result = execute("verify_model", dataset, **params).result
    assert result["verdict"]["num_pairs"] == 10
    again = resolve("verify_model", dataset, **open_form)
    assert "19 of 29 are left" in again.text("num_pairs")


def test_form_shows_how_right_held_answers_are_and_offers_to_insist(
    fo: Any, make_marked: Callable[..., Any], resolve: Any, execute: Any
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    dataset = make_marked()
    labels = dataset.values("ground_truth.label")
    for field, shift in (("right", 0), ("shifted", 1)):
        guesses = [fo.Classification(label=str((int(label) + shift) % 3)) for label in labels]
        dataset.set_values(field, guesses)
    fine = resolve("verify_model", dataset, suspect="right")
    assert "is right on 100 %" in fine.text("accuracy")
    wrong = resolve("verify_model", dataset, suspect="shifted")
    assert "may be asked in a wrong way" in wrong.text("accuracy")
    assert "another order of classes (0: '2', 1: '0', 2: '1')" in wrong.text("accuracy")
    assert "insist" in wrong.properties

    params = {"honey_key": "honey", "suspect": "shifted"}
    with pytest.raises(operators.executor.ExecutionError, match="insist"):
        execute("verify_model", dataset, **params)
    result = execute("verify_model", dataset, **params, insist=True).result
    assert "The owner insisted" in result["verdict"]["statement"]


def test_form_names_what_was_left_open(
    make_marked: Callable[..., Any], suspect_file: str, resolve: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked(num_pairs=14)
    calls: list[int] = []

    def breaks(batch: Any) -> Any:
        calls.append(len(batch))
        if len(calls) > 1:
            raise KeyboardInterrupt
        return batch.flatten(1)[:, :3]

    with pytest.raises(KeyboardInterrupt):
        fhi.verify_model(dataset, "honey", breaks, name="theirs", progress=False, insist=True)
    cost = resolve("verify_model", dataset, suspect=suspect_file).text("cost")
    assert "the verification of “theirs”, opened " in cost
    assert "the same settings go on with it" in cost
    assert "verification number 2" in cost


def test_a_torchscript_file_is_called_a_program(
    make_marked: Callable[..., Any], suspect_file: str, resolve: Any
) -> None:
    form = resolve("verify_model", make_marked(), suspect=suspect_file)
    assert "A TorchScript file is a program" in form.text("suspect")
    for place in ("docs/operators.md", "skills/honeyimage/SKILL.md"):
        text = (Path(__file__).parents[2] / place).read_text(encoding="utf-8")
        assert "TorchScript file is a program" in " ".join(text.split())
