"""The files of a marking: HoneyImages that are crafted, measured and written, and their manifest."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checkpoints import save_checkpoint
from ..codecs import Codec, decoded_sources, open_codec
from ..codecs.base import check_change_kept
from ..codecs.previews import without_previews
from ..errors import ImageError
from ..files import (
    ensure_free_space,
    sha256_bytes,
    sha256_file,
    sync_files,
    write_atomic,
    write_json_atomic,
)
from ..images import LazyImages, read_image
from ..methods import METHODS
from ..methods.base import RunSize
from ..methods.crafted import check_result
from ..methods.request import CraftRequest, CraftResult
from ..methods.selection import NO_MEASURES, Candidates
from ..methods.survival import Survival, measure_survival
from ..methods.trade_off import measure_trade_off
from ..metrics import LpipsMetric, LpipsUnavailable, compare_images
from ..models import Proxy, build_model
from ..progress import Report
from ..scores import SideReferences
from ..training import TrainingConfig
from .candidates import choose_candidates
from .folder import CHECKPOINTS, IMAGES, MANIFEST
from .labeled import LabeledSamples
from .loading import keep_rows, load_images
from .reference_models import train_references
from .run_cost import peak_bytes
from .side_files import relabelled, write_probe_sources, write_sides

_logger = logging.getLogger(__name__)


def make_images(
    partial: Path,
    labeled: LabeledSamples,
    hardness: np.ndarray,
    exclusions: dict[str, np.ndarray],
    *,
    request: Mapping[str, Any],
    proxy: Proxy,
    config: TrainingConfig,
    device: str | torch.device | None,
    lpips_backbone: str | Path | None,
    trade_off: int,
    skip_failures: bool,
    report: Report,
    executor: Executor | None = None,
    trained_dir: Path | None = None,
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
) -> None:
    """Chooses, crafts, measures and writes the HoneyImages and their manifest."""
    method = METHODS[request["method"]]
    lpips_metric, lpips_note = (
        _load_lpips(lpips_backbone) if method.changes_pixels else (None, None)
    )
    loaded = load_images(labeled, request["input_size"], skip_failures=skip_failures, report=report)
    position = {sample_id: row for row, sample_id in enumerate(labeled.ids)}
    kept = np.array([position[sample_id] for sample_id in loaded.samples.ids])
    masks = {name: mask[kept] for name, mask in exclusions.items()}
    scores = hardness[kept]
    own = {name: values[kept] for name, values in measures.items()}
    candidates = choose_candidates(loaded.samples, loaded.images, scores, masks, request, own)
    report("Looking for duplicates", 1, 1)

    rows = candidates.rows
    rest = np.setdiff1d(np.arange(len(kept)), rows)
    probes, partners = (
        _read_lazily([loaded.samples.filepaths[row] for row in further])
        for further in (candidates.probes, candidates.partners)
    )
    codecs = [open_codec(loaded.samples.filepaths[row]) for row in rows]
    num_classes = len(labeled.classes)
    ensure_free_space(partial, _disk_bytes(codecs, proxy, num_classes, request["input_size"]))
    checkpoints = partial / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    options = method.Options.read(request)
    craft = CraftRequest(
        candidates=decoded_sources(codecs),
        codecs=codecs,
        candidate_labels=loaded.samples.labels[rows],
        sides=candidates.sides,
        num_tracing_pairs=request.get("num_tracing_pairs", 0),
        probe_sources=probes,
        probe_labels=loaded.samples.labels[candidates.probes],
        partners=partners,
        rest=keep_rows(loaded.images, rest),
        rest_labels=loaded.samples.labels[rest],
        num_classes=num_classes,
        proxy=proxy,
        config=config,
        options=options,
        seed=request["seed"],
        device=device,
        checkpoint_dir=checkpoints,
        report=report,
        executor=executor,
        trained_dir=trained_dir,
    )
    result = method.craft(craft)
    check_result(craft, result)
    references = train_references(craft, result, request.get("num_references", 0))
    survival = None
    if result.in_model is not None:
        survival = measure_survival(
            result.images,
            loaded.samples.labels[rows],
            result.out_model,
            result.in_model,
            request["input_size"],
            seed=request["seed"],
            device=device,
            report=report,
        )
    manifest = _write_images(
        partial,
        loaded.samples,
        candidates,
        codecs,
        result,
        references,
        survival,
        scores,
        method.most_changed(options),
        request["input_size"],
        lpips_metric,
        report,
    )
    curve = None
    size = RunSize(
        num_images=len(rows) + len(rest),
        num_marked=len(rows),
        epochs=config.epochs,
        trade_off=trade_off,
        relative_size=_relative_size(codecs, request["input_size"]),
    )
    plan = method.plan_trade_off(size, options)
    if plan is not None:
        try:
            curve = measure_trade_off(craft, result, plan, lpips_metric=lpips_metric, report=report)
        except ImageError as error:  # at another budget, which the HoneyImages do not depend on
            _logger.warning(
                "The trade-off of '%s' was not measured: %s", request["honey_key"], error
            )
    manifest["trade_off"] = {} if curve is None else curve.to_dict()
    manifest["lpips_note"] = lpips_note
    manifest["probe_sources"] = write_probe_sources(partial, loaded.samples, candidates)
    manifest["num_images"] = len(loaded.samples)
    manifest["failures"] = loaded.failures
    # Written last: a manifest says that every image that it lists is there.
    write_json_atomic(partial / MANIFEST, manifest)


def _read_lazily(paths: Sequence[str]) -> LazyImages:
    return LazyImages(len(paths), lambda row: read_image(paths[row]))


def _relative_size(codecs: Sequence[Codec], input_size: int) -> float:
    """Pixels of an image, on average, over pixels of the proxy's input."""
    pixels = float(np.mean([codec.width * codec.height for codec in codecs]))
    return pixels / input_size**2


def _disk_bytes(codecs: Sequence[Codec], proxy: Proxy, num_classes: int, input_size: int) -> int:
    """See :func:`.run_cost.peak_bytes`."""
    model = build_model(proxy, num_classes, input_size=input_size, seed=0)
    weights = sum(value.nbytes for value in model.state_dict().values())
    values = sum(3 * codec.width * codec.height for codec in codecs)
    return peak_bytes(weights, values, len(codecs))


def _write_images(
    partial: Path,
    labeled: LabeledSamples,
    candidates: Candidates,
    codecs: Sequence[Codec],
    result: CraftResult,
    references: Sequence[tuple[SideReferences, SideReferences]],
    survival: Survival | None,
    hardness: np.ndarray,
    epsilon: float,
    input_size: int,
    lpips_metric: LpipsMetric | None,
    report: Report,
) -> dict[str, Any]:
    assert result.encoded is not None  # there are codecs
    rows = candidates.rows
    pair_of = {place: pair for pair, both in enumerate(candidates.sides) for place in both.flat}
    before = labeled.labels[rows]
    after = before if result.labels is None else result.labels
    images = []
    for number, row in enumerate(rows):
        # A folder each, so that the file keeps the name that it has to have in a release.
        name = f"{IMAGES}/{labeled.ids[row]}/{Path(labeled.filepaths[row]).name}"
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        # The same bytes where there is no thumbnail, or none may be there
        data = without_previews(result.encoded[number], labeled.filepaths[row])
        write_atomic(partial / name, data, durable=False)
        marked = sha256_file(partial / name)
        if marked != sha256_bytes(data):
            raise ImageError(f"{partial / name} does not hold what was written; is the disk sound?")
        original = codecs[number].original()
        check_change_kept(original, result.images[number], epsilon, labeled.filepaths[row])
        measures = compare_images(original, result.images[number], lpips_metric)
        images.append(
            {
                "source": labeled.ids[row],
                "label": labeled.classes[after[number]],
                **relabelled(labeled.classes, before[number], after[number]),
                "file": name,
                "pair": pair_of.get(number),
                **({"unchanged": True} if number in result.unchanged else {}),
                "hardness": float(hardness[row]),
                "source_sha256": sha256_file(labeled.filepaths[row]),
                "marked_sha256": marked,
                "source_bytes": os.path.getsize(labeled.filepaths[row]),
                "marked_bytes": len(data),
                "proxy_loss": float(result.proxy_losses[number]),
                "original_loss": float(result.original_losses[number]),
                "in_loss": _finite(result.in_losses[number]),
                "survival": _survival_of(survival, number),
                **{name: _finite(value) for name, value in measures.items()},
            }
        )
        report("Measuring", number + 1, len(codecs))
    sync_files([partial / row["file"] for row in images])
    sides = write_sides(partial, labeled, candidates, result, references, input_size)
    models = {"f_out.pt": result.out_model, "f_in.pt": result.in_model}
    for name, model in models.items():
        if model is not None:
            save_checkpoint(partial / name, model.state_dict())
    return {
        "images": images,
        "models": [name for name, model in models.items() if model is not None],
        "survival": {} if survival is None else survival.summary(),
        "excluded": dict(candidates.excluded),
        "history": result.history.tolist(),
        **({"sides": sides} if sides else {}),
    }


def _survival_of(survival: Survival | None, number: int) -> dict[str, dict[str, Any]]:
    """Transform → loss gap of one image and whether its effect is kept."""
    if survival is None:
        return {}
    return {
        name: {"gap": float(gaps[number]), "kept": bool(survival.kept[name][number])}
        for name, gaps in survival.gaps.items()
    }


def _finite(value: Any) -> float | None:
    """JSON has no NaN or infinity; an unchanged image has an infinite PSNR."""
    return None if value is None or not np.isfinite(value) else float(value)


def _load_lpips(backbone: str | Path | None) -> tuple[LpipsMetric | None, str | None]:
    try:
        return LpipsMetric(backbone_file=backbone), None
    except LpipsUnavailable as error:
        if backbone is not None:
            raise
        return None, str(error)
