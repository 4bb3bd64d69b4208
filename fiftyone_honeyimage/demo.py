"""The demo: from a dataset to verdicts on three suspects that are really trained, in one call."""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.plugins as fop
import fiftyone.zoo as foz
import numpy as np
import torch
from PIL import Image

from . import (
    compute_hardness,
    evaluate_known_models,
    export_release,
    generate_honeyimages,
    verify_model,
)
from .app.words import START_WORKER
from .core.errors import ParameterError, SamplesError
from .core.models import build_model
from .core.pipeline.labeled import LabeledSamples
from .core.pipeline.loading import load_images
from .core.training import TrainingConfig, predict_logits, train_models
from .dataset.checks import classification_fields
from .dataset.samples import proxy_input_size, read_labels
from .dataset.verification.verification import Verification
from .dataset.workspace import beside_grid

DATASET_NAME = "honeyimage-demo"
HONEY_KEY = "demo"
_MARKER = ".honeyimage-demo"
_SIZE = 16
_PRIVATE, _PUBLIC, _TEST = "private", "public", "test"


@dataclass(frozen=True)
class Suspect:
    """One of the demo's suspects.

    Attributes:
        name: what it is called
        story: how it came about
        file: the TorchScript file that is verified
        accuracy: on images that neither the release nor the public part holds
        verification: its verification
    """

    name: str
    story: str
    file: Path
    accuracy: float
    verification: Verification


def run_demo(
    source: str | None = None,
    *,
    folder: str | Path | None = None,
    max_samples: int = 1800,
    epochs: int = 40,
    num_pairs: int = 32,
    seed: int = 51,
) -> tuple[fo.Dataset, list[Suspect]]:
    """Marks, releases, trains three suspects and verifies them.

    Args:
        source (None): a FiftyOne zoo dataset or a folder of class folders; scikit-learn's digits by
            default, which need no download
        folder (None): where the files go; below FiftyOne's default dataset folder by default
        max_samples (1800): images that are used, chosen at random
        epochs (40): how long every model is trained
        num_pairs (32): pairs of twins
        seed (51): decides everything but the coins

    Returns:
        the dataset and the suspects
    """
    start = time.monotonic()
    folder = _fresh_folder(folder)
    dataset, label_field = _load(source, folder, max_samples, seed)
    _assign_parts(dataset, seed)
    counts = dataset.count_sample_tags()
    print(
        f"{len(dataset):,} images: {counts[_PRIVATE]:,} private, which are protected; {counts[_PUBLIC]:,} public, which "
        f"anybody may train on; {counts[_TEST]:,} to measure accuracy"
    )

    private = dataset.match_tags(_PRIVATE)
    training = {"epochs": epochs, "flip": source is not None}
    choice: dict[str, Any] = {"proxy": "resnet_tiny", "training": training, "seed": seed}
    print("\n1. How hard is each private image for a model that has not seen it?")
    _say(compute_hardness(private, label_field, **choice))

    print(
        "\n2. The hardest become HoneyImages, in pairs of twins; a secret coin withholds one of each pair"
    )
    marking = generate_honeyimages(
        private,
        label_field,
        HONEY_KEY,
        "honeyimage",  # not the default: a demonstration has something to show
        num_pairs=num_pairs,
        num_honeyimages=num_pairs,
        output_dir=folder / "marking",
        **choice,
    )
    _say(marking)

    print("\n3. The release: what the world gets")
    report = export_release(private, HONEY_KEY, folder / "release")
    _say(report)

    print("\n4. Three suspects are trained, and asked about both twins of every pair")
    suspects = _verify_suspects(
        dataset,
        label_field,
        report.export_dir,
        folder / "suspects",
        epochs,
        source is not None,
        seed,
    )
    _print_table(suspects)
    paper = evaluate_known_models(
        private, HONEY_KEY, str(suspects[0].file), str(suspects[1].file), progress=False
    )
    print(
        "\n5. The infringing suspect beside the innocent one, as the HoneyImage paper compares them"
    )
    _say(paper)
    print(f"\nFiles: {folder}\nTime: {time.monotonic() - start:.0f} s")
    return dataset, suspects


def open_app(dataset: fo.Dataset) -> None:
    """Opens the App on the verdict and waits until it is closed."""
    link_plugin()
    # The App's process alone decides whether runs can be scheduled. Whoever has set it otherwise keeps that
    os.environ.setdefault("FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS", "true")
    print(
        f"Runs that you schedule in the App need a worker: {_worker()} in another terminal",
        flush=True,
    )
    view = dataset.load_saved_view(HONEY_KEY)
    session = fo.launch_app(view=view, spaces=beside_grid("verification_panel"))
    session.wait(-1)


def _worker() -> str:
    """The command that starts a worker, of this environment."""
    program = Path(sys.executable).with_name("fiftyone")
    return START_WORKER.replace("fiftyone", str(program), 1) if program.exists() else START_WORKER


def link_plugin() -> None:
    """Links this repository into the plugins folder unless the plugin is there already."""
    if any(plugin.name == "@honeyimage/ownership" for plugin in fop.list_plugins()):
        return
    repository = Path(__file__).resolve().parent.parent
    if not (repository / "fiftyone.yml").is_file():
        print("The plugin is not installed; see the README for how to add it to the App")
        return
    target = Path(fo.config.plugins_dir) / "honeyimage"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(repository, target_is_directory=True)
        print(f"Linked the plugin into {target}")


def _fresh_folder(folder: str | Path | None) -> Path:
    """An empty folder; what an earlier demo left there is removed, anything else is not."""
    path = (
        Path(folder or Path(fo.config.default_dataset_dir) / DATASET_NAME).expanduser().absolute()
    )
    if path.exists():
        if any(path.iterdir()) and not (path / _MARKER).is_file():
            raise ParameterError(f"'{path}' holds files that no demo made; choose another folder")
        shutil.rmtree(path)
    path.mkdir(parents=True)
    (path / _MARKER).touch()
    return path


def _load(source: str | None, folder: Path, max_samples: int, seed: int) -> tuple[fo.Dataset, str]:
    """The demo's dataset, made anew, and its label field."""
    if DATASET_NAME in fo.list_datasets():
        old = fo.load_dataset(DATASET_NAME)
        if not old.info.get("honeyimage_demo"):
            raise ParameterError(
                f"dataset '{DATASET_NAME}' was not made by a demo; rename it first"
            )
        old.delete()
    dataset = fo.Dataset(DATASET_NAME, persistent=True)
    dataset.info["honeyimage_demo"] = True
    dataset.save()

    if source is None:
        dataset.add_samples(_digits(folder / "images"), progress=False)
        return dataset, "ground_truth"
    if Path(source).expanduser().is_dir():
        loaded = fo.Dataset.from_dir(
            dataset_dir=str(Path(source).expanduser().absolute()),
            dataset_type=fo.types.ImageClassificationDirectoryTree,
        )
    elif source in foz.list_zoo_datasets():
        loaded = foz.load_zoo_dataset(source)
    else:
        raise ParameterError(f"'{source}' is neither a folder of class folders nor a zoo dataset")
    fields = classification_fields(loaded)
    if not fields:
        raise SamplesError(f"'{source}' has no Classification field")
    chosen = loaded.exists(f"{fields[0]}.label").take(max_samples, seed=seed)
    dataset.add_samples(
        [
            fo.Sample(filepath=path, ground_truth=fo.Classification(label=label))
            for path, label in zip(*chosen.values(["filepath", f"{fields[0]}.label"]), strict=True)
        ],
        progress=False,
    )
    if not loaded.persistent:
        loaded.delete()
    return dataset, "ground_truth"


def _digits(folder: Path) -> list[fo.Sample]:
    """Scikit-learn's 1,797 handwritten digits as files, enlarged from 8×8 pixels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    samples = []
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        # 17 grey levels on grey paper: black and white areas have no room for a mark
        image = Image.fromarray((64 + 8 * pixels).astype(np.uint8)).convert("RGB")
        image.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC).save(path)
        samples.append(
            fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=str(label)))
        )
    return samples


def _assign_parts(dataset: fo.Dataset, seed: int) -> None:
    """Tags 30 % of the samples private, 50 % public, 20 % for measuring accuracy."""
    ids = np.array(dataset.values("id"))
    np.random.default_rng(seed).shuffle(ids)
    cuts = [round(0.30 * len(ids)), round(0.80 * len(ids))]
    for tag, part in zip((_PRIVATE, _PUBLIC, _TEST), np.split(ids, cuts), strict=True):
        dataset.select(part.tolist()).tag_samples(tag)


def _verify_suspects(
    dataset: fo.Dataset,
    label_field: str,
    release: Path,
    folder: Path,
    epochs: int,
    flip: bool,
    seed: int,
) -> list[Suspect]:
    """Trains the suspects as strangers would, from files alone, and verifies each."""
    classes = read_labels(dataset.match_tags(_PRIVATE), label_field).classes
    public = _read(dataset.match_tags(_PUBLIC), label_field)
    test = _read(dataset.match_tags(_TEST), label_field)
    stolen = _read_release(release, classes)
    small = (public[0][: len(public[0]) // 2], public[1][: len(public[1]) // 2])

    folder.mkdir()
    suspects = []
    for name, story, network, (images, labels) in (
        ("infringing", "trained on the release", "resnet_tiny", stolen),
        ("innocent", "trained on half of the public images", "resnet_tiny", small),
        ("innocent, stronger", "a larger network, all public images", "wrn28_2", public),
    ):
        model = build_model(network, len(classes), input_size=_side(images), seed=seed + len(name))
        train_models(
            [model],
            images,
            labels,
            # The larger network costs ten times as much and needs half the epochs.
            config=TrainingConfig(
                epochs=epochs if network == "resnet_tiny" else -(-epochs // 2), flip=flip
            ),
            seeds=[seed],
        )
        accuracy = float((predict_logits(model, test[0]).argmax(1) == test[1]).float().mean())
        file = folder / f"{name.replace(', ', '_')}.pt"
        _save_torchscript(model, images[:2].float() / 255, file)
        # Made here, they are asked rightly; after few epochs they may know too little to show it
        verification = verify_model(dataset, HONEY_KEY, str(file), name=name, insist=True)
        print(f"   {name}: {story}; {verification.verdict.verdict}")
        suspects.append(Suspect(name, story, file, accuracy, verification))
    return suspects


def _save_torchscript(model: torch.nn.Module, example: torch.Tensor, file: Path) -> None:
    """Saves a model as a file that needs no code of ours to be queried."""
    with warnings.catch_warnings():
        # Deprecated in favour of torch.export, whose files are not loaded as black boxes yet.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(model.cpu().eval(), example), str(file))


def _side(images: torch.Tensor) -> int:
    return int(images.shape[-1])


def _read(view: fo.DatasetView, label_field: str) -> tuple[torch.Tensor, torch.Tensor]:
    labeled = read_labels(view, label_field)
    return _tensors(labeled)


def _read_release(release: Path, classes: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """The release as a stranger reads it: a folder of class folders."""
    files = sorted(path for path in release.rglob("*") if path.is_file())
    labels = np.array([classes.index(path.parent.name) for path in files], dtype=np.int64)
    paths = [str(path) for path in files]
    return _tensors(LabeledSamples(paths, paths, labels, classes))


def _tensors(labeled: LabeledSamples) -> tuple[torch.Tensor, torch.Tensor]:
    loaded = load_images(labeled, proxy_input_size(labeled, None), skip_failures=True)
    return loaded.images, torch.from_numpy(loaded.samples.labels)


def _print_table(suspects: Sequence[Suspect]) -> None:
    print(f"\n   {'suspect':<20}{'accuracy':>9}  {'verdict':<13}{'p':>9}{'corrected':>11}")
    for suspect in suspects:
        verdict = suspect.verification.verdict
        print(
            f"   {suspect.name:<20}{suspect.accuracy:>9.1%}  {verdict.verdict:<13}"
            f"{verdict.p_value:>9.1e}{verdict.p_adjusted:>11.1e}"
        )
    last = suspects[-1].verification.verdict
    _say(
        "accuracy: on images that no suspect was trained on\n"
        "p: how likely so much better answers on released than on withheld twins are by chance, for a model that did "
        "not use the release\n"
        "corrected: p times j(j + 1) for the j-th verification with one ledger, so that any innocent of all suspects is "
        f"accused with probability at most α = {last.alpha:g}; derived where it is at most α"
    )


def _say(text: object) -> None:
    """Prints lines below a heading."""
    for line in str(text).split("\n"):
        print(f"   {line}")
