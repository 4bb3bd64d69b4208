"""The coded data of a sequential JPEG scan, written with given Huffman tables (ITU-T T.81, annexes C and F).

libjpeg's own writer knows its standard tables, and tables that are made for the image. A file whose encoder has
fixed tables of its own, or sets restart markers, would stand out once those are gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .jpeg_blocks import ZIGZAG

#: Symbols that an 8-bit picture can need: sizes of differences, and (run, size) of the other coefficients
_DC_SYMBOLS = set(range(12))
_AC_SYMBOLS = {0x00, 0xF0} | {run << 4 | size for run in range(16) for size in range(1, 11)}

#: Bits of each magnitude
_SIZES = np.array([value.bit_length() for value in range(1 << 12)], dtype=np.uint8)

#: Blocks, and codes, that are worked on at a time; bounds memory
_BLOCKS = 1 << 15
_CODES = 1 << 18


@dataclass(frozen=True)
class ScanComponent:
    """One component of a scan.

    Attributes:
        blocks: int16 (rows, columns, 8, 8), those that hold pixels
        down, right: blocks of it in an MCU; 1 where the scan has no other component
        dc, ac: its Huffman tables: 16 numbers of codes by their length, then the symbols
    """

    blocks: np.ndarray
    down: int
    right: int
    dc: bytes
    ac: bytes


@dataclass(frozen=True)
class _Codes:
    """Codes and the bits behind them, in the order of the scan.

    Attributes:
        bits: uint32 (N,), the lowest ``lengths`` bits of each
        lengths: uint8 (N,)
        blocks: int64 (N,), the block that each belongs to
    """

    bits: np.ndarray
    lengths: np.ndarray
    blocks: np.ndarray


def has_every_code(tables: Mapping[int, bytes]) -> bool:
    """Whether tables have a code for whatever an 8-bit picture can need, so that any change fits in them.

    Args:
        tables: class and number → content, as in DHT segments
    """
    return all(
        (_AC_SYMBOLS if number >> 4 else _DC_SYMBOLS) <= set(content[16:])
        for number, content in tables.items()
    )


def encode_scan(components: Sequence[ScanComponent], restart_interval: int) -> bytes:
    """The data of one scan, with stuffed zeros and restart markers. Ones fill the last byte.

    Args:
        components: in the order of the scan
        restart_interval: MCUs between two restarts; 0 for none

    Raises:
        ValueError: if a table has no code for a value
    """
    values, owners = _in_order(components, restart_interval)
    tables = [(_code_table(c.dc), _code_table(c.ac)) for c in components]
    parts = [
        _codes(values[start : start + _BLOCKS], owners, tables, start)
        for start in range(0, len(values), _BLOCKS)
    ]
    codes = _Codes(
        *(np.concatenate([getattr(p, n) for p in parts]) for n in ("bits", "lengths", "blocks"))
    )
    interval = restart_interval * len(owners) or len(values)
    codes, sizes = _padded(codes, interval, -(-len(values) // interval))
    data = _pack_bits(codes)

    result: list[bytes] = []
    position = 0
    for number, size in enumerate(sizes.tolist()):
        if number:
            result.append(bytes([0xFF, 0xD0 + (number - 1) % 8]))
        result.append(data[position : position + size].replace(b"\xff", b"\xff\x00"))
        position += size
    return b"".join(result)


def _in_order(
    components: Sequence[ScanComponent], restart_interval: int
) -> tuple[np.ndarray, np.ndarray]:
    """Zigzag values of all blocks, the first one as difference; and whose each block of an MCU is.

    MCUs at the edges have blocks without pixels; libjpeg gives them the last block's mean and nothing else.
    """
    tall = -(-components[0].blocks.shape[0] // components[0].down)
    wide = -(-components[0].blocks.shape[1] // components[0].right)
    columns = []
    for component in components:
        rows, width = component.blocks.shape[:2]
        shape = (tall, component.down, wide, component.right)
        if rows > shape[0] * shape[1] or width > shape[2] * shape[3]:
            raise ValueError("components of different sizes")
        padded = np.zeros((shape[0] * shape[1], shape[2] * shape[3], 65), dtype=np.int32)
        flat = component.blocks.reshape(rows, width, 64)
        padded[:rows, :width, :64] = flat[:, :, ZIGZAG]
        padded[:rows, :width, 64] = 1  # it is there
        blocks = padded.reshape(*shape, 65).transpose(0, 2, 1, 3, 4).reshape(tall * wide, -1, 65)
        there = blocks[:, :, 64] == 1
        means = blocks[:, :, 0][there]
        before = np.concatenate([[0], means[:-1]])
        if restart_interval:
            intervals = np.nonzero(there)[0] // restart_interval
            before[np.flatnonzero(np.diff(intervals, prepend=-1))] = 0
        first = np.zeros(there.shape, dtype=np.int32)
        first[there] = means - before
        blocks[:, :, 0] = first
        columns.append(blocks[:, :, :64])
    owners = np.repeat(np.arange(len(columns)), [column.shape[1] for column in columns])
    return np.concatenate(columns, axis=1).reshape(-1, 64), owners


def _codes(
    values: np.ndarray,
    owners: np.ndarray,
    tables: Sequence[tuple[np.ndarray, np.ndarray]],
    start: int,
) -> _Codes:
    """The codes of some blocks, of which the first is number ``start``."""
    owner = owners[(start + np.arange(len(values))) % len(owners)]
    rows, columns = np.nonzero(values[:, 1:])
    columns += 1
    found = values[rows, columns]
    before = np.concatenate([[0], columns[:-1]])
    before[np.flatnonzero(np.diff(rows, prepend=-1))] = 0
    runs = columns - before - 1
    ends = np.flatnonzero(values[:, 63] == 0)
    long = np.repeat(np.arange(len(rows)), runs >> 4)

    block = np.concatenate([np.arange(len(values)), rows, rows[long], ends])
    number = np.concatenate([values[:, 0], found, np.zeros(len(long) + len(ends), np.int32)])
    if np.abs(number).max(initial=0) >= len(_SIZES):
        raise ValueError("a coefficient is out of range")
    size = _SIZES[np.abs(number)]
    symbol = size.copy()
    ac = slice(len(values), len(values) + len(rows))
    symbol[ac] |= ((runs & 15) << 4).astype(np.uint8)
    symbol[ac.stop : ac.stop + len(long)] = 0xF0
    # In a block: the difference, each run of sixteen zeros before the coefficient that ends it, the end
    place = np.concatenate(
        [np.zeros(len(values), int), 2 * columns + 1, 2 * columns[long], np.full(len(ends), 255)]
    )

    of_block = owner[block]
    code = np.empty(len(block), dtype=np.uint32)
    length = np.empty(len(block), dtype=np.uint8)
    is_first = np.arange(len(block)) < len(values)
    for index, pair in enumerate(tables):
        for first, table in zip((True, False), pair, strict=True):
            wanted = (of_block == index) & (is_first == first)
            code[wanted], length[wanted] = table[symbol[wanted]].T
    if not length.all():
        raise ValueError("its Huffman tables have no code for a value of the changed image")
    extra = np.where(number < 0, number + (1 << size.astype(np.int32)) - 1, number)
    bits = (code << size) | extra.astype(np.uint32)
    order = np.argsort(block * 256 + place, kind="stable")
    return _Codes(bits[order], (length + size)[order], block[order].astype(np.int64) + start)


def _code_table(content: bytes) -> np.ndarray:
    """uint32 (256, 2): code and its length of each symbol, length 0 for those without (annex C)."""
    table = np.zeros((256, 2), dtype=np.uint32)
    code = position = 0
    for length, count in enumerate(content[:16], start=1):
        for symbol in content[16 + position : 16 + position + count]:
            table[symbol] = code, length
            code += 1
        position += count
        code <<= 1
    return table


def _padded(codes: _Codes, interval: int, count: int) -> tuple[_Codes, np.ndarray]:
    """With ones up to the end of each interval's last byte; and the bytes of each interval.

    Args:
        codes: of the whole scan
        interval: blocks between two restarts
        count: of intervals
    """
    number = codes.blocks // interval
    total = np.bincount(number, weights=codes.lengths, minlength=count).astype(np.int64)
    missing = -total % 8
    last = np.searchsorted(number, np.arange(count), side="right")
    fill = ((1 << missing) - 1).astype(np.uint32)
    return (
        _Codes(
            np.insert(codes.bits, last, fill),
            np.insert(codes.lengths, last, missing.astype(np.uint8)),
            np.empty(0, dtype=np.int64),
        ),
        (total + missing) // 8,
    )


def _pack_bits(codes: _Codes) -> bytes:
    parts = []
    left = np.empty(0, dtype=np.uint8)
    places = np.arange(31, -1, -1, dtype=np.uint32)
    for start in range(0, len(codes.bits), _CODES):
        bits = codes.bits[start : start + _CODES, None] >> places & 1
        kept = places < codes.lengths[start : start + _CODES, None]
        left = np.concatenate([left, bits[kept].astype(np.uint8)])
        whole = len(left) // 8 * 8
        parts.append(np.packbits(left[:whole]).tobytes())
        left = left[whole:]
    assert not len(left)
    return b"".join(parts)
