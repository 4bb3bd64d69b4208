"""The frame header of lossy WebP (VP8, RFC 6386, sections 9.2 to 9.6 and 19.2): what the encoder was told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vp8Header:
    """What a VP8 key frame says before its pixels.

    Attributes:
        profile: version number of the bitstream, 0 to 3
        clamping: whether decoders need not clamp
        segment_mode: whether segments' quantisers are absolute; None without segments
        segments: quantisers of the segments, absolute or beside ``quantiser``; empty without segments
        filter_type, filter_level, sharpness: of the loop filter
        partitions: logarithm of the number of partitions
        quantiser: the base quantiser, 0 (finest) to 127
    """

    profile: int
    clamping: int
    segment_mode: int | None
    segments: tuple[int, ...]
    filter_type: int
    filter_level: int
    sharpness: int
    partitions: int
    quantiser: int


def read_vp8_header(frame: bytes) -> Vp8Header:
    """Reads the header of a key frame, the content of a WebP file's chunk ``VP8``."""
    coder = _BoolDecoder(frame[10:])
    coder.literal(1)  # colour space
    clamping = coder.literal(1)
    segments: tuple[int, ...] = ()
    segment_mode = None
    if coder.literal(1):
        with_map, with_data = coder.literal(1), coder.literal(1)
        if with_data:
            segment_mode = coder.literal(1)
            segments = tuple(coder.optional_signed(7) for _ in range(4))
            for _ in range(4):
                coder.optional_signed(6)  # loop filter
        if with_map:
            for _ in range(3):
                if coder.literal(1):
                    coder.literal(8)
    filter_type, filter_level, sharpness = coder.literal(1), coder.literal(6), coder.literal(3)
    if coder.literal(1) and coder.literal(1):  # loop filter deltas, and an update of them
        for _ in range(8):
            coder.optional_signed(6)
    return Vp8Header(
        profile=(frame[0] >> 1) & 7,
        clamping=clamping,
        segment_mode=segment_mode,
        segments=segments,
        filter_type=filter_type,
        filter_level=filter_level,
        sharpness=sharpness,
        partitions=coder.literal(2),
        quantiser=coder.literal(7),
    )


class _BoolDecoder:
    """VP8's arithmetic decoder (RFC 6386, 7.3), for even odds."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 2
        self._value = int.from_bytes(data[:2], "big")
        self._range = 255
        self._shifted = 0

    def literal(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = value << 1 | self._bit()
        return value

    def optional_signed(self, bits: int) -> int:
        if not self._bit():
            return 0
        value = self.literal(bits)
        return -value if self._bit() else value

    def _bit(self) -> int:
        split = 1 + (((self._range - 1) * 128) >> 8)
        bit = int(self._value >= split << 8)
        if bit:
            self._range -= split
            self._value -= split << 8
        else:
            self._range = split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._shifted += 1
            if self._shifted == 8:
                self._shifted = 0
                if self._position < len(self._data):
                    self._value |= self._data[self._position]
                self._position += 1
        return bit
