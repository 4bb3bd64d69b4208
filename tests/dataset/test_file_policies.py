"""Files that would give a mark away are left out of the choice, or the whole release is made alike."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.codecs import jpeg, jpeg_segments, open_codec
from fiftyone_honeyimage.core.codecs.previews import find_preview
from fiftyone_honeyimage.core.images import read_image

needs_jpeglib = pytest.mark.skipif(jpeg.load_jpeglib() is None, reason="jpeglib is not installed")

Write = Callable[[Image.Image, int], tuple[str, bytes]]


@pytest.fixture
def dataset_of(make_dataset: Any, tmp_path: Path) -> Callable[[Write, int], Any]:
    """A dataset of digits, each written by a function from the picture and its number to suffix and bytes."""

    def make(write: Write, num: int = 36) -> Any:
        dataset = make_dataset(num, hardness=True)
        for number, sample in enumerate(dataset):
            with Image.open(sample.filepath) as image:
                suffix, data = write(image.resize((24, 24)), number)
            path = tmp_path / "media" / f"{number:03d}{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            sample.filepath = str(path)
            sample.save()
        return dataset

    return make


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def marked_files(marking: Any) -> list[Path]:
    manifest = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))
    return [marking.output_dir / image["file"] for image in manifest["images"]]


def audited(dataset: Any, marking: Any, folder: Path) -> Any:
    # Coins are drawn anew each time; at the default level one run in a hundred would fail
    return fhi.audit_release(
        folder, marking.ledger_path, samples=dataset, proxy=None, alpha=1e-6, progress=False
    )


# --- thumbnails ---------------------------------------------------------------------------------------------


def with_thumbnail(image: Image.Image) -> bytes:
    """As a camera writes it: the thumbnail in the second directory of EXIF."""
    picture = encoded(image.resize((8, 8)))
    start = 8 + 2 + 12 + 4 + 2 + 2 * 12 + 4
    first = struct.pack("<HHHI4sI", 1, 0x010F, 2, 4, b"own\0", 26)
    second = struct.pack("<HHHIIHHII", 2, 0x0201, 4, 1, start, 0x0202, 4, 1, len(picture)) + bytes(
        4
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + picture
    data = encoded(image, exif=exif)
    assert find_preview(data) == "an EXIF thumbnail"
    return data


@needs_jpeglib
def test_files_with_a_thumbnail_are_left_out_and_counted(
    dataset_of: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = dataset_of(
        lambda image, n: (".jpg", with_thumbnail(image) if n % 2 else encoded(image))
    )
    marking = mark(dataset)
    assert marking.excluded["has_thumbnail"] > 0
    assert not any(find_preview(path.read_bytes()) for path in marked_files(marking))
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    # the others keep theirs
    assert sum(find_preview(p.read_bytes()) is not None for p in folder.rglob("*.jpg")) == 18
    assert audited(dataset, marking, folder).passed


@needs_jpeglib
def test_a_set_from_a_camera_is_marked_without_thumbnails(
    dataset_of: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = dataset_of(lambda image, _: (".jpg", with_thumbnail(image)))
    with pytest.raises(fhi.SamplesError, match=r"has_thumbnail.*thumbnails='drop'"):
        mark(dataset, "first")
    marking = mark(dataset, thumbnails="drop")
    assert marking.config["thumbnails"] == "drop"
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    files = list(folder.rglob("*.jpg"))
    assert len(files) == 33
    originals = {Path(path).name: Path(path) for path in dataset.values("filepath")}
    for path in files:
        data = path.read_bytes()
        assert find_preview(data) is None
        assert len(data) == originals[path.name].stat().st_size or path.name in {
            file.name for file in marked_files(marking)
        }
        assert Image.open(path).getexif()[0x010F] == "own"
    report = audited(dataset, marking, folder)
    assert report.passed, report.summary()
    # one file that kept its own
    kept = next(p for p in files if p.name not in {file.name for file in marked_files(marking)})
    kept.write_bytes(originals[kept.name].read_bytes())
    report = audited(dataset, marking, folder)
    assert not report.passed


# --- other encoders -------------------------------------------------------------------------------------------


def plain_png(image: Image.Image) -> bytes:
    """No row filters, as Pillow never writes a picture with shades."""
    rows = np.asarray(image)
    stream = zlib.compress(np.pad(rows.reshape(len(rows), -1), ((0, 0), (1, 0))).tobytes(), 6)
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def test_files_of_another_encoder_are_left_out_and_counted(dataset_of: Any, mark: Any) -> None:
    dataset = dataset_of(
        lambda image, n: (".png", plain_png(image) if n % 2 else encoded(image, "PNG"))
    )
    marking = mark(dataset)
    assert marking.excluded["would_be_rewritten"] > 0
    assert all(int(path.stem) % 2 == 0 for path in marked_files(marking))


def test_a_set_of_another_encoder_is_released_encoded_anew(
    dataset_of: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = dataset_of(lambda image, _: (".png", plain_png(image)))
    with pytest.raises(fhi.SamplesError, match=r"would_be_rewritten.*pass reencode='all'"):
        mark(dataset, "first")
    marking = mark(dataset, reencode="all")
    folder = tmp_path / "release"
    with pytest.raises(fhi.ReleaseError, match="made with reencode='all'"):
        fhi.export_release(dataset, "honey", folder, progress=False)
    assert not folder.exists()
    fhi.export_release(dataset, "honey", folder, reencode="all", progress=False)
    report = audited(dataset, marking, folder)
    assert report.passed, report.summary()
    # one file that is copied and not encoded anew
    marked = {path.name for path in marked_files(marking)}
    copied = next(path for path in folder.rglob("*.png") if path.name not in marked)
    copied.write_bytes((tmp_path / "media" / copied.name).read_bytes())
    report = audited(dataset, marking, folder)
    assert "other files" in {leak.feature for leak in report.leaks}


def turned_tables(data: bytes) -> bytes:
    """The coefficients of a JPEG with fixed tables of an encoder's own: every code, in another order."""

    def turned(table: bytes) -> bytes:
        symbols, position = b"", 16
        for count in table[:16]:
            symbols += table[position : position + count][::-1]
            position += count
        return table[:16] + symbols

    source = jpeg_segments.split(data)
    header = tuple(
        (m, bytes([c[0]]) + turned(c[1:]) if m == jpeg_segments.DHT else c)
        for m, c in source.header
    )
    return jpeg_segments.with_scan(
        jpeg_segments.Segments(header, source.scans, source.trailer), source.scans
    )


@needs_jpeglib
def test_fixed_tables_of_an_encoder_stay_in_the_release(
    dataset_of: Any, mark: Any, tmp_path: Path
) -> None:
    """Made anew for HoneyImages alone, they would name every one of them."""

    def write(image: Image.Image, _: int) -> tuple[str, bytes]:
        data = encoded(image, quality=85)
        path = tmp_path / "one.jpg"
        path.write_bytes(turned_tables(data))
        return ".jpg", open_codec(path).rewrite(data)

    dataset = dataset_of(write)
    marking = mark(dataset, num_honeyimages=8, num_pairs=6)
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    tables = {
        json.dumps({n: t.hex() for n, t in jpeg_segments.split(p.read_bytes()).huffman.items()})
        for p in folder.rglob("*.jpg")
    }
    assert len(tables) == 1
    assert audited(dataset, marking, folder).passed
    changed = [
        path
        for path in marked_files(marking)
        if path.read_bytes() != (tmp_path / "media" / path.name).read_bytes()
    ]
    assert changed
    for path in changed:
        moved = read_image(path).astype(int) - read_image(tmp_path / "media" / path.name)
        assert np.abs(moved).max() <= 4


# --- mirrored copies --------------------------------------------------------------------------------------------


def test_images_with_a_mirrored_copy_are_left_out(dataset_of: Any, mark: Any) -> None:
    """In an augmented set, a HoneyImage would be the only file without its mirror image."""
    kept: list[Image.Image] = []

    def write(image: Image.Image, number: int) -> tuple[str, bytes]:
        kept.append(image)
        if number >= 40:
            original = kept[number - 40]
            image = ImageOps.mirror(original) if number % 2 else original.rotate(90)
        return ".png", encoded(image, "PNG")

    dataset = dataset_of(write, 60)
    marking = mark(dataset, num_honeyimages=6, num_pairs=5)
    assert marking.excluded["duplicates"] > 0
    chosen = {int(path.stem) for path in marked_files(marking)}
    assert chosen <= set(range(20, 40))


# --- what was promised --------------------------------------------------------------------------------------------


def test_a_change_beyond_epsilon_is_never_kept(
    dataset_of: Any, mark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.core.codecs import base

    monkeypatch.setattr(base, "largest_change", lambda *_: 68)
    dataset = dataset_of(lambda image, _: (".png", encoded(image, "PNG")))
    with pytest.raises(fhi.ImageError, match=r"68 of 255, more than epsilon=4"):
        mark(dataset)
    assert "honey" not in dataset.list_runs()


@pytest.mark.parametrize(
    "options", [{"reencode": "some"}, {"thumbnails": "keep"}], ids=["reencode", "thumbnails"]
)
def test_unknown_policies_are_refused(
    make_dataset: Any, mark: Any, options: dict[str, str]
) -> None:
    with pytest.raises(fhi.ParameterError, match=next(iter(options))):
        mark(make_dataset(30, hardness=True), **options)
