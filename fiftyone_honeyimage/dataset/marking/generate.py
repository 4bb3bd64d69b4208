"""generate_honeyimages: hard images become HoneyImages, beside their originals."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np

from ...core.codecs import encoder_versions
from ...core.device import choose_device
from ...core.errors import ParameterError
from ...core.evidence.code_words import Code, check_colluders
from ...core.evidence.collusion import plan_recipients
from ...core.evidence.plan import Plan
from ...core.evidence.reach import can_reach, exactness_text, pairs_needed
from ...core.files import file_states
from ...core.fleet import check_folder, check_workers
from ...core.ledger.lots import check_coins
from ...core.ledger.relays import RELAYS, check_relays
from ...core.limits import SEED, TRADE_OFF, check_choice, check_flag
from ...core.methods import METHODS
from ...core.methods.options import check_known
from ...core.methods.selection import default_num_pairs, rule_of
from ...core.metrics import check_backbone
from ...core.models import Proxy, check_proxy, proxy_name
from ...core.pipeline.candidates import (
    check_exclusions,
    check_file_policies,
    exclusion_masks,
    select,
)
from ...core.pipeline.crafting import make_images
from ...core.pipeline.mark import check_tracing, coins_source, dataset_digest, draw_coins_once
from ...core.pipeline.reference_models import check_num_references
from ...core.training import TrainingConfig
from ...version import __version__
from .. import storage
from ..checks import check_collection, check_key, check_new_folder, check_output_place, whole_number
from ..hardness import training_config
from ..hardness_fields import read_hardness
from ..hardness_measures import read_choice
from ..planning import chance_of
from ..progress import Progress, StageBar
from ..runs import catch_up, changing, check_new_key, root_dataset
from ..samples import proxy_input_size, read_labels
from ..workspace import save_workspace
from .coins import wait_for_coins, waits_for_coins
from .count import count_marking, earlier_commitments
from .entry import enter_in_dataset, make_persistent, recover, remove_from_dataset
from .marking import Marking, load_marking
from .others import check_still_free, chosen_by_others

_logger = logging.getLogger(__name__)

#: A marking that finds a model less often than this is warned of
_LIKELY = 0.5


def generate_honeyimages(
    samples: fo.core.collections.SampleCollection,
    label_field: str,
    honey_key: str,
    *,
    relays: Sequence[str] | None = None,
    progress: Progress,
    **asked: Any,
) -> Marking:
    """See :func:`fiftyone_honeyimage.generate_honeyimages`."""
    addresses = check_relays(RELAYS if relays is None else relays)
    marking = _mark(samples, label_field, honey_key, progress=progress, **asked)
    # Without any lock: who brings the round by hand meanwhile may draw too
    wait_for_coins(marking, addresses, progress)
    return marking


def _mark(
    samples: fo.core.collections.SampleCollection,
    label_field: str,
    honey_key: str,
    *,
    method: str,
    num_honeyimages: int | None,
    num_pairs: int | None,
    hardness_field: str,
    exclude: Collection[str],
    options: Mapping[str, Any],
    proxy: Proxy,
    input_size: int | None,
    training: TrainingConfig | Mapping[str, Any] | str | None,
    alpha: float,
    test: str,
    score: str | None,
    adjustment: str,
    stratum_weights: Sequence[int],
    num_references: int,
    output_dir: str | Path | None,
    lpips_backbone: str | Path | None,
    trade_off: int,
    reencode: str,
    thumbnails: str,
    seed: int,
    device: str | None,
    skip_failures: bool,
    progress: Progress,
    executor: Executor | None = None,
    checkpoint_dir: str | Path | None = None,
    coins: str = "local",
    coins_at: datetime | str | None = None,
    recipients: Sequence[str] = (),
    colluders: int = 2,
    num_tracing_pairs: int | None = None,
) -> Marking:
    """Makes the marking and enters it in the dataset, all but coins that wait for a public round."""
    check_coins(coins, None if coins == "beacon" else coins_at)
    trained = check_folder(checkpoint_dir)
    check_workers(executor, trained)
    check_key(honey_key, "honey_key")
    check_choice("method", method, METHODS)
    own = check_known(options, method, {name: each.Options for name, each in METHODS.items()})
    settings = METHODS[method].Options(**own)
    check_exclusions(exclude)
    check_file_policies(reencode, thumbnails)
    trade_off = TRADE_OFF.check("trade_off", trade_off)
    seed = SEED.check("seed", seed)
    check_flag("skip_failures", skip_failures)
    if lpips_backbone is not None:
        check_backbone(lpips_backbone)
    check_proxy(proxy)
    config = training_config(training)
    chosen = choose_device(device)
    proxy_label = proxy_name(proxy)
    score = score or METHODS[method].score
    plan = Plan(
        alpha=alpha,
        test=test,
        score=score,
        adjustment=adjustment,
        stratum_weights=tuple(stratum_weights),
        direction=METHODS[method].direction,
    )
    # A portfolio's strata are weighed when its pairs are known, and the ledger's plan says how
    weighed = not stratum_weights and getattr(settings, "unchanged_share", 0.0) > 0
    num_references = check_num_references(num_references, score)
    code = read_code(recipients, colluders, num_tracing_pairs)

    check_collection(samples)
    dataset = root_dataset(samples)
    catch_up(dataset)
    labeled = read_labels(samples, label_field)
    earlier = chosen_by_others(labeled, honey_key)
    folder = storage.output_folder(dataset, honey_key, output_dir)
    hardness, label_errors = read_hardness(samples, labeled, hardness_field)
    settings, measures = read_choice(samples, labeled, hardness_field, METHODS[method].Options, own)
    size = proxy_input_size(labeled, input_size)
    check_proxy(proxy, len(labeled.classes), size)
    if num_pairs is None:
        num_pairs = default_num_pairs(len(labeled))
    num_pairs = whole_number(num_pairs, "num_pairs", 0)
    chance = chance_of(samples, hardness_field, METHODS[method], rule_of(settings), num_pairs, plan)
    if chance is not None and chance < _LIKELY:
        _logger.warning(
            "%d pairs find a model that remembers these images half as well as those of compute_hardness with a probability of "
            "%.0f %%: plan_marking tells how many it takes",
            num_pairs,
            100 * chance,
        )
    if not can_reach(plan, num_pairs, plan.alpha, 1):
        _logger.warning(
            "%d pairs of twins cannot show anything, whatever a suspect answers: at α = %g at least %d are needed",
            num_pairs,
            plan.alpha,
            pairs_needed(plan, plan.alpha, 1),
        )
    tracing = 0
    if code is not None:
        tracing = (
            default_num_tracing_pairs(code, alpha)
            if num_tracing_pairs is None
            else whole_number(num_tracing_pairs, "num_tracing_pairs", 1)
        )
    if num_honeyimages is None:
        num_honeyimages = METHODS[method].default_num_honeyimages(len(labeled), num_pairs + tracing)
    num_honeyimages = whole_number(num_honeyimages, "num_honeyimages", 1)
    check_tracing(code, tracing, num_pairs, num_honeyimages, method)
    if METHODS[method].shares_secrets and num_pairs:
        secret = METHODS[method].secret
        _logger.info(
            "%d pairs of %s, %s. %s",
            num_pairs,
            secret,
            METHODS[method].files_text(num_honeyimages, num_pairs),
            exactness_text(plan.test, num_pairs, secret),
        )

    request = {
        "dataset_id": str(dataset._doc.id),
        "samples": storage.fingerprint(
            {"ids": labeled.ids, "files": file_states(labeled.filepaths)}
        ),
        "labels": storage.fingerprint({"labels": labeled.labels.tolist()}),
        "hardness": storage.fingerprint({"hardness": hardness.tolist()}),
        **(
            {"measures": storage.fingerprint({n: v.tolist() for n, v in measures.items()})}
            if measures
            else {}
        ),
        "earlier": storage.fingerprint({"ids": np.array(labeled.ids)[earlier].tolist()}),
        "label_field": label_field,
        "classes": labeled.classes,
        "honey_key": honey_key,
        "method": method,
        "num_honeyimages": num_honeyimages,
        "num_pairs": num_pairs,
        "hardness_field": hardness_field,
        **({"num_tracing_pairs": tracing} if code else {}),
        "exclude": sorted(exclude),
        "reencode": reencode,
        "thumbnails": thumbnails,
        **settings.to_dict(),
        "proxy": proxy_label,
        "input_size": size,
        "training": asdict(config),
        "alpha": alpha,
        "test": test,
        "score": score,
        "adjustment": adjustment,
        **(
            {"stratum_weights": list(plan.stratum_weights)}
            if plan.stratum_weights and not weighed
            else {}
        ),
        "num_references": num_references,
        "seed": seed,
        "device": str(chosen),
        "version": __version__,
        "encoders": encoder_versions(),
        **({} if coins == "local" else {"coins": coins}),
    }
    # Beside what the ledger's header says: evidence of ownership opens that, and names no recipient
    named = {"recipients": list(code.recipients), "colluders": code.colluders} if code else {}
    call = {**request, **named}

    if waits_for_coins(dataset, honey_key, call):
        return load_marking(dataset, honey_key)
    check_output_place(folder, labeled.filepaths, "output_dir")
    if not any((f / storage.LEDGER).exists() for f in (folder, storage.partial_dir(folder))):
        check_coins(coins, coins_at)
    with storage.locked(folder):
        catch_up(dataset)
        if recover(dataset, honey_key, folder, call):
            make_persistent(dataset)
            return load_marking(dataset, honey_key)
        check_new_key(dataset, honey_key, "honey_key")
        check_new_folder(folder, "output_dir")
        # Counts are checked on the ranking before anything is read or trained; duplicates, which
        # need the pixels, are left out below.
        exclusions = exclusion_masks(exclude, hardness, label_errors, earlier)
        select(hardness, labeled.labels, exclusions, request, measures)

        stages = {
            "Reading images": 5,
            "Looking for duplicates": 2,
            "Training a model without the marks": 35,
            "Training a model with the marks": 35,
            "Crafting HoneyImages": 20,
            "Fitting files": 3,
            **({"Training reference models": 35 * num_references} if num_references else {}),
            "Measuring": 2,
            "Measuring survival": 2,
            "Measuring the trade-off": 2,
            "Writing": 1,
        }
        bar = StageBar(stages, progress, others="Crafting HoneyImages")
        with bar, storage.making(folder, call) as partial:
            if not (partial / storage.MANIFEST).exists():
                make_images(
                    partial,
                    labeled,
                    hardness,
                    exclusions,
                    request=request,
                    proxy=proxy,
                    config=config,
                    device=device,
                    lpips_backbone=lpips_backbone,
                    trade_off=trade_off,
                    skip_failures=skip_failures,
                    report=bar.report,
                    executor=executor,
                    trained_dir=trained,
                    measures=measures,
                )
            bar.report("Writing", 0, 1)
            digest = dataset_digest(labeled.filepaths)
            with changing(dataset):
                # Hours may have passed: whatever took the key meanwhile is not touched
                catch_up(dataset)
                check_new_key(dataset, honey_key, "honey_key")
                check_still_free(dataset, honey_key, storage.read_manifest(partial))
                count = earlier_commitments(dataset)
                ledger = draw_coins_once(
                    partial,
                    {
                        **request,
                        "dataset_name": dataset.name,
                        "fiftyone_version": fo.__version__,
                        "dataset_sha256": digest,
                    },
                    plan,
                    earlier_commitments=count,
                    register=lambda commitment: count_marking(dataset, commitment, count),
                    weigh=weighed,
                    appointed=coins_source(coins, coins_at),
                    code=code,
                )
                storage.complete(partial, folder)
                try:
                    path = folder / storage.LEDGER
                    told = {k: ledger.header[k] for k in ("beacon",) if k in ledger.header}
                    enter_in_dataset(
                        dataset, honey_key, folder, {**call, **told}, ledger.commitment, path
                    )
                except BaseException:
                    # Whatever went wrong, the dataset is left as it was; the files stay for a retry.
                    remove_from_dataset(dataset, honey_key)
                    storage.reopen(folder)
                    raise
                (folder / storage.REQUEST).unlink()
                save_workspace(dataset)
    return load_marking(dataset, honey_key)


def read_code(
    recipients: Sequence[str], colluders: int, num_tracing_pairs: int | None = None
) -> Code | None:
    """For whom code words are drawn; None without recipients.

    Raises:
        ParameterError: if the names or the number of colluders cannot be used
    """
    check_colluders(colluders)
    if not isinstance(recipients, str) and not len(recipients):
        if num_tracing_pairs:
            raise ParameterError(
                f"num_tracing_pairs={num_tracing_pairs!r} goes with recipients; name them, or leave it out"
            )
        return None
    code = Code(recipients if isinstance(recipients, str) else tuple(recipients), colluders)  # type: ignore[arg-type]
    if colluders > len(code.recipients):
        raise ParameterError(
            f"colluders is {colluders}, and there are {len(code.recipients)} recipients; give at most as many"
        )
    return code


def default_num_tracing_pairs(code: Code, alpha: float) -> int:
    """Tracing pairs that name one of the colluders with probability 0.9, where nine pairs of ten are read rightly.

    Raises:
        ParameterError: if no number that is offered does
    """
    found = plan_recipients(len(code.recipients), code.colluders, alpha=alpha)
    if found.num_pairs is None:
        raise ParameterError(f"{found}; pass num_tracing_pairs")
    return found.num_pairs
