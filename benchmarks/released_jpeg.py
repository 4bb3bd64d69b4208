"""Is a model found that trained on a release of JPEG files, also if its maker compressed them anew?

Marks a subset of EuroSAT's JPEG files through FiftyOne, exports a release, and loads it by torchvision's plain
``ImageFolder``. For every seed and every quality, the adversary re-encodes all files of the release at that
quality (0: leaves them as they are) and trains; an innocent model trains on other files of EuroSAT.
``verify_model`` then queries each with the HoneyImages as they were made.

    python -m benchmarks.released_jpeg --seeds 0 1 2 --qualities 0 75
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import TrainingConfig, train_models

from .datasets import dataset_of_folders, to_tensor, unpack_eurosat
from .private_fiftyone import private_fiftyone
from .results_io import write_results

SIZE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--qualities", type=int, nargs="+", default=[0, 75])
    parser.add_argument("--per-class", type=int, default=120)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--epsilon", type=float, default=4)
    parser.add_argument("--method", default="honeyimage")
    parser.add_argument("--smoothing", type=float, default=1.0)
    parser.add_argument("--robust", action="store_true")
    parser.add_argument("--proxy-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=60, help="of every suspect")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--name", default="released_jpeg")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(private_fiftyone(folder))
        runs = [run_seed(folder / str(seed), args, seed) for seed in args.seeds]
    largest = {
        name: max(run[name]["p_value"] for run in runs) for name in runs[0] if name[:2] == "in"
    }
    print("largest p:", {name: f"{p:.2g}" for name, p in largest.items()})
    figures = {"setting": vars(args), "runs": runs, "largest_p": largest}
    print(write_results(args.name, figures, seeds=args.seeds))


def run_seed(folder: Path, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One marking, its release, and a verdict on every suspect."""
    import fiftyone_honeyimage as fhi

    own, others = split(unpack_eurosat(folder / "media", 2 * args.per_class), seed)
    dataset = dataset_of_folders(f"released-jpeg-{seed}", own)
    proxy: dict[str, Any] = {
        "proxy": "resnet_tiny",
        "training": {"epochs": args.proxy_epochs},
        "input_size": 32,
        "seed": seed,
        "progress": False,
    }
    fhi.compute_hardness(dataset, "ground_truth", **proxy)
    start = time.perf_counter()
    marking = fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        method=args.method,
        num_honeyimages=args.pairs,
        num_pairs=args.pairs,
        epsilon=args.epsilon,
        robust=args.robust,
        smoothing=args.smoothing,
        **proxy,
    )
    figures: dict[str, Any] = {"seed": seed, "craft_seconds": round(time.perf_counter() - start, 1)}
    release = folder / "release"
    report = fhi.export_release(dataset, "honey", release, progress=False)
    figures["num_released"] = report.num_images
    figures["share_withheld"] = len(marking.load_ledger().pairs) / len(own)

    def verify(name: str, images: torch.Tensor, labels: torch.Tensor) -> None:
        own_seed = derive_seed(seed, name)
        model = build_model("resnet_tiny", 10, input_size=SIZE, seed=own_seed)
        config = TrainingConfig(epochs=args.epochs)
        train_models([model], images, labels, config=config, seeds=[own_seed])
        key = name.replace(", ", "_").replace(" ", "_")
        verdict = fhi.verify_model(dataset, "honey", model, key, progress=False).verdict
        figures[name] = {
            "verdict": verdict.verdict,
            "p_value": verdict.p_value,
            "p_adjusted": verdict.p_adjusted,
            "effect_size": verdict.effect_size,
            "pairs": verdict.num_pairs,
        }
        print(f"seed {seed}, {name}: {verdict.verdict}, p = {verdict.p_value:.2g}", flush=True)

    for quality in args.qualities:
        images, labels = load(release, quality)
        name = "infringing" if not quality else f"infringing, JPEG {quality}"
        verify(name, images, labels)
    other = folder / "others"
    for path in others:
        target = other / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)
    verify("innocent", *load(other, 0))
    dataset.delete()
    return figures


def split(paths: list[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Two random halves of every class: the owner's files, and somebody else's."""
    rng = np.random.default_rng(derive_seed(seed, "files"))
    halves: tuple[list[Path], list[Path]] = ([], [])
    for label in sorted({path.parent.name for path in paths}):
        of_class = [path for path in paths if path.parent.name == label]
        order = rng.permutation(len(of_class))
        for half, rows in zip(halves, np.array_split(order, 2), strict=True):
            half += [of_class[row] for row in sorted(rows)]
    return halves


def load(folder: Path, quality: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A folder as ``ImageFolder`` reads it, compressed anew before if a quality is given."""
    if quality:
        compressed = folder.with_name(f"{folder.name}-{quality}")
        for path in sorted(folder.rglob("*.jpg")):
            target = compressed / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                image.save(target, quality=quality)
        folder = compressed
    found = ImageFolder(str(folder))
    images = np.stack([np.asarray(image) for image, _ in found])
    return to_tensor(images), torch.tensor(found.targets)


if __name__ == "__main__":
    main()
