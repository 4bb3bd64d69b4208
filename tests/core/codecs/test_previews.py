"""Previews are found and dropped, and nothing else of a file changes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fiftyone_honeyimage.core.codecs.jpeg_segments import split
from fiftyone_honeyimage.core.codecs.previews import find_preview, without_previews
from fiftyone_honeyimage.core.errors import ImageError
from fiftyone_honeyimage.core.images import read_image_bytes


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image("flower.jpg")[100:220, 200:360].copy())


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(photo: Image.Image, order: str = "<", *, compressed: bool = True) -> bytes:
    """EXIF as cameras write it: a description, a second directory, and the thumbnail behind it."""
    small = photo.resize((40, 30))
    picture = encoded(small) if compressed else small.tobytes()
    text = b"a camera of ours\0"
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    second = 8 + 2 + 12 + 4 + len(text)
    start = second + 2 + 3 * 12 + 4
    first = struct.pack(order + "HHHIII", 1, 0x010E, 2, len(text), 26, second) + text
    tags = (0x0201, 0x0202) if compressed else (0x0111, 0x0117)
    directory = struct.pack(order + "H", 3) + struct.pack(order + "HHIHH", 0x0103, 3, 1, 6, 0)
    for tag, value in zip(tags, (start, len(picture)), strict=True):
        directory += struct.pack(order + "HHII", tag, 4, 1, value)
    return b"Exif\0\0" + head + first + directory + bytes(4) + picture


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    """One more segment behind the first, which is JFIF's."""
    end = 4 + struct.unpack_from(">H", data, 4)[0]
    return data[:end] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[end:]


def photoshop(*resources: tuple[int, bytes]) -> bytes:
    parts = [
        b"8BIM" + struct.pack(">HHI", number, 0, len(value)) + value + bytes(len(value) % 2)
        for number, value in resources
    ]
    return b"Photoshop 3.0\0" + b"".join(parts)


XMP = (
    b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><xmp:Thumbnails><rdf:Alt><rdf:li>"
    b"<xmpGImg:image>/9j/4AAQ</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails><dc:title/></x:xmpmeta>"
)


@pytest.fixture(scope="module")
def previews(photo: Image.Image) -> dict[str, bytes]:
    """One file of each kind of preview that can be dropped."""
    plain, small = encoded(photo), encoded(photo.resize((40, 30)))
    jfif = bytearray(with_segment(plain, 0xFE, b"a comment"))
    thumb = photo.resize((4, 3)).tobytes()
    jfif[4:6] = struct.pack(">H", 16 + len(thumb))
    jfif[18:20] = bytes([4, 3])
    return {
        "EXIF": encoded(photo, exif=exif(photo)),
        "EXIF, big-endian": encoded(photo, exif=exif(photo, ">")),
        "EXIF, uncompressed": encoded(photo, exif=exif(photo, compressed=False)),
        "JFXX": with_segment(plain, 0xE0, b"JFXX\0\x10" + small),
        "JFIF": bytes(jfif[:20]) + thumb + bytes(jfif[20:]),
        "Photoshop": with_segment(
            plain, 0xED, photoshop((1005, b"dpi"), (1036, bytes(28) + small), (1028, b"caption"))
        ),
        "XMP": with_segment(plain, 0xE1, XMP),
        "behind": plain + small,
    }


def test_every_kind_is_found_and_dropped(previews: dict[str, bytes], photo: Image.Image) -> None:
    assert find_preview(encoded(photo)) is None
    for name, data in previews.items():
        assert find_preview(data), name
        dropped = without_previews(data, name)
        assert find_preview(dropped) is None, name
        np.testing.assert_array_equal(
            read_image_bytes(dropped, name), read_image_bytes(data, name), err_msg=name
        )
        assert split(dropped).scans == split(data).scans
        assert without_previews(dropped, name) == dropped


def test_all_else_stays(previews: dict[str, bytes]) -> None:
    dropped = without_previews(previews["EXIF"], "a")
    assert len(dropped) == len(previews["EXIF"]), "zeros stand where the thumbnail was"
    with Image.open(io.BytesIO(dropped)) as image:
        assert image.getexif()[0x010E] == "a camera of ours"
        assert not image.getexif().get_ifd(1)
    assert b"caption" in without_previews(previews["Photoshop"], "a")
    assert b"<dc:title/>" in without_previews(previews["XMP"], "a")
    assert b"a comment" in without_previews(previews["JFIF"], "a")


def test_previews_of_other_formats_are_found_and_refused(
    photo: Image.Image, tmp_path: Path
) -> None:
    plain = exif(photo)
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(plain):8d}\n{plain.hex()}\n", zip=True)
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", XMP.decode("latin-1"), zip=True)
    tiff = {34377: photoshop((1036, bytes(28)))[14:]}
    for name, data in {
        "png": encoded(photo, "PNG", exif=plain),
        "png text": encoded(photo, "PNG", pnginfo=text),
        "png xmp": encoded(photo, "PNG", pnginfo=xmp),
        "webp": encoded(photo, "WEBP", exif=plain, lossless=True),
        "tiff": encoded(photo, "TIFF", tiffinfo=tiff),
    }.items():
        assert find_preview(data), name
        with pytest.raises(ImageError, match="cannot be dropped"):
            without_previews(data, name)
    for kind in ("PNG", "WEBP", "TIFF", "BMP", "PPM"):
        assert find_preview(encoded(photo, kind)) is None


def test_a_preview_in_a_makers_notes_is_found_and_refused(photo: Image.Image) -> None:
    own = Image.Exif()
    own.get_ifd(0x8769)[0x927C] = b"MAKER" + encoded(photo.resize((40, 30)))
    data = encoded(photo, exif=own)
    assert find_preview(data) == "a picture in its metadata"
    with pytest.raises(ImageError, match="a picture in its metadata"):
        without_previews(data, "a.jpg")


def test_damaged_metadata_count_as_a_preview(photo: Image.Image) -> None:
    data = with_segment(encoded(photo), 0xE1, b"Exif\0\0II*\0" + struct.pack("<I", 60_000))
    assert find_preview(data) == "damaged metadata"
