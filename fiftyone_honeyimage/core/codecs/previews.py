"""Smaller pictures that a file holds beside its own: EXIF, JFIF and Photoshop thumbnails, previews of cameras.

They show the picture as it was. Beside a marked picture, such a preview gives the mark away to whoever compares the two,
and one that were made anew would be another encoder's. So either files with previews are not marked, or
the previews of all files of a release are dropped.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from ..errors import ImageError
from . import jpeg_segments
from .jpeg_segments import APP0, Segments
from .png import SIGNATURE, read_chunks
from .webp import split_chunks

_EXIF, _PHOTOSHOP, _ICC = b"Exif\0\0", b"Photoshop 3.0\0", b"ICC_PROFILE\0"
_APP13 = 0xED

#: Photoshop's resources with a thumbnail, of version 4 and since
_THUMBNAIL_RESOURCES = (1033, 1036)

#: The start of a JPEG inside of metadata
_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")

_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", re.DOTALL)
_XMP_SIGNS = (b"xmp:Thumbnails", b"xmpGImg:image", b"GImage:Data", b"GDepth:Data")

_STRIP_OFFSETS, _STRIP_COUNTS, _JPEG_OFFSET, _JPEG_LENGTH = 0x0111, 0x0117, 0x0201, 0x0202
_SUB_IFDS, _TIFF_PHOTOSHOP, _TIFF_XMP = 330, 34377, 700

#: Bytes of a value of each type of EXIF and TIFF
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


def find_preview(data: bytes) -> str | None:
    """What kind of preview a file holds, in words; None for none.

    Args:
        data: the whole file, which Pillow can open
    """
    with suppress(ValueError, IndexError, struct.error):
        if data[:2] == b"\xff\xd8":
            return _find_in_jpeg(jpeg_segments.split(data))
        if data[:8] == SIGNATURE:
            return next(filter(None, map(_find_in_png, read_chunks(data))), None)
        if data[:4] == b"RIFF":
            pieces = [content for kind, content in split_chunks(data) if kind in (b"EXIF", b"XMP ")]
            return next(filter(None, (_find(piece.removeprefix(_EXIF)) for piece in pieces)), None)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _find_in_tiff(data)
        return None
    return "damaged metadata"


def without_previews(data: bytes, name: str) -> bytes:
    """The same file without previews; the same bytes if it has none.

    A thumbnail of EXIF is unlinked and zeros stand in its place, so that nothing else moves.

    Args:
        data: the whole file
        name: what errors call it

    Raises:
        ImageError: if they cannot be dropped: in other formats than JPEG, or inside a maker's own notes
    """
    kind = find_preview(data)
    if kind is None:
        return data
    if data[:2] == b"\xff\xd8" and kind != "damaged metadata":
        dropped = _dropped_from_jpeg(jpeg_segments.split(data))
        if find_preview(dropped) is None:
            return dropped
    raise ImageError(
        f"{name} holds {kind}, which cannot be dropped and shows the picture as it is without a mark; "
        "convert the file, or remove it with exiftool"
    )


def _find_in_jpeg(segments: Segments) -> str | None:
    if _JPEG.search(segments.trailer):
        return "a picture behind the picture"
    for marker, content in segments.header:
        if marker == APP0 and content.startswith(b"JFXX\0"):
            return "a JFXX thumbnail"
        if marker == APP0 and content.startswith(b"JFIF\0") and content[12:13] > b"\0":
            return "a JFIF thumbnail"
        if not APP0 <= marker <= 0xFE or content.startswith(_ICC):
            continue
        if content.startswith(b"MPF\0"):
            return "an index of pictures (MPF)"
        found = _find(content.removeprefix(_EXIF))
        if found:
            return found
    return None


def _find_in_png(chunk: tuple[bytes, bytes]) -> str | None:
    kind, content = chunk
    if kind == b"eXIf":
        return _find(content)
    if kind not in (b"tEXt", b"zTXt", b"iTXt"):
        return None
    key, _, text = content.partition(b"\0")
    if kind == b"zTXt":
        text = zlib.decompress(text[1:])
    elif kind == b"iTXt":
        compressed, text = text[0], text[2:].split(b"\0", 2)[-1]
        text = zlib.decompress(text) if compressed else text
    if key.startswith(b"Raw profile type") and b"icc" not in key:
        text = bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
        text = text.removeprefix(_EXIF)
    return _find(text)


def _find_in_tiff(data: bytes) -> str | None:
    for tag, _, value in _entries(data, struct.unpack_from(_order(data) + "I", data, 4)[0]):
        if tag == _SUB_IFDS:
            return "a second picture (SubIFD)"
        content = data[value]
        if tag == _TIFF_PHOTOSHOP and _resources_with_thumbnail(content):
            return "a Photoshop thumbnail"
        if tag == _TIFF_XMP or (tag > 32768 and tag != 34675):  # not the ICC profile
            found = _find(content)
            if found:
                return found
    return None


def _find(content: bytes) -> str | None:
    """A preview in one piece of metadata."""
    if content[:4] in (b"II*\0", b"MM\0*"):
        pieces = list(_thumbnail_pieces(content))
        if pieces:
            return "an EXIF thumbnail"
    if content.startswith(_PHOTOSHOP) and _resources_with_thumbnail(content[len(_PHOTOSHOP) :]):
        return "a Photoshop thumbnail"
    if any(sign in content for sign in _XMP_SIGNS):
        return "an XMP thumbnail"
    return "a picture in its metadata" if _JPEG.search(content) else None


def _dropped_from_jpeg(segments: Segments) -> bytes:
    header = []
    for marker, content in segments.header:
        if marker == APP0 and content.startswith(b"JFXX\0"):
            continue
        if content.startswith(b"MPF\0"):
            continue
        if marker == APP0 and content.startswith(b"JFIF\0"):
            content = content[:12] + b"\0\0"
        elif content.startswith(_EXIF):
            content = _EXIF + _without_exif_thumbnail(content[len(_EXIF) :])
        elif marker == _APP13 and content.startswith(_PHOTOSHOP):
            content = _PHOTOSHOP + _without_thumbnail_resources(content[len(_PHOTOSHOP) :])
        elif b"xmp:Thumbnails" in content:
            content = _XMP_THUMBNAILS.sub(b"", content)
        header.append((marker, content))
    trailer = b"" if _JPEG.search(segments.trailer) else segments.trailer
    return jpeg_segments.with_scan(Segments(tuple(header), segments.scans, trailer), segments.scans)


def _without_exif_thumbnail(tiff: bytes) -> bytes:
    result = bytearray(tiff)
    for piece in _thumbnail_pieces(tiff):
        result[piece] = bytes(len(result[piece]))
    return bytes(result)


def _thumbnail_pieces(tiff: bytes) -> Iterator[slice]:
    """Where the second directory of EXIF is linked and lies, its values and its picture; none without one."""
    order = _order(tiff)
    first = struct.unpack_from(order + "I", tiff, 4)[0]
    link = first + 2 + 12 * struct.unpack_from(order + "H", tiff, first)[0]
    if link + 4 > len(tiff):
        return
    second = struct.unpack_from(order + "I", tiff, link)[0]
    if not second or second + 2 > len(tiff):
        return
    yield slice(link, link + 4)
    yield slice(second, second + 6 + 12 * struct.unpack_from(order + "H", tiff, second)[0])
    numbers: dict[int, list[int]] = {}
    for tag, kind, value in _entries(tiff, second):
        yield value
        letter = {3: "H", 4: "I"}.get(kind)
        if letter:
            count = len(tiff[value]) // _TYPE_SIZES[kind]
            numbers[tag] = list(struct.unpack_from(f"{order}{count}{letter}", tiff, value.start))
    for starts, lengths in ((_JPEG_OFFSET, _JPEG_LENGTH), (_STRIP_OFFSETS, _STRIP_COUNTS)):
        for start, length in zip(numbers.get(starts, []), numbers.get(lengths, []), strict=False):
            yield slice(start, start + length)


def _entries(tiff: bytes, offset: int) -> Iterator[tuple[int, int, slice]]:
    """Tag, type and place of the value of each entry of a directory."""
    order = _order(tiff)
    for number in range(struct.unpack_from(order + "H", tiff, offset)[0]):
        place = offset + 2 + 12 * number
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, place)
        size = _TYPE_SIZES.get(kind, 1) * count
        start = place + 8 if size <= 4 else struct.unpack_from(order + "I", tiff, place + 8)[0]
        yield tag, kind, slice(start, start + size)


def _order(tiff: bytes) -> str:
    return "<" if tiff[:2] == b"II" else ">"


def _resources(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each of Photoshop's resources."""
    position = 0
    while content[position : position + 4] == b"8BIM":
        number = struct.unpack_from(">H", content, position + 4)[0]
        name = content[position + 6] + 1
        start = position + 6 + name + name % 2
        length = struct.unpack_from(">I", content, start)[0]
        end = start + 4 + length + length % 2
        yield number, content[position:end]
        position = end
    if position < len(content):
        yield 0, content[position:]


def _resources_with_thumbnail(content: bytes) -> bool:
    return any(number in _THUMBNAIL_RESOURCES for number, _ in _resources(content))


def _without_thumbnail_resources(content: bytes) -> bytes:
    return b"".join(part for n, part in _resources(content) if n not in _THUMBNAIL_RESOURCES)
