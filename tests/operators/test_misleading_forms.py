"""Forms that misled: what they preselect, warn of, estimate, keep, and refuse in the SDK's own words."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PLUGIN = "@honeyimage/ownership"


@pytest.fixture
def fhi(fo: Any) -> Any:
    return importlib.import_module("fiftyone_honeyimage")


# What is chosen


@pytest.mark.parametrize("name", ["compute_hardness", "generate_honeyimages"])
def test_a_view_left_from_looking_around_does_not_decide(
    workshop: Any, resolve: Any, name: str
) -> None:
    dataset, _ = workshop
    suspects = dataset.limit(30)

    asked = resolve(name, suspects)
    assert asked.properties["view_target"]["default"] == "DATASET"
    chosen = resolve(name, suspects, view_target="CURRENT_VIEW", num_pairs=2)
    count = len(dataset)
    assert f"leaves out {count - 30} of {count} images" in chosen.text("left_out")
    whole = resolve(name, suspects, view_target="DATASET")
    assert "left_out" not in whole.properties


def test_a_tick_for_one_run_is_none_for_another(workshop: Any, resolve: Any) -> None:
    dataset, _ = workshop

    ticked = resolve("delete_run", dataset, key="theirs", confirm_theirs=True)
    assert ticked.errors() == {}
    other = resolve("delete_run", dataset, key="honey", confirm_theirs=True, delete_files_x=True)
    assert list(other.errors()) == ["confirm_honey"]
    assert other.properties["delete_files_honey"]["default"] is False


def test_the_audit_opens_on_the_newest_release(workshop: Any, resolve: Any) -> None:
    dataset, paths = workshop

    form = resolve("audit_release", dataset)

    assert form.properties["export_dir"]["default"] == paths["<release>"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("<originals>", "holds the originals"),
        ("<marking>", "holds the marking's ledger"),
        ("<image>", "there is no release"),
    ],
)
def test_what_is_no_release_is_not_audited(
    fhi: Any, workshop: Any, resolve: Any, folder: str, message: str
) -> None:
    dataset, paths = workshop

    with pytest.raises(fhi.ReleaseError, match=message):
        fhi.audit_release(paths[folder], paths["<ledger>"], samples=dataset, progress=False)
    errors = resolve("audit_release", dataset, export_dir=paths[folder]).errors()
    assert message in errors["export_dir"].lower()


def test_no_word_and_enter_opens_what_deletes(fo: Any) -> None:
    operators = importlib.import_module("fiftyone.operators")
    listed = [
        config
        for config in (operator.config for operator in operators.list_operators(builtin=False))
        if not config.unlisted
    ]
    ours = [operators.get_operator(f"{PLUGIN}/delete_run").config]
    words = {
        word.strip(".,:").lower()
        for config in listed
        if config.name != "delete_run"
        for word in f"{config.label} {config.description or ''}".split()
    }
    assert "hardness" in words
    assert ours[0].name in {config.name for config in listed}

    for word in words:
        # As the App's list of operators does it: contained in either, by the first letter of the description
        found = [c for c in listed if word in f"{c.label}\n{c.description or ''}\n{c.name}".lower()]
        first = min(found, key=lambda config: ord((config.description or config.label)[0]))
        assert first.name != "delete_run", word


# What is refused, in the SDK's own words


@pytest.mark.parametrize(
    ("name", "params", "path"),
    [
        ("compute_hardness", {"training": {"epochs": 100_000_000}}, "training.epochs"),
        ("compute_hardness", {"seed": 2**40}, "seed"),
        ("compute_hardness", {"proxy": "torchvision:nothing"}, "proxy"),
        # Found after all images were read, before
        ("compute_hardness", {"proxy": "vgg11_bn", "input_size": 16}, "proxy"),
        ("generate_honeyimages", {"smoothing": -1}, "smoothing"),
        ("generate_honeyimages", {"smoothing": 99}, "smoothing"),
        ("generate_honeyimages", {"trade_off": 10**30}, "trade_off"),
        ("generate_honeyimages", {"output_dir": "/"}, "output_dir"),
        ("generate_honeyimages", {"output_dir": "~no-such-user/here"}, "output_dir"),
        ("generate_honeyimages", {"lpips_backbone": "weights.txt"}, "lpips_backbone"),
        ("generate_honeyimages", {"honey_key": "x" * 65}, "honey_key"),
        ("verify_model", {"input_size": 10_000}, "input_size"),
        ("verify_model", {"batch_size": 0}, "batch_size"),
        ("verify_model", {"num_random": 10**30}, "num_random"),
        ("verify_model", {"outputs": "logit"}, "outputs"),
        ("verify_model", {"ledger_path": "~no-such-user/ledger.json"}, "ledger_path"),
        ("verify_model", {"mean": [0.5, 0.5]}, "mean"),
        ("export_release", {"export_dir": "~no-such-user/release"}, "export_dir"),
    ],
)
def test_sdk_and_form_refuse_the_same(
    fhi: Any, workshop: Any, resolve: Any, name: str, params: dict[str, Any], path: str
) -> None:
    dataset, _ = workshop
    needed: dict[str, dict[str, Any]] = {
        "compute_hardness": {"label_field": "ground_truth", "proxy": "resnet_tiny"},
        "generate_honeyimages": {
            "label_field": "ground_truth",
            "proxy": "resnet_tiny",
            "honey_key": "spring",
            "method": "honeyimage",
            "num_pairs": 2,
        },
        "verify_model": {"honey_key": "honey", "suspect": "guess"},
        "export_release": {"honey_key": "honey"},
    }
    params = {**needed[name], **params}

    with pytest.raises(fhi.HoneyImageError) as refused:
        getattr(fhi, name)(dataset, progress=False, **params)
    errors = resolve(name, dataset, advanced=True, **params).errors()

    assert list(errors) == [path]
    assert errors[path].lower() == str(refused.value).lower()


def test_lists_are_taken_as_lists(workshop: Any, resolve: Any, fo: Any) -> None:
    executor = importlib.import_module("fiftyone.operators.executor")
    operators = importlib.import_module("fiftyone.operators")
    dataset, paths = workshop
    lists = {
        "classes": ["2", "1", "0"],
        "references": ["rows"],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    }
    params = {"honey_key": "honey", "suspect": paths["<suspect>"], **lists}

    assert resolve("verify_model", dataset, **params).errors() == {}
    request = {"params": params, "dataset_name": dataset.name}
    uri = f"{PLUGIN}/verify_model"
    ctx = executor.ExecutionContext(request, operator_uri=uri)
    operator = operators.get_operator(uri)
    assert not executor.ValidationContext(ctx, operator.resolve_input(ctx), operator).invalid
    module = importlib.import_module(type(operator).__module__)
    assert {name: module._params(ctx)[name] for name in lists} == lists
    words = "\n".join(lists["classes"]), "0.5 0.5, 0.5"
    ctx.params.update(classes=words[0], mean=words[1])
    assert {name: module._params(ctx)[name] for name in lists} == lists


# What is warned of and estimated


@pytest.mark.parametrize(
    ("params", "pairs"),
    [
        # 2^-n at most alpha / 2 at the first verification
        ({"num_pairs": 10}, 11),
        ({"num_pairs": 12, "alpha": 0.0001}, 15),
        ({"num_pairs": 3, "alpha": 0.05}, 10),
        ({"num_pairs": 10, "test": "e_process"}, 14),
    ],
)
def test_the_pairs_that_are_needed_are_computed(
    workshop: Any, resolve: Any, params: dict[str, Any], pairs: int
) -> None:
    dataset, _ = workshop
    evidence = importlib.import_module("fiftyone_honeyimage.core.evidence.reach")
    verdict = importlib.import_module("fiftyone_honeyimage.core.evidence.verdict")
    plan = verdict.Plan(params.get("alpha", 0.001), params.get("test", "signed_rank"))

    text = resolve("generate_honeyimages", dataset, **params).text("powerless")
    assert f"takes at least {pairs} pairs" in text
    assert evidence.can_reach(plan, pairs, plan.alpha, 1)
    assert not evidence.can_reach(plan, pairs - 1, plan.alpha, 1)
    enough = resolve("generate_honeyimages", dataset, **{**params, "num_pairs": pairs})
    assert "powerless" not in enough.properties


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("quality", [None, 75], ids=["png", "jpeg"])
def test_estimates_are_what_is_written(
    fo: Any, fhi: Any, workshop: Any, tmp_path: Path, quality: int | None
) -> None:
    """Photos of 64 pixels with the grain of a camera, as PNG and as JPEG, marked and exported."""
    cost = importlib.import_module("fiftyone_honeyimage.core.pipeline.run_cost")
    samples = importlib.import_module("fiftyone_honeyimage.dataset.samples")
    hardness = importlib.import_module("fiftyone_honeyimage.dataset.hardness")
    rng = np.random.default_rng(0)
    media = tmp_path / "media"
    media.mkdir()
    dataset = fo.Dataset()
    for number in range(60):
        base = rng.integers(60, 190, (4, 4, 3), np.uint8)
        photo = np.asarray(Image.fromarray(base).resize((64, 64), Image.Resampling.BICUBIC))
        # In the brightness, which is where marks find room
        grain = np.clip(photo + rng.normal(0, 10, (64, 64, 1)), 0, 255).astype(np.uint8)
        path = media / f"{number:02d}.{'png' if quality is None else 'jpg'}"
        Image.fromarray(grain).save(path, **({} if quality is None else {"quality": quality}))
        truth = fo.Classification(label=str(number % 2))
        dataset.add_sample(fo.Sample(filepath=str(path), ground_truth=truth, hardness=number / 9))
    training = {"epochs": 1}
    methods = importlib.import_module("fiftyone_honeyimage.core.methods")
    method, numbers = methods.METHODS["honeyimage"], {"num_honeyimages": 8, "num_pairs": 8}
    config = hardness.training_config(training)
    expected = cost.marking_cost(
        samples.read_labels(dataset, "ground_truth"),
        64,
        config,
        method=method,
        options=method.Options(num_steps=1),
        proxy="resnet_tiny",
        **numbers,
    )

    marking = fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        method="honeyimage",
        hardness_field="hardness",
        exclude=(),
        proxy="resnet_tiny",
        training=training,
        output_dir=tmp_path / "honey",
        device="cpu",
        trade_off=0,
        progress=False,
        num_steps=1,
        **numbers,
    )

    written = folder_bytes(marking.output_dir)
    assert written / 1.5 < expected.disk_bytes < 1.5 * written
    assert expected.peak_bytes > written
    labeled = samples.read_labels(dataset, "ground_truth")
    release = cost.release_cost(labeled, marking.num_pairs)
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    exported = folder_bytes(tmp_path / "release")
    assert release.num_images == sum(path.is_file() for path in (tmp_path / "release").rglob("*.*"))
    assert exported / 1.5 < release.disk_bytes < 1.5 * exported
    dataset.delete()


# What is kept


def test_nothing_of_a_panel_is_kept_with_a_scheduled_run(fo: Any, workshop: Any) -> None:
    operators = importlib.import_module("fiftyone.operators")
    service = importlib.import_module("fiftyone.operators.delegated").DelegatedOperationService()
    dataset, _ = workshop
    # As the App sends it with whatever a panel opens
    state = {"pictures_0": {"original": "data:image/png;base64," + "A" * 400_000}}
    params = {
        "label_field": "ground_truth",
        "hardness_field": "later",
        "proxy": "resnet_tiny",
        "panel_id": "panel",
        "panel_state": state,
    }

    queued = operators.execute_operator(
        f"{PLUGIN}/compute_hardness", dataset=dataset, params=params, request_delegation=True
    )
    document = service.get(queued.result["id"])
    service.delete_operation(document.id)

    kept = json.dumps(document._doc, default=str)
    assert "base64" not in kept
    assert len(kept) < 10_000
    assert document.context.request_params["params"]["hardness_field"] == "later"


# Photos of mixed size


@pytest.fixture
def mixed(fo: Any, fhi: Any, make_hard: Callable[..., Any], tmp_path: Path) -> Any:
    """A marked dataset whose images have two sizes."""
    dataset = make_hard()
    for path in dataset.values("filepath")[::3]:
        with Image.open(path) as image:
            image.resize((12, 9)).save(path)
    fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        method="honeyimage",
        num_pairs=12,
        num_steps=1,
        exclude=(),
        output_dir=tmp_path / "honey",
        proxy="resnet_tiny",
        training={"epochs": 1},
        device="cpu",
        trade_off=0,
        progress=False,
    )
    return dataset


def test_mixed_sizes_are_asked_for_in_the_main_part(
    fhi: Any, mixed: Any, workshop: Any, resolve: Any
) -> None:
    _, paths = workshop
    form = resolve("verify_model", mixed, suspect=paths["<suspect>"])
    assert list(form.errors()) == ["input_size"]
    assert "2 sizes, from 8 to 12 pixels wide" in form.text("input_size")
    assert "batch_size" not in form.properties, "further options stay folded"

    given = resolve("verify_model", mixed, suspect=paths["<suspect>"], input_size=8)
    assert given.errors() == {}
    assert "batch_size" not in given.properties
    field = resolve("verify_model", mixed, source="A field of predictions")
    assert "input_size" not in field.properties

    asked: list[int] = []

    def suspect(batch: Any) -> Any:
        asked.append(len(batch))
        return batch.mean(dim=(2, 3))

    for model in (suspect, paths["<suspect>"]):
        with pytest.raises(fhi.ParameterError, match=r"input_size is needed.*2 sizes \(8x8, 12x9"):
            fhi.verify_model(mixed, "honey", model, progress=False)
    assert asked == []
    ledger = fhi.load_marking(mixed, "honey").load_ledger()
    assert ledger.verifications == {}, "nothing was opened"
    # Where all have one size nothing is asked
    dataset, _ = workshop
    assert "input_size" not in resolve("verify_model", dataset, suspect="guess").properties
