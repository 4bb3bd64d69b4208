"""compute_hardness on real datasets: the field, the run, views, overwriting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi


@pytest.fixture(scope="module")
def scored(fo: Any, make_dataset: Any, tiny: dict[str, Any]) -> tuple[Any, Any]:
    """A dataset with scores in ``honey_hardness``, and their summary."""
    dataset = make_dataset(45)
    return dataset, fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False)


def test_fields_hold_what_the_summary_says(fo: Any, scored: Any) -> None:
    dataset, summary = scored
    scores, errors = dataset.values(["honey_hardness", "honey_hardness_label_error"])

    assert summary.hardness_field == "honey_hardness"
    assert summary.num_images == 45
    assert summary.num_skipped == 0
    assert all(isinstance(score, float) and score > 0 for score in scores)
    assert summary.mean == pytest.approx(sum(scores) / 45)
    assert {type(error) for error in errors} == {bool}
    assert summary.num_label_errors == sum(errors)
    assert isinstance(dataset.get_field("honey_hardness"), fo.FloatField)
    assert isinstance(dataset.get_field("honey_hardness_label_error"), fo.BooleanField)
    assert "nats" in dataset.get_field("honey_hardness").description
    assert dataset.get_field("honey_hardness_label_error").description


def test_a_plan_rests_on_the_runs_own_proxies(scored: Any) -> None:
    dataset, _ = scored
    plan = fhi.plan_marking(dataset, alpha=0.05, selection="random")
    assert [one.num_pairs for one in plan.curve] == [12, 16, 20][: len(plan.curve)]
    assert "Probability by number of pairs: 12: " in str(plan)
    with pytest.raises(fhi.SamplesError, match="there is no"):
        fhi.plan_marking(dataset, "nothing")
    with pytest.raises(fhi.ParameterError, match="selection"):
        fhi.plan_marking(dataset, selection="easiest")


def test_a_plan_says_what_a_marking_costs(make_dataset: Any, tiny: dict[str, Any]) -> None:
    dataset = make_dataset(60)
    fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False)
    asked = {"alpha": 0.05, "power": 0.001, "selection": "random"}
    plan = fhi.plan_marking(dataset, **asked, timed=False, method="honeyimage")
    assert plan.num_pairs == 12
    marking = fhi.plan_marking(dataset, **asked, method="unperturbed")
    assert plan.cost is not None
    assert marking.cost is not None
    assert (plan.cost.num_withheld, plan.cost.num_marked) == (12, 24)
    assert plan.cost.seconds is None
    # Unchanged images: one proxy, trained for an epoch on all but them
    assert marking.cost.num_passes == 60 - 24 < plan.cost.num_passes
    assert marking.cost.seconds > 0
    assert "12 images withheld, 24 marks to make" in str(plan)
    assert "on this machine" not in str(plan)
    assert "on this machine" in str(marking)
    with pytest.raises(fhi.ParameterError, match="share secrets"):
        fhi.plan_marking(dataset, method="badnets")
    assert fhi.plan_marking(dataset, alpha=0.001, power=1.0, thief="looks_up").cost is None


def test_a_plan_for_labels_rests_on_what_the_proxies_tell_right(scored: Any) -> None:
    dataset, _ = scored
    plan = fhi.plan_marking(
        dataset, alpha=0.05, selection="random", answers="labels", thief="distils", kept=0.5
    )
    assert (plan.answers, plan.thief) == ("labels", "distils")
    assert plan.num_pairs is None, "models of one epoch learn no label of their own images"
    with pytest.raises(fhi.ParameterError, match="answers must be"):
        fhi.plan_marking(dataset, answers="logits")
    # A run that an older version made
    results = dataset.load_run_results("honey_hardness", cache=False)
    held = results.label_pilots
    assert {len(pairs) for pairs in held.values()} == {len(results.pilots["random"])}
    assert {x for pairs in held.values() for pair in pairs for x in pair} <= {-1.0, 0.0, 1.0}
    del results.label_pilots
    dataset.save_run_results("honey_hardness", results, overwrite=True)
    try:
        with pytest.raises(fhi.SamplesError, match=r"plans for labels.*compute hardness again"):
            fhi.plan_marking(dataset, answers="labels")
        fhi.plan_marking(dataset, alpha=0.05, selection="random")
    finally:
        results.label_pilots = held
        dataset.save_run_results("honey_hardness", results, overwrite=True)


def test_weak_proxies_call_no_label_wrong(scored: Any) -> None:
    dataset, summary = scored
    assert summary.chance == pytest.approx(1 / 3)
    assert summary.accuracy < 0.9
    assert not summary.reliable
    assert not summary.labels_judged
    assert summary.num_label_errors == 0
    assert "too few for this hardness to mean much" in str(summary)
    results = dataset.load_run_results("honey_hardness", cache=False)
    assert (results.reliable, results.labels_judged) == (False, False)


def test_run_survives_a_reload(fo: Any, scored: Any, tiny: dict[str, Any]) -> None:
    dataset, summary = scored
    dataset.clear_cache()
    dataset.reload()
    loaded = fo.load_dataset(dataset.name)

    (run,) = fhi.list_runs(loaded)
    assert (run.key, run.kind) == ("honey_hardness", "hardness")
    assert run.config["label_field"] == "ground_truth"
    assert run.config["proxy"] == tiny["proxy"]
    assert run.config["seed"] == 51
    assert run.config["training"]["epochs"] == 1
    assert run.config["classes"] == ["0", "1", "2"]
    # FiftyOne's own classes: no package of ours is needed to read it
    results = loaded.load_run_results("honey_hardness", cache=False)
    assert results.mean == summary.mean
    assert results.num_images == 45


def test_same_seed_same_scores(scored: Any, tiny: dict[str, Any]) -> None:
    dataset, _ = scored
    before = dataset.values("honey_hardness")
    for field, seed in (("again", 51), ("other", 52)):
        fhi.compute_hardness(dataset, "ground_truth", field, **tiny, seed=seed, progress=False)

    assert dataset.values("again") == before
    assert dataset.values("other") != before
    assert [run.key for run in fhi.list_runs(dataset)] == ["honey_hardness", "again", "other"]


def test_only_the_view_is_scored_and_overwriting_leaves_no_old_scores(
    make_dataset: Any, tiny: dict[str, Any]
) -> None:
    dataset = make_dataset(30)
    first, last = dataset.limit(18), dataset.skip(18)
    fhi.compute_hardness(first, "ground_truth", "scores", **tiny, progress=False)
    old = dataset.values("scores")
    assert [score is not None for score in old] == 18 * [True] + 12 * [False]

    summary = fhi.compute_hardness(last, "ground_truth", "scores", **tiny, progress=False)

    assert summary.num_images == 12
    for field in ("scores", "scores_label_error"):
        assert [value is not None for value in dataset.values(field)] == 18 * [False] + 12 * [True]
    assert dataset.load_run_results("scores", cache=False).num_images == 12
    assert len(fhi.list_runs(dataset)) == 1


@pytest.mark.parametrize("taken", ["mine", "mine_label_error"])
def test_a_foreign_field_is_refused(
    fo: Any, make_dataset: Any, tiny: dict[str, Any], unchanged: Any, taken: str
) -> None:
    dataset = make_dataset(12)
    dataset.add_sample_field(taken, fo.FloatField)
    dataset.set_values(taken, [1.0] * 12)
    before = unchanged(dataset)
    with pytest.raises(fhi.ParameterError, match=f"'{taken}'.*pass another hardness_field"):
        fhi.compute_hardness(dataset, "ground_truth", "mine", **tiny, progress=False)
    assert unchanged(dataset) == before


def test_a_run_of_another_kind_is_refused(make_dataset: Any, tiny: dict[str, Any]) -> None:
    dataset = make_dataset(12)
    dataset.register_run("mine", dataset.init_run(x=1))
    with pytest.raises(fhi.ParameterError, match="another run named 'mine'"):
        fhi.compute_hardness(dataset, "ground_truth", "mine", **tiny, progress=False)


def test_honeyimages_are_left_out(make_dataset: Any, mark: Any, tiny: dict[str, Any]) -> None:
    dataset = make_dataset(30, hardness=True)
    mark(dataset)
    summary = fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False)

    assert len(dataset) == 37
    assert summary.num_images == 30
    assert set(dataset.match_tags("honeyimage").values("honey_hardness")) == {None}
    with pytest.raises(fhi.SamplesError, match="every sample of the view is a HoneyImage"):
        fhi.compute_hardness(
            dataset.match_tags("honeyimage"), "ground_truth", **tiny, progress=False
        )


def test_unreadable_images_are_skipped_and_counted(make_dataset: Any, tiny: dict[str, Any]) -> None:
    dataset = make_dataset(30)
    bad = dataset.skip(4).first()
    Path(bad.filepath).write_bytes(b"no image")
    summary = fhi.compute_hardness(
        dataset, "ground_truth", **tiny, skip_failures=True, progress=False
    )

    assert (summary.num_images, summary.num_skipped) == (29, 1)
    assert [value is None for value in dataset.values("honey_hardness")].index(True) == 4
    failures = dataset.load_run_results("honey_hardness", cache=False).failures
    ((sample_id, reason),) = failures
    assert sample_id == bad.id
    assert bad.filepath in reason


def test_progress_is_one_bar_with_named_stages(make_dataset: Any, tiny: dict[str, Any]) -> None:
    seen = []
    fhi.compute_hardness(
        make_dataset(12),
        "ground_truth",
        **tiny,
        progress=lambda bar: seen.append((bar.stage, bar.progress)),
    )
    stages = list(dict.fromkeys(stage for stage, _ in seen))
    assert stages == [
        "Reading images",
        "Training the two half proxies",
        "Scoring",
        "Writing",
        "Done",
    ]
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_training_settings_of_another_copy_of_the_package(make_dataset: Any, tiny: Any) -> None:
    # A plugin and a script each have a class of that name
    from dataclasses import make_dataclass

    from fiftyone_honeyimage.core.training import TrainingConfig
    from fiftyone_honeyimage.dataset.hardness import training_config

    fields = [(name, object, None) for name in TrainingConfig.__dataclass_fields__]
    copy = make_dataclass("TrainingConfig", fields)
    settings = {
        name: getattr(TrainingConfig(), name) for name in TrainingConfig.__dataclass_fields__
    }
    assert training_config(copy(**{**settings, "epochs": 3})).epochs == 3
