"""Files of a release beside their originals: whatever differs and is no pixel is a leak, without any test."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..codecs import RewrittenError, open_codec, written_like_marked
from ..codecs.base import Codec
from ..codecs.previews import without_previews
from ..errors import ImageError, ParameterError
from ..files import sha256_bytes
from ..images import largest_change, read_image, read_image_bytes
from .container import Container, describe
from .containers import read_container
from .encoding import encoder_of
from .features import Feature
from .files import container_features
from .report import NUM_EXAMPLES, Leak


@dataclass(frozen=True)
class Policies:
    """How a release's files were made from their originals.

    Attributes:
        reencoded: whether all files were encoded anew
        thumbnails_dropped: whether thumbnails of all files were dropped
        epsilon: the largest change of any value that was promised, in 0–255 units; None for any
        same_encoders: whether the libraries that wrote the HoneyImages are those that are installed
            now; with others, a compressed file cannot be written once more as it was
    """

    reencoded: bool = False
    thumbnails_dropped: bool = False
    epsilon: float | None = None
    same_encoders: bool = True


@dataclass(frozen=True)
class Original:
    """The file that a marked image stands for.

    Attributes:
        path: where it is
        data: its bytes, without thumbnails where they are dropped
        container: what it says besides its pixels
    """

    path: Path
    data: bytes
    container: Container


def read_originals(
    names: Sequence[str],
    marked: np.ndarray,
    sources: Mapping[str, str | os.PathLike[str]] | None,
    policies: Policies,
) -> dict[int, Original]:
    """Row of a marked file → its original; empty without sources.

    Raises:
        ParameterError: if some marked files have an original and others have not
    """
    if not sources:
        return {}
    wanted = {name for name, is_marked in zip(names, marked, strict=True) if is_marked}
    wrong = sorted(wanted.symmetric_difference(sources))
    if wrong:
        raise ParameterError(
            f"sources must name the marked files and no others; '{wrong[0]}' is "
            + ("missing" if wrong[0] in wanted else "not among them")
        )
    originals = {}
    for row, name in enumerate(names):
        if name in wanted:
            path = Path(sources[name])
            data = path.read_bytes()
            if policies.thumbnails_dropped:
                data = without_previews(data, str(path))
            originals[row] = Original(path, data, read_container(data))
    return originals


def inherited_features(
    names: Sequence[str],
    features: Sequence[Feature],
    containers: Sequence[Container],
    originals: Mapping[int, Original],
) -> set[str]:
    """Names of the features that every marked file has from its original."""
    if not originals:
        return set()
    inherited = set()
    for feature in container_features(containers):
        found = [
            _all_of(entry.container).get(feature.name) == _all_of(containers[row]).get(feature.name)
            for row, entry in originals.items()
        ]
        if all(found):
            inherited.add(feature.name)
    if all(PurePosixPath(names[row]).name == o.path.name for row, o in originals.items()):
        inherited |= {f.name for f in features if f.name.startswith("name: ")}
        inherited.discard("name: folder")
        inherited |= {"order: of the names", "order: of the inodes"}
    return inherited


def changed_features(
    folder: Path,
    names: Sequence[str],
    containers: Sequence[Container],
    originals: Mapping[int, Original],
    policies: Policies,
) -> list[Leak]:
    """What marked files do not have in common with their originals, byte by byte, one feature a leak."""
    changed: dict[str, list[tuple[str, str]]] = {}
    for row, original in originals.items():
        found = list(_differences(folder / names[row], containers[row], original, policies))
        for key, text in found:
            changed.setdefault(key, []).append((names[row], text))
    return [
        Leak(
            key,
            f"{len(found)} HoneyImages differ from their originals: {found[0][1]}",
            tuple(name for name, _ in found[:NUM_EXAMPLES]),
        )
        for key, found in sorted(changed.items())
    ]


def _differences(
    path: Path, container: Container, original: Original, policies: Policies
) -> Iterator[tuple[str, str]]:
    """(feature, in words) of everything but the pixels that is not the original's; and too large a change."""
    data = path.read_bytes()
    told = False
    if not policies.reencoded:
        before, after = _made(original.container, original.path.name), _made(container, path.name)
        key = "size: same bytes as Pillow"
        before[key] = encoder_of(original.path, original.container)
        after[key] = encoder_of(path, container)
        for key in sorted(before.keys() | after.keys()):
            old, new = before.get(key), after.get(key)
            if key == "png.IDAT size" and None in (old, new):
                continue  # one of them fits into a single part
            if old != new:
                told = True
                yield key, f"'{describe(old)}' in the original is '{describe(new)}' now"
    if not told and policies.same_encoders:
        yield from _other_bytes(data, original, policies)
    if policies.epsilon is not None:
        try:
            moved = largest_change(read_image(original.path), read_image_bytes(data, str(path)))
        except (ImageError, ValueError):
            yield "pixels: size", "it cannot be compared with its original pixel by pixel"
            return
        if moved > policies.epsilon:
            yield (
                "pixels: largest change",
                f"a value moved by {moved} of 255, and epsilon is {policies.epsilon:g}",
            )


def _other_bytes(data: bytes, original: Original, policies: Policies) -> Iterator[tuple[str, str]]:
    """What no reader of containers tells: padding, slack, order, the alpha channel, another encoder."""
    try:
        codec = open_codec(original.path)
        expected = codec.rewrite(data)
        if policies.thumbnails_dropped:
            expected = without_previews(expected, str(original.path))
    except (ImageError, ValueError) as error:
        yield "bytes besides the pixels", f"it cannot be the original with other pixels ({error})"
        return
    if expected != data:
        place = first_difference(expected, data)
        yield (
            "bytes besides the pixels",
            f"the original with these pixels has {len(expected):,} bytes and not {len(data):,}, or others "
            f"from byte {place:,} on",
        )
    elif not policies.reencoded and not _comes_back(codec):
        yield (
            "encoder",
            "the original would not come back byte for byte if nothing were changed, and this file does",
        )


def _comes_back(codec: Codec) -> bool:
    try:
        codec.check_comes_back()
    except RewrittenError:
        return False
    return True


def first_difference(one: bytes, two: bytes) -> int:
    """Where two byte strings differ first."""
    length = min(len(one), len(two))
    a, b = (np.frombuffer(data, dtype=np.uint8, count=length) for data in (one, two))
    different = np.flatnonzero(a != b)
    return int(different[0]) if len(different) else length


def altered_files(
    folder: Path,
    digests: Mapping[str, str],
    originals: Mapping[str, str],
    policies: Policies,
) -> tuple[list[Leak], list[Leak], bool]:
    """Compares unmarked files with the originals that they should be, byte for byte.

    Args:
        folder: the release
        digests: unmarked image → SHA-256
        originals: SHA-256 → path of an image of the working dataset, HoneyImages left out
        policies: ``thumbnails_dropped`` counts; whether files were encoded anew is found out

    Returns:
        leaks; what is named and fails nothing (images that are no longer among the originals); and whether
        files were encoded anew
    """
    same = {name for name, digest in digests.items() if digest in originals}
    rest = sorted(set(digests) - same)
    drop = policies.thumbnails_dropped
    if not rest and not drop:
        return [], [], False
    used = {digests[name] for name in same}
    kept: set[str] = set()
    anew: set[str] = set()
    pixels: set[str] = set()
    for digest, path in originals.items():
        if digest in used or not rest:
            continue
        try:
            kept.add(sha256_bytes(written_like_marked(path, anew=False, drop=drop)))
            anew.add(sha256_bytes(written_like_marked(path, anew=True, drop=drop)))
            pixels.add(sha256_bytes(read_image(path).tobytes()))
        except (ImageError, OSError):
            continue
    is_anew = any(digests[name] in anew - kept for name in rest)
    wanted = anew if is_anew else kept
    altered: list[str] = []
    unknown: list[str] = []
    for name in rest:
        if digests[name] not in wanted:
            (altered if _pixels_of(folder / name) in pixels else unknown).append(name)
    if is_anew or drop:
        for name in sorted(same):
            written = written_like_marked(originals[digests[name]], anew=is_anew, drop=drop)
            if sha256_bytes(written) != digests[name]:
                altered.append(name)
    leaks: list[Leak] = []
    named: list[Leak] = []
    if altered:
        # Encoders of today may write otherwise than those of the export
        (leaks if policies.same_encoders else named).append(
            Leak(
                "other files",
                f"{len(altered)} files that are no HoneyImages have the pixels of their originals and "
                "other bytes, so that they were written otherwise than the HoneyImages",
                tuple(altered[:NUM_EXAMPLES]),
            )
        )
    if unknown:
        named.append(
            Leak(
                "other files",
                f"{len(unknown)} files that are no HoneyImages are no longer among the originals, with "
                "which they could be compared",
                tuple(unknown[:NUM_EXAMPLES]),
            )
        )
    return leaks, named, is_anew


def _pixels_of(path: Path) -> str:
    try:
        return sha256_bytes(read_image(path).tobytes())
    except ImageError:
        return ""


def _all_of(container: Container) -> dict[str, Hashable]:
    return container.structure | container.content | container.numbers


def _made(container: Container, name: str) -> dict[str, Hashable]:
    """What software and cameras set in a file."""
    extension = {"name: extension": PurePosixPath(name).suffix}
    return {**container.structure, **container.content, **extension}
