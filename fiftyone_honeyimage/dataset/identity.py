"""Which samples are HoneyImages, and of which markings samples are the originals.

Told by what every marking wrote down when it was made: ids and digests, in the results of its run (see
:func:`record`). A tag, a marking's field and a sample's path can be set by any script, and decide nothing;
a file that lies in a marking's folder, or holds a HoneyImage's bytes, is a HoneyImage under whatever id.

Nothing here knows a coin: both twins of a pair are treated alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo

from ..core.errors import HoneyImageError, SamplesError
from ..core.files import sha256_file
from . import storage
from .runs import MARKING, find_results, list_keys, made_by

#: In the dataset's info: markings that were deleted after a release of them, whose ledger may still prove it
DELETED = "honeyimage_deleted_markings"


@dataclass(frozen=True)
class KnownMarking:
    """What a marking wrote down of itself.

    Attributes:
        name: its key; the folder's path if neither run nor field of it are left
        folder: where its files lie
        images: one dict a HoneyImage: ``source`` (the original's id in the ledger), ``sample`` (its id in
            this dataset, or None), ``honey`` (id of the HoneyImage's own sample, or None), ``file``, ``pair``, ``source_sha256``, ``marked_sha256``, ``source_bytes``, ``marked_bytes``
        asked: one dict an image that suspects are asked about with a secret in it: ``source``, ``source_sha256``,
            ``source_bytes``
        ledger_path: where the ledger lies, as far as it is known
        commitment: of the ledger, None if only the folder is known
        problem: why ``images`` could not be read, or None
    """

    name: str
    folder: Path
    images: Sequence[Mapping[str, Any]] = ()
    asked: Sequence[Mapping[str, Any]] = ()
    ledger_path: Path | None = None
    commitment: str | None = None
    problem: str | None = None


def record(
    images: Sequence[Mapping[str, Any]],
    sample_ids: Mapping[str, str],
    honey_ids: Mapping[str, str],
) -> list[dict[str, Any]]:
    """What a marking writes down of its images.

    Args:
        images: of the manifest
        sample_ids: ``source`` of an image → id of the original in this dataset, of those that are there
        honey_ids: ``source`` of an image → id of the HoneyImage's own sample
    """
    names = ("source", "file", "pair", "source_sha256", "marked_sha256", "source_bytes")
    return [
        {
            **{name: image[name] for name in (*names, "marked_bytes")},
            "sample": sample_ids.get(image["source"]),
            "honey": honey_ids[image["source"]],
            **({"source_label": image["source_label"]} if "source_label" in image else {}),
        }
        for image in images
    ]


def known_markings(dataset: fo.Dataset, filepaths: Iterable[str] = ()) -> list[KnownMarking]:
    """Every marking of a dataset: by its run, else by its field, else by where samples' files lie.

    Args:
        dataset: the dataset
        filepaths (()): of its samples; tell of markings whose run and field were both deleted
    """
    found = []
    for key in list_keys(dataset, MARKING):
        config = dataset.get_run_info(key).config
        results = find_results(dataset, key)
        if results is not None:
            found.append(
                KnownMarking(
                    key,
                    Path(config.output_dir),
                    results["images"],
                    results.get("asked", ()),
                    Path(config.ledger_path),
                    config.commitment,
                )
            )
    named = {marking.folder for marking in found}
    # A run that is being entered, was killed there, or was deleted with FiftyOne's own tools
    for name in dataset.get_field_schema():
        if made_by(dataset, name, MARKING):
            folder = Path(dataset.get_field(name).info["output_dir"])
            if folder not in named:
                named.add(folder)
                found.append(_of_folder(name, folder))
    for entry in (dataset.info or {}).get(DELETED, ()):
        folder = Path(entry["output_dir"])
        if folder not in named:
            named.add(folder)
            found.append(
                KnownMarking(
                    f"{entry['honey_key']} (deleted)",
                    folder,
                    entry["images"],
                    entry.get("asked", ()),
                    Path(entry["ledger_path"]),
                    entry["commitment"],
                )
            )
    for parent in {os.path.dirname(os.path.dirname(path)) for path in filepaths}:
        folder = Path(parent).parent
        if os.path.basename(parent) == storage.IMAGES and folder not in named:
            named.add(folder)
            if (folder / storage.MANIFEST).is_file() and (folder / storage.LEDGER).is_file():
                found.append(_of_folder(str(folder), folder))
    return found


def _of_folder(name: str, folder: Path) -> KnownMarking:
    """A marking of which only its folder tells."""
    try:
        manifest = storage.read_manifest(folder)
        images = [
            {**image, "sample": image["source"], "honey": None} for image in manifest["images"]
        ]
    except (HoneyImageError, OSError, ValueError, KeyError) as error:
        return KnownMarking(name, folder, problem=str(error))
    asked = manifest.get("probe_sources", ())
    return KnownMarking(name, folder, images, asked, folder / storage.LEDGER)


def recorded_images(dataset: fo.Dataset, honey_key: str) -> list[dict[str, Any]]:
    """What a marking wrote down of its images, see :class:`KnownMarking`; empty if there is no such run."""
    if honey_key not in list_keys(dataset, MARKING):
        return []
    results = find_results(dataset, honey_key)
    return [] if results is None else list(results["images"])


def honeyimages(dataset: fo.Dataset, honey_key: str) -> fo.DatasetView:
    """The HoneyImages of a marking that are still in the dataset, in the order of their making."""
    images = recorded_images(dataset, honey_key)
    return dataset.select([image["honey"] for image in images], ordered=True)


def originals(dataset: fo.Dataset) -> fo.DatasetView:
    """Every sample of a dataset that no marking added."""
    images = [image for known in known_markings(dataset) for image in known.images]
    return dataset.exclude([image["honey"] for image in images if image["honey"]])


def unmarked(dataset: fo.Dataset) -> fo.DatasetView:
    """The images that no marking has chosen, of which every release holds the same file.

    The original of any HoneyImage would show whoever holds a release with it which image is marked.
    """
    markings = known_markings(dataset)
    images = [image["sample"] for known in markings for image in known.images if image["sample"]]
    asked = [image["source"] for known in markings for image in known.asked]
    return originals(dataset).exclude([*images, *asked])


@dataclass
class Identity:
    """Tells HoneyImages and originals of markings apart from other samples.

    Attributes:
        markings: of the dataset
        honey: id of a HoneyImage → its marking
        sources: id of an original → the markings that chose it, also to be asked about
        marked_bytes: SHA-256 of a HoneyImage's file that is no original's → its marking
        source_bytes: SHA-256 of an original's file → the markings that chose it, also to be asked about
    """

    markings: Sequence[KnownMarking]
    honey: dict[str, str] = field(default_factory=dict)
    sources: dict[str, set[str]] = field(default_factory=dict)
    marked_bytes: dict[str, str] = field(default_factory=dict)
    source_bytes: dict[str, set[str]] = field(default_factory=dict)
    _sizes: set[int] = field(default_factory=set)
    _folders: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for marking in self.markings:
            self._folders[os.path.realpath(marking.folder / storage.IMAGES)] = marking.name
            for image in marking.images:
                if image["honey"]:
                    self.honey[image["honey"]] = marking.name
                if image["sample"]:
                    self.sources.setdefault(image["sample"], set()).add(marking.name)
                self.source_bytes.setdefault(image["source_sha256"], set()).add(marking.name)
                self.marked_bytes[image["marked_sha256"]] = marking.name
                self._sizes |= {image["source_bytes"], image["marked_bytes"]}
            for image in marking.asked:
                self.sources.setdefault(image["source"], set()).add(marking.name)
                self.source_bytes.setdefault(image["source_sha256"], set()).add(marking.name)
                self._sizes.add(image["source_bytes"])
        # An unchanged HoneyImage is told from its original by id and path alone
        for digest in self.source_bytes:
            self.marked_bytes.pop(digest, None)

    def sort(
        self, ids: Sequence[str], filepaths: Sequence[str], contents: bool
    ) -> tuple[dict[str, str], dict[str, set[str]]]:
        """Which of some samples are HoneyImages, and which are originals of markings.

        Args:
            ids, filepaths: of the samples
            contents: whether to look into files as well: at those of the size of one that is known

        Returns:
            id → marking of every HoneyImage, and id → markings of every original that was chosen, or holds
            the same bytes as one

        Raises:
            SamplesError: naming an original whose file is a HoneyImage
        """
        honey: dict[str, str] = {}
        sources: dict[str, set[str]] = {}
        real: dict[str, str] = {}
        for sample_id, path in zip(ids, filepaths, strict=True):
            marking = self.honey.get(sample_id)
            if marking is not None:
                honey[sample_id] = marking
                continue
            parent = os.path.dirname(path)
            if parent not in real:
                real[parent] = os.path.realpath(parent)
            marking = self._folders.get(os.path.dirname(real[parent]))
            chosen = set(self.sources.get(sample_id, ()))
            if marking is None and contents and self._may_be_known(path):
                digest = sha256_file(path)
                marking = self.marked_bytes.get(digest)
                chosen |= self.source_bytes.get(digest, set())
            if marking is not None and sample_id in self.sources:
                raise SamplesError(
                    f"sample {sample_id} is an original of marking '{marking}', but its file '{path}' is "
                    "a HoneyImage; set its filepath to the original file again"
                )
            if marking is not None:
                honey[sample_id] = marking
            elif chosen:
                sources[sample_id] = chosen
        return honey, sources

    def _may_be_known(self, path: str) -> bool:
        try:
            return os.path.getsize(path) in self._sizes
        except OSError:
            return False  # whoever needs the file says what is wrong with it
