"""Files written again like their sources, in every format and mode."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from fiftyone_honeyimage.core.codecs import (
    RewrittenError,
    check_markable,
    encode_like,
    jpeg,
    open_codec,
)
from fiftyone_honeyimage.core.codecs.base import decode
from fiftyone_honeyimage.core.codecs.jpeg_segments import split
from fiftyone_honeyimage.core.errors import ImageError
from fiftyone_honeyimage.core.images import read_image

WIDTH, HEIGHT = 83, 61

needs_jpeglib = pytest.mark.skipif(jpeg.load_jpeglib() is None, reason="jpeglib is not installed")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A real photograph, whose sides are no multiples of a block."""
    from sklearn.datasets import load_sample_image

    pixels = load_sample_image("flower.jpg")[150 : 150 + HEIGHT, 250 : 250 + WIDTH]
    return Image.fromarray(np.ascontiguousarray(pixels))


@pytest.fixture(scope="module")
def folder(photo, tmp_path_factory) -> Path:
    """Every format and mode that can be marked, under odd names."""
    folder = tmp_path_factory.mktemp("mixed")
    ramp = np.arange(WIDTH * HEIGHT, dtype=np.int64).reshape(HEIGHT, WIDTH) % 256
    alpha = Image.fromarray(ramp.astype(np.uint8))
    rgba = photo.copy()
    rgba.putalpha(alpha)
    grey = photo.convert("L")
    grey_alpha = Image.merge("LA", [grey, alpha])

    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    text.add_itxt("Title", "Ελληνικά", lang="el")
    text.add(b"gAMA", struct.pack(">I", 45455))

    photo.save(folder / "plain.png")
    photo.save(folder / "small parts.png", optimize=True)
    photo.save(folder / "fast.png", compress_level=1)
    photo.save(
        folder / "Ünïcode 図 text.png", pnginfo=text, icc_profile=icc, dpi=(72, 72), exif=exif
    )
    grey.save(folder / "grey.png")
    grey_alpha.save(folder / "grey alpha.png")
    rgba.save(folder / "alpha.png")
    photo.save(folder / "rgb.bmp")
    grey.save(folder / "grey.bmp")
    rgba.save(folder / "32 bits.bmp")
    photo.save(folder / "rgb.ppm")
    grey.save(folder / "grey.pgm")
    for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        photo.save(folder / f"rgb {name}.tif", compression=name, icc_profile=icc)
        grey.save(folder / f"grey {name}.tif", compression=name)
        rgba.save(folder / f"alpha {name}.tif", compression=name)
    photo.save(folder / "lossless.webp", lossless=True, exif=exif, icc_profile=icc)
    rgba.save(folder / "alpha lossless.webp", lossless=True, exact=True)

    for name, options in {
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "420 q40": {"subsampling": 2, "quality": 40},
        "quality 100": {"quality": 100},
        "optimised": {"optimize": True},
        "restarts": {"restart_marker_blocks": 3},
        "stored as RGB": {"keep_rgb": True},
        "metadata 写真": {"exif": exif, "icc_profile": icc, "comment": b"hello", "dpi": (300, 300)},
        "own tables": {"qtables": [[3 + i for i in range(64)], [80 - i for i in range(64)]]},
    }.items():
        photo.save(folder / f"{name}.jpg", **options)
    grey.save(folder / "grey.jpg")
    photo.crop((0, 0, 1, 1)).save(folder / "one pixel.jpg")
    photo.crop((0, 0, 1, 1)).save(folder / "one pixel.png")
    photo.resize((3000, 2)).save(folder / "long.jpg")
    photo.resize((2, 3000)).save(folder / "tall.png")
    photo.resize((2, 3000)).save(folder / "tall.webp", lossless=True)
    # A trailer as phones write it, and padding before a marker
    data = (folder / "444.jpg").read_bytes()
    (folder / "trailer.jpg").write_bytes(data + b"a film behind the picture")
    (folder / "padding.jpg").write_bytes(data[:2] + b"\xff\xff" + data[2:])
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def noisy(pixels: np.ndarray, grey: bool, amount: int = 4) -> np.ndarray:
    rng = np.random.default_rng(7)
    shape = (*pixels.shape[:2], 1 if grey else 3)
    noise = np.broadcast_to(rng.integers(-amount, amount + 1, shape), pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def described(data: bytes) -> dict:
    """All that Pillow tells of a file besides its pixels."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        told = {
            "format": image.format,
            "mode": image.mode,
            "size": image.size,
            "info": dict(image.info),
            # Where the strips of a TIFF lie depends on what they hold.
            "exif": {k: v for k, v in image.getexif().items() if k not in (273, 279)},
        }
        if image.mode in ("LA", "RGBA"):
            told["alpha"] = image.getchannel("A").tobytes()
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            told["tables"] = image.quantization
            told["sampling"] = JpegImagePlugin.get_sampling(image)
            told["segments"] = image.applist
    return told


def test_everything_but_the_pixels_is_kept(folder):
    for path in files(folder):
        source = path.read_bytes()
        codec = open_codec(path)
        written = codec.encode(noisy(read_image(path), codec.grey))
        assert described(written) == described(source), path.name


def test_lossless_files_hold_the_pixels_exactly(folder):
    lossless = [path for path in files(folder) if open_codec(path).lossless]
    assert len(lossless) > 20
    for path in lossless:
        pixels = noisy(read_image(path), open_codec(path).grey, amount=40)
        data = encode_like(path, pixels)
        np.testing.assert_array_equal(decode(data, path.name), pixels, err_msg=path.name)


def test_unchanged_files_give_the_same_bytes_back(folder):
    """Where Pillow or libjpeg had written the source."""
    for path in files(folder):
        if path.name != "padding.jpg":
            check_markable(path)
            assert encode_like(path, read_image(path)) == path.read_bytes(), path.name


def test_what_does_not_come_back_is_told_apart(folder):
    """Bytes between segments, which no reader sees, are lost: markable if all files are encoded anew."""
    path = folder / "padding.jpg"
    np.testing.assert_array_equal(
        decode(encode_like(path, read_image(path)), path.name), read_image(path)
    )
    with pytest.raises(RewrittenError, match="byte for byte"):
        check_markable(path)
    check_markable(path, rewritten=True)


def test_a_png_of_another_encoder_is_told_apart(photo, tmp_path):
    """No filters, which Pillow never writes for a photograph, in one large file and in a small one."""
    large = Image.new("RGB", (5100, 4000))
    large.paste(photo)
    for name, image in (("small", photo), ("more than 20 megapixels", large)):
        path = tmp_path / f"{name}.png"
        rows = np.asarray(image)
        plain = np.pad(rows.reshape(len(rows), -1), ((0, 0), (1, 0))).tobytes()
        parts = [
            (b"IHDR", struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(plain, 6)),
            (b"IEND", b""),
        ]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts))
        with pytest.raises(RewrittenError, match=name):
            check_markable(path)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def own_tables(data: bytes) -> bytes:
    """The same coefficients with fixed tables of an encoder's own: the standard ones, symbols turned round.

    Symbols of one code length change places, so that no table is libjpeg's and each still has every code.
    """
    source = split(data)
    header = []
    for marker, content in source.header:
        if marker == 0xC4:
            content = (
                b"".join(
                    bytes([number]) + turned(table) for number, table in split(data).huffman.items()
                )
                if not any(m == 0xC4 for m, _ in header)
                else b""
            )
        if marker != 0xC4 or content:
            header.append((marker, content))
    parts = [struct.pack(">BBH", 0xFF, m, len(c) + 2) + c for m, c in header]
    return b"\xff\xd8" + b"".join(parts) + source.scans + b"\xff\xd9" + source.trailer


def turned(table: bytes) -> bytes:
    symbols, position = b"", 16
    for count in table[:16]:
        symbols += table[position : position + count][::-1]
        position += count
    return table[:16] + symbols


def fixed(path: Path, target: Path) -> None:
    """Writes a file's coefficients with the tables of :func:`own_tables`."""
    target.write_bytes(own_tables(path.read_bytes()))
    codec = open_codec(target)
    assert codec._writer == "own"
    target.write_bytes(codec.rewrite(path.read_bytes()))


@needs_jpeglib
@pytest.mark.parametrize("name", ["444.jpg", "422.jpg", "420 q40.jpg", "grey.jpg", "restarts.jpg"])
def test_fixed_tables_of_an_encoder_are_kept(folder, tmp_path, name):
    path = tmp_path / name
    fixed(folder / name, path)
    np.testing.assert_array_equal(read_image(path), read_image(folder / name))
    assert not split(path.read_bytes()).has_standard_huffman
    check_markable(path)
    codec = open_codec(path)
    marked = codec.encode(noisy(codec.original(), codec.grey, 40))
    assert split(marked).header == split(path.read_bytes()).header
    assert split(marked).scans != split(path.read_bytes()).scans
    assert np.abs(decode(marked, name).astype(int) - codec.original()).max() > 0


@needs_jpeglib
def test_tables_that_lack_codes_and_are_no_optimum_do_not_come_back(folder, tmp_path):
    """A mark could need a code that they have not; made anew they would be like no other file's."""
    own = split((folder / "optimised.jpg").read_bytes())
    path = tmp_path / "lacking.jpg"
    table = bytearray(own.huffman[0x10])
    # One more symbol with a longest code, which the picture does not use
    unused = next(n for n in range(1, 250) if n not in table[16:] and 1 <= n & 15 <= 10)
    table[15] += 1
    before, after = bytes([0x10]) + own.huffman[0x10], bytes([0x10, *table, unused])
    header = [(m, c.replace(before, after)) for m, c in own.header]
    parts = [struct.pack(">BBH", 0xFF, m, len(c) + 2) + c for m, c in header]
    path.write_bytes(b"\xff\xd8" + b"".join(parts) + own.scans + b"\xff\xd9")
    np.testing.assert_array_equal(read_image(path), read_image(folder / "optimised.jpg"))
    with pytest.raises(RewrittenError):
        check_markable(path)


@needs_jpeglib
def test_restart_markers_are_edited_in_their_coefficients(folder):
    """Encoding the pixels anew would move values by tens of grey levels; nothing here goes beyond the change."""
    codec = open_codec(folder / "restarts.jpg")
    original = codec.original().astype(int)
    unchanged = decode(codec.encode_change(np.zeros(original.shape)), "unchanged")
    np.testing.assert_array_equal(unchanged, original)
    marked = codec.encode(noisy(codec.original(), False))
    assert split(marked).restart_interval == 3
    assert np.abs(decode(marked, "marked").astype(int) - original).max() <= 12


def test_jpeg_changes_are_what_the_linear_model_says(folder):
    for name in (
        "444.jpg",
        "422.jpg",
        "420 q40.jpg",
        "grey.jpg",
        "quality 100.jpg",
        "stored as RGB.jpg",
    ):
        codec = open_codec(folder / name)
        original = read_image(folder / name).astype(int)
        change = noisy(np.full_like(original, 128), codec.grey, 12).astype(np.float32) - 128
        decoded = decode(codec.encode_change(change), name)
        # The model knows nothing of clipping and rounding.
        inside = (original > 40) & (original < 215)
        difference = (decoded - original - codec.realise(change))[inside]
        assert np.abs(difference).mean() < 1.2, name


def test_projection_keeps_what_a_file_can_hold(folder):
    codec = open_codec(folder / "420 q40.jpg")
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.normal(size=(8, 11, 1)), 8, 0), 8, 1)[:HEIGHT, :WIDTH]
    smooth = np.repeat(smooth, 3, axis=2).astype(np.float32)
    fine = rng.normal(size=smooth.shape).astype(np.float32)
    projected = codec.project(smooth), codec.project(fine)
    kept = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(projected, (smooth, fine), strict=True)
    ]
    assert kept[0] > 0.7
    assert kept[1] < 0.5


def test_grey_pictures_stay_grey(folder, photo, tmp_path):
    grey = photo.convert("L").convert("RGB")
    for name in ("grey.jpg", "grey.webp", "grey.png"):
        grey.save(tmp_path / name, lossless=True)
        assert open_codec(tmp_path / name).grey
    assert not open_codec(folder / "444.jpg").grey
    gradient = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    for codec in (open_codec(tmp_path / "grey.jpg"), open_codec(folder / "grey.png")):
        projected = codec.project(gradient)
        np.testing.assert_allclose(projected, projected[:, :, :1].repeat(3, 2), atol=1e-4)


def test_wrong_pixels_are_refused(folder):
    pixels = read_image(folder / "plain.png")
    with pytest.raises(ImageError, match="keeps the size"):
        encode_like(folder / "plain.png", pixels[1:])
    with pytest.raises(ImageError, match="dtype uint8"):
        encode_like(folder / "plain.png", pixels.astype(float))
    with pytest.raises(ImageError, match="keeps the mode"):
        encode_like(folder / "grey.png", pixels)


def interlaced(data: bytes) -> bytes:
    """The header alone says so: 1x1 pixels are the same either way."""
    header = data[16:28] + b"\x01"
    return data[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:]


def unmarkable(photo: Image.Image, folder: Path) -> dict[str, str]:
    palette = photo.quantize(32)
    palette.save(folder / "palette.png")
    palette.save(folder / "palette.gif")
    palette.save(folder / "palette.bmp")
    photo.convert("1").save(folder / "two.png")
    photo.save(folder / "key.png", transparency=(1, 2, 3))
    photo.crop((0, 0, 1, 1)).save(folder / "interlaced.png")
    (folder / "interlaced.png").write_bytes(interlaced((folder / "interlaced.png").read_bytes()))
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "deep.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.save(folder / "pictures.jpg", format="MPO", save_all=True, append_images=[photo])
    photo.save(folder / "inside.tif", compression="jpeg")
    photo.save(folder / "frames.webp", save_all=True, append_images=[photo.rotate(90)])
    photo.save(folder / "lossy.webp", quality=60)
    photo.save(folder / "progressive.jpg", progressive=True)
    photo.save(folder / "arithmetic.jpg")
    data = (folder / "arithmetic.jpg").read_bytes()
    (folder / "arithmetic.jpg").write_bytes(data.replace(b"\xff\xc0", b"\xff\xc9", 1))
    (folder / "text.ppm").write_bytes(b"P3 1 1 255 1 2 3\n")
    (folder / "cut.jpg").write_bytes(data[:300])
    return {
        "palette.png": "palette",
        "palette.gif": "palette",
        "palette.bmp": "palette",
        "two.png": "two colours",
        "key.png": "one colour as transparent",
        "interlaced.png": "interlaced",
        "deep.png": "more than 8 bits",
        "cmyk.jpg": "CMYK",
        "pictures.jpg": "multi-picture",
        "inside.tif": "compression 'jpeg'",
        "frames.webp": "frames",
        "lossy.webp": "lossy WebP",
        "progressive.jpg": "progressive",
        "arithmetic.jpg": "arithmetic",
        "text.ppm": "text coded",
        "cut.jpg": "cut.jpg",
        "missing.jpg": "no image file",
    }


def test_what_cannot_be_marked_is_refused_with_the_reason(photo, tmp_path):
    for name, reason in unmarkable(photo, tmp_path).items():
        with pytest.raises(ImageError, match=reason):
            check_markable(tmp_path / name)


@needs_jpeglib
def test_arithmetic_jpegs_are_really_such_and_refused(folder, tmp_path):
    """Written by libjpeg itself."""
    jpeglib = jpeg.load_jpeglib()
    path = tmp_path / "a.jpg"
    file = jpeglib.read_dct(str(folder / "444.jpg"))
    file.write_dct(str(path), flags=["+ARITH_CODE"])
    if split(path.read_bytes()).frame[0] != 0xC9:
        pytest.skip("this build of jpeglib writes no arithmetic codes")
    with pytest.raises(ImageError, match="arithmetic"):
        check_markable(path)


def test_without_jpeglib_jpegs_are_refused(folder, monkeypatch):
    monkeypatch.setattr(jpeg, "_jpeglib", [None])
    with pytest.raises(ImageError, match="package jpeglib"):
        check_markable(folder / "444.jpg")


def bmp_of_16_bits(photo: Image.Image, masks: tuple[int, int, int] | None) -> bytes:
    """Five or six bits a colour; without masks 555, which needs none."""
    pixels = np.asarray(photo).astype(np.uint16)
    green = 6 if masks == (0xF800, 0x07E0, 0x001F) else 5
    red, blue = pixels[:, :, 0] >> 3, pixels[:, :, 2] >> 3
    words = red << (5 + green) | (pixels[:, :, 1] >> (8 - green)) << 5 | blue
    words = np.pad(words[::-1], ((0, 0), (0, photo.width % 2))).astype("<u2")
    extra = b"" if masks is None else struct.pack("<III", *masks)
    head = struct.pack(
        "<IiiHHIIiiII",
        40,
        photo.width,
        photo.height,
        1,
        16,
        3 if masks else 0,
        words.nbytes,
        0,
        0,
        0,
        0,
    )
    offset = 14 + len(head) + len(extra)
    size = offset + words.nbytes
    return b"BM" + struct.pack("<IHHI", size, 0, 0, offset) + head + extra + words.tobytes()


def retagged(data: bytes, **tags: int) -> bytes:
    """A little-endian TIFF with some SHORT tags of its first directory set otherwise."""
    numbers = {"photometric": 262, "fill_order": 266, "extra": 338}
    result = bytearray(data)
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    for i in range(count):
        place = offset + 2 + 12 * i
        (tag,) = struct.unpack_from("<H", data, place)
        for name, value in tags.items():
            if tag == numbers[name]:
                struct.pack_into("<H", result, place + 8, value)
    return bytes(result)


def test_layouts_that_pillow_reads_and_does_not_write_are_refused_by_name(photo, tmp_path):
    grey = photo.convert("L")
    rgba = photo.copy()
    rgba.putalpha(grey)
    buffer = io.BytesIO()
    rgba.save(buffer, "TIFF")
    made = {
        "565.bmp": bmp_of_16_bits(photo, (0xF800, 0x07E0, 0x001F)),
        "555.bmp": bmp_of_16_bits(photo, None),
        "premultiplied.tif": retagged(buffer.getvalue(), extra=1),
    }
    for name, tags in (("white.tif", {262: 0}), ("reversed.tif", {266: 2})):
        buffer = io.BytesIO()
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in tags.items():
            info[tag] = value
        grey.save(buffer, "TIFF", tiffinfo=info)
        made[name] = buffer.getvalue()
    made["white.tif"] = retagged(made["white.tif"], photometric=0)
    made["reversed.tif"] = retagged(made["reversed.tif"], fill_order=2)
    for name, data in made.items():
        path = tmp_path / name
        path.write_bytes(data)
        pixels = read_image(path)
        assert pixels.std() > 20, name
        with pytest.raises(ImageError, match=name):
            check_markable(path)


@needs_jpeglib
@pytest.mark.skipif(not os.environ.get("HONEYIMAGE_DATA"), reason="HONEYIMAGE_DATA is not set")
@pytest.mark.parametrize("name", ["isic_highres", "eurosat"])
def test_real_jpegs_come_out_as_they_went_in(name, tmp_path):
    with tarfile.open(Path(os.environ["HONEYIMAGE_DATA"]) / f"{name}.tar") as archive:
        members = [member for member in archive if member.name.endswith(".jpg")]
        chosen = members[:: max(1, len(members) // 8)]
        archive.extractall(tmp_path, members=chosen, filter="data")
    for path in tmp_path.rglob("*.jpg"):
        pixels = read_image(path)
        data = encode_like(path, pixels)
        np.testing.assert_array_equal(decode(data, path.name), pixels)
        assert described(data) == described(path.read_bytes())
        assert len(data) == path.stat().st_size


@needs_jpeglib
@pytest.mark.parametrize(
    "layout",
    [[[0x00], [0x01], [0x10], [0x11]], [[0x00, 0x10], [0x01, 0x11]], [[0x11, 0x10, 0x01, 0]]],
)
def test_huffman_tables_keep_their_order_and_segments(photo, tmp_path, layout):
    path = tmp_path / "photo.jpg"
    photo.save(path)
    parts = split(path.read_bytes())
    segments = [
        struct.pack(">BBH", 0xFF, 0xC4, 2 + len(content)) + content
        for content in (b"".join(bytes([n]) + parts.huffman[n] for n in row) for row in layout)
    ]
    others = [
        struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content
        for marker, content in parts.header
        if marker != 0xC4
    ]
    data = b"".join([b"\xff\xd8", *others, *segments, parts.scans, b"\xff\xd9"])
    path.write_bytes(data)
    codec = open_codec(path)
    assert codec.encode(codec.original()) == data
    marked = split(codec.encode(noisy(codec.original(), grey=False)))
    assert marked.scans != parts.scans
    assert marked.header == split(data).header
