"""Releases of what owners really hold: CIFAR-10 as PNG, EuroSAT and dermoscopy as JPEG, and a folder of everything."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin
from torchvision.datasets import ImageFolder

import fiftyone_honeyimage as fhi
from benchmarks.datasets import load_cifar10, unpack_tree
from fiftyone_honeyimage.core.images import read_image

SETS = ("cifar10", "eurosat", pytest.param("isic_highres", marks=pytest.mark.slow), "mixed")


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Real photographs, 640x427."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(image) for image in load_sample_images().images]


def cut(photos: list[Image.Image], count: int) -> Iterator[Image.Image]:
    """Different pieces of the photographs."""
    rng = np.random.default_rng(0)
    for index in range(count):
        photo = photos[index % 2]
        left, top = rng.integers(0, photo.width - 48), rng.integers(0, photo.height - 40)
        yield photo.crop((left, top, left + 48, top + 40))


def write_mixed(folder: Path, photos: list[Image.Image]) -> list[Path]:
    """Each format, mode and oddity in each of two classes, several times, as it comes from many hands."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("plain {}.png", "RGB", {}),
        ("grey {}.png", "L", {}),
        ("alpha {}.png", "RGBA", {}),
        ("profile {}.png", "RGB", {"icc_profile": icc}),
        ("quality 75 {}.jpg", "RGB", {"quality": 75}),
        ("写真 {}.JPG", "RGB", {"quality": 95, "subsampling": 0, "comment": b"a comment"}),
        ("turned {}.jpg", "RGB", {"quality": 90, "exif": exif, "icc_profile": icc}),
        ("grey {}.jpeg", "L", {}),
        ("progressive {}.jpg", "RGB", {"progressive": True, "quality": 90}),
        ("lossless {}.webp", "RGB", {"lossless": True}),
        ("lossy {}.webp", "RGB", {"quality": 85}),
        ("{}.bmp", "RGB", {}),
        ("{}.tif", "RGB", {"compression": "tiff_lzw"}),
        ("palette {}.gif", "P", {}),
    ]
    paths = []
    pieces = cut(photos, 2 * 8 * len(kinds))
    for label in ("Straße", "two words"):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            for name, mode, options in kinds:
                # Of one name in both folders
                path = folder / label / name.format(number)
                piece = next(pieces)
                if mode == "RGBA":
                    piece.putalpha(ImageOps.invert(piece.convert("L")))
                piece.convert(mode).save(path, **options)
                paths.append(path)
        for name, size in {
            "one pixel.png": (1, 1),
            "long.jpg": (900, 2),
            "tall.png": (2, 900),
        }.items():
            photos[0].resize(size).save(folder / label / name)
            paths.append(folder / label / name)
    return paths


@pytest.fixture(scope="module", params=SETS)
def real_set(
    request: pytest.FixtureRequest,
    fo: Any,
    photos: list[Image.Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A dataset, marked: sixteen HoneyImages and eight pairs, or two and one of large photographs."""
    folder = tmp_path_factory.mktemp("set")
    media = folder / "media"
    name = request.param
    if name == "mixed":
        paths = write_mixed(media, photos)
    else:
        request.getfixturevalue("data_dir")
        paths = write_cifar10(media) if name == "cifar10" else unpack_tree(name, media, 40)
    dataset = fo.Dataset(f"released-sets-{uuid.uuid4().hex[:12]}")
    dataset.add_samples(
        [
            fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=path.parent.name))
            for path in paths
        ]
    )
    num_honeyimages = 2 if name == "isic_highres" else 16
    rng = np.random.default_rng(0)
    dataset.set_values("hardness", rng.uniform(0, 5, len(dataset)).tolist())
    marking = fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        method="honeyimage",
        hardness_field="hardness",
        num_honeyimages=num_honeyimages,
        num_pairs=num_honeyimages // 2,
        num_steps=3,
        step_size=2,
        proxy="resnet_tiny",
        training={"epochs": 1},
        input_size=16,
        device="cpu",
        output_dir=folder / "marking",
        progress=False,
    )
    yield name, dataset, marking
    dataset.delete()


@pytest.fixture
def release(real_set: Any, tmp_path: Path) -> Callable[..., Path]:
    """Exports the release: ``release(reencode="all")``."""
    _, dataset, _ = real_set

    def export(**options: Any) -> Path:
        folder = tmp_path / "release"
        earlier = [release.export_dir for release in fhi.list_releases(dataset, "honey")]
        options = {"unpublished": earlier, **options}
        fhi.export_release(dataset, "honey", folder, progress=False, **options)
        return folder

    return export


def write_cifar10(folder: Path, count: int = 400) -> list[Path]:
    images, labels, classes = load_cifar10(0, count)
    paths = []
    for row, image in enumerate(images):
        path = folder / classes[labels[row]] / f"{row:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        paths.append(path)
    return paths


def released_pairs(dataset: Any, marking: Any, folder: Path) -> list[tuple[Path, Path]]:
    """(file of the release, original) of each released HoneyImage."""
    return [
        (
            folder / image.label / Path(dataset[image.sample_id].filepath).name,
            Path(dataset[image.sample_id].filepath),
        )
        for image in marking.load_ledger().released_images()
    ]


def test_marked_files_are_like_their_originals(real_set: Any, release: Callable[..., Path]) -> None:
    _, dataset, marking = real_set
    pairs = released_pairs(dataset, marking, release())
    assert len(pairs) in (2, 16)
    changed = 0
    for released, original in pairs:
        with Image.open(released) as ours, Image.open(original) as theirs:
            assert (ours.format, ours.mode, ours.size) == (theirs.format, theirs.mode, theirs.size)
            assert ours.info == theirs.info
            if ours.format != "TIFF":  # whose tags hold the sizes of its strips
                assert ours.getexif() == theirs.getexif()
            if isinstance(ours, JpegImagePlugin.JpegImageFile):
                assert isinstance(theirs, JpegImagePlugin.JpegImageFile)
                assert ours.quantization == theirs.quantization
                assert ours.layer == theirs.layer
            if ours.mode == "RGBA":
                assert ours.getchannel("A").tobytes() == theirs.getchannel("A").tobytes()
        moved = np.abs(read_image(released).astype(int) - read_image(original)).max()
        changed += moved > 0
        assert moved <= 4
    assert changed >= 0.8 * len(pairs)


def test_an_audit_finds_nothing_but_pixels(real_set: Any, release: Callable[..., Path]) -> None:
    _, dataset, marking = real_set
    audit = fhi.audit_release(
        release(),
        marking.ledger_path,
        samples=dataset,
        hardness_field="hardness",
        proxy=None,
        progress=False,
    )
    assert audit.passed, audit.markdown()
    assert audit.num_marked == len(marking.load_ledger().released_images())
    assert audit.pixels


def test_all_files_encoded_anew(real_set: Any, release: Callable[..., Path]) -> None:
    name, dataset, marking = real_set
    folder = release(reencode="all")
    if name == "mixed":
        # What cannot be marked stays as it is: no HoneyImage is of its kind
        for kind in ("palette 0.gif", "lossy 0.webp", "progressive 0.jpg"):
            (path,) = folder.glob(f"two words/{kind}")
            assert path.read_bytes() in {
                Path(source).read_bytes()
                for source in dataset.values("filepath")
                if source.endswith(f"two words/{kind}")
            }
    originals = dataset.match_tags("honeyimage", bool=False)
    num_files = sum(path.is_file() for path in folder.rglob("*"))
    assert num_files == len(originals) - len(marking.load_ledger().pairs)
    audit = fhi.audit_release(
        folder, marking.ledger_path, samples=dataset, proxy=None, progress=False
    )
    assert audit.passed, audit.markdown()


def test_a_plain_loader_reads_it(real_set: Any, release: Callable[..., Path]) -> None:
    _, dataset, marking = real_set
    loaded = ImageFolder(str(release()))
    originals = dataset.match_tags("honeyimage", bool=False)
    names = [path for path in originals.values("filepath") if not path.endswith(".gif")]
    assert len(loaded) == len(names) - len(marking.load_ledger().pairs)
    assert set(loaded.classes) == set(originals.distinct("ground_truth.label"))
    image, target = loaded[0]
    assert (image.mode, target) == ("RGB", 0)
