"""Image files in and out, and resizing."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from PIL import ImageFile as PillowFile

from fiftyone_honeyimage.core.errors import ImageError
from fiftyone_honeyimage.core.images import check_image, read_image, read_image_file


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A real colour photograph, 96x64."""
    from sklearn.datasets import load_sample_image

    return np.ascontiguousarray(load_sample_image("china.jpg")[100:164, 200:296])


def save(path, array_or_image, **kwargs):
    image = (
        Image.fromarray(array_or_image)
        if isinstance(array_or_image, np.ndarray)
        else array_or_image
    )
    image.save(path, **kwargs)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.ppm", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_lossless_files_are_read_exactly(photo, tmp_path, name, options):
    array = read_image(save(tmp_path / name, photo, **options))
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, photo)


@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 80, "progressive": True}])
def test_jpeg_files_are_read_as_pillow_decodes_them(photo, tmp_path, options):
    path = save(tmp_path / "a.jpg", photo, **options)
    file = read_image_file(path)
    assert (file.path, file.format, file.mode, file.size) == (path, "JPEG", "RGB", (96, 64))
    np.testing.assert_array_equal(file.array, np.asarray(Image.open(path)))


def test_what_a_file_is_does_not_hang_on_its_name(photo, tmp_path):
    path = tmp_path / "a.jpg"
    save(path, photo, format="PNG")
    assert read_image_file(path).format == "PNG"


def test_orientation_is_not_applied(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", photo, exif=exif)
    assert Image.open(path).getexif()[0x0112] == 6
    assert read_image(path).shape == (64, 96, 3)


def test_grey_files_are_repeated_in_the_three_channels(photo, tmp_path):
    grey = Image.fromarray(photo).convert("L")
    file = read_image_file(save(tmp_path / "a.png", grey))
    assert file.mode == "L"
    for channel in range(3):
        np.testing.assert_array_equal(file.array[:, :, channel], np.asarray(grey))


def test_bilevel_files_are_black_and_white(photo, tmp_path):
    file = read_image_file(save(tmp_path / "a.png", Image.fromarray(photo).convert("1")))
    assert file.mode == "1"
    assert set(np.unique(file.array)) == {0, 255}


def test_palettes_are_looked_up(photo, tmp_path):
    palette = Image.fromarray(photo).quantize(64)
    file = read_image_file(save(tmp_path / "a.png", palette))
    assert file.mode == "P"
    np.testing.assert_array_equal(file.array, np.asarray(palette.convert("RGB")))


def test_transparency_is_dropped_and_the_colours_stay(photo, tmp_path):
    alpha = np.arange(64 * 96, dtype=np.int64).reshape(64, 96, 1) % 256
    path = save(tmp_path / "a.png", np.concatenate([photo, alpha.astype(np.uint8)], axis=2))
    file = read_image_file(path)
    assert file.mode == "RGBA"
    np.testing.assert_array_equal(file.array, photo)


@pytest.mark.filterwarnings("error")
def test_a_transparent_palette_keeps_its_colours(photo, tmp_path):
    palette = Image.fromarray(photo).quantize(16)
    path = tmp_path / "a.png"
    palette.save(path, transparency=bytes(range(0, 256, 16)))
    np.testing.assert_array_equal(read_image(path), np.asarray(palette.convert("RGB")))


def test_reading_agrees_with_torchvisions_loader(photo, tmp_path):
    from torchvision.datasets.folder import pil_loader

    rgba = Image.fromarray(photo).convert("RGBA")
    rgba.putalpha(100)
    images = [Image.fromarray(photo).convert(mode) for mode in ("RGB", "L", "1", "P", "LA")]
    for i, image in enumerate([*images, rgba]):
        path = save(tmp_path / f"{i}.png", image)
        np.testing.assert_array_equal(read_image(path), np.asarray(pil_loader(str(path))))


def png_16_bit_rgb(path):
    """Written by hand, as Pillow cannot write one."""
    rows = b"".join(b"\0" + struct.pack(">12H", *range(0, 60000, 5000)) for _ in range(4))

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b""))


def test_16_bit_colour_is_refused_though_pillow_would_cut_it_to_8(tmp_path):
    path = tmp_path / "a.png"
    png_16_bit_rgb(path)
    assert Image.open(path).mode == "RGB"
    with pytest.raises(ImageError, match=r"a.png holds more than 8 bits a channel"):
        read_image(path)


def test_16_bit_pnm_is_refused(tmp_path):
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 2 1 65535\n" + bytes(12))
    with pytest.raises(ImageError, match=r"a.ppm holds more than 8 bits"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_refused(tmp_path, name):
    path = save(tmp_path / name, np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000)
    with pytest.raises(ImageError, match="more than 8 bits"):
        read_image(path)


def test_float_is_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.ones((4, 4), np.float32))
    with pytest.raises(ImageError, match="more than 8 bits"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "mode"), [("a.jpg", "CMYK"), ("a.tif", "CMYK"), ("a.tif", "LAB"), ("a.tif", "YCbCr")]
)
def test_other_colour_spaces_are_refused(photo, tmp_path, name, mode):
    image = Image.fromarray(photo)
    if mode == "LAB":
        image = Image.frombytes("LAB", (96, 64), photo.tobytes())
    else:
        image = image.convert(mode)
    path = save(tmp_path / name, image)
    with pytest.raises(ImageError, match=f"{name} holds {mode} pixels"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_animations_are_refused(photo, tmp_path, name):
    frames = [Image.fromarray(np.roll(photo, shift, axis=1)) for shift in (0, 10, 20)]
    path = tmp_path / name
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=f"{name} holds 3 frames"):
        read_image(path)


def test_a_still_gif_is_read(photo, tmp_path):
    palette = Image.fromarray(photo).quantize(64)
    path = save(tmp_path / "a.gif", palette)
    np.testing.assert_array_equal(read_image(path), np.asarray(palette.convert("RGB")))


def test_the_picture_of_a_multi_picture_jpeg_is_read(photo, tmp_path):
    path = tmp_path / "a.jpg"
    preview = Image.fromarray(photo[::2, ::2].copy())
    Image.fromarray(photo).save(path, format="MPO", save_all=True, append_images=[preview])
    file = read_image_file(path)
    assert file.format == "MPO"
    assert file.array.shape == photo.shape
    assert np.abs(file.array.astype(int) - photo).mean() < 10


def test_a_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"no image file at .*gone.png"):
        read_image(tmp_path / "gone.png")


def test_a_folder(tmp_path):
    with pytest.raises(ImageError, match="is not a file"):
        read_image(tmp_path)


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty.png is empty \(zero bytes\)"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize(
    "content", [b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", bytes(100)]
)
def test_files_that_are_no_images(tmp_path, content):
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"odd.png"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.ppm"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("lenient", [False, True])
def test_truncated_files(photo, tmp_path, monkeypatch, name, keep, lenient):
    # other libraries set this for the whole process
    monkeypatch.setattr(PillowFile, "LOAD_TRUNCATED_IMAGES", lenient)
    path = save(tmp_path / name, photo)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ImageError, match=name):
        read_image(path)
    assert PillowFile.LOAD_TRUNCATED_IMAGES is lenient


def test_damaged_pixels_of_a_png(photo, tmp_path):
    path = save(tmp_path / "a.png", photo)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"a.png is truncated or damaged"):
        read_image(path)


def test_an_image_too_large_to_decode_safely(photo, tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", photo)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="too large to be decoded safely"):
        read_image(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(photo, tmp_path):
    path = save(tmp_path / "a.png", photo)
    path.chmod(0)
    with pytest.raises(ImageError, match="no permission"):
        read_image(path)


def test_threads_read_side_by_side_and_leave_pillow_as_it_was(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(PillowFile, "LOAD_TRUNCATED_IMAGES", True)
    good = save(tmp_path / "good.png", photo)
    bad = tmp_path / "bad.jpg"
    data = save(bad, photo).read_bytes()
    bad.write_bytes(data[: len(data) // 2])
    barrier = threading.Barrier(8)

    def read(i):
        barrier.wait()
        for _ in range(20):
            if i % 2:
                with pytest.raises(ImageError):
                    read_image(bad)
            else:
                np.testing.assert_array_equal(read_image(good), photo)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert PillowFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), "dtype uint8, got float64"),
        (np.zeros((4, 4), np.uint8), r"shape \(height, width, 3\), got \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((4, 0, 3), np.uint8), "shape"),
        ([[[0, 0, 0]]], "NumPy array, got list"),
    ],
)
def test_only_images_are_images(array, message):
    with pytest.raises(ImageError, match=message):
        check_image(array, "a")
