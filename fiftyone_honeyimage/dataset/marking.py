"""generate_honeyimages: hard images become HoneyImages, beside their originals."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import torch
from fiftyone import ViewField as F

from .. import __version__
from ..core.candidates import (
    Candidates,
    default_num_honeyimages,
    default_num_pairs,
    select_candidates,
)
from ..core.checkpoints import save_checkpoint
from ..core.codecs import Codec, DecodedSources, check_markable, encoder_versions, open_codec
from ..core.device import choose_device
from ..core.errors import ImageError, ParameterError, SamplesError
from ..core.evidence.ledger import Ledger, MarkedImage, create_ledger, load_ledger
from ..core.evidence.verdict import Plan
from ..core.files import (
    ensure_free_space,
    sha256_bytes,
    sha256_file,
    write_atomic,
    write_json_atomic,
)
from ..core.hardness import find_duplicates
from ..core.marking import METHODS, CraftRequest, CraftResult
from ..core.marking.base import check_budget
from ..core.marking.survival import Survival, measure_survival
from ..core.marking.trade_off import measure_trade_off, plan_trade_off
from ..core.metrics import LpipsMetric, LpipsUnavailable, compare_images
from ..core.models import Proxy, build_model, proxy_name
from ..core.training import TrainingConfig
from . import storage
from .checks import HONEYIMAGE_TAG, check_key, check_new_folder, check_output_place, whole_number
from .hardness import label_error_field, training_config
from .loading import keep_rows, load_images
from .progress import Progress, StageBar
from .runs import (
    MADE_BY,
    MARKING,
    catch_up,
    check_new_key,
    is_complete,
    list_keys,
    made_by,
    root_dataset,
    run_config,
    run_results,
    save_run,
)
from .samples import LabeledSamples, proxy_input_size, read_labels
from .workspace import group_in_sidebar, save_workspace, tidy_sidebar

ORIGINAL = "original"
HONEYIMAGE = "honeyimage"

#: What ``exclude=`` accepts.
EXCLUSIONS = ("label_errors", "duplicates")

_METRICS = ("linf", "psnr", "ssim", "lpips")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Marking:
    """A marking as it is kept on the dataset.

    Attributes:
        honey_key: the run's key; also the field, the tag and the saved view of that name
        dataset_name: the dataset
        num_honeyimages: N, HoneyImages that a release holds
        num_pairs: M, pairs of twins; as many images are withheld from a release
        output_dir: the folder of the HoneyImage files and the ledger
        ledger_path: the owner's secret record
        commitment: the ledger's public salted hash; publish or time-stamp it before release
        excluded: how many images were left out of the candidates, by reason
        metrics: mean of each measure over the HoneyImages
        worst: the most visible value of each measure over the HoneyImages
        trade_off: loss gap and visibility at several budgets, see
            :class:`~..core.marking.trade_off.TradeOff`; empty if it was not measured
        survival: transform → mean loss gap under the proxies, and share of HoneyImages that keep their
            effect
        config: the run's whole config
        timestamp: when the run was registered, UTC
    """

    honey_key: str
    dataset_name: str
    num_honeyimages: int
    num_pairs: int
    output_dir: Path
    ledger_path: Path
    commitment: str
    excluded: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    survival: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    worst: Mapping[str, float | None] = field(default_factory=dict)
    trade_off: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    timestamp: Any = None

    def view(self) -> fo.DatasetView:
        """The HoneyImages beside their originals."""
        return fo.load_dataset(self.dataset_name).load_saved_view(self.honey_key)

    def load_ledger(self) -> Ledger:
        """Reads the ledger and checks it against the commitment.

        Raises:
            LedgerError: if it is missing or altered
        """
        return load_ledger(self.ledger_path, commitment=self.commitment)


def generate_honeyimages(
    samples: fo.core.collections.SampleCollection,
    label_field: str,
    honey_key: str,
    *,
    method: str,
    num_honeyimages: int | None,
    num_pairs: int | None,
    hardness_field: str,
    exclude: Collection[str],
    epsilon: float,
    step_size: float,
    num_steps: int,
    inner: str,
    robust: bool,
    smoothing: float,
    proxy: Proxy,
    input_size: int | None,
    training: TrainingConfig | Mapping[str, Any] | None,
    alpha: float,
    test: str,
    output_dir: str | Path | None,
    lpips_backbone: str | Path | None,
    trade_off: int,
    seed: int,
    device: str | None,
    skip_failures: bool,
    progress: Progress,
) -> Marking:
    """See :func:`fiftyone_honeyimage.generate_honeyimages`."""
    check_key(honey_key, "honey_key")
    if method not in METHODS:
        raise ParameterError(f"there is no method {method!r}; choose from {sorted(METHODS)}")
    num_steps = whole_number(num_steps, "num_steps", 1, 1000)
    check_budget(epsilon, step_size, num_steps, inner, smoothing)
    check_exclusions(exclude)
    trade_off = whole_number(trade_off, "trade_off", 0)
    seed = whole_number(seed, "seed", 0)
    config = training_config(training)
    chosen = choose_device(device)
    proxy_label = proxy_name(proxy)
    plan = Plan(alpha=alpha, test=test)

    labeled = read_labels(samples, label_field)
    dataset = root_dataset(samples)
    folder = output_folder(dataset, honey_key, output_dir)
    hardness, label_errors = read_hardness(samples, labeled, hardness_field)
    size = proxy_input_size(labeled, input_size)
    if num_pairs is None:
        num_pairs = default_num_pairs(len(labeled))
    num_pairs = whole_number(num_pairs, "num_pairs", 0)
    if num_honeyimages is None:
        num_honeyimages = default_num_honeyimages(len(labeled), num_pairs)
    num_honeyimages = whole_number(num_honeyimages, "num_honeyimages", 1)

    request = {
        "dataset_id": str(dataset._doc.id),
        "samples": storage.fingerprint({"ids": labeled.ids, "files": _states(labeled.filepaths)}),
        "labels": storage.fingerprint({"labels": labeled.labels.tolist()}),
        "hardness": storage.fingerprint({"hardness": hardness.tolist()}),
        "label_field": label_field,
        "classes": labeled.classes,
        "honey_key": honey_key,
        "method": method,
        "num_honeyimages": num_honeyimages,
        "num_pairs": num_pairs,
        "hardness_field": hardness_field,
        "exclude": sorted(exclude),
        "epsilon": float(epsilon),
        "step_size": float(step_size),
        "num_steps": num_steps,
        "inner": inner,
        "robust": bool(robust),
        "smoothing": float(smoothing),
        "proxy": proxy_label,
        "input_size": size,
        "training": asdict(config),
        "alpha": alpha,
        "test": test,
        "seed": seed,
        "device": str(chosen),
        "version": __version__,
        "encoders": encoder_versions(),
    }

    check_output_place(folder, labeled.filepaths, "output_dir")
    with storage.locked(folder):
        catch_up(dataset)
        if recover(dataset, honey_key, folder, request):
            return load_marking(dataset, honey_key)
        check_new_key(dataset, honey_key, "honey_key")
        check_new_folder(folder, "output_dir")
        # Counts are checked on the ranking before anything is read or trained; duplicates, which
        # need the pixels, are left out below.
        exclusions = exclusion_masks(exclude, hardness, label_errors)
        _select(hardness, labeled.labels, exclusions, request)

        stages = {
            "Reading images": 5,
            "Looking for duplicates": 2,
            "Training the out-model": 35,
            "Training the in-model": 35,
            "Crafting HoneyImages": 20,
            "Fitting files": 3,
            "Measuring": 2,
            "Measuring survival": 2,
            "Measuring the trade-off": 2,
            "Writing": 1,
        }
        with StageBar(stages, progress) as bar, storage.making(folder, request) as partial:
            if not (partial / storage.MANIFEST).exists():
                _make_images(
                    partial,
                    labeled,
                    hardness,
                    exclusions,
                    request=request,
                    proxy=proxy,
                    config=config,
                    device=chosen,
                    lpips_backbone=lpips_backbone,
                    trade_off=trade_off,
                    skip_failures=skip_failures,
                    bar=bar,
                )
            bar.report("Writing", 0, 1)
            # Hours may have passed: whatever took the key meanwhile is not touched
            catch_up(dataset)
            check_new_key(dataset, honey_key, "honey_key")
            ledger = _make_ledger(partial, dataset, request, plan)
            storage.complete(partial, folder)
            try:
                enter_in_dataset(dataset, honey_key, folder, request, ledger.commitment)
            except BaseException:
                # Whatever went wrong, the dataset is left as it was; the files stay for a retry.
                remove_from_dataset(dataset, honey_key)
                storage.reopen(folder)
                raise
            (folder / storage.REQUEST).unlink()
            save_workspace(dataset)
    return load_marking(dataset, honey_key)


def _states(filepaths: Sequence[str]) -> list[tuple[str, int, int] | None]:
    """What tells that a file was changed between an interrupted run and the next."""
    states: list[tuple[str, int, int] | None] = []
    for path in filepaths:
        try:
            found = os.stat(path)
        except OSError:
            states.append(None)
        else:
            states.append((path, found.st_size, found.st_mtime_ns))
    return states


def output_folder(dataset: fo.Dataset, honey_key: str, output_dir: str | Path | None) -> Path:
    """The marking's folder, absolute."""
    if output_dir is None:
        return storage.default_output_dir(dataset, honey_key)
    return Path(output_dir).expanduser().absolute()


def check_exclusions(exclude: Collection[str]) -> None:
    """Checks the names in ``exclude``.

    Raises:
        ParameterError: if one is unknown
    """
    is_list = isinstance(exclude, Collection) and not isinstance(exclude, str)
    unknown = [name for name in exclude if name not in EXCLUSIONS] if is_list else [exclude]
    if unknown:
        raise ParameterError(
            f"exclude takes a list of names from {list(EXCLUSIONS)}; found {unknown[0]!r}"
        )


def read_hardness(
    samples: fo.core.collections.SampleCollection, labeled: LabeledSamples, hardness_field: str
) -> tuple[np.ndarray, np.ndarray]:
    """float64 (N,) hardness, NaN where there is none, and bool (N,) suspected label errors.

    Raises:
        SamplesError: if there are no scores
    """
    if not samples.has_field(hardness_field):
        raise SamplesError(
            f"there is no field '{hardness_field}' with hardness scores; run "
            f"compute_hardness(samples, label_field, hardness_field='{hardness_field}') first"
        )
    if not isinstance(samples.get_field(hardness_field), fo.FloatField):
        raise SamplesError(f"field '{hardness_field}' does not hold numbers; pass another field")

    errors_field = label_error_field(hardness_field)
    has_errors = samples.has_field(errors_field)
    fields = ["id", hardness_field] + ([errors_field] if has_errors else [])
    ids, values, *rest = samples.values(fields)
    by_id = dict(zip(ids, values, strict=True))
    scores = np.array(
        [np.nan if by_id[i] is None else by_id[i] for i in labeled.ids], dtype=np.float64
    )
    if np.isnan(scores).all():
        raise SamplesError(
            f"field '{hardness_field}' is empty on these samples; run compute_hardness on them first"
        )
    flags = dict(zip(ids, rest[0], strict=True)) if has_errors else {}
    errors = np.array([bool(flags.get(i)) for i in labeled.ids])
    return scores, errors


def exclusion_masks(
    exclude: Collection[str], hardness: np.ndarray, label_errors: np.ndarray
) -> dict[str, np.ndarray]:
    """Which images may not be chosen, by reason, as far as it is known before images are read."""
    masks = {}
    missing = np.isnan(hardness)
    if missing.any():
        masks["no_hardness"] = missing
    if "label_errors" in exclude:
        masks["label_errors"] = label_errors & ~missing
    return masks


def _make_images(
    partial: Path,
    labeled: LabeledSamples,
    hardness: np.ndarray,
    exclusions: dict[str, np.ndarray],
    *,
    request: Mapping[str, Any],
    proxy: Proxy,
    config: TrainingConfig,
    device: torch.device,
    lpips_backbone: str | Path | None,
    trade_off: int,
    skip_failures: bool,
    bar: StageBar,
) -> None:
    """Chooses, crafts, measures and writes the HoneyImages and their manifest."""
    lpips_metric, lpips_note = _load_lpips(lpips_backbone)
    loaded = load_images(
        labeled, request["input_size"], skip_failures=skip_failures, report=bar.report
    )
    position = {sample_id: row for row, sample_id in enumerate(labeled.ids)}
    kept = np.array([position[sample_id] for sample_id in loaded.samples.ids])
    masks = {name: mask[kept] for name, mask in exclusions.items()}
    scores = hardness[kept]
    candidates = _choose(loaded.samples, loaded.images, scores, masks, request)
    bar.report("Looking for duplicates", 1, 1)

    rows = candidates.rows
    rest = np.setdiff1d(np.arange(len(kept)), rows)
    codecs = [open_codec(loaded.samples.filepaths[row]) for row in rows]
    num_classes = len(labeled.classes)
    ensure_free_space(partial, _disk_bytes(codecs, proxy, num_classes, request["input_size"]))
    checkpoints = partial / storage.CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    craft = CraftRequest(
        candidates=DecodedSources(codecs),
        codecs=codecs,
        candidate_labels=loaded.samples.labels[rows],
        rest=keep_rows(loaded.images, rest),
        rest_labels=loaded.samples.labels[rest],
        num_classes=num_classes,
        proxy=proxy,
        config=config,
        epsilon=request["epsilon"],
        step_size=request["step_size"],
        num_steps=request["num_steps"],
        inner=request["inner"],
        robust=request["robust"],
        smoothing=request["smoothing"],
        seed=request["seed"],
        device=device,
        checkpoint_dir=checkpoints,
        report=bar.report,
    )
    result = METHODS[request["method"]](craft)
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
            report=bar.report,
        )
    manifest = _write_images(
        partial, loaded.samples, candidates, codecs, result, survival, scores, lpips_metric, bar
    )
    plan = plan_trade_off(
        trade_off,
        num_candidates=len(rows),
        num_rest=len(rest),
        num_steps=request["num_steps"],
        epochs=config.epochs,
        inner=request["inner"],
        epsilon=request["epsilon"],
        relative_size=_relative_size(codecs, request["input_size"]),
    )
    try:
        curve = measure_trade_off(craft, result, plan, lpips_metric=lpips_metric, report=bar.report)
    except ImageError as error:  # at another budget, which the HoneyImages do not depend on
        _logger.warning("The trade-off of '%s' was not measured: %s", request["honey_key"], error)
        curve = None
    manifest["trade_off"] = {} if curve is None else curve.to_dict()
    manifest["lpips_note"] = lpips_note
    manifest["num_images"] = len(loaded.samples)
    manifest["failures"] = loaded.failures
    # Written last: a manifest says that every image that it lists is there.
    write_json_atomic(partial / storage.MANIFEST, manifest)


def _relative_size(codecs: Sequence[Codec], input_size: int) -> float:
    """Pixels of an image, on average, over pixels of the proxy's input."""
    pixels = float(np.mean([codec.width * codec.height for codec in codecs]))
    return pixels / input_size**2


def _disk_bytes(codecs: Sequence[Codec], proxy: Proxy, num_classes: int, input_size: int) -> int:
    """At most so many bytes lie on the disk at once while a marking is made."""
    model = build_model(proxy, num_classes, input_size=input_size, seed=0)
    weights = sum(value.nbytes for value in model.state_dict().values())
    values = sum(3 * codec.width * codec.height for codec in codecs)
    # Both models' checkpoints, the newer of the in-model's beside the older, and both models once
    # more. Perturbations are kept twice, in one or two bytes a value, and finished files twice; a file
    # and its folder take whole blocks.
    return 5 * weights + (2 * 2 + 2) * values + 3 * 4096 * len(codecs)


def _select(
    hardness: np.ndarray,
    labels: np.ndarray,
    masks: Mapping[str, np.ndarray],
    request: Mapping[str, Any],
) -> Candidates:
    return select_candidates(
        np.nan_to_num(hardness, nan=-np.inf),
        labels,
        num_honeyimages=request["num_honeyimages"],
        num_pairs=request["num_pairs"],
        excluded=masks,
    )


def _choose(
    labeled: LabeledSamples,
    images: torch.Tensor,
    hardness: np.ndarray,
    masks: dict[str, np.ndarray],
    request: Mapping[str, Any],
) -> Candidates:
    """Selects the candidates, leaving out images that cannot be written again, and duplicates."""
    duplicates = "duplicates" in request["exclude"]
    if duplicates:
        masks["duplicates"] = np.zeros(len(labeled), dtype=bool)
    # Only images that would be chosen are looked at, and compared with all others; those that move up
    # in their stead are looked at in the next turn, until no chosen image has to be left out.
    checked = np.zeros(len(labeled), dtype=bool)
    reason = ""
    while True:
        try:
            candidates = _select(hardness, labeled.labels, masks, request)
        except SamplesError as error:
            raise SamplesError(f"{error}{reason}") from error
        new = candidates.rows[~checked[candidates.rows]]
        if len(new) == 0:
            return candidates
        if duplicates:
            masks["duplicates"][new] = find_duplicates(images, new)
        for row in new:
            try:
                check_markable(labeled.filepaths[row])
            except ImageError as error:
                masks.setdefault("cannot_be_marked", np.zeros(len(labeled), dtype=bool))[row] = True
                reason = reason or f". The first that cannot be marked: {error}"
        checked[new] = True


def _write_images(
    partial: Path,
    labeled: LabeledSamples,
    candidates: Candidates,
    codecs: Sequence[Codec],
    result: CraftResult,
    survival: Survival | None,
    hardness: np.ndarray,
    lpips_metric: LpipsMetric | None,
    bar: StageBar,
) -> dict[str, Any]:
    assert result.encoded is not None  # there are codecs
    pair_of = {int(row): pair for pair, twins in enumerate(candidates.pairs) for row in twins}
    images = []
    for number, row in enumerate(candidates.rows):
        # A folder each, so that the file keeps the name that it has to have in a release.
        name = f"{storage.IMAGES}/{labeled.ids[row]}/{Path(labeled.filepaths[row]).name}"
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        data = result.encoded[number]
        write_atomic(partial / name, data)
        marked = sha256_file(partial / name)
        if marked != sha256_bytes(data):
            raise ImageError(f"{partial / name} does not hold what was written; is the disk sound?")
        measures = compare_images(codecs[number].original(), result.images[number], lpips_metric)
        images.append(
            {
                "source": labeled.ids[row],
                "label": labeled.classes[labeled.labels[row]],
                "file": name,
                "pair": pair_of.get(int(row)),
                "hardness": float(hardness[row]),
                "source_sha256": sha256_file(labeled.filepaths[row]),
                "marked_sha256": marked,
                "proxy_loss": float(result.proxy_losses[number]),
                "original_loss": float(result.original_losses[number]),
                "in_loss": _finite(result.in_losses[number]),
                "survival": _survival_of(survival, number),
                **{name: _finite(value) for name, value in measures.items()},
            }
        )
        bar.report("Measuring", number + 1, len(codecs))
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


def _make_ledger(
    partial: Path, dataset: fo.Dataset, request: Mapping[str, Any], plan: Plan
) -> Ledger:
    """Draws the coins and writes the ledger; the last step of a marking, done once."""
    path = partial / storage.LEDGER
    if path.exists():
        return load_ledger(path)
    images = storage.read_manifest(partial)["images"]
    marked = [
        MarkedImage(
            sample_id=image["source"],
            label=image["label"],
            file=image["file"],
            source_sha256=image["source_sha256"],
            marked_sha256=image["marked_sha256"],
        )
        for image in images
    ]
    singles = [image for image, row in zip(marked, images, strict=True) if row["pair"] is None]
    twins: dict[int, list[MarkedImage]] = {}
    for image, row in zip(marked, images, strict=True):
        if row["pair"] is not None:
            twins.setdefault(row["pair"], []).append(image)
    header = {
        **request,
        "dataset_name": dataset.name,
        "fiftyone_version": fo.__version__,
        "torch_version": torch.__version__,
        "python_version": platform.python_version(),
    }
    pairs = [(twins[pair][0], twins[pair][1]) for pair in sorted(twins)]
    return create_ledger(path, header, singles, pairs, plan)


def enter_in_dataset(
    dataset: fo.Dataset,
    honey_key: str,
    folder: Path,
    request: Mapping[str, Any],
    commitment: str,
) -> None:
    """Adds the HoneyImages, their field, tag and saved view, and registers the run."""
    manifest = storage.read_manifest(folder)
    images = manifest["images"]
    label_field = request["label_field"]
    _declare_fields(dataset, honey_key, folder)

    entered = []
    for image in images:
        path = str(folder / image["file"])
        sample = fo.Sample(
            filepath=path,
            tags=[HONEYIMAGE_TAG, honey_key],
            metadata=fo.ImageMetadata.build_for(path),
        )
        sample[label_field] = fo.Classification(label=image["label"])
        sample[honey_key] = fo.DynamicEmbeddedDocument(
            source=image["source"],
            role=HONEYIMAGE,
            pair=image["pair"],
            proxy_loss=image["proxy_loss"],
            **{name: image[name] for name in _METRICS},
        )
        entered.append(sample)
    dataset.add_samples(entered, progress=False)
    dataset.set_values(
        honey_key,
        {
            image["source"]: fo.DynamicEmbeddedDocument(
                source=image["source"], role=ORIGINAL, pair=image["pair"]
            )
            for image in images
        },
        key_field="id",
        progress=False,
    )

    # Panels and views look for a few HoneyImages among all samples; the field takes its indexes along
    for part in ("source", "role", "pair"):
        dataset.create_index(f"{honey_key}.{part}")
    save_marking_view(dataset, honey_key)
    metrics: dict[str, float | None] = {}
    for name in (*_METRICS, "stl", "proxy_loss", "original_loss", "in_loss"):
        values = [image[name] for image in images if image.get(name) is not None]
        metrics[name] = float(np.mean(values)) if values else None
    save_run(
        dataset,
        honey_key,
        MARKING,
        {
            **request,
            "marking_method": request["method"],  # "method" of a run's config is the run's own
            "output_dir": str(folder),
            "ledger_path": str(folder / storage.LEDGER),
            "commitment": commitment,
        },
        {
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


def _worst_visibility(images: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The most visible value of each measure over the images of a manifest, None if not measured."""
    worst: dict[str, float | None] = {}
    for name in _METRICS:
        values = [image[name] for image in images if image.get(name) is not None]
        # The more alike two images are, the larger PSNR and SSIM
        most = min if name in ("psnr", "ssim") else max
        worst[name] = most(values) if values else None
    return worst


def save_marking_view(dataset: fo.Dataset, honey_key: str) -> None:
    """Saves the view of a marking: every original followed by its HoneyImage."""
    view = dataset.match(F(f"{honey_key}.source") != None).sort_by(  # noqa: E711 (a query)
        [(f"{honey_key}.source", 1), (f"{honey_key}.role", -1)]
    )
    dataset.save_view(
        honey_key, view, description="HoneyImages beside their originals", overwrite=True
    )


def field_description(honey_key: str) -> str:
    """What the App says of a marking's field."""
    return f"HoneyImage marking '{honey_key}'"


def _declare_fields(dataset: fo.Dataset, honey_key: str, folder: Path) -> None:
    """Declares a marking's field, in one step: where there is one, it says whose it is."""
    parts = []
    for name, kind, description in (
        ("source", fo.StringField, "ID of the original sample"),
        ("role", fo.StringField, "'original' or 'honeyimage'"),
        ("pair", fo.IntField, "Number of the pair of twins; empty for a HoneyImage without a twin"),
        ("linf", fo.FloatField, "Largest change of any value, 0 to 255"),
        ("psnr", fo.FloatField, "Peak signal-to-noise ratio to the original, dB"),
        ("ssim", fo.FloatField, "Structural similarity to the original, at most 1"),
        ("lpips", fo.FloatField, "LPIPS distance to the original"),
        ("proxy_loss", fo.FloatField, "Cross-entropy under the out-model, nats"),
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
        },
    )
    group_in_sidebar(dataset, [f"{honey_key}.{part.name}" for part in parts])


def remove_from_dataset(dataset: fo.Dataset, honey_key: str) -> None:
    """Takes a marking's run, saved view, samples and field off the dataset; files are left alone.

    The field goes last: it tells what the rest belongs to, so that a removal that is killed can be
    finished.
    """
    if honey_key in list_keys(dataset, MARKING):
        dataset.delete_run(honey_key)
    if not made_by(dataset, honey_key, MARKING):
        return
    if honey_key in dataset.list_saved_views():
        dataset.delete_saved_view(honey_key)
    dataset.delete_samples(dataset.match(F(f"{honey_key}.role") == HONEYIMAGE))
    dataset.delete_sample_field(honey_key)
    tidy_sidebar(dataset)


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


def load_marking(samples: fo.core.collections.SampleCollection, honey_key: str) -> Marking:
    """Loads a marking from the dataset's runs.

    Raises:
        SamplesError: if there is no such marking
    """
    config = run_config(samples, honey_key, MARKING)
    results = run_results(samples, honey_key)
    return Marking(
        honey_key=honey_key,
        dataset_name=root_dataset(samples).name,
        num_honeyimages=config["num_honeyimages"],
        num_pairs=config["num_pairs"],
        output_dir=Path(config["output_dir"]),
        ledger_path=Path(config["ledger_path"]),
        commitment=config["commitment"],
        excluded=results["excluded"],
        metrics=results["metrics"],
        survival=results.get("survival", {}),
        worst=results.get("worst", {}),
        trade_off=results.get("trade_off", {}),
        config=config,
        timestamp=config["timestamp"],
    )
