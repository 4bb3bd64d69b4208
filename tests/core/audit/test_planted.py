"""Leaks planted after an export, on all HoneyImages and on a single one, with the originals at hand and without."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from fiftyone_honeyimage.core.audit.annotations import read_records
from fiftyone_honeyimage.core.audit.layout import uneven_layouts
from fiftyone_honeyimage.core.audit.metadata import audit_metadata, read_release
from fiftyone_honeyimage.core.audit.originals import Policies, altered_files
from fiftyone_honeyimage.core.audit.report import Leak
from fiftyone_honeyimage.core.audit.strays import find_strays
from fiftyone_honeyimage.core.codecs import encode_like, jpeg
from fiftyone_honeyimage.core.files import sha256_file

TIME_STAMP = 946_684_800

needs_jpeglib = pytest.mark.skipif(jpeg.load_jpeglib() is None, reason="jpeglib is not installed")

Plant = Callable[[Any, list[str]], None]


def exif_with_thumbnail(quality: int) -> bytes:
    """A description, a hole of eight zeros that no tag accounts for, and a thumbnail."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), (90, 60, 30)).save(buffer, "JPEG", quality=quality)
    picture = buffer.getvalue()
    second = 8 + 2 + 12 + 4 + 8
    start = second + 2 + 2 * 12 + 4
    first = struct.pack("<HHHI4sI", 1, 0x010F, 2, 4, b"own\0", second) + bytes(8)
    entries = struct.pack("<HHHII", 2, 0x0201, 4, 1, start) + struct.pack(
        "<HHII", 0x0202, 4, 1, len(picture)
    )
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + entries + bytes(4) + picture


EXIF = exif_with_thumbnail(75)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def found(release: Any, sources: dict[str, Path] | None = None) -> tuple[list[Leak], list[Leak]]:
    """Leaks, and what is named."""
    audit = audit_metadata(
        read_release(release.folder, release.marked), sources=sources, alpha=1e-4
    )
    return [*(row.leak() for row in audit.rows if row.separates), *audit.certain], audit.named


def features(leaks: list[Leak]) -> set[str]:
    return {leak.feature for leak in leaks}


def settle(release: Any) -> None:
    """One time for all files and folders, and one order of changes."""
    release.settle()
    for path in [release.folder, *release.folder.rglob("*")]:
        os.utime(path, (TIME_STAMP, TIME_STAMP))


def keep_originals(release: Any, folder: Path) -> dict[str, Path]:
    sources = {}
    for name in release.marked:
        sources[name] = folder / "originals" / name
        sources[name].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release.path(name), sources[name])
    return sources


def rewrite(release: Any, name: str, change: Callable[[bytes], bytes]) -> None:
    """Other bytes in the same file, so that neither inode nor folder changes."""
    data = change(release.path(name).read_bytes())
    with open(release.path(name), "r+b") as file:
        file.truncate()
        file.write(data)


def flip_padding(data: bytes) -> bytes:
    """Zeros for the ones behind the last code, as far as the picture stays the same."""
    end = data.rindex(b"\xff\xd9")
    before = np.asarray(Image.open(io.BytesIO(data)))
    for bits in range(7, 0, -1):
        last = data[end - 1] & (0xFF << bits)
        changed = data[: end - 1] + bytes([last & 0xFF]) + data[end:]
        if changed != data and np.array_equal(np.asarray(Image.open(io.BytesIO(changed))), before):
            return changed
    return data


def plant_padding(release: Any, names: list[str]) -> None:
    changed = 0
    for name in names:
        before = release.path(name).read_bytes()
        rewrite(release, name, flip_padding)
        changed += release.path(name).read_bytes() != before
    assert changed


def plant_no_icc(release: Any, names: list[str]) -> None:
    def strip(data: bytes) -> bytes:
        start = data.index(b"\xff\xe2")
        return data[:start] + data[start + 2 + struct.unpack_from(">H", data, start + 2)[0] :]

    for name in names:
        rewrite(release, name, strip)


def plant_segment_order(release: Any, names: list[str]) -> None:
    def swap(data: bytes) -> bytes:
        one = data.index(b"\xff\xe1")
        two = data.index(b"\xff\xe2")
        end = two + 2 + struct.unpack_from(">H", data, two + 2)[0]
        return data[:one] + data[two:end] + data[one:two] + data[end:]

    for name in names:
        rewrite(release, name, swap)


def plant_thumbnail(release: Any, names: list[str]) -> None:
    again = exif_with_thumbnail(90)

    def replace(data: bytes) -> bytes:
        segment = struct.pack(">H", len(EXIF) + 2) + EXIF
        return data.replace(segment, struct.pack(">H", len(again) + 2) + again)

    for name in names:
        rewrite(release, name, replace)


def plant_slack(release: Any, names: list[str]) -> None:
    place = EXIF.index(bytes(8)) + 6

    def fill(data: bytes) -> bytes:
        start = data.index(EXIF) + place
        return data[:start] + b"\x01" + data[start + 1 :]

    for name in names:
        rewrite(release, name, fill)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def plant_alpha(release: Any, names: list[str]) -> None:
    for name in names:
        array = release.arrays[name].copy()
        array[0, 0, 3] = 254
        rewrite(release, name, lambda _, array=array: png(array))


def plant_attribute(release: Any, names: list[str]) -> None:
    try:
        for name in release.names:
            value = b"1" if name in names else b"0"
            os.setxattr(release.path(name), "user.note", value)
    except (OSError, AttributeError):
        pytest.skip("this disk has no extended attributes")


def plant_blocks(release: Any, names: list[str]) -> None:
    for name in names:
        # As a download that reserves room leaves it: the size stays what it is
        command = ["fallocate", "--keep-size", "--length", str(1 << 18), str(release.path(name))]
        if not shutil.which("fallocate") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no room can be reserved on this disk")


@needs_jpeglib
@pytest.mark.parametrize("alone", [False, True], ids=["all", "one"])
@pytest.mark.parametrize(
    ("suffix", "plant", "feature"),
    [
        (".jpg", plant_padding, "written again: the same bytes"),
        (".jpg", plant_no_icc, "jpeg.markers"),
        (".jpg", plant_segment_order, "jpeg.markers"),
        (".jpg", plant_thumbnail, "exif: thumbnail: jpeg.quantisation tables"),
        (".jpg", plant_slack, "exif: bytes of no tag"),
        (".png", plant_alpha, "alpha: values"),
        (".png", plant_attribute, "extended attributes"),
        (".png", plant_blocks, "allocated blocks"),
    ],
)
def test_what_single_files_have(
    make_release: Any, tmp_path: Path, suffix: str, plant: Plant, feature: str, alone: bool
) -> None:
    release = make_release(suffix, num=81, num_marked=9)
    for name in release.names:
        if suffix == ".jpg":
            release.save(name, exif=EXIF, icc_profile=ICC)
        else:
            array = np.dstack([release.arrays[name], np.full((24, 24), 255, np.uint8)])
            release.arrays[name] = array
            release.save(name, array)
    settle(release)
    sources = keep_originals(release, tmp_path)
    if not alone:
        assert found(release) == ([], [])
        assert found(release, sources) == ([], [])

    plant(release, release.marked[:1] if alone else release.marked)
    settle(release)
    leaks, named = found(release)
    assert feature in features(leaks) | features(named)
    if feature in ("extended attributes", "allocated blocks"):
        assert feature in features(leaks), "an export sets it, so that it is certain"
    elif not alone and feature != "written again: the same bytes":
        assert features(leaks), "on all of them, chance is ruled out"
    with_originals, _ = found(release, sources)
    assert with_originals, "whatever is not the original's is a leak, whatever its p"
    if alone:
        assert all(set(leak.files) <= {release.marked[0]} for leak in with_originals)


@needs_jpeglib
def test_a_fixed_table_that_was_replaced_is_a_leak(make_release: Any, tmp_path: Path) -> None:
    """The encoder's own tables became optimal ones in a single file."""
    release = make_release(".jpg", num=60, num_marked=4)
    sources = keep_originals(release, tmp_path)
    release.save(release.marked[2], optimize=True)
    (leak,) = found(release, sources)[0]
    assert leak.feature == "jpeg.Huffman tables"
    assert leak.files == (release.marked[2],)


def test_an_original_of_another_encoder_is_a_leak(make_release: Any, tmp_path: Path) -> None:
    """However large its pixels are: the file comes back, its original does not."""
    release = make_release(num=60, num_marked=3)
    sources = keep_originals(release, tmp_path)
    name = release.marked[0]
    large = Image.new("RGB", (5100, 4000))
    large.paste(Image.fromarray(release.arrays[name]))
    large.save(release.path(name), compress_level=1)
    large.save(sources[name], compress_level=9)
    leaks, _ = found(release, sources)
    assert {(leak.feature, leak.files) for leak in leaks} >= {("png.zlib header", (name,))}
    assert ("size: same bytes as Pillow", (name,)) in {(k.feature, k.files) for k in leaks}


def test_a_change_beyond_what_was_promised_is_a_leak(make_release: Any, tmp_path: Path) -> None:
    release = make_release(num=60, num_marked=4)
    sources = keep_originals(release, tmp_path)
    for moved, expected in ((4, set()), (5, {"pixels: largest change"})):
        array = release.arrays[release.marked[0]].astype(int)
        array[3, 4, 1] += moved if array[3, 4, 1] < 128 else -moved
        release.write(
            release.marked[0], encode_like(sources[release.marked[0]], array.astype(np.uint8))
        )
        audit = audit_metadata(
            read_release(release.folder, release.marked),
            sources=sources,
            policies=Policies(epsilon=4),
        )
        assert features(audit.certain) == expected


def test_unmarked_files_are_compared_with_their_originals(
    make_release: Any, tmp_path: Path
) -> None:
    """The leak can lie in the other files: the same pixels, and a text that HoneyImages have not."""
    release = make_release(num=40, num_marked=4)
    originals = {}
    for name in release.others:
        path = tmp_path / "originals" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release.path(name), path)
        originals[sha256_file(path)] = str(path)

    def compare() -> tuple[list[Leak], list[Leak], bool]:
        digests = {name: sha256_file(release.path(name)) for name in release.others}
        return altered_files(release.folder, digests, originals, Policies())

    assert compare() == ([], [], False)
    altered = release.others[3]
    release.save(altered, dpi=(72, 72))
    (leak,), named, anew = compare()
    assert (leak.feature, leak.files, named, anew) == ("other files", (altered,), [], False)
    # An image that was edited since is no leak
    release.save(altered, np.zeros((24, 24, 3), np.uint8))
    leaks, (unknown,), _ = compare()
    assert (leaks, unknown.files) == ([], (altered,))


def test_files_encoded_anew_are_known_and_mixtures_found(make_release: Any, tmp_path: Path) -> None:
    release = make_release(num=40, num_marked=4)
    originals = {}
    for name in release.others:
        path = tmp_path / "originals" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # With a chunk between the parts of the picture, which is lost: it does not come back
        path.write_bytes(release.path(name).read_bytes() + b"behind")
        originals[sha256_file(path)] = str(path)
    digests = {name: sha256_file(release.path(name)) for name in release.others}
    assert altered_files(release.folder, digests, originals, Policies()) == ([], [], True)
    copied = release.others[5]
    release.write(copied, release.path(copied).read_bytes() + b"behind")
    digests[copied] = sha256_file(release.path(copied))
    (leak,), _, anew = altered_files(release.folder, digests, originals, Policies())
    assert (leak.files, anew) == ((copied,), True)


# --- the folder -----------------------------------------------------------------------------------------------


def test_whatever_is_no_file_of_a_release_is_named(make_release: Any) -> None:
    release = make_release(num=40, num_marked=4)
    settle(release)
    assert found(release) == ([], [])
    (release.folder / ".index").write_text("\n".join(release.marked), encoding="utf-8")
    (release.folder / "names.bin").write_bytes("\n".join(release.marked).encode("utf-16"))
    (release.folder / "Thumbs.db").write_bytes(bytes(100))
    (release.folder / "empty").mkdir()
    (release.folder / "LICENSE").write_text("Anybody may use it.", encoding="utf-8")
    os.symlink(release.folder / "0", release.folder / "link")
    release.save("0/.hidden.png", release.arrays[release.names[0]])
    leaks, named = found(release)
    (leak,) = (leak for leak in leaks if leak.feature == "strays")
    for name in (".index", "names.bin", "Thumbs.db", "link/", "0/.hidden.png"):
        assert name in leak.reason
    (leak,) = (leak for leak in named if leak.feature == "strays")
    assert "'LICENSE', 'empty/'" in leak.reason


def test_an_index_of_the_marked_names_is_found(make_release: Any) -> None:
    release = make_release(num=120, num_marked=6)
    (release.folder / "index.json").write_text(json.dumps(release.marked[:1]), encoding="utf-8")
    records = read_records(release.folder, release.names, ["index.json"])
    assert "index.json" in records.used or find_strays(
        release.folder, release.names, ["index.json"], records
    ) != ([], [])
    leaks, named = found(release)
    assert leaks or named


@pytest.mark.parametrize("alone", [False, True], ids=["all", "one"])
def test_folder_times(make_release: Any, alone: bool) -> None:
    release = make_release(num=60, num_marked=6)
    settle(release)
    assert found(release) == ([], [])
    for name in release.marked[: 1 if alone else None]:
        parent = release.path(name).parent
        os.utime(parent, (TIME_STAMP + 9, TIME_STAMP + 9))
    assert "time: folder" in features(found(release)[0])
    # as a copy leaves them
    for number, path in enumerate([release.folder, *release.folder.glob("*")]):
        os.utime(path, (TIME_STAMP + 60 + number, TIME_STAMP + 60 + number))
    assert found(release) == ([], [])


def test_inode_order(make_release: Any, tmp_path: Path) -> None:
    """HoneyImages that were written last, with all times set back."""
    release = make_release(num=180, num_marked=16)
    spare = tmp_path / "spare"
    spare.mkdir()
    for number, name in enumerate(release.marked):
        data = release.path(name).read_bytes()
        release.path(name).rename(spare / str(number))  # keeps its number from being given again
        release.path(name).write_bytes(data)
    settle(release)
    inodes = {name: release.path(name).stat().st_ino for name in release.names}
    if max(inodes[name] for name in release.others) > min(inodes[name] for name in release.marked):
        pytest.skip("this disk numbers files in no order")
    assert "order: of the inodes" in features(found(release)[0])


# --- label files ------------------------------------------------------------------------------------------------


def csv_of(release: Any, quoted: set[str], ends: set[str]) -> None:
    lines = ["filepath,label\n"]
    for name in release.names:
        quote = '"' if name in quoted else ""
        end = "\r\n" if name in ends else "\n"
        lines.append(f"{quote}{name}{quote},{release.labels[name]}{end}")
    (release.folder / "labels.csv").write_bytes("".join(lines).encode())


@pytest.mark.parametrize("alone", [False, True], ids=["all", "one"])
def test_quotes_and_line_ends_of_single_lines(make_release: Any, alone: bool) -> None:
    release = make_release(num=60, num_marked=6)
    odd = set(release.marked[: 1 if alone else None])
    for quoted, ends in ((odd, set()), (set(), odd)):
        csv_of(release, quoted, ends)
        (leak,) = (leak for leak in found(release)[0] if leak.feature == "labels: layout")
        assert "'labels.csv'" in leak.reason
        assert leak.files == ("labels.csv",)
    for quoted, ends in ((set(), set()), (set(), {*release.names, "header"})):
        csv_of(release, quoted, ends)
        text = (release.folder / "labels.csv").read_bytes()
        if ends:
            (release.folder / "labels.csv").write_bytes(text.replace(b"label\n", b"label\r\n"))
        assert "labels: layout" not in features(found(release)[0])


@pytest.mark.parametrize(
    ("name", "even", "odd"),
    [
        ("a.json", '{"x": [1.0, 2.5]}', '{"x": [1.00, 2.5]}'),
        ("a.json", '{"x": [1e-07, 2.5]}', '{"x": [0.0000001, 2.5]}'),
        ("a.json", '{"x": ["é"]}', '{"x": ["é", "\\u00e9"]}'),
        ("a.json", '{\n  "x": 1\n}\n', '{\n  "x":  1\n}\n'),
        ("a.json", '{"samples": [{"a": 1},{"b": 2}]}', '{"samples": [{"a": 1}, {"b":2}]}'),
        ("a.jsonl", '{"a":1}\n{"b":2}\n', '{"a":1}\n{"b": 2}\n'),
        ("a.csv", 'a,"b, c"\r\n1,2\r\n', 'a,"b, c"\r\n1,2\n'),
        ("a.csv", '"a","b"\n"1","2"\n', '"a","b"\n"1",2\n'),
        ("a.csv", '"a","b"\n"x",2.50\n', '"a","b"\nx,2.50\n'),
    ],
)
def test_layouts(tmp_path: Path, name: str, even: str, odd: str) -> None:
    (tmp_path / name).write_bytes(even.encode())
    assert uneven_layouts(tmp_path, [name]) == []
    (tmp_path / name).write_bytes(odd.encode())
    (leak,) = uneven_layouts(tmp_path, [name])
    assert f"'{name}'" in leak.reason


def test_layouts_of_programs_pass(tmp_path: Path) -> None:
    rows = [{"id": i, "score": 0.1 * i, "text": 'say "é", twice\n'} for i in range(50)]
    for number, options in enumerate(
        ({}, {"indent": 2}, {"indent": 4, "ensure_ascii": False}, {"separators": (",", ":")})
    ):
        (tmp_path / f"{number}.json").write_text(json.dumps(rows, **options), encoding="utf-8")
    for number, quoting in enumerate((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)):
        with open(tmp_path / f"{number}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), quoting=quoting)
            writer.writeheader()
            writer.writerows(rows)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 7
    assert uneven_layouts(tmp_path, names) == []
