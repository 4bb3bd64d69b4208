"""What a file says besides its pixels: segments, chunks, tables and metadata of image formats.

Written from the formats' specifications and, but for the header of VP8, independent of the code that writes
releases, so that a blind spot of the one is not a blind spot of the other. Nothing here decodes pixels, and nothing raises on damaged
files: that a file cannot be parsed is a feature, too.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from ..codecs.vp8_header import read_vp8_header

#: A marker inside entropy-coded data that ends it: no stuffed zero, restart or fill byte
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")

#: The four Huffman tables of JPEG's Annex K taken once from a file that Pillow writes
_STANDARD_TABLES: set[tuple[int, bytes]] = set()

_NUM_TEXT = 80


@dataclass
class Container:
    """The features of one file.

    Attributes:
        format: "jpeg", "png", "webp", "bmp", "gif", "tiff" or "other"
        structure: features that the encoder sets, whatever the image shows
        content: features that a camera or a person sets, such as the EXIF values
        numbers: features on a scale
        payload: bytes of the coded pixels alone; of BMP, GIF and unknown formats, the whole file's
    """

    format: str
    structure: dict[str, Hashable] = field(default_factory=dict)
    content: dict[str, Hashable] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    payload: int = 0


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


def describe(value: Hashable) -> str:
    """A feature's value, short enough for a report."""
    text = "absent" if value is None else str(value)
    return text if len(text) <= _NUM_TEXT else f"{text[: _NUM_TEXT - 1]}…"


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


def _read_jpeg(data: bytes, found: Container) -> None:
    markers: list[str] = []
    tables: list[tuple[int, bytes]] = []
    huffman: list[tuple[int, bytes]] = []
    scans: list[bytes] = []
    restart = fill = payload = 0
    position = 2
    while position < len(data):
        if data[position] != 0xFF:
            raise ValueError("no marker")
        start = position
        while data[position] == 0xFF:
            position += 1
        fill += position - start - 1
        marker = data[position]
        position += 1
        if marker == 0xD9:
            markers.append("EOI")
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            markers.append(f"{marker:02X}")
            continue
        length = struct.unpack_from(">H", data, position)[0]
        body = data[position + 2 : position + length]
        position += length
        markers.append(_marker_name(marker, body))
        if marker == 0xDB:
            tables += _quantisation_tables(body)
        elif marker == 0xC4:
            huffman += _huffman_tables(body)
        elif marker == 0xDD:
            restart = struct.unpack(">H", body)[0]
        elif marker == 0xDA:
            scans.append(body)
            end = _SCAN_END.search(data, position)
            stop = end.start() if end else len(data)
            payload += stop - position
            position = stop
        elif 0xC0 <= marker <= 0xCF and marker != 0xC8:
            found.structure["jpeg.frame"] = _frame(marker, body)
        elif 0xE0 <= marker <= 0xFE:
            _read_jpeg_segment(marker, body, found)

    found.payload = payload
    found.structure["jpeg.markers"] = " ".join(markers)
    found.structure["jpeg.quantisation tables"] = _describe_tables(tables)
    found.structure["jpeg.Huffman tables"] = _describe_huffman(huffman)
    found.structure["jpeg.scans"] = "/".join(scan.hex() for scan in scans)
    found.structure["jpeg.restart interval"] = restart
    found.structure["jpeg.fill bytes"] = fill
    found.structure["jpeg.bytes after the end"] = len(data) - position


def _marker_name(marker: int, body: bytes) -> str:
    names = {0xC4: "DHT", 0xDA: "SOS", 0xDB: "DQT", 0xDD: "DRI", 0xFE: "COM"}
    if 0xE0 <= marker <= 0xEF:
        return f"APP{marker - 0xE0}:{_identifier(body)}"
    return names.get(marker, f"SOF{marker - 0xC0}" if 0xC0 <= marker <= 0xCF else f"{marker:02X}")


def _identifier(body: bytes) -> str:
    head = body[:32].split(b"\0")[0]
    text = head.decode("latin-1")
    return text if text.isprintable() and len(text) < 32 else head[:4].hex()


def _quantisation_tables(body: bytes) -> list[tuple[int, bytes]]:
    tables = []
    while body:
        size = 128 if body[0] >> 4 else 64
        tables.append((body[0], body[1 : 1 + size]))
        body = body[1 + size :]
    return tables


def _describe_tables(tables: list[tuple[int, bytes]]) -> str:
    steps = ",".join(f"{name:02x}:{sum(values)}" for name, values in tables)
    digest = _digest(b"".join(bytes([name]) + values for name, values in tables))
    return f"{steps} ({digest})"


def _huffman_tables(body: bytes) -> list[tuple[int, bytes]]:
    tables = []
    while body:
        size = 17 + sum(body[1:17])
        tables.append((body[0], body[1:size]))
        body = body[size:]
    return tables


def _describe_huffman(tables: list[tuple[int, bytes]]) -> str:
    standard = all(table in _standard_tables() for table in tables)
    names = ",".join(f"{name:02x}" for name, _ in tables)
    return f"{'standard' if standard else 'made for the image'} {names}"


def _standard_tables() -> set[tuple[int, bytes]]:
    if not _STANDARD_TABLES:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, format="JPEG")
        data = buffer.getvalue()
        position = 2
        while data[position + 1] != 0xDA:
            length = struct.unpack_from(">H", data, position + 2)[0]
            if data[position + 1] == 0xC4:
                body = data[position + 4 : position + 2 + length]
                _STANDARD_TABLES.update(_huffman_tables(body))
            position += 2 + length
    return _STANDARD_TABLES


def _frame(marker: int, body: bytes) -> str:
    parts = [body[6 + 3 * i : 9 + 3 * i] for i in range(body[5])]
    components = " ".join(f"{c[0]}:{c[1] >> 4}x{c[1] & 15}:{c[2]}" for c in parts)
    return f"SOF{marker - 0xC0} {body[0]} bits, {components}"


def _read_jpeg_segment(marker: int, body: bytes, found: Container) -> None:
    name = _marker_name(marker, body)
    key = f"jpeg.{name}"
    if body.startswith(b"Exif\0\0"):
        _read_exif(body[6:], found)
    elif name == "COM":
        found.content["jpeg.comment"] = body[:_NUM_TEXT].decode("latin-1")
    elif body.startswith((b"JFIF\0", b"Adobe")):
        found.structure[key] = body[:32].hex()
    else:
        found.content[key] = _digest(body)


def _read_exif(data: bytes, found: Container) -> None:
    exif = Image.Exif()
    try:
        exif.load(data)
        folders: list[tuple[str, Any]] = [("", exif)]
        folders += [
            (f"{ifd.name} ", exif.get_ifd(ifd.value))
            for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.IFD1)
        ]
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        found.structure["exif"] = "damaged"
        return
    tags = []
    for folder, values in folders:
        for tag, value in values.items():
            name = folder + ExifTags.TAGS.get(tag, f"{tag:#06x}")
            tags.append(name)
            if not isinstance(value, dict):
                found.content[f"exif.{name}"] = str(value)[:200]
    _read_exif_rest(data, found)
    found.structure["exif"] = f"{data[:2].decode('latin-1')}: {', '.join(tags)}"
    found.numbers["exif.bytes"] = len(data)


def _read_exif_rest(data: bytes, found: Container) -> None:
    """Bytes that no directory accounts for, and how the thumbnail was encoded."""
    with suppress(struct.error, IndexError):
        pieces, thumbnail = _exif_pieces(data)
        rest = bytearray(data)
        for start, end in pieces:
            rest[start:end] = bytes(max(0, min(end, len(data)) - start))
        found.content["exif: bytes of no tag"] = _digest(bytes(rest)) if any(rest) else None
        if thumbnail.startswith(b"\xff\xd8"):
            inner = Container("jpeg")
            _read_jpeg(thumbnail, inner)
            for key, value in inner.structure.items():
                found.content[f"exif: thumbnail: {key}"] = value


def _exif_pieces(data: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """(start, end) of the header, of each directory and of its values; and the thumbnail, if it is a JPEG."""
    order = "<" if data[:2] == b"II" else ">"
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
    pieces, thumbnail = [(0, 8)], b""
    waiting, seen = [struct.unpack_from(order + "I", data, 4)[0]], set()
    while waiting:
        offset = waiting.pop()
        if not offset or offset in seen:
            continue
        seen.add(offset)
        (count,) = struct.unpack_from(order + "H", data, offset)
        pieces.append((offset, offset + 6 + 12 * count))
        places: dict[int, int] = {}
        for number in range(count):
            tag, kind, length, value = struct.unpack_from(
                order + "HHII", data, offset + 2 + 12 * number
            )
            if sizes.get(kind, 1) * length > 4:
                pieces.append((value, value + sizes.get(kind, 1) * length))
            if tag in (0x8769, 0x8825, 0xA005):  # directories of EXIF, GPS and compatibility
                waiting.append(value)
            places[tag] = value
        if 0x0201 in places and 0x0202 in places:
            start, end = places[0x0201], places[0x0201] + places[0x0202]
            pieces.append((start, end))
            thumbnail = data[start:end]
        if offset + 6 + 12 * count <= len(data):
            waiting.append(struct.unpack_from(order + "I", data, offset + 2 + 12 * count)[0])
    return pieces, thumbnail


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
        _read_exif(body, found)
    elif name == "PLTE":
        found.content["png.palette"] = _digest(body)
        found.structure["png.palette size"] = len(body)
    elif name != "IEND":
        found.structure[f"png.{name}"] = body.hex() if len(body) <= 16 else _digest(body)


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
            _read_exif(body.removeprefix(b"Exif\0\0"), found)
        else:
            found.structure[f"webp.{name.strip()} bytes"] = len(body)
            found.content[f"webp.{name.strip()}"] = _digest(body)
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
    found.content["gif.palette"] = _digest(data[13 : 13 + size])
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
        text = value.hex() if len(value) <= 24 else _digest(value)
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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


_READERS: dict[bytes, tuple[str, Callable[[bytes, Container], None]]] = {
    b"\xff\xd8": ("jpeg", _read_jpeg),
    b"\x89PNG\r\n\x1a\n": ("png", _read_png),
    b"RIFF": ("webp", _read_webp),
    b"BM": ("bmp", _read_bmp),
    b"GIF8": ("gif", _read_gif),
    b"II*\x00": ("tiff", _read_tiff),
    b"MM\x00*": ("tiff", _read_tiff),
}
