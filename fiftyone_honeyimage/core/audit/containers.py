"""What a file says besides its pixels: segments, chunks, tables and metadata of image formats.

Written from the formats' specifications and, but for the header of VP8, independent of the code that writes
releases, so that a blind spot of the one is not a blind spot of the other. Nothing here decodes pixels, and nothing raises on damaged
files: that a file cannot be parsed is a feature, too.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from PIL import Image, UnidentifiedImageError

from ..codecs.vp8_header import read_vp8_header
from .container import Container, digest
from .jpeg_container import read_exif, read_jpeg


def read_container(data: bytes) -> Container:
    """Reads what a file says besides its pixels.

    Args:
        data: the whole file

    Returns:
        a :class:`Container`; of files that are damaged or of no known format, what could be read
    """
    name, read = next(
        (reader for magic, reader in _READERS.items() if data.startswith(magic)), ("other", None)
    )
    found = Container(name, payload=len(data))
    found.structure["format"] = found.format
    if read is None:
        found.structure["magic"] = data[:4].hex()
    else:
        try:
            read(data, found)
        except (struct.error, IndexError, KeyError, ValueError) as error:
            found.structure["damage"] = type(error).__name__
    _read_header(data, found)
    return found


def _read_header(data: bytes, found: Container) -> None:
    """What Pillow makes of the header, for every format."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            found.structure["mode"] = image.mode
            found.content["width"], found.content["height"] = image.size
            found.structure["info"] = tuple(sorted(str(key) for key in image.info))
            found.structure["frames"] = getattr(image, "n_frames", 1)
            if image.mode in ("LA", "RGBA"):
                alpha = image.getchannel("A")
                found.content["alpha: values"] = (*alpha.getextrema(), len(alpha.getcolors() or []))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        found.structure["mode"] = "unreadable"
    except Image.DecompressionBombError:
        found.structure["mode"] = "too large"


def _read_png(data: bytes, found: Container) -> None:
    position = 8
    chunks: list[str] = []
    parts: list[int] = []
    head = b""
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        position += 12 + length
        name = kind.decode("latin-1")
        if name == "IDAT":
            head = head or body[:2]
            parts.append(length)
            if chunks[-1] != "IDAT":
                chunks.append(name)
            continue
        chunks.append(name)
        _read_png_chunk(name, body, found)
        if name == "IEND":
            break
    found.payload = sum(parts)
    found.structure["png.chunks"] = " ".join(chunks)
    # What an encoder's buffer holds: all parts but the last are of one size. Whether an image needs
    # several goes with its pixels
    several = len(parts) > 1
    found.content["png.IDAT size"] = parts[0] if several else None
    found.structure["png.odd IDAT size"] = parts[0] if several and parts[0] % 4096 else None
    found.structure["png.zlib header"] = head.hex()
    found.structure["png.bytes after the end"] = len(data) - position


def _read_png_chunk(name: str, body: bytes, found: Container) -> None:
    if name == "IHDR":
        found.structure["png.header"] = body[8:13].hex()
    elif name in ("tEXt", "zTXt", "iTXt"):
        key = body.split(b"\0")[0].decode("latin-1")
        found.structure[f"png.{name} {key}"] = True
        found.content[f"png.{name} {key}: text"] = body[len(key) : len(key) + 200].decode("latin-1")
    elif name == "eXIf":
        read_exif(body, found)
    elif name == "PLTE":
        found.content["png.palette"] = digest(body)
        found.structure["png.palette size"] = len(body)
    elif name != "IEND":
        found.structure[f"png.{name}"] = body.hex() if len(body) <= 16 else digest(body)


def _read_webp(data: bytes, found: Container) -> None:
    size = struct.unpack_from("<I", data, 4)[0]
    position = 12
    chunks = []
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
        name = kind.decode("latin-1")
        chunks.append(name)
        if name == "VP8X":
            found.structure["webp.flags"] = body[0]
        elif name == "VP8 ":
            found.payload = length
            _read_vp8(body, found)
        elif name == "VP8L":
            found.payload = length
            found.structure["webp.lossless header"] = body[4] >> 4
        elif name == "EXIF":
            read_exif(body.removeprefix(b"Exif\0\0"), found)
        else:
            found.structure[f"webp.{name.strip()} bytes"] = len(body)
            found.content[f"webp.{name.strip()}"] = digest(body)
    found.structure["webp.chunks"] = " ".join(chunks)
    found.structure["webp.bytes after the end"] = len(data) - 8 - size


def _read_vp8(body: bytes, found: Container) -> None:
    header = read_vp8_header(body)
    found.structure["webp.profile"] = header.profile
    found.structure["webp.clamping"] = header.clamping
    if header.segment_mode is not None:
        found.structure["webp.segment mode"] = header.segment_mode
    found.numbers["webp.segments"] = len(set(header.segments))
    found.structure["webp.filter type"] = header.filter_type
    found.numbers["webp.filter level"] = header.filter_level
    found.structure["webp.sharpness"] = header.sharpness
    found.structure["webp.partitions"] = header.partitions
    found.numbers["webp.quantiser"] = header.quantiser
    if header.segments:
        found.numbers["webp.finest segment"] = min(header.segments)
        found.numbers["webp.coarsest segment"] = max(header.segments)


def _read_bmp(data: bytes, found: Container) -> None:
    offset, header = struct.unpack_from("<II", data, 10)
    found.structure["bmp.reserved"] = data[6:10].hex()
    found.structure["bmp.offset"] = offset
    found.structure["bmp.header"] = header
    if header >= 40:
        # Planes, bits and compression; then the resolution. Width, height and size are the image's
        found.structure["bmp.fields"] = data[26:34].hex()
        found.structure["bmp.resolution"] = data[38:46].hex()
        found.structure["bmp.top down"] = struct.unpack_from("<i", data, 22)[0] < 0
    found.structure["bmp.size field"] = struct.unpack_from("<I", data, 2)[0] - len(data)


def _read_gif(data: bytes, found: Container) -> None:
    found.structure["gif.version"] = data[:6].decode("latin-1")
    found.structure["gif.flags"] = data[10:13].hex()
    size = 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    found.content["gif.palette"] = digest(data[13 : 13 + size])
    found.structure["gif.next block"] = data[13 + size : 15 + size].hex()


def _read_tiff(data: bytes, found: Container) -> None:
    order = "<" if data[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, offset)
    entries = [struct.unpack_from(order + "HHI4s", data, offset + 2 + 12 * i) for i in range(count)]
    found.structure["tiff.byte order"] = order
    found.structure["tiff.directory"] = "first" if offset == 8 else "behind"
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
    # Sizes, places of strips and counts of bytes are the image's
    of_image = {256, 257, 273, 279, 324, 325}
    # Their types go with their values, too
    found.structure["tiff.tags"] = " ".join(
        str(tag) if tag in of_image else f"{tag}:{kind}" for tag, kind, _, _ in entries
    )
    for tag, kind, number, raw in entries:
        size = sizes.get(kind, 0) * number
        if tag in of_image or not size:
            continue
        start = struct.unpack(order + "I", raw)[0] if size > 4 else 0
        value = data[start : start + size] if size > 4 else raw[:size]
        text = value.hex() if len(value) <= 24 else digest(value)
        found.structure[f"tiff.{tag}"] = text
    found.payload = sum(_tiff_counts(data, order, entries)) or len(data)
    strips = [number for tag, _, number, _ in entries if tag in (273, 324)]
    found.numbers["tiff.strips"] = float(strips[0]) if strips else 0.0
    with suppress(OSError, ValueError, SyntaxError), Image.open(io.BytesIO(data)) as image:
        found.structure["tiff.compression"] = str(image.info.get("compression"))


def _tiff_counts(data: bytes, order: str, entries: list[Any]) -> list[int]:
    """Bytes of each strip or tile."""
    counts: list[int] = []
    for tag, kind, number, raw in entries:
        if tag in (279, 325) and kind in (3, 4):
            letter, size = ("H", 2) if kind == 3 else ("I", 4)
            start = struct.unpack(order + "I", raw)[0]
            block = raw if size * number <= 4 else data[start : start + size * number]
            counts += struct.unpack(f"{order}{number}{letter}", block[: size * number])
    return counts


_READERS: dict[bytes, tuple[str, Callable[[bytes, Container], None]]] = {
    b"\xff\xd8": ("jpeg", read_jpeg),
    b"\x89PNG\r\n\x1a\n": ("png", _read_png),
    b"RIFF": ("webp", _read_webp),
    b"BM": ("bmp", _read_bmp),
    b"GIF8": ("gif", _read_gif),
    b"II*\x00": ("tiff", _read_tiff),
    b"MM\x00*": ("tiff", _read_tiff),
}
