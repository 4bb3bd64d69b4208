"""Markings of datasets whose files are of many formats, sizes and modes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image

NAMES = ["none", "jpeg75", "jpeg50", "resize75", "median3", "crop_flip"]

FORMATS: list[tuple[str, str, dict[str, Any]]] = [
    ("plain {}.png", "RGB", {}),
    ("grey {}.png", "L", {}),
    ("alpha {}.png", "RGBA", {}),
    ("q75 {}.jpg", "RGB", {"quality": 75}),
    ("写真 {}.JPG", "RGB", {"quality": 95, "subsampling": 0, "comment": b"a comment"}),
    ("grey {}.jpeg", "L", {}),
    ("progressive {}.jpg", "RGB", {"progressive": True, "quality": 90}),
    ("lossless {}.webp", "RGB", {"lossless": True}),
    ("restarts {}.jpg", "RGB", {"restart_marker_blocks": 1}),
    ("{}.bmp", "RGB", {}),
    ("{}.tif", "RGB", {"compression": "tiff_lzw"}),
]


@pytest.fixture
def mixed(make_dataset: Any, tmp_path: Path) -> Any:
    """A dataset of digits in every format; a palette, which cannot be marked, among the hardest."""
    dataset = make_dataset(60, hardness=True)
    hardest = int(np.argmax(dataset.values("hardness")))
    for number, sample in enumerate(dataset):
        name, mode, options = FORMATS[number % len(FORMATS)]
        image = Image.open(sample.filepath).resize((18 + number % 5, 24))
        path = tmp_path / "media" / str(number % 2) / name.format(number // 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        if number == hardest:
            path = path.with_suffix(".gif")
            image.quantize(8).save(path)
        else:
            if mode == "RGBA":
                image.putalpha(Image.fromarray(np.asarray(image)[:, :, 0]))
            image.convert(mode).save(path, **options)
        sample.filepath = str(path)
        sample.save()
    return dataset


def test_honeyimages_keep_name_format_mode_and_size(
    mark: Callable[..., Any], mixed: Any, tmp_path: Path
) -> None:
    marking = mark(mixed, num_honeyimages=16, num_pairs=12)
    assert marking.excluded["cannot_be_marked"] > 1, "a palette, and progressive files"
    manifest = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))
    assert len(manifest["images"]) == 28
    changed = 0
    formats = set()
    for image in manifest["images"]:
        path = marking.output_dir / image["file"]
        source = Path(mixed[image["source"]].filepath)
        assert path.name == source.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == image["marked_sha256"]
        with Image.open(path) as ours, Image.open(source) as theirs:
            formats.add(theirs.format)
            assert (ours.format, ours.mode, ours.size) == (theirs.format, theirs.mode, theirs.size)
            assert ours.info == theirs.info
            if ours.mode == "RGBA":
                assert ours.getchannel("A").tobytes() == theirs.getchannel("A").tobytes()
            if isinstance(ours, JpegImagePlugin.JpegImageFile):
                assert ours.quantization == theirs.quantization
                assert ours.layer == theirs.layer
        # decoded against decoded
        moved = int(np.abs(read_image(path).astype(int) - read_image(source)).max())
        assert image["linf"] == moved
        assert moved <= 4
        assert "progressive" not in path.name
        changed += moved > 0
    assert changed > 20
    assert formats == {"PNG", "JPEG", "WEBP", "BMP", "TIFF"}
    assert marking.config["encoders"]["pillow"]


def test_survival_is_kept_with_the_run_and_each_image(mark: Callable[..., Any], mixed: Any) -> None:
    marking = mark(mixed)
    assert list(marking.survival) == NAMES
    assert fhi.load_marking(mixed, "honey").survival == marking.survival
    manifest = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))
    for name in NAMES:
        gaps = [image["survival"][name]["gap"] for image in manifest["images"]]
        assert marking.survival[name]["gap"] == pytest.approx(np.mean(gaps))
        assert 0 <= marking.survival[name]["kept"] <= 1
    for image in manifest["images"]:
        expected = image["proxy_loss"] - image["in_loss"]
        assert image["survival"]["none"]["gap"] == pytest.approx(expected, abs=1e-5)


def test_robust_marks_are_other_marks_and_reproducible(
    mark: Callable[..., Any], mixed: Any, tmp_path: Path
) -> None:
    def files(key: str, **changes: Any) -> list[bytes]:
        folder = mark(mixed, key, output_dir=tmp_path / "markings" / key, **changes).output_dir
        fhi.delete_run(mixed, key)  # else its images are not chosen again
        return [path.read_bytes() for path in sorted((folder / "images").rglob("*.*"))]

    robust, again, plain = files("a", robust=True), files("b", robust=True), files("c")
    assert robust == again
    assert robust != plain


def test_unperturbed_has_no_survival(mark: Callable[..., Any], mixed: Any) -> None:
    marking = mark(mixed, method="unperturbed")
    assert marking.survival == {}
    manifest = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["models"] == ["f_out.pt"]


def test_too_few_images_that_can_be_marked(
    mark: Callable[..., Any], make_dataset: Any, tmp_path: Path
) -> None:
    dataset = make_dataset(30, hardness=True)
    for sample in dataset:
        path = tmp_path / Path(sample.filepath).name
        Image.open(sample.filepath).quantize(8).save(path)
        sample.filepath = str(path)
        sample.save()
    with pytest.raises(fhi.SamplesError, match=r"cannot_be_marked.*has a palette"):
        mark(dataset)
