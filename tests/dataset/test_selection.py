"""Markings whose images are chosen by what the proxies of a hardness run remember."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.dataset.hardness_measures import read_measures
from fiftyone_honeyimage.dataset.runs import run_results, save_results
from fiftyone_honeyimage.dataset.samples import read_labels


@pytest.fixture(scope="module")
def scored(make_dataset: Any, tiny: dict[str, Any]) -> Any:
    dataset = make_dataset(90)
    longer = {**tiny, "training": {"epochs": 6, "learning_rate": 0.02}}
    fhi.compute_hardness(dataset, "ground_truth", **longer, progress=False)
    return dataset


def _chosen(marking: Any) -> list[tuple[Any, Any]]:
    manifest = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))
    return [(row["source"], row["pair"]) for row in manifest["images"]]


@pytest.fixture
def marked(scored: Any, mark: Any) -> Any:
    def make(**options: Any) -> Any:
        marking = mark(
            scored,
            hardness_field="honey_hardness",
            method="unperturbed",
            num_honeyimages=10,
            num_pairs=8,
            **options,
        )
        found = _chosen(marking)
        fhi.delete_run(scored, "honey")
        return found

    return make


def test_measures_are_kept_with_the_run(scored: Any) -> None:
    labeled = read_labels(scored.limit(20), "ground_truth")
    names = ("gain", "unsettled", "embedding")
    held = run_results(scored, "honey_hardness")["measures"]
    found = read_measures(held, labeled, "honey_hardness", names)
    everything = read_measures(held, read_labels(scored, "ground_truth"), "honey_hardness", names)
    for name in names:
        assert len(found[name]) == 20
        assert np.isfinite(everything[name]).all()
        place = [scored.values("id").index(i) for i in labeled.ids]
        np.testing.assert_array_equal(found[name], everything[name][place])
    assert (everything["unsettled"] > 0).all()
    assert fhi.plan_marking(scored, selection="unsettled").rule == "unsettled"


def test_rules_choose_other_images_and_the_same_ones_again(scored: Any, marked: Any) -> None:
    chosen = {rule: marked(selection=rule) for rule in ("hardest", "gain", "unsettled")}
    sets = {rule: {source for source, _ in found} for rule, found in chosen.items()}
    assert sets["hardest"] != sets["unsettled"]
    assert sets["gain"] != sets["unsettled"]
    assert marked(selection="unsettled") == chosen["unsettled"]
    labeled = read_labels(scored, "ground_truth")
    held = run_results(scored, "honey_hardness")["measures"]
    iqr = read_measures(held, labeled, "honey_hardness", ["unsettled"])["unsettled"]
    means = {
        rule: iqr[[labeled.ids.index(source) for source in found]].mean()
        for rule, found in sets.items()
    }
    assert max(means, key=means.__getitem__) == "unsettled"


def test_matched_and_diverse_choose_other_pairs(marked: Any) -> None:
    plain = marked()
    for changes in ({"matched": True}, {"diverse": True}):
        found = marked(**changes)
        assert found != plain
        assert len({source for source, _ in found}) == len(plain)


def test_scores_of_an_older_version_say_what_to_do(scored: Any, mark: Any, tmp_path: Any) -> None:
    results = run_results(scored, "honey_hardness")
    older = {name: value for name, value in results.items() if name != "measures"}
    save_results(scored, "honey_hardness", older)
    given = {"hardness_field": "honey_hardness", "method": "unperturbed"}
    try:
        with pytest.raises(fhi.SamplesError, match="run compute_hardness again"):
            mark(scored, **given, selection="unsettled", output_dir=tmp_path / "none")
        assert not (tmp_path / "none").exists()
        mark(scored, **given, output_dir=tmp_path / "some")
        fhi.delete_run(scored, "honey")
    finally:
        save_results(scored, "honey_hardness", results)


def test_a_portfolio_is_marked_and_released(scored: Any, mark: Any, tmp_path: Any) -> None:
    marking = mark(
        scored,
        hardness_field="honey_hardness",
        num_honeyimages=24,
        num_pairs=24,
        exclude=(),
        unchanged_share=0.5,
        test="stratified_signed_rank",
        trade_off=0,
    )
    try:
        ledger = load_ledger(marking.output_dir / "ledger.json")
        assert ledger.plan.unchanged_weights
        assert "stratum_weights" not in ledger.header, "the plan has them"
        changed = [
            (scored[source].filepath, marking.output_dir / row["file"])
            for row in json.loads(
                (marking.output_dir / "manifest.json").read_text(encoding="utf-8")
            )["images"]
            if row.get("unchanged")
            for source in [row["source"]]
        ]
        assert len(changed) == 24
        for source, file in changed:
            np.testing.assert_array_equal(read_image(source), read_image(file))
        report = fhi.export_release(scored, "honey", tmp_path / "release", progress=False)
        assert report.num_withheld == 24
    finally:
        fhi.delete_run(scored, "honey")
