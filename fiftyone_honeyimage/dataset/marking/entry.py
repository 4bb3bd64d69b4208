"""A marking in its dataset: the samples, field, view and run that are added, and how they are taken off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from .. import storage
from ..checks import HONEYIMAGE_TAG
from ..identity import record, recorded_images
from ..runs import MADE_BY, MARKING, is_complete, list_keys, made_by, save_run, update_run
from ..workspace import group_in_sidebar, tidy_sidebar
from .marking import HONEYIMAGE, ORIGINAL

#: Of a marking's saved view, which tells it from others of the same name
VIEW_DESCRIPTION = "HoneyImages beside their originals"

_METRICS = ("linf", "psnr", "ssim", "worst_window", "lpips")


def enter_in_dataset(
    dataset: fo.Dataset,
    honey_key: str,
    folder: Path,
    request: Mapping[str, Any],
    commitment: str,
    ledger_path: Path,
    sample_ids: Mapping[str, str] | None = None,
    present: Mapping[str, str] | None = None,
) -> None:
    """Adds the HoneyImages, their field, tag and saved view, and registers the run.

    A run of this key that is there already is brought up to date.

    Args:
        dataset, honey_key: where the marking is entered, and as what
        folder: its files
        request: what it was asked for
        commitment, ledger_path: of its ledger
        sample_ids (None): ``source`` of an image → id of the original in this dataset, of those that are
            there; by default each is there under its own
        present (None): ``source`` of an image → id of the HoneyImage's sample, of those that are there
    """
    manifest = storage.read_manifest(folder)
    images = manifest["images"]
    label_field = request["label_field"]
    if sample_ids is None:
        sample_ids = {image["source"]: image["source"] for image in images}
    honey_ids = dict(present or {})
    _declare_fields(dataset, honey_key, folder, commitment)

    entered: dict[str, fo.Sample] = {}
    told: dict[str, fo.DynamicEmbeddedDocument] = {}
    for image in images:
        source = sample_ids.get(image["source"], image["source"])
        value = fo.DynamicEmbeddedDocument(
            source=source,
            role=HONEYIMAGE,
            pair=image["pair"],
            proxy_loss=image["proxy_loss"],
            **{name: image[name] for name in _METRICS},
        )
        if image["source"] in sample_ids:
            told[source] = fo.DynamicEmbeddedDocument(
                source=source, role=ORIGINAL, pair=image["pair"]
            )
        if image["source"] in honey_ids:
            told[honey_ids[image["source"]]] = value
            continue
        path = str(folder / image["file"])
        sample = fo.Sample(
            filepath=path,
            tags=[HONEYIMAGE_TAG, honey_key],
            metadata=fo.ImageMetadata.build_for(path),
        )
        sample[label_field] = fo.Classification(label=image["label"])
        sample[honey_key] = value
        entered[image["source"]] = sample
    added = dataset.add_samples(list(entered.values()), progress=False)
    honey_ids.update(zip(entered, added, strict=True))
    dataset.set_values(honey_key, told, key_field="id", progress=False)

    # Panels and views look for a few HoneyImages among all samples; the field takes its indexes along
    for part in ("source", "role", "pair"):
        dataset.create_index(f"{honey_key}.{part}")
    save_marking_view(dataset, honey_key)
    metrics: dict[str, float | None] = {}
    for name in (*_METRICS, "stl", "proxy_loss", "original_loss", "in_loss"):
        values = [image[name] for image in images if image.get(name) is not None]
        metrics[name] = float(np.mean(values)) if values else None
    save = update_run if honey_key in dataset.list_runs() else save_run
    save(
        dataset,
        honey_key,
        MARKING,
        {
            **request,
            "honey_key": honey_key,
            "marking_method": request["method"],  # "method" of a run's config is the run's own
            "output_dir": str(folder),
            "ledger_path": str(ledger_path),
            "commitment": commitment,
            "was_persistent": dataset.persistent,
        },
        {
            "images": record(images, sample_ids, honey_ids),
            "asked": [
                {name: image[name] for name in ("source", "source_sha256", "source_bytes")}
                for image in manifest.get("probe_sources", ())
            ],
            "metrics": metrics,
            "survival": manifest["survival"],
            "excluded": manifest["excluded"],
            "trade_off": manifest.get("trade_off", {}),
            "worst": _worst_visibility(images),
            "history": manifest["history"],
            "failures": manifest["failures"],
            "lpips_note": manifest["lpips_note"],
            "num_images": manifest["num_images"],
        },
    )
    make_persistent(dataset)


def make_persistent(dataset: fo.Dataset) -> None:
    """FiftyOne deletes datasets that are not persistent, and with them the record of what is withheld."""
    if not dataset.persistent:
        dataset.persistent = True


def _worst_visibility(images: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The most visible value of each measure over the images of a manifest, None if not measured."""
    worst: dict[str, float | None] = {}
    for name in _METRICS:
        values = [image[name] for image in images if image.get(name) is not None]
        # The more alike two images are, the larger PSNR and SSIM
        most = min if name in ("psnr", "ssim", "worst_window") else max
        worst[name] = most(values) if values else None
    return worst


def save_marking_view(dataset: fo.Dataset, honey_key: str) -> None:
    """Saves the view of a marking: every original followed by its HoneyImage."""
    view = dataset.match(F(f"{honey_key}.source") != None).sort_by(  # noqa: E711 (a query)
        [(f"{honey_key}.source", 1), (f"{honey_key}.role", -1)]
    )
    dataset.save_view(honey_key, view, description=VIEW_DESCRIPTION, overwrite=True)


def field_description(honey_key: str) -> str:
    """What the App says of a marking's field."""
    return f"HoneyImage marking '{honey_key}'"


def _declare_fields(dataset: fo.Dataset, honey_key: str, folder: Path, commitment: str) -> None:
    """Declares a marking's field, in one step: where there is one, it says whose it is."""
    parts = []
    for name, kind, description in (
        ("source", fo.StringField, "ID of the original sample"),
        ("role", fo.StringField, "'original' or 'honeyimage'"),
        ("pair", fo.IntField, "Number of the pair of twins; empty for a HoneyImage without a twin"),
        ("linf", fo.FloatField, "Largest change of any value, 0 to 255"),
        ("psnr", fo.FloatField, "Peak signal-to-noise ratio to the original, dB"),
        ("ssim", fo.FloatField, "Structural similarity to the original, at most 1"),
        ("worst_window", fo.FloatField, "Lowest structural similarity of any window of 11 pixels"),
        ("lpips", fo.FloatField, "LPIPS distance to the original"),
        ("proxy_loss", fo.FloatField, "Loss of the model that has not seen the marks, nats"),
    ):
        part = kind(description=description)
        part.name = name
        parts.append(part)
    dataset.add_sample_field(
        honey_key,
        fo.EmbeddedDocumentField,
        embedded_doc_type=fo.DynamicEmbeddedDocument,
        fields=parts,
        description=field_description(honey_key),
        info={
            MADE_BY: MARKING,
            "output_dir": str(folder),
            "dataset_id": str(dataset._doc.id),
            "commitment": commitment,
        },
    )
    group_in_sidebar(dataset, [f"{honey_key}.{part.name}" for part in parts])


def remove_from_dataset(dataset: fo.Dataset, honey_key: str) -> None:
    """Takes a marking's run, saved view, samples and field off the dataset; files are left alone.

    The field goes last: it tells what the rest belongs to, so that a removal that is killed can be
    finished.
    """
    added = _added_samples(dataset, honey_key)
    if honey_key in list_keys(dataset, MARKING):
        dataset.delete_run(honey_key)
    if not made_by(dataset, honey_key, MARKING):
        return
    if honey_key in dataset.list_saved_views():
        dataset.delete_saved_view(honey_key)
    dataset.delete_samples(added)
    dataset.delete_sample_field(honey_key)
    tidy_sidebar(dataset)


def _added_samples(dataset: fo.Dataset, honey_key: str) -> list[str]:
    """Ids of the samples that a marking added: those of its run, or that lie in its folder if it has none."""
    images = recorded_images(dataset, honey_key)
    if images or not made_by(dataset, honey_key, MARKING):
        return [image["honey"] for image in images]
    # The path too: a script may have written "honeyimage" on originals
    folder = Path(dataset.get_field(honey_key).info["output_dir"]) / storage.IMAGES
    view = dataset.match(F(f"{honey_key}.role") == HONEYIMAGE)
    return [
        sample_id
        for sample_id, path in zip(*view.values(["id", "filepath"]), strict=True)
        if folder in Path(path).parents
    ]


def recover(dataset: fo.Dataset, honey_key: str, folder: Path, request: Mapping[str, Any]) -> bool:
    """Cleans up after runs that were killed while they were being entered in the dataset.

    Returns:
        whether this very run was killed in its last step, and is complete

    Raises:
        InterruptedRunError: if the folder holds an interrupted run of another marking
    """
    if storage.is_ours(folder):
        owners = list_keys(dataset, MARKING, output_dir=str(folder))
        if any(is_complete(dataset, key) for key in owners):
            same = storage.fingerprint(storage.read_request(folder)) == storage.fingerprint(request)
            (folder / storage.REQUEST).unlink()
            return same and honey_key in owners
        storage.check_owner(folder, request)
    if is_complete(dataset, honey_key):
        return False

    if made_by(dataset, honey_key, MARKING):
        left = Path(dataset.get_field(honey_key).info["output_dir"])
        # The lock of the other folder: no run is entering it right now
        with nullcontext() if left == folder else storage.locked(left):
            remove_from_dataset(dataset, honey_key)
            if left != folder and storage.is_ours(left):
                storage.reopen(left)
    if storage.is_ours(folder):
        storage.reopen(folder)
    return False
