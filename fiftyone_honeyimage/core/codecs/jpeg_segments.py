"""The segments of a JPEG file: taken apart, compared and put together; nothing here is decoded."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from .base import save

EOI, SOS, DQT, DHT, DRI = 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
SOF = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
PROGRESSIVE = 0xC2
APP0, APP14, APP15, COM = 0xE0, 0xEE, 0xEF, 0xFE

#: A marker inside a scan that ends it: neither a stuffed zero, nor a restart, nor padding.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class Component:
    """One colour component of a frame: its number, sampling factors and quantisation table's number."""

    number: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True)
class Scan:
    """The first scan of a file.

    Attributes:
        header: its SOS segment, marker included
        tables: of each component its number and those of its Huffman tables, ``DC << 4 | AC``
    """

    header: bytes
    tables: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Segments:
    """A JPEG file in its parts.

    Attributes:
        header: (marker, content) of every segment before the first scan
        scans: everything from the first SOS up to EOI, byte by byte
        trailer: what stands behind EOI
    """

    header: tuple[tuple[int, bytes], ...]
    scans: bytes
    trailer: bytes

    @property
    def frame(self) -> tuple[int, bytes]:
        """The marker and content of the frame header."""
        return next((marker, content) for marker, content in self.header if marker in SOF)

    @property
    def precision(self) -> int:
        """Bits a sample."""
        return self.frame[1][0]

    @property
    def components(self) -> tuple[Component, ...]:
        content = self.frame[1]
        return tuple(
            Component(content[i], content[i + 1] >> 4, content[i + 1] & 15, content[i + 2])
            for i in range(6, 6 + 3 * content[5], 3)
        )

    @property
    def quantisation(self) -> tuple[tuple[int, ...], ...]:
        """The table of every component: 64 values in zigzag order."""
        tables: dict[int, tuple[int, ...]] = {}
        for marker, content in self.header:
            position = 0
            while marker == DQT and position < len(content):
                wide, number = content[position] >> 4, content[position] & 15
                size = 128 if wide else 64
                values = content[position + 1 : position + 1 + size]
                tables[number] = struct.unpack(">64H", values) if wide else tuple(values)
                position += 1 + size
        return tuple(tables[component.table] for component in self.components)

    @property
    def huffman(self) -> dict[int, bytes]:
        """The Huffman tables before the first scan, by class and number."""
        tables: dict[int, bytes] = {}
        for marker, content in self.header:
            if marker == DHT:
                tables.update(_huffman_tables(content))
        return tables

    @property
    def first_scan(self) -> Scan:
        """The scan header that the coded data begin with."""
        end = 2 + struct.unpack_from(">H", self.scans, 2)[0]
        header = self.scans[:end]
        tables = tuple((header[5 + 2 * i], header[6 + 2 * i]) for i in range(header[4]))
        return Scan(header, tables)

    @property
    def restart_interval(self) -> int:
        """In MCUs; 0 for none."""
        for marker, content in self.header:
            if marker == DRI:
                return struct.unpack(">H", content)[0]
        return 0

    @property
    def has_standard_huffman(self) -> bool:
        """Whether the tables are those that libjpeg writes unless it is told to optimise."""
        standard = _standard_huffman()
        return all(standard.get(number) == table for number, table in self.huffman.items())


def split(data: bytes) -> Segments:
    """Takes a file apart.

    Raises:
        ValueError: if it is no sequence of JPEG segments
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("no start of image")
    header: list[tuple[int, bytes]] = []
    position = 2
    while True:
        marker, position = _marker(data, position)
        if marker == SOS:
            start = position - 2
            break
        length = struct.unpack_from(">H", data, position)[0]
        header.append((marker, data[position + 2 : position + length]))
        position += length
    if not any(marker in SOF for marker, _ in header):
        raise ValueError("no frame header")

    end = _end_of_image(data, start)
    return Segments(tuple(header), data[start:end], data[end + 2 :])


def join(source: Segments, written: Segments) -> bytes:
    """The written scans in the source's own header.

    Every segment of the source is kept byte by byte and in its place; only the Huffman tables come
    from the written file, in the source's order and segments. Where the two files have different numbers of
    tables, they stand at the place of the source's first.

    Raises:
        ValueError: if the two differ in tables, sampling, size or restarts, so that it would be wrong
    """
    for name in ("quantisation", "restart_interval"):
        if getattr(source, name) != getattr(written, name):
            raise ValueError(f"the {name.replace('_', ' ')} was not kept")
    if source.frame[1][:6] != written.frame[1][:6]:
        raise ValueError("the size or the number of components was not kept")
    if len(source.components) > 1 and [(c.horizontal, c.vertical) for c in source.components] != [
        (c.horizontal, c.vertical) for c in written.components
    ]:
        raise ValueError("the chroma subsampling was not kept")
    if (source.frame[0] == PROGRESSIVE) != (written.frame[0] == PROGRESSIVE):
        raise ValueError("progressive and sequential scans were mixed up")

    tables = _huffman_segments(source, written)
    parts = [b"\xff\xd8"]
    for marker, content in source.header:
        if marker != DHT:
            parts.append(_pack(marker, content))
        elif tables:
            parts.append(tables.pop(0))
    parts += tables
    numbers = {
        ours.number: theirs.number
        for ours, theirs in zip(written.components, source.components, strict=True)
    }
    parts += [_renumber(written.scans, numbers), b"\xff\xd9", source.trailer]
    return b"".join(parts)


def with_scan(source: Segments, scans: bytes) -> bytes:
    """The source with other coded data."""
    header = b"".join(_pack(marker, content) for marker, content in source.header)
    return b"\xff\xd8" + header + scans + b"\xff\xd9" + source.trailer


def _huffman_segments(source: Segments, written: Segments) -> list[bytes]:
    """The written file's tables, packed as the source packs its own."""
    layout = [list(_huffman_tables(content)) for marker, content in source.header if marker == DHT]
    new = written.huffman
    if sorted(number for segment in layout for number in segment) == sorted(new):
        return [
            _pack(DHT, b"".join(bytes([number]) + new[number] for number in segment))
            for segment in layout
        ]
    contents = [content for marker, content in written.header if marker == DHT]
    if len(layout) == 1:
        contents = [b"".join(contents)]
    return [b"".join(_pack(DHT, content) for content in contents)]


def _huffman_tables(content: bytes) -> dict[int, bytes]:
    """The tables of one segment, by class and number, in order."""
    tables = {}
    position = 0
    while position < len(content):
        length = 17 + sum(content[position + 1 : position + 17])
        tables[content[position]] = content[position + 1 : position + length]
        position += length
    return tables


def without_metadata(segments: Segments) -> bytes:
    """The same picture without any APPn or COM segment."""
    kept = [
        _pack(marker, content)
        for marker, content in segments.header
        if not (APP0 <= marker <= APP15 or marker == COM)
    ]
    return b"\xff\xd8" + b"".join(kept) + segments.scans + b"\xff\xd9"


def stores_rgb(segments: Segments) -> bool:
    """Whether three components are R, G and B rather than Y, Cb and Cr, by libjpeg's own rules."""
    components = segments.components
    if len(components) != 3 or any(marker == APP0 for marker, _ in segments.header):
        return False
    for marker, content in segments.header:
        if marker == APP14 and content[:5] == b"Adobe" and len(content) >= 12:
            return content[11] == 0
    return bytes(component.number for component in components) == b"RGB"


def _renumber(scans: bytes, numbers: dict[int, int]) -> bytes:
    """Replaces the components' numbers in every scan header."""
    if all(old == new for old, new in numbers.items()):
        return scans
    data = bytearray(scans)
    position = 0
    while True:
        # at an SOS marker
        for i in range(data[position + 4]):
            at = position + 5 + 2 * i
            data[at] = numbers[data[at]]
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        while True:
            found = _END_OF_SCAN.search(data, position)
            if found is None:
                return bytes(data)
            position = found.start()
            if data[position + 1] == SOS:
                break
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]


def _end_of_image(data: bytes, start: int) -> int:
    """Where EOI stands; the end of the data if it is missing, as readers take it."""
    position = start
    while True:
        if position + 4 > len(data):
            return len(data)
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        found = _END_OF_SCAN.search(data, position)
        if found is None:
            return len(data)
        position = found.start()
        if data[position + 1] == EOI:
            return position


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """The marker at a position and where its content begins; padding is skipped."""
    if position >= len(data) or data[position] != 0xFF:
        raise ValueError("a marker is missing")
    while position < len(data) and data[position] == 0xFF:
        position += 1
    if position + 2 >= len(data):
        raise ValueError("the file ends in its header")
    return data[position], position + 1


def _pack(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@lru_cache(maxsize=1)
def _standard_huffman() -> dict[int, bytes]:
    return split(save(Image.new("RGB", (8, 8)), "JPEG")).huffman
