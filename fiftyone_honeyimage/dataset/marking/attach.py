"""attach_marking: brings a marking back whose record in the dataset was lost, or whose folder was moved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo

from ...core.errors import LedgerError, ParameterError, SamplesError
from ...core.files import sha256_file
from ...core.ledger.ledger import Ledger, load_ledger
from ...core.ledger.marked_files import find_wrong_file
from ...core.limits import check_path
from .. import storage
from ..checks import HONEYIMAGE_TAG, check_collection, check_label_field
from ..identity import DELETED, known_markings
from ..ledger_heads import check_log, note_head
from ..runs import (
    MARKING,
    VERIFICATION,
    catch_up,
    changing,
    check_new_key,
    list_keys,
    made_by,
    root_dataset,
    run_config,
    stored_config,
)
from ..workspace import save_workspace, tidy_sidebar
from .count import count_attached
from .entry import VIEW_DESCRIPTION, enter_in_dataset
from .marking import Marking, load_marking


@dataclass(frozen=True)
class Attached:
    """What was found when a marking was attached.

    Attributes:
        marking: as it is on the dataset now
        num_images: images that were marked
        num_originals: how many of their originals the dataset holds, unchanged
        num_added: HoneyImages that were not in the dataset, and were added again
    """

    marking: Marking
    num_images: int
    num_originals: int
    num_added: int

    def __str__(self) -> str:
        return (
            f"marking '{self.marking.honey_key}' is attached: {self.num_originals} of {self.num_images} "
            f"originals were found, {self.num_added} HoneyImages were added"
        )


def attach_marking(
    samples: fo.core.collections.SampleCollection,
    ledger_path: str | Path,
    folder: str | Path | None,
    *,
    honey_key: str | None,
    label_field: str | None,
) -> Attached:
    """See :func:`fiftyone_honeyimage.attach_marking`."""
    dataset = root_dataset(samples)
    catch_up(dataset)
    check_collection(samples)
    ledger, place, key, label_field = check_attachable(
        dataset, ledger_path, folder, honey_key, label_field
    )
    manifest = storage.read_manifest(place)
    found = find_samples(dataset, ledger, manifest)
    check_same_dataset(dataset, ledger, len(found.originals))

    with storage.locked(place), changing(dataset):
        files = {
            found.honeyimages[image.sample_id]: str(place / image.file)
            for image in ledger.marked_images
            if image.sample_id in found.honeyimages
        }
        if files:
            dataset.set_values("filepath", files, key_field="id", progress=False)
        _take_off(dataset, ledger, key)
        if files:
            dataset.select(list(files)).tag_samples([HONEYIMAGE_TAG, key])
        request = {k: v for k, v in ledger.header.items() if k not in ("format", "plan")}
        if ledger.recipients:
            request["recipients"] = list(ledger.recipients)
        enter_in_dataset(
            dataset,
            key,
            place,
            {**request, "label_field": label_field},
            ledger.commitment,
            ledger.path,
            found.originals,
            found.honeyimages,
        )
        _take_over(dataset, ledger, key)
        count_attached(dataset, ledger)
        note_head(ledger)
        save_workspace(dataset)
    num_images = len(ledger.marked_images)
    return Attached(
        marking=load_marking(dataset, key),
        num_images=num_images,
        num_originals=len(found.originals),
        num_added=num_images - len(files),
    )


def check_attachable(
    dataset: fo.Dataset,
    ledger_path: str | Path,
    folder: str | Path | None,
    honey_key: str | None,
    label_field: str | None,
) -> tuple[Ledger, Path, str, str]:
    """The ledger, folder, key and label field of a marking that is to be attached.

    Raises:
        SamplesError: if the labels cannot be used
        LedgerError: if ledger or folder are missing, altered, or do not belong together
        ParameterError: if something else has the key, or something is no path
    """
    path = check_path("ledger_path", ledger_path)
    place = path.parent if folder is None else check_path("folder", folder)
    ledger = read_marking(path, place)
    key = attached_key(dataset, ledger, honey_key)
    if label_field is None:
        known = list_keys(dataset, MARKING, commitment=ledger.commitment)
        config = run_config(dataset, known[0], MARKING) if known else ledger.header
        label_field = config["label_field"]
    check_label_field(dataset, label_field)
    check_log(dataset, ledger)
    return ledger, place, key, label_field


def read_marking(ledger_path: Path, place: Path) -> Ledger:
    """The ledger, checked against the marking's folder.

    Raises:
        LedgerError: if the ledger is missing or altered, or the folder does not hold its HoneyImages
    """
    if not ledger_path.is_file():
        raise LedgerError(
            f"there is no ledger at '{ledger_path}'; pass the path of the ledger's file"
        )
    ledger = load_ledger(ledger_path)
    manifest = storage.read_manifest(place)
    listed = {
        (i["source"], i["file"], i["source_sha256"], i["marked_sha256"]) for i in manifest["images"]
    }
    images = ledger.marked_images
    held = {(i.sample_id, i.file, i.source_sha256, i.marked_sha256) for i in images}
    if listed != held:
        raise LedgerError(
            f"'{place}' is the folder of another marking than the ledger '{ledger_path}'; pass the folder "
            "that this marking was written to"
        )
    wrong = find_wrong_file(images, place)
    if wrong is not None:
        raise LedgerError(f"{wrong}; restore the marking's folder '{place}' from a backup")
    return ledger


def attached_key(dataset: fo.Dataset, ledger: Ledger, honey_key: str | None) -> str:
    """The key that a marking goes by: as asked, that of its run, or that of the ledger.

    Raises:
        ParameterError: if something else has it
    """
    known = list_keys(dataset, MARKING, commitment=ledger.commitment)
    if known:
        if dataset.has_field(known[0]) and not _is_field_of(dataset, known[0], ledger):
            raise ParameterError(
                f"honey_key: this marking's run was renamed to '{known[0]}', which is the name of another "
                "field too. Rename the run with dataset.rename_run"
            )
        if honey_key not in (None, known[0]):
            raise ParameterError(
                f"honey_key: this marking is on the dataset as '{known[0]}'; rename it with rename_run"
            )
        return known[0]
    key = honey_key or ledger.header["honey_key"]
    if _is_field_of(dataset, key, ledger) and key not in dataset.list_runs():
        return key  # its run was deleted
    left = key in dataset.list_saved_views() and not (
        dataset.has_field(key) or key in dataset.list_runs()
    )
    if left and dataset.get_saved_view_info(key)["description"] == VIEW_DESCRIPTION:
        return key  # so was its field
    check_new_key(dataset, key, "honey_key")
    return key


def check_same_dataset(dataset: fo.Dataset, ledger: Ledger, num_found: int) -> None:
    """Checks that a dataset holds the images that were marked.

    Raises:
        SamplesError: if most of them are not there
    """
    num_images = len(ledger.marked_images)
    if 2 * num_found < num_images:
        raise SamplesError(
            f"dataset '{dataset.name}' holds {num_found} of the {num_images} images that were marked (their "
            "files are compared byte by byte), so this marking is not of this dataset. Pass the dataset that "
            f"was marked ('{ledger.header['dataset_name']}'), or one with the same image files"
        )


@dataclass(frozen=True)
class FoundSamples:
    """The samples of a marking in a dataset, each by the id that the ledger gives the original.

    Attributes:
        originals: whose file is there, unchanged
        honeyimages: that are there
    """

    originals: dict[str, str]
    honeyimages: dict[str, str]


def find_samples(dataset: fo.Dataset, ledger: Ledger, manifest: Mapping[str, Any]) -> FoundSamples:
    """Finds a marking's samples by id and path, else by the bytes of their files.

    Imported again, samples have other ids, and their files other places.
    """
    ids, filepaths = dataset.values(["id", "filepath"])
    paths = dict(zip(ids, filepaths, strict=True))
    images = ledger.marked_images
    honey: dict[str, str] = {}
    for known in known_markings(dataset, filepaths):
        if known.commitment == ledger.commitment or _same_images(known.images, ledger):
            honey |= {i["source"]: i["honey"] for i in known.images if i["honey"] in paths}
    # A HoneyImage's file lies in a folder named after its original's id, wherever that folder is now
    by_file = {image.file: image.sample_id for image in images}
    for sample_id, path in paths.items():
        source = by_file.get("/".join(Path(path).parts[-3:]))
        if source is not None and source not in honey and sample_id not in by_file.values():
            honey[source] = sample_id

    sizes = {
        image[name] for image in manifest["images"] for name in ("source_bytes", "marked_bytes")
    }
    taken = set(honey.values())
    digests = {i: _digest(path, sizes) for i, path in paths.items() if i not in taken}
    originals = {
        image.sample_id: image.sample_id
        for image in images
        if digests.get(image.sample_id) == image.source_sha256
    }
    same: dict[str | None, list[str]] = {}
    for sample_id, digest in digests.items():
        if sample_id not in originals:
            same.setdefault(digest, []).append(sample_id)
    for image in images:
        if image.sample_id not in originals and same.get(image.source_sha256):
            originals[image.sample_id] = same[image.source_sha256].pop(0)
    for image in images:
        changed = image.marked_sha256 != image.source_sha256
        if changed and image.sample_id not in honey and same.get(image.marked_sha256):
            honey[image.sample_id] = same[image.marked_sha256].pop(0)
    return FoundSamples(originals, honey)


def _digest(path: str, sizes: set[int]) -> str | None:
    """The digest of a file, if it may be one of those that are looked for."""
    try:
        return sha256_file(path) if os.path.getsize(path) in sizes else None
    except OSError:
        return None


def _same_images(images: Sequence[Mapping[str, Any]], ledger: Ledger) -> bool:
    held = {(image.sample_id, image.marked_sha256) for image in ledger.marked_images}
    return bool(images) and {(i["source"], i["marked_sha256"]) for i in images} == held


def _is_field_of(dataset: fo.Dataset, name: str, ledger: Ledger) -> bool:
    if not made_by(dataset, name, MARKING):
        return False
    return dataset.get_field(name).info["commitment"] == ledger.commitment


def _take_off(dataset: fo.Dataset, ledger: Ledger, key: str) -> None:
    """Takes off a marking's field and saved view, under whatever key; its run and samples stay."""
    own = [name for name in dataset.get_field_schema() if _is_field_of(dataset, name, ledger)]
    for name in own:
        if name in dataset.list_saved_views():
            dataset.delete_saved_view(name)
        if name != key:
            dataset.exists(name).untag_samples(name)
        dataset.delete_sample_field(name)
    tidy_sidebar(dataset)


def _take_over(dataset: fo.Dataset, ledger: Ledger, key: str) -> None:
    """Lets verifications, and what was noted of a deleted marking, go by the key."""
    for run in list_keys(dataset, VERIFICATION, commitment=ledger.commitment):
        config = stored_config(dataset, run)
        if config.honey_key != key:
            config.honey_key = key
            dataset.update_run_config(run, config)
    left = []
    for entry in dataset.info.get(DELETED, ()):
        if entry["commitment"] != ledger.commitment:
            left.append(entry)
            continue
        config = stored_config(dataset, key)
        config.releases = [*entry["releases"], *(getattr(config, "releases", None) or [])]
        dataset.update_run_config(key, config)
    if DELETED in dataset.info and len(left) < len(dataset.info[DELETED]):
        dataset.info[DELETED] = left
        if not left:
            del dataset.info[DELETED]
        dataset.save()
