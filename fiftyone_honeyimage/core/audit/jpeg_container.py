"""What a JPEG file says besides its pixels, and the EXIF data of every format."""

from __future__ import annotations

import io
import re
import struct
from contextlib import suppress
from functools import lru_cache
from typing import Any

from PIL import ExifTags, Image

from .container import NUM_TEXT, Container, digest

#: A marker inside entropy-coded data that ends it: no stuffed zero, restart or fill byte
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


def read_jpeg(data: bytes, found: Container) -> None:
    """Reads segments and tables of a JPEG file."""
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
    content = b"".join(bytes([name]) + values for name, values in tables)
    return f"{steps} ({digest(content)})"


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


@lru_cache(maxsize=1)
def _standard_tables() -> set[tuple[int, bytes]]:
    """The four Huffman tables of JPEG's Annex K, from a file that Pillow writes."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="JPEG")
    data = buffer.getvalue()
    tables = set()
    position = 2
    while data[position + 1] != 0xDA:
        length = struct.unpack_from(">H", data, position + 2)[0]
        if data[position + 1] == 0xC4:
            tables.update(_huffman_tables(data[position + 4 : position + 2 + length]))
        position += 2 + length
    return tables


def _frame(marker: int, body: bytes) -> str:
    parts = [body[6 + 3 * i : 9 + 3 * i] for i in range(body[5])]
    components = " ".join(f"{c[0]}:{c[1] >> 4}x{c[1] & 15}:{c[2]}" for c in parts)
    return f"SOF{marker - 0xC0} {body[0]} bits, {components}"


def _read_jpeg_segment(marker: int, body: bytes, found: Container) -> None:
    name = _marker_name(marker, body)
    key = f"jpeg.{name}"
    if body.startswith(b"Exif\0\0"):
        read_exif(body[6:], found)
    elif name == "COM":
        found.content["jpeg.comment"] = body[:NUM_TEXT].decode("latin-1")
    elif body.startswith((b"JFIF\0", b"Adobe")):
        found.structure[key] = body[:32].hex()
    else:
        found.content[key] = digest(body)


def read_exif(data: bytes, found: Container) -> None:
    """Reads the tags of EXIF, and what lies between them."""
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
        found.content["exif: bytes of no tag"] = digest(bytes(rest)) if any(rest) else None
        if thumbnail.startswith(b"\xff\xd8"):
            inner = Container("jpeg")
            read_jpeg(thumbnail, inner)
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
