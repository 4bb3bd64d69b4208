"""check_metadata finds every planted leak, and nothing in clean releases."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from fiftyone_honeyimage.core.audit import check_metadata
from fiftyone_honeyimage.core.audit.features import score_features
from fiftyone_honeyimage.core.audit.files import file_features
from fiftyone_honeyimage.core.audit.matching import match
from fiftyone_honeyimage.core.audit.metadata import audit_metadata, find_secrets, read_release
from fiftyone_honeyimage.core.codecs import encode_like
from fiftyone_honeyimage.core.errors import ParameterError, ReleaseError
from fiftyone_honeyimage.core.images import read_image

TIME_STAMP = 946_684_800
Plant = Callable[[Any, random.Random], None]


def features_of(leaks: list[Any]) -> set[str]:
    return {leak.feature for leak in leaks}


def rename(release: Any, name: str, new: str) -> None:
    """Renames an image in place, and remembers."""
    os.rename(release.path(name), release.path(new))
    release.names[release.names.index(name)] = new
    if name in release.marked:
        release.marked[release.marked.index(name)] = new


# --- clean releases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_clean_releases_pass(make_release: Any, suffix: str) -> None:
    release = make_release(suffix, num=150, num_marked=16)
    assert check_metadata(release.folder, release.marked) == []


def test_clean_release_of_real_jpeg_files(write_files: Any, eurosat: dict[str, bytes]) -> None:
    release = write_files(eurosat)
    assert check_metadata(release.folder, release.marked) == []


def test_rate_of_false_alarms(make_release: Any) -> None:
    """200 random choices of marks in a release whose files differ in every way that files can.

    At most 1 % may raise an alarm; 7 of 200 or more would have a probability below 0.5 %.
    """
    rng = random.Random(5)
    release = make_release(".jpg", num=150)
    for name in release.names:
        exif = Image.Exif()
        exif[0x0110] = rng.choice(["Camera A", "Camera B", "Camera C"])
        exif[0x0132] = f"2020:01:{rng.randint(1, 28):02d} 10:00:00"
        release.save(
            name,
            quality=rng.choice([80, 85, 90]),
            subsampling=rng.choice([0, 2]),
            progressive=rng.random() < 0.3,
            exif=exif if rng.random() < 0.8 else b"",
        )
        time = TIME_STAMP + rng.randint(0, 50)
        os.utime(release.path(name), (time, time))
        os.chmod(release.path(name), rng.choice([0o644, 0o600]))
    read = read_release(release.folder, release.marked)
    labels = [release.labels[name] for name in read.names]
    features, _ = file_features(release.folder, read.names, labels)
    varying = [feature for feature in features if not feature.is_constant]
    assert len(varying) >= 15

    alarms = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        marked = np.zeros(len(read.names), dtype=bool)
        marked[draw.choice(len(marked), 6 + seed % 30, replace=False)] = True
        sets = match(marked, labels, draw.random(len(marked)), seed=seed)
        rows = score_features(varying, read.names, marked, labels, sets, 0.01)
        alarms += any(row.separates for row in rows)
    assert alarms <= 6


def test_hard_images_that_are_left_alone_pass(make_release: Any) -> None:
    """Marked images are the hardest: larger, darker, from another camera. Nothing was done to them."""
    release = make_release(".jpg", num=300, num_marked=20)
    rng = np.random.default_rng(1)
    hardness = {}
    for name in release.names:
        hardness[name] = float(rng.exponential())
        exif = Image.Exif()
        hard = rng.random() < hardness[name] / 4
        exif[0x0110] = "Old camera" if hard else "New camera"
        exif[0x0112] = 6 if hard else 1
        release.save(name, exif=exif, quality=80 if hard else 90)
    hardest = sorted(release.names, key=lambda name: -hardness[name])[:20]
    assert check_metadata(release.folder, hardest, hardness=hardness) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_files_written_like_their_originals_pass(
    make_release: Any, tmp_path: Path, suffix: str
) -> None:
    """Strong noise, stored by the package's own codecs: only the pixels may tell."""
    options = {"lossless": True} if suffix == ".webp" else {}
    release = make_release(suffix, num=150, num_marked=16, **options)
    rng = np.random.default_rng(0)
    sources = {}
    for name in release.marked:
        sources[name] = tmp_path / "originals" / name
        sources[name].parent.mkdir(parents=True, exist_ok=True)
        sources[name].write_bytes(release.path(name).read_bytes())
        change = rng.choice([-6, 6], release.arrays[name].shape)
        pixels = np.clip(read_image(sources[name]).astype(np.int16) + change, 0, 255)
        release.write(name, encode_like(sources[name], pixels.astype(np.uint8)))
    release.settle()
    assert check_metadata(release.folder, release.marked, sources=sources) == []
    assert check_metadata(release.folder, release.marked) == []


# --- planted leaks ----------------------------------------------------------------------------------


def plant_times(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        time = TIME_STAMP + 3600 + rng.randint(0, 99)
        os.utime(release.path(name), (time, time))


def plant_time_block(release: Any, rng: random.Random) -> None:
    """Files have times of their own; the marked ones were written together, in the middle."""
    for name in release.names:
        time = TIME_STAMP + rng.randint(0, 10**8)
        if name in release.marked:
            time = TIME_STAMP + 5 * 10**7 + rng.randint(0, 10**5)
        os.utime(release.path(name), (time, time))


def plant_time_fractions(release: Any, rng: random.Random) -> None:
    for name in release.names:
        time = (TIME_STAMP + rng.randint(0, 10**6)) * 10**9
        time += rng.randint(1, 10**9 - 1) if name in release.marked else 0
        os.utime(release.path(name), ns=(time, time))


def plant_permissions(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        os.chmod(release.path(name), 0o600)


def plant_links(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        os.link(release.path(name), release.folder.with_name(f"{rng.random()}.link"))


def plant_compression_level(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, compress_level=9)


def plant_other_encoder(release: Any, rng: random.Random) -> None:
    """The originals come from an encoder that filters nothing, the marked files from Pillow."""
    for name in release.others:
        release.write(name, plain_png(release.arrays[name]))


def plain_png(array: np.ndarray, level: int = 6) -> bytes:
    """A PNG whose rows are not filtered, as simple encoders write it."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, level)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def plant_png_text(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        info = PngImagePlugin.PngInfo()
        info.add_text("Software", f"marker {rng.random()}")
        release.save(name, pnginfo=info)


def plant_missing_chunk(release: Any, rng: random.Random) -> None:
    for name in release.others:
        release.save(name, dpi=(72, 72))


def plant_png_trailer(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.write(name, release.path(name).read_bytes() + b"\0" * rng.randint(1, 9))


def plant_split_data(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        data = release.path(name).read_bytes()
        start = data.index(b"IDAT") - 4
        (length,) = struct.unpack_from(">I", data, start)
        body = data[start + 8 : start + 8 + length]
        parts = png_chunk(b"IDAT", body[:100]) + png_chunk(b"IDAT", body[100:])
        release.write(name, data[:start] + parts + data[start + 12 + length :])


def plant_alpha(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        array = release.arrays[name]
        release.save(name, np.dstack([array, np.full(array.shape[:2], 255, np.uint8)]))


def plant_extension(release: Any, rng: random.Random) -> None:
    for name in list(release.marked):
        rename(release, name, name.replace(".png", ".PNG"))


def plant_format(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, format="PNG")


def plant_quality(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, quality=91)


def plant_subsampling(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, subsampling=0)


def plant_progressive(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, progressive=True)


def plant_huffman(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, optimize=True)


def plant_restarts(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, restart_marker_blocks=2)


def plant_exif(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        exif = Image.Exif()
        exif[0x010E] = f"{rng.random()}"
        release.save(name, exif=exif)


def plant_lost_exif(release: Any, rng: random.Random) -> None:
    for name in release.others:
        exif = Image.Exif()
        exif[0x0110] = rng.choice("ABC")
        exif[0x0132] = f"{rng.random()}"
        release.save(name, exif=exif)


def plant_icc(release: Any, rng: random.Random) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in release.marked:
        release.save(name, icc_profile=profile)


def plant_comment(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, comment=f"{rng.random()}")


def plant_density(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, dpi=(72, 72))


def plant_jpeg_trailer(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.write(name, release.path(name).read_bytes() + b"end")


def plant_fill_bytes(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        data = release.path(name).read_bytes()
        start = data.index(b"\xff\xdb")
        release.write(name, data[:start] + b"\xff\xff" + data[start:])


def plant_segment_order(release: Any, rng: random.Random) -> None:
    """The Huffman tables before the frame header instead of behind it."""
    for name in release.marked:
        data = release.path(name).read_bytes()
        frame, table = data.index(b"\xff\xc0"), data.index(b"\xff\xc4")
        end = table + 2 + struct.unpack_from(">H", data, table + 2)[0]
        moved = data[:frame] + data[table:end] + data[frame:table] + data[end:]
        release.write(name, moved)


def plant_webp_quality(release: Any, rng: random.Random) -> None:
    for name in release.names:
        release.save(name, quality=83 if name in release.marked else 80)


def plant_webp_lossless(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, lossless=True)


def plant_webp_exif(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")


def plant_bmp_resolution(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, dpi=(300, 300))


def plant_tiff_compression(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, compression="tiff_lzw")


def plant_tiff_software(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.save(name, software=f"{rng.random()}")


def plant_prefix(release: Any, rng: random.Random) -> None:
    for name in list(release.marked):
        label, _, file = name.partition("/")
        rename(release, name, f"{label}/h_{file}")


def plant_random_names(release: Any, rng: random.Random) -> None:
    for name in list(release.marked):
        unique = uuid.UUID(int=rng.getrandbits(128)).hex
        rename(release, name, f"{name.partition('/')[0]}/{unique}.png")


def plant_late_numbers(release: Any, rng: random.Random) -> None:
    """Same pattern, but the marked images were appended: their numbers are the highest."""
    for row, name in enumerate(list(release.marked)):
        rename(release, name, f"{name.partition('/')[0]}/{9000 + row:04d}.png")


def plant_number_block(release: Any, rng: random.Random) -> None:
    """The marked images stand together in the middle of the numbers."""
    numbers = [*range(140), *range(140 + len(release.marked), 320)]
    for row, name in enumerate(list(release.names)):
        rename(release, name, f"{name.partition('/')[0]}/tmp{row}.png")
    marked, others = list(release.marked), [n for n in release.names if n not in release.marked]
    rng.shuffle(others)
    for number, name in zip(range(140, 140 + len(marked)), marked, strict=True):
        rename(release, name, f"{name.partition('/')[0]}/{number:04d}.png")
    for number, name in zip(numbers, others, strict=False):
        rename(release, name, f"{name.partition('/')[0]}/{number:04d}.png")


def plant_folder(release: Any, rng: random.Random) -> None:
    (release.folder / "extra").mkdir()
    for name in list(release.marked):
        rename(release, name, f"extra/{name.partition('/')[2]}")


def plant_damage(release: Any, rng: random.Random) -> None:
    for name in release.marked:
        release.write(name, release.path(name).read_bytes()[:-20])


PLANTS: list[tuple[str, Plant, str]] = [
    (".png", plant_times, "time: modified"),
    (".png", plant_time_block, "time: modified, order"),
    (".png", plant_time_fractions, "time: fraction of the second"),
    (".png", plant_permissions, "permissions"),
    (".png", plant_links, "links"),
    (".png", plant_compression_level, "size: same bytes as Pillow"),
    (".png", plant_compression_level, "png.zlib header"),
    (".png", plant_other_encoder, "size: on disk, given the image"),
    (".png", plant_other_encoder, "size: PNG filters, given the image"),
    (".png", plant_png_text, "png.chunks"),
    (".png", plant_png_text, "png.tEXt Software"),
    (".png", plant_missing_chunk, "png.pHYs"),
    (".png", plant_png_trailer, "png.bytes after the end"),
    (".png", plant_split_data, "png.odd IDAT size"),
    (".png", plant_alpha, "mode"),
    (".png", plant_extension, "name: extension"),
    (".jpg", plant_format, "format"),
    (".jpg", plant_quality, "jpeg.quantisation tables"),
    (".jpg", plant_subsampling, "jpeg.frame"),
    (".jpg", plant_progressive, "jpeg.scans"),
    (".jpg", plant_huffman, "jpeg.Huffman tables"),
    (".jpg", plant_restarts, "jpeg.restart interval"),
    (".jpg", plant_exif, "exif"),
    (".jpg", plant_lost_exif, "exif"),
    (".jpg", plant_icc, "jpeg.markers"),
    (".jpg", plant_comment, "jpeg.markers"),
    (".jpg", plant_density, "jpeg.APP0:JFIF"),
    (".jpg", plant_jpeg_trailer, "jpeg.bytes after the end"),
    (".jpg", plant_fill_bytes, "jpeg.fill bytes"),
    (".jpg", plant_segment_order, "jpeg.markers"),
    (".webp", plant_webp_quality, "webp.quantiser"),
    (".webp", plant_webp_lossless, "webp.chunks"),
    (".webp", plant_webp_exif, "webp.chunks"),
    (".bmp", plant_bmp_resolution, "bmp.resolution"),
    (".tif", plant_tiff_compression, "tiff.compression"),
    (".tif", plant_tiff_software, "tiff.tags"),
    (".png", plant_prefix, "name: pattern"),
    (".png", plant_random_names, "name: words"),
    (".png", plant_late_numbers, "name: number"),
    (".png", plant_number_block, "order: of the names"),
    (".png", plant_folder, "name: folder"),
    (".jpg", plant_damage, "jpeg.markers"),
]


@pytest.mark.parametrize(
    ("suffix", "plant", "feature"), PLANTS, ids=[f"{p.__name__}-{f}" for _, p, f in PLANTS]
)
def test_finds_planted_leaks(make_release: Any, suffix: str, plant: Plant, feature: str) -> None:
    release = make_release(suffix, num=180, num_marked=16)
    plant(release, random.Random(1))
    leaks = check_metadata(release.folder, release.marked)
    assert feature in features_of(leaks), [str(leak) for leak in leaks]
    (leak,) = (leak for leak in leaks if leak.feature == feature)
    assert leak.p_adjusted is not None
    assert leak.p_adjusted <= 1e-4
    assert set(leak.files) <= set(release.marked)
    assert leak.reason


@pytest.mark.parametrize(
    ("suffix", "plant"),
    [
        (".png", plant_times),
        (".png", plant_permissions),
        (".png", plant_png_text),
        (".png", plant_extension),
        (".png", plant_random_names),
        (".jpg", plant_quality),
        (".jpg", plant_comment),
        (".jpg", plant_exif),
    ],
)
def test_four_marked_files_are_enough_for_a_tell_tale(
    make_release: Any, suffix: str, plant: Plant
) -> None:
    release = make_release(suffix, num=180, num_marked=4)
    plant(release, random.Random(1))
    assert check_metadata(release.folder, release.marked)


def test_finds_leaks_that_only_some_marked_files_have(make_release: Any) -> None:
    release = make_release(".jpg", num=300, num_marked=24)
    for name in release.marked[:5]:
        release.save(name, comment="x")
    leaks = check_metadata(release.folder, release.marked)
    assert "jpeg.markers" in features_of(leaks)


# --- sources ----------------------------------------------------------------------------------------


def test_one_changed_table_shows_beside_its_original(make_release: Any, tmp_path: Path) -> None:
    """What no test could find in so few files: one marked file with tables unlike its original's."""
    release = make_release(".jpg", num=60, num_marked=3)
    sources = {}
    for name in release.marked:
        original = tmp_path / "originals" / name
        original.parent.mkdir(parents=True, exist_ok=True)
        original.write_bytes(release.path(name).read_bytes())
        sources[name] = original
    assert check_metadata(release.folder, release.marked, sources=sources) == []

    altered = release.marked[1]
    release.save(altered, quality=91)
    assert check_metadata(release.folder, release.marked) == []
    (leak,) = check_metadata(release.folder, release.marked, sources=sources)
    assert leak.feature == "jpeg.quantisation tables"
    assert leak.files == (altered,)
    assert leak.p_adjusted is None


def test_what_marked_files_have_from_their_originals_is_no_leak(
    make_release: Any, tmp_path: Path
) -> None:
    """The only grey images of a dataset are hard, so all of them were marked."""
    release = make_release(".jpg", num=150, num_marked=12)
    sources = {}
    for name in release.marked:
        release.save(name, release.arrays[name][:, :, 0])
        sources[name] = tmp_path / "originals" / name
        sources[name].parent.mkdir(parents=True, exist_ok=True)
        sources[name].write_bytes(release.path(name).read_bytes())
    release.settle()
    assert "jpeg.frame" in features_of(check_metadata(release.folder, release.marked))
    assert check_metadata(release.folder, release.marked, sources=sources) == []
    assert check_metadata(release.folder, release.marked, sources=sources, reencoded=True) == []

    plant_permissions(release, random.Random(0))
    leaks = check_metadata(release.folder, release.marked, sources=sources)
    assert "permissions" in features_of(leaks)
    plant_subsampling(release, random.Random(0))
    leaks = check_metadata(release.folder, release.marked, sources=sources, reencoded=True)
    assert "jpeg.frame" in features_of(leaks)


def test_another_encoder_than_the_originals_shows(make_release: Any, tmp_path: Path) -> None:
    release = make_release(num=60, num_marked=3)
    sources = {}
    for name in release.marked:
        sources[name] = tmp_path / f"{name.replace('/', '-')}"
        sources[name].write_bytes(plain_png(release.arrays[name]))
    (leak,) = check_metadata(release.folder, release.marked, sources=sources)
    assert leak.feature == "size: same bytes as Pillow"
    assert set(leak.files) == set(release.marked)


def test_sources_of_unmarked_files_are_refused(make_release: Any) -> None:
    release = make_release(num=30, num_marked=3)
    other = release.others[0]
    with pytest.raises(ParameterError, match="must name the marked files"):
        check_metadata(release.folder, release.marked, sources={other: release.path(other)})


# --- what goes in and comes out ---------------------------------------------------------------------


def test_absolute_paths_and_any_order(make_release: Any) -> None:
    release = make_release(num=90, num_marked=8)
    plant_permissions(release, random.Random(0))
    relative = check_metadata(release.folder, release.marked)
    absolute = check_metadata(
        str(release.folder), [release.path(name) for name in reversed(release.marked)]
    )
    assert relative == absolute != []


def test_the_folder_stays_as_it_is(make_release: Any) -> None:
    release = make_release(num=60, num_marked=6)
    paths = [release.folder, *release.folder.rglob("*")]
    before = [(path.stat().st_mtime_ns, path.stat().st_mode) for path in paths]
    check_metadata(release.folder, release.marked)
    assert [(path.stat().st_mtime_ns, path.stat().st_mode) for path in paths] == before
    assert sorted(release.folder.rglob("*")) == sorted(paths[1:])


def test_refuses_what_cannot_be_compared(make_release: Any, tmp_path: Path) -> None:
    release = make_release(num=12, num_marked=3)
    with pytest.raises(ReleaseError, match="no release"):
        check_metadata(tmp_path / "nowhere", ["a.png"])
    with pytest.raises(ParameterError, match="not in"):
        check_metadata(release.folder, ["0/9999.png"])
    with pytest.raises(ParameterError, match="nothing to compare"):
        check_metadata(release.folder, [])
    with pytest.raises(ParameterError, match="nothing to compare"):
        check_metadata(release.folder, release.names)


def test_a_marked_file_alone_in_its_class_is_noted(make_release: Any) -> None:
    release = make_release(num=60, num_marked=4)
    (release.folder / "alone").mkdir()
    rename(release, release.marked[0], "alone/0000.png")
    audit = audit_metadata(read_release(release.folder, release.marked))
    assert len(audit.sets) == 3
    assert any("no unmarked image of their class" in note for note in audit.notes)


def test_work_is_bounded_by_pixels(make_release: Any) -> None:
    release = make_release(num=90, num_marked=8)
    audit = audit_metadata(read_release(release.folder, release.marked), max_pixels=10 * 24 * 24)
    assert any("were not encoded once more" in note for note in audit.notes)


def test_reports_progress(make_release: Any) -> None:
    release = make_release(num=30, num_marked=3)
    calls: list[tuple[str, int, int]] = []
    check_metadata(release.folder, release.marked, report=lambda *call: calls.append(call))
    assert calls[-1] == ("Reading files", 30, 30)


def test_finds_words_of_the_working_dataset(make_release: Any) -> None:
    release = make_release(num=30, num_marked=3)
    secret = "65a1b2c3d4e5f60718293a4b"
    assert find_secrets(read_release(release.folder, release.marked), [secret, "0001"]) == []
    (release.folder / "info.json").write_text(json.dumps({"id": secret}), encoding="utf-8")
    info = PngImagePlugin.PngInfo()
    info.add_text("Source", "fiftyone_HoneyImage")
    release.save(release.marked[0], pnginfo=info)
    leaks = find_secrets(read_release(release.folder, release.marked), [secret])
    assert {leak.files for leak in leaks} == {("info.json",), (release.marked[0],)}


def test_grey_and_palette_files_can_be_audited(make_release: Any) -> None:
    release = make_release(num=90, num_marked=8)
    for row, name in enumerate(release.names):
        image = Image.fromarray(release.arrays[name]).convert(("L", "P", "RGBA", "1")[row % 4])
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        release.write(name, buffer.getvalue())
    assert check_metadata(release.folder, release.marked) == []
