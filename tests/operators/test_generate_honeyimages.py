"""The operator generate_honeyimages: the same HoneyImages in three ways, and a form that says what is wrong."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fiftyone_honeyimage.core.pipeline.thieves import THIEVES

PARAMS = {
    "label_field": "ground_truth",
    "num_pairs": 10,
    "method": "honeyimage",
    "num_steps": 2,
    "exclude": [],
    "proxy": "resnet_tiny",
    "training": {"epochs": 1, "batch_size": 32},
    "device": "cpu",
}


def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["images"]


def test_sdk_app_and_delegated_run_agree(
    fo: Any,
    make_hard: Callable[..., Any],
    execute: Any,
    delegate: Any,
    triggered: Any,
    tmp_path: Path,
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_hard()
    sdk = {**PARAMS, "honey_key": "by_sdk", "output_dir": str(tmp_path / "sdk")}

    def check(key: str, result: Any) -> None:
        dataset.reload()
        marking = fhi.load_marking(dataset, key)
        assert result["commitment"] == marking.commitment
        assert result["num_honeyimages"] == marking.num_honeyimages == 10
        assert len(marking.load_ledger().pairs) == 10

    # Each is deleted before the next, which would leave its images out otherwise
    fhi.generate_honeyimages(dataset, progress=False, **sdk)
    fhi.delete_run(dataset, "by_sdk")
    immediate = execute(
        "generate_honeyimages",
        dataset,
        **{**sdk, "honey_key": "by_app", "output_dir": str(tmp_path / "app")},
    )
    check("by_app", immediate.result)
    asked = triggered(immediate)
    assert "reload_dataset" in asked
    shown = fo.DatasetView._build(dataset, asked["set_view"]["view"])
    assert shown.values("id") == fhi.load_marking(dataset, "by_app").view().values("id")
    fhi.delete_run(dataset, "by_app")
    delegated = delegate(
        "generate_honeyimages",
        dataset,
        **{**sdk, "honey_key": "by_worker", "output_dir": str(tmp_path / "worker")},
    )

    images = manifest(tmp_path / "sdk")
    assert len(images) == 20
    # Same sources, digests of the same files, same losses
    assert images == manifest(tmp_path / "app") == manifest(tmp_path / "worker")
    check("by_worker", delegated.result)
    assert delegated.document.label == "HoneyImages 'by_worker'"
    assert [stage for _, stage in delegated.progress][-1] == "Done"
    summary = delegated.outputs["type"]["properties"]["told"]["default"]
    assert delegated.result["commitment"] in summary
    assert delegated.result["ledger_path"] in summary


def test_the_database_holds_no_coin(make_marked: Callable[..., Any], resolve: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    ledger = fhi.load_marking(dataset, "honey").load_ledger()

    # Forms read the ledger: what they show must not tell which twin was released
    shown = json.dumps(
        [
            resolve(name, dataset, prompt=True).schema
            for name in ("export_release", "verify_model", "delete_run")
        ]
    )
    secret = [image.sample_id for image in ledger.withheld_images()]
    assert not [sample_id for sample_id in secret if sample_id in shown]


def test_form_proposes_what_runs(make_hard: Callable[..., Any], resolve: Any) -> None:
    form = resolve("generate_honeyimages", make_hard())

    assert form.errors() == {}
    assert form.properties["honey_key"]["default"] == "honey"
    assert form.properties["hardness_field"]["default"] == "honey_hardness"
    assert "Empty: 16" in form.text("num_pairs")
    cost = form.text("cost")
    assert "16 HoneyImages** in a release of 56 images" in cost
    assert "16 images withheld" in cost


def test_form_asks_for_reference_models_where_a_score_needs_them(
    make_hard: Callable[..., Any], resolve: Any
) -> None:
    dataset = make_hard()

    def form(**params: Any) -> Any:
        return resolve("generate_honeyimages", dataset, **{**PARAMS, "advanced": True, **params})

    assert "num_references is 0" in str(form(score="lira_online").errors()["score"])
    assert "needs at least 4" in form(score="lira_online").text("num_references")
    enough = form(score="lira_online", num_references=8)
    assert enough.errors() == {}
    assert "**8 reference models** are trained" in enough.text("cost")
    # On 52 of the 72 images and half of 20
    passes = 52 + 72 * (1 + 1) + 2 * 20 * 8 + 8 * 62
    assert f"{passes:,} training passes" in enough.text("cost")


def test_form_proposes_a_free_key(make_marked: Callable[..., Any], resolve: Any) -> None:
    form = resolve("generate_honeyimages", make_marked())

    assert form.properties["honey_key"]["default"] == "honey_2"
    assert form.errors() == {}


def test_form_shows_the_cost(make_hard: Callable[..., Any], resolve: Any) -> None:
    dataset = make_hard()

    def cost(**params: Any) -> str:
        return resolve("generate_honeyimages", dataset, **{**PARAMS, **params}).text("cost")

    # Out-model on 52 images; in-model once on all, again for one epoch in the second round; two
    # rounds over the twenty candidates of two passes at four shifts
    passes = 52 + 72 * (1 + 1) + 2 * 20 * 8
    assert f"{passes} training passes" in cost()
    assert f"{52 + 72 * 2 + 2 * 20 * 8} training passes" in cost(inner="retrain")
    # Each step looks at every transform, too
    transforms = importlib.import_module("fiftyone_honeyimage.core.methods.transforms").TRANSFORMS
    views = 1 + len(transforms)
    assert f"{52 + 72 * 2 + views * 2 * 20 * 8:,} training passes" in cost(robust=True)
    assert "52 training passes" in cost(method="unperturbed")


def test_form_says_how_likely_the_pairs_find_a_model(
    make_hard: Callable[..., Any], resolve: Any
) -> None:
    dataset = make_hard()

    def cost(**params: Any) -> str:
        return resolve("generate_honeyimages", dataset, **{**PARAMS, **params}).text("cost")

    fhi = importlib.import_module("fiftyone_honeyimage")
    said = cost(num_pairs=12, num_honeyimages=12, alpha=0.05)
    plan = fhi.plan_marking(dataset, alpha=0.05, power=1.0, timed=False, selection="hardest")
    power = next(one.power for one in plan.curve if one.num_pairs == 12)
    chance = "under 5 %" if power < 0.05 else "over 99 %" if power > 0.99 else f"{power:.0%}"
    assert f"{chance}**" in said
    assert "is found with a probability" not in cost(num_pairs=4, num_honeyimages=4)
    assert "is found with a probability" not in cost(method="badnets")


def test_form_tells_how_many_pairs_it_takes_and_the_run_takes_them(
    make_hard: Callable[..., Any], resolve: Any, execute: Any, tmp_path: Path
) -> None:
    dataset = make_hard()
    fhi = importlib.import_module("fiftyone_honeyimage")
    wanted = {"alpha": 0.05, "power": 0.01, "thief": "few_epochs"}
    plan = fhi.plan_marking(dataset, **wanted, timed=False, selection="hardest")
    assert plan.num_pairs is not None, "the test needs a number"
    assert plan.num_pairs != 16

    assert "thief" not in resolve("generate_honeyimages", dataset, **PARAMS).properties
    params = {**PARAMS, **wanted, "plan_pairs": True, "num_pairs": None, "num_honeyimages": None}
    form = resolve("generate_honeyimages", dataset, **params)
    assert form.errors() == {}
    assert form.values("thief")[:2] == ["none", "drops_hardest_2"]
    assert form.values("answers") == ["scores", "labels"]
    assert f"Empty: {plan.num_pairs}" in form.text("num_pairs")
    assert f"{plan.num_pairs:,} images withheld" in form.text("cost")
    said = form.properties["pairs_curve"]["default"]
    assert f"**{plan.num_pairs} pairs** find such a model" in said
    for one in plan.curve:
        assert f"| {one.num_pairs} | " in said
    left = THIEVES["few_epochs"].left("hardest")
    assert f"{left:.0%} of the pairs still tell" in said

    called = {**params, "honey_key": "planned", "output_dir": str(tmp_path / "planned")}
    result = execute("generate_honeyimages", dataset, **called).result
    assert result["num_pairs"] == plan.num_pairs
    # Typed numbers go first
    typed = resolve("generate_honeyimages", dataset, **{**params, "num_pairs": 9})
    assert "9 images withheld" in typed.text("cost")


def test_a_plan_that_is_not_reached_is_said_and_not_run(
    make_hard: Callable[..., Any], resolve: Any, execute: Any
) -> None:
    dataset = make_hard()
    never = {**PARAMS, "plan_pairs": True, "thief": "looks_up", "num_pairs": None}
    form = resolve("generate_honeyimages", dataset, **never)
    assert "Not reached with up to 36 pairs" in form.errors()["power"]
    operators = importlib.import_module("fiftyone.operators.executor")
    with pytest.raises(operators.ExecutionError, match="Not reached with up to 36 pairs"):
        execute("generate_honeyimages", dataset, honey_key="never", **never)
    assert resolve("generate_honeyimages", dataset, **{**never, "num_pairs": 9}).errors() == {}
    wrong = resolve("generate_honeyimages", dataset, **{**never, "power": 2, "thief": "none"})
    assert "Power must be" in wrong.errors()["power"]
    # A pilot tells nothing of shared secrets: the question is not asked, and nothing is planned
    other = resolve("generate_honeyimages", dataset, **{**never, "method": "badnets"})
    assert "plan_pairs" not in other.properties


def test_form_warns_of_too_few_pairs(make_hard: Callable[..., Any], resolve: Any) -> None:
    dataset = make_hard()

    few = resolve("generate_honeyimages", dataset, num_pairs=9)
    assert few.errors() == {}, "it is allowed: the paper's method has none"
    assert "9 pairs of twins cannot show anything" in few.text("powerless")
    strict = resolve("generate_honeyimages", dataset, num_pairs=12, alpha=0.0001)
    assert "is held to the level 5e-05" in strict.text("powerless")
    assert "powerless" not in resolve("generate_honeyimages", dataset, num_pairs=12).properties


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"honey_key": "no key"}, "honey_key"),
        ({"honey_key": "ground_truth"}, "honey_key"),
        ({"num_pairs": 60}, "num_pairs"),
        ({"num_pairs": -1}, "num_pairs"),
        ({"num_pairs": 12, "num_honeyimages": 11}, "num_pairs"),
        ({"num_honeyimages": 0}, "num_honeyimages"),
        ({"epsilon": 0}, "epsilon"),
        ({"step_size": 9}, "step_size"),
        ({"num_steps": 0}, "num_steps"),
        ({"alpha": 0.2}, "alpha"),
        ({"exclude": ["dogs"]}, "exclude"),
        ({"output_dir": f"{__file__}/honey"}, "output_dir"),
        ({"output_dir": "/tmp"}, "output_dir"),
    ],
)
def test_form_shows_what_the_sdk_refuses(
    make_hard: Callable[..., Any], resolve: Any, params: dict[str, Any], path: str
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_hard()
    params = {"honey_key": "honey", "label_field": "ground_truth", "method": "honeyimage", **params}

    with pytest.raises(fhi.HoneyImageError) as refused:
        fhi.generate_honeyimages(dataset, progress=False, **params)
    errors = resolve("generate_honeyimages", dataset, advanced=True, **params).errors()

    assert list(errors) == [path]
    assert errors[path].lower() == str(refused.value).lower()
    assert not dataset.has_field("honey")


def test_form_needs_hardness_first(make_digits_dataset: Callable[..., Any], resolve: Any) -> None:
    errors = resolve("generate_honeyimages", make_digits_dataset(num=24, size=8)).errors()

    assert "Run *Compute hardness* first" in errors["blocked"]


def test_form_says_that_a_run_is_resumed(
    make_hard: Callable[..., Any], resolve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    files = importlib.import_module("fiftyone_honeyimage.core.pipeline.crafting")
    dataset = make_hard()
    params = {**PARAMS, "honey_key": "honey", "output_dir": str(tmp_path / "honey")}

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "compare_images", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fhi.generate_honeyimages(dataset, progress=False, **params)

    form = resolve("generate_honeyimages", dataset, **params)
    assert form.errors() == {}
    assert "interrupted run of this key is resumed" in form.text("cost")


def test_a_failed_delegated_run_is_marked_as_failed(
    make_hard: Callable[..., Any], fo: Any, tmp_path: Path
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    service = importlib.import_module("fiftyone.operators.delegated").DelegatedOperationService()
    dataset = make_hard()
    uri = "@honeyimage/ownership/generate_honeyimages"
    params = {**PARAMS, "honey_key": "honey", "output_dir": str(tmp_path / "honey")}
    queued = operators.execute_operator(
        uri, dataset=dataset, params=params, request_delegation=True
    )

    Path(dataset.first().filepath).write_bytes(b"")
    service.execute_queued_operations(operator=uri)

    document = service.get(queued.result["id"])
    assert document.run_state == "failed"
    assert dataset.first().filepath in document.result.error
    dataset.reload()
    assert not dataset.has_field("honey")


def test_an_empty_list_is_not_the_default(
    make_hard: Callable[..., Any], execute: Any, resolve: Any, tmp_path: Path
) -> None:
    dataset = make_hard()

    # What the App sends after the options were looked at and folded again
    folded = resolve("generate_honeyimages", dataset, exclude=["duplicates"], seed=51)
    assert "exclude" not in folded.properties
    result = execute(
        "generate_honeyimages",
        dataset,
        **{**PARAMS, "honey_key": "honey", "output_dir": str(tmp_path / "honey")},
    ).result
    assert result["excluded"] == {}
