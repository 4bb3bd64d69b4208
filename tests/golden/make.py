"""Makes the golden files: two marked datasets, their ledgers with a log, evidence, and a release.

``HONEYIMAGE_GOLDEN=write pytest tests/test_golden.py`` writes them anew. They were made by the code before
the contracts of methods, scores and tests, in the formats ``honeyimage-ledger/2`` and
``honeyimage-evidence/2``, and are not to be made again but for a new format, in a folder of its own.

Coins, salts and ids come from a seeded generator and times from a counter, so that the same code writes
the same bytes. No image was perturbed: nothing here depends on a machine's arithmetic but the losses,
which are kept as they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

CLASSES = 4

#: What a marking is made with; the hardness is made up, so that the choice depends on no training
SETTINGS: dict[str, Any] = {
    "method": "unperturbed",
    "hardness_field": "hardness",
    "num_honeyimages": 18,
    "num_pairs": 16,
    "proxy": "resnet_tiny",
    "training": {"epochs": 1},
    "input_size": 8,
    "device": "cpu",
    "progress": False,
}
SUFFIXES = (".png", ".bmp", ".jpg", ".tiff", ".webp")


def write_images(folder: Path) -> list[tuple[Path, str]]:
    """Seventy small pictures in five formats, the same on any machine, as (file, label)."""
    rng = np.random.default_rng(7)
    made = []
    for index in range(70):
        label, suffix = index % CLASSES, SUFFIXES[index // CLASSES % len(SUFFIXES)]
        noise = rng.integers(0, 64, (16, 16, 3)) + 40 * label
        path = folder / f"{index:03d}{suffix}"
        Image.fromarray(noise.astype(np.uint8)).save(path)
        made.append((path, str(label)))
    return made


def make_dataset(fo: Any, files: list[tuple[Path, str]]) -> Any:
    """A dataset of the files, in their order, with made-up hardness."""
    dataset = fo.Dataset()
    scores = np.random.default_rng(3).permutation(len(files)) / 10
    for (path, label), hardness in zip(files, scores, strict=True):
        truth = fo.Classification(label=label)
        dataset.add_sample(
            fo.Sample(filepath=str(path), ground_truth=truth, hardness=float(hardness))
        )
    return dataset


@contextlib.contextmanager
def fixed_randomness(patch: Any) -> Iterator[None]:
    """Coins, salts and ids from a seed, times from a counter, until the end of the block."""
    rng = random.Random(2508)
    patch.setattr("secrets.randbits", rng.getrandbits)
    patch.setattr(
        "secrets.token_hex", lambda num: rng.getrandbits(8 * num).to_bytes(num, "big").hex()
    )
    patch.setattr("secrets.SystemRandom", lambda: rng)
    yield
    patch.undo()


class Suspect:
    """Answers by the bytes of an image: as if trained on what it remembers, fair chance on the rest."""

    def __init__(
        self,
        remembered: dict[bytes, int],
        *,
        labels: bool = False,
        stop: int | None = None,
        failing: int = 0,
    ) -> None:
        self.remembered = remembered
        self.labels = labels
        self.stop = stop
        self.failing = failing
        self.asked = 0

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        images = (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        logits = torch.tensor([self._logits(image) for image in images], dtype=torch.float64)
        return logits.argmax(dim=1) if self.labels else logits

    def _logits(self, image: np.ndarray) -> list[float]:
        digest = hashlib.sha256(image.tobytes()).digest()
        logits = [value / 128 for value in digest[:CLASSES]]
        known = self.remembered.get(image.tobytes())
        if known is not None:
            logits[known] += 2 + digest[8] / 64
            self.asked += 1
            if self.stop is not None and self.asked > self.stop:
                raise RuntimeError("the service is gone")
        if known is not None and digest[9] < self.failing:
            logits = [float("nan")] * CLASSES
        return logits


def released(ledger: Any, folder: Path, read_image: Any) -> dict[bytes, int]:
    return {read_image(folder / i.file).tobytes(): int(i.label) for i in ledger.released_images()}


def make(fo: Any, fhi: Any, folder: Path, out: Path, patch: Any) -> None:
    """Writes everything below ``out``."""
    from fiftyone_honeyimage.core.images import read_image

    out.mkdir(parents=True)
    (out / "originals").mkdir()
    files = write_images(out / "originals")
    for name, test in (("fixed", "signed_rank"), ("sequential", "e_process")):
        dataset = make_dataset(fo, files)
        place = folder / name
        with fixed_randomness(patch):
            marking = fhi.generate_honeyimages(
                dataset, "ground_truth", "honey", output_dir=place, test=test, **SETTINGS
            )
            fhi.export_release(dataset, "honey", folder / f"{name}-release", progress=False)
            known = released(marking.load_ledger(), place, read_image)
            _verify(fhi, dataset, known, out / name, sequential=test == "e_process")
        left_out = ["*.pt", ".*"] if test == "signed_rank" else ["*.pt", ".*", "images"]
        shutil.copytree(place, out / name / "marking", ignore=shutil.ignore_patterns(*left_out))
        if test == "signed_rank":
            shutil.copytree(folder / f"{name}-release", out / name / "release")
        dataset.delete()


def _verify(fhi: Any, dataset: Any, known: dict[bytes, int], out: Path, sequential: bool) -> None:
    settings = {"classes": [str(c) for c in range(CLASSES)], "insist": True, "progress": False}
    suspects = {
        "thief": Suspect(known),
        "innocent": Suspect({}),
        "labels": Suspect(known, labels=True),
        "failing": Suspect(known, failing=30),
    }
    if sequential:
        suspects = {"thief": Suspect(known)}
    out.mkdir()
    for name, suspect in suspects.items():
        found = fhi.verify_model(
            dataset, "honey", suspect, name, name=name, skip_failures=True, **settings
        )
        fhi.export_evidence(dataset, found.verify_key, out / f"{name}.json")
        (out / f"{name}.verdict.json").write_text(
            json.dumps(found.verdict.to_dict(), indent=1), encoding="utf-8"
        )
    if sequential:
        return
    with contextlib.suppress(fhi.SuspectError), contextlib.redirect_stderr(io.StringIO()):
        fhi.verify_model(dataset, "honey", Suspect(known, stop=5), "gone", name="gone", **settings)
