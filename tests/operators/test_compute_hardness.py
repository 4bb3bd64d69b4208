"""The operator compute_hardness: one result in three ways, and a form that says what is wrong."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

TINY = {"proxy": "resnet_tiny", "training": {"epochs": 1, "batch_size": 32}, "device": "cpu"}


def test_sdk_app_and_delegated_run_agree(
    make_digits_dataset: Callable[..., Any], execute: Any, delegate: Any, triggered: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_digits_dataset(num=48, size=8)
    params = {"label_field": "ground_truth", **TINY}

    summary = fhi.compute_hardness(dataset, "ground_truth", "by_sdk", progress=False, **TINY)
    immediate = execute("compute_hardness", dataset, hardness_field="by_app", **params)
    delegated = delegate("compute_hardness", dataset, hardness_field="by_worker", **params)

    dataset.reload()
    by_sdk, by_app, by_worker = dataset.values(["by_sdk", "by_app", "by_worker"])
    assert by_sdk == by_app == by_worker
    assert None not in by_sdk
    for result, field in ((immediate.result, "by_app"), (delegated.result, "by_worker")):
        assert result["hardness_field"] == field
        assert result["mean"] == summary.mean
        assert result["num_images"] == 48
    configs = [dataset.get_run_info(key).config.serialize() for key in ("by_sdk", "by_worker")]
    assert {**configs[0], "hardness_field": ""} == {**configs[1], "hardness_field": ""}
    assert "reload_dataset" in triggered(immediate)


def test_delegated_run_reports_its_stages(
    make_digits_dataset: Callable[..., Any], delegate: Any
) -> None:
    dataset = make_digits_dataset(num=24, size=8)
    done = delegate("compute_hardness", dataset, label_field="ground_truth", **TINY)

    assert done.document.run_state == "completed"
    assert done.document.label == "Hardness of ground_truth"
    shares = [share for share, _ in done.progress]
    assert shares == sorted(shares)
    assert done.progress[-1] == (1.0, "Done")
    summary = done.outputs["type"]["properties"]["told"]["default"]
    assert "| Images scored | 24 |" in summary
    assert "`honey_hardness`" in summary


@pytest.mark.parametrize(
    "name", ["compute_hardness", "generate_honeyimages", "export_release", "verify_model"]
)
def test_a_scheduled_run_says_what_it_waits_for(
    make_digits_dataset: Callable[..., Any], fo: Any, name: str
) -> None:
    executor = importlib.import_module("fiftyone.operators.executor")
    operators = importlib.import_module("fiftyone.operators")
    uri = f"@honeyimage/ownership/{name}"
    # The App asks for the output at once, with the queue's entry as the result
    results = {"operator": uri, "run_state": "queued", "id": "1"}
    request = {"params": {}, "results": results}
    ctx = executor.ExecutionContext(request, operator_uri=uri)

    shown = operators.get_operator(uri).resolve_type(ctx, "outputs").to_json()

    assert "fiftyone delegated launch" in shown["type"]["properties"]["told"]["default"]


def test_runs_on_the_view_that_was_chosen(
    make_digits_dataset: Callable[..., Any], execute: Any
) -> None:
    dataset = make_digits_dataset(num=48, size=8)
    view = dataset.limit(24)

    result = execute(
        "compute_hardness", view, label_field="ground_truth", view_target="CURRENT_VIEW", **TINY
    ).result

    assert result["num_images"] == 24
    dataset.reload()
    assert dataset.exists("honey_hardness").values("id") == view.values("id")


def test_can_be_called_from_python(make_digits_dataset: Callable[..., Any]) -> None:
    operators = importlib.import_module("fiftyone.operators")
    dataset = make_digits_dataset(num=24, size=8)
    operator = operators.get_operator("@honeyimage/ownership/compute_hardness")

    result = operator(dataset.view(), "ground_truth", "scores", **TINY)
    queued = operator(dataset, "ground_truth", "later", delegate=True, **TINY)

    assert result.result["hardness_field"] == "scores"
    assert queued.delegated
    dataset.reload()
    assert dataset.has_field("scores")
    assert not dataset.has_field("later")


def test_form_proposes_what_runs(make_digits_dataset: Callable[..., Any], resolve: Any) -> None:
    form = resolve("compute_hardness", make_digits_dataset(num=24, size=8))

    assert form.errors() == {}
    assert form.properties["label_field"]["default"] == "ground_truth"
    assert form.properties["hardness_field"]["default"] == "honey_hardness"
    assert form.properties["proxy"]["default"] in form.values("proxy")
    assert "training" not in form.properties, "further options are folded"


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"hardness_field": "1st"}, "hardness_field"),
        ({"hardness_field": "filepath"}, "hardness_field"),
        ({"hardness_field": "ground_truth"}, "hardness_field"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"training": {"batch_size": 1}}, "training.batch_size"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate"),
        ({"seed": -1}, "seed"),
        ({"device": "cuda:99"}, "device"),
        ({"device": "quantum"}, "device"),
        ({"input_size": 4}, "input_size"),
    ],
)
def test_form_shows_what_the_sdk_refuses(
    make_digits_dataset: Callable[..., Any],
    resolve: Any,
    execute: Any,
    params: dict[str, Any],
    path: str,
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    operators = importlib.import_module("fiftyone.operators.executor")
    dataset = make_digits_dataset(num=24, size=8)

    with pytest.raises(fhi.ParameterError) as refused:
        fhi.compute_hardness(dataset, "ground_truth", progress=False, **params)
    errors = resolve("compute_hardness", dataset, **params).errors()
    with pytest.raises(operators.ExecutionError, match="Validation error"):
        execute("compute_hardness", dataset, label_field="ground_truth", **params)

    assert list(errors) == [path]
    assert errors[path].lower() == str(refused.value).lower()


def test_form_says_when_scores_are_overwritten(make_hard: Callable[..., Any], resolve: Any) -> None:
    form = resolve("compute_hardness", make_hard(num=24))

    assert form.errors() == {}
    assert "will be overwritten" in form.text("overwrites")


def test_form_shows_the_cost(make_digits_dataset: Callable[..., Any], resolve: Any) -> None:
    dataset = make_digits_dataset(num=48, size=8)

    cost = resolve("compute_hardness", dataset, training={"epochs": 3}).text("cost")

    # Every image is trained on three times by one proxy and scored by the other, a third of a pass
    assert f"{3 * 48 + 48 // 3} training passes" in cost
    assert "48 images read" in cost
    assert f"{48 * 3 * 8 * 8 / 1000:.1f} KB" in cost
    assert "on this machine" not in cost, "nothing was measured"


def test_form_shows_the_measured_time(
    make_digits_dataset: Callable[..., Any], resolve: Any
) -> None:
    dataset = make_digits_dataset(num=48, size=8)
    params = {"proxy": "resnet_tiny", "device": "cpu"}
    request = resolve("compute_hardness", dataset, prompt=True, **params).properties["speed"][
        "view"
    ]["params"]
    speed = {"state": "loaded", "data": {"request": request, "seconds": 0.5}}

    cost = resolve("compute_hardness", dataset, prompt=True, speed=speed, **params).text("cost")
    assert f"about **{round((60 * 48 + 16) * 0.5 / 60)} min**" in cost

    # What was measured for other settings is not shown
    params["proxy"] = "wrn28_2"
    cost = resolve("compute_hardness", dataset, prompt=True, speed=speed, **params).text("cost")
    assert "on this machine" not in cost


@pytest.mark.slow
def test_the_time_is_measured(
    fo: Any, make_digits_dataset: Callable[..., Any], execute: Any
) -> None:
    request = {
        "proxy": "resnet_tiny",
        "num_classes": 3,
        "input_size": 8,
        "batch_size": 128,
        "precision": "auto",
        "device": "cpu",
    }
    result = execute("estimate_time", make_digits_dataset(num=6, size=8), **request).result

    assert result["request"] == request
    assert 0 < result["seconds"] < 10


def test_further_options_stay_in_sight_while_changed(
    make_digits_dataset: Callable[..., Any], resolve: Any
) -> None:
    dataset = make_digits_dataset(num=24, size=8)

    # What the App sends after they were unfolded, looked at and folded again
    defaults = {"seed": 51, "training": {"epochs": 60, "batch_size": 128, "flip": True}}
    assert "seed" not in resolve("compute_hardness", dataset, **defaults).properties
    assert "seed" in resolve("compute_hardness", dataset, seed=52).properties
    assert "seed" in resolve("compute_hardness", dataset, advanced=True).properties
    emptied = {"seed": None, "device": "", "training": {"epochs": None}}
    form = resolve("compute_hardness", dataset, advanced=True, **emptied)
    assert form.errors() == {}


def test_a_recipe_stands_for_the_whole_training(
    make_digits_dataset: Callable[..., Any], resolve: Any, execute: Any
) -> None:
    questions = importlib.import_module("fiftyone_honeyimage.operators.training_questions")
    recipes = importlib.import_module("fiftyone_honeyimage.core.training_config").RECIPES
    assert set(questions._RECIPES) == set(recipes)
    dataset = make_digits_dataset(num=24, size=8)
    # The fields that the App showed before still hold the defaults
    shown = {"epochs": 60, "batch_size": 128, "learning_rate": 0.1, "flip": True}
    given = {**TINY, "training": shown, "recipe": "paper"}
    form = resolve("compute_hardness", dataset, **given)
    assert form.errors() == {}
    assert "training" not in form.properties
    assert "150 epochs" in form.text("cost")
    assert list(resolve("compute_hardness", dataset, recipe="theirs").errors()) == ["recipe"]

    execute("compute_hardness", dataset, label_field="ground_truth", **{**given, "recipe": "quick"})
    dataset.reload()
    assert dataset.get_run_info("honey_hardness").config.training["epochs"] == 15


def test_form_explains_unusable_samples(
    fo: Any, make_digits_dataset: Callable[..., Any], resolve: Any
) -> None:
    digits = make_digits_dataset(num=6, size=8)
    paths = digits.values("filepath")
    made = []

    def dataset(*samples: Any) -> Any:
        made.append(fo.Dataset())
        made[-1].add_samples(list(samples))
        return made[-1]

    group = fo.Group()
    label = fo.Classification(label="0")
    grouped = dataset()
    grouped.add_group_field("group", default="left")
    grouped.add_samples(
        [
            fo.Sample(filepath=paths[0], group=group.element("left"), ground_truth=label),
            fo.Sample(filepath=paths[1], group=group.element("right"), ground_truth=label),
        ]
    )
    video = dataset(fo.Sample(filepath="/nowhere/video.mp4"))
    unlabeled = digits.clone()
    made.append(unlabeled)
    unlabeled.first().update_fields({"ground_truth": None})
    sample = unlabeled.first()
    sample["ground_truth"] = None
    sample.save()

    cases = [
        (dataset(), "the view is empty".capitalize()),
        (grouped, "grouped dataset"),
        (video, "media type 'video'"),
        (dataset(fo.Sample(filepath=paths[0])), "none"),
        (dataset(*(fo.Sample(filepath=p, ground_truth=label) for p in paths)), "one class only"),
        (unlabeled, "1 of 6 samples have no label"),
        (None, "Open a dataset first"),
    ]
    for samples, message in cases:
        errors = resolve("compute_hardness", samples).errors()
        assert list(errors) == ["blocked"], message
        assert message in errors["blocked"]
    for samples in made:
        samples.delete()
