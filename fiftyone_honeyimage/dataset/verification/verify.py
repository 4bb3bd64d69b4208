"""verify_model: queries a suspect on the twins and gives a verdict."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fiftyone as fo

from ...core.errors import ParameterError
from ...core.files import locked
from ...core.pipeline.pair_choice import check_choice
from ...core.pipeline.roles import pair_table
from ...core.pipeline.trace import STAGE, trace
from ...core.pipeline.verify import Call, begin, decide
from ...core.suspects.journal import Journal
from ...version import __version__
from .. import storage
from ..ledger_heads import check_log
from ..marking.marking import OpenMarking, load_marking, open_ledger
from ..marking.provenance import provenance
from ..progress import Progress, StageBar
from ..runs import (
    MARKING,
    VERIFICATION,
    catch_up,
    changing,
    check_new_key,
    list_keys,
    root_dataset,
    save_results,
    save_run,
)
from .controls import ask_controls, marked_advances, num_controls
from .surroundings import DatasetSurroundings
from .suspects import check_asking, open_suspect, suspect_classes
from .verification import Verification, load_verification, next_verify_key

_logger = logging.getLogger(__name__)


def verify_model(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    suspect: Any,
    verify_key: str | None,
    *,
    alpha: float | None,
    classes: Mapping[str, int] | Sequence[str] | None,
    outputs: str,
    input_size: int | tuple[int, int] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: str,
    batch_size: int,
    references: Sequence[Any],
    name: str | None,
    pairs: str,
    num_pairs: int | None,
    ledger_path: str | Path | None,
    device: str | None,
    skip_failures: bool,
    insist: bool,
    num_random: int | None,
    user: str | None,
    progress: Progress,
) -> Verification:
    """See :func:`fiftyone_honeyimage.verify_model`."""
    dataset = root_dataset(samples)
    catch_up(dataset)
    marking = load_marking(dataset, honey_key)
    check_asking(
        outputs=outputs,
        input_size=input_size,
        mean=mean,
        std=std,
        channels=channels,
        batch_size=batch_size,
        pairs=pairs,
        name=name,
        references=references,
        skip_failures=skip_failures,
        insist=insist,
    )
    if verify_key is None:
        verify_key = next_verify_key(dataset, honey_key)
    check_new_key(dataset, verify_key, "verify_key")
    ledger = open_ledger(marking, ledger_path)
    ledger.check_drawn()
    opened = OpenMarking(dataset, marking, ledger)
    check_log(dataset, ledger)
    level = ledger.plan.alpha_for(alpha)
    names = suspect_classes(marking, classes)
    check_choice(pairs, num_pairs)

    load = {
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "channels": None if channels == "RGB" else channels,
        "device": device,
    }
    model = open_suspect(dataset, marking, suspect, names, name, load)
    num_random = num_controls(model.metered, ledger, num_random)
    others = [
        open_suspect(dataset, marking, reference, names, None, load) for reference in references
    ]

    manifest = storage.read_manifest(marking.output_dir)
    call = Call(
        ledger=ledger,
        folder=marking.output_dir,
        proxy_losses={image["source"]: image["proxy_loss"] for image in manifest["images"]},
        model=model,
        references=others,
        classes=names,
        outputs=outputs,
        batch_size=batch_size,
        alpha=level,
        pairs=pairs,
        num_pairs=num_pairs,
        insist=insist,
        around=DatasetSurroundings(dataset, marking),
    )

    stages = {
        "Asking about unmarked images": 10,
        "Querying reference models": 10 * len(others),
        "Querying": 90,
        "Deciding": 1,
        STAGE: 60 if ledger.recipients else 0,
        "Querying random images": 30 if num_random else 0,
    }
    with (
        Journal.open(ledger.path, call.key()) as journal,
        StageBar(stages, progress) as bar,
    ):
        begun = begin(call, journal, bar.report)
        asked, logged = begun.asked, begun.logged
        verdict = decide(call, begun, journal, skip_failures=skip_failures, report=bar.report)
        rows = pair_table(asked.recorded, ledger.released(), asked.protocol.outputs != "losses")
        whose = trace(call, begun, journal, skip_failures=skip_failures, report=bar.report)
        results = {
            "verdict": verdict.to_dict(),
            **({} if whose is None else {"recipients": whose.to_dict()}),
            "pairs": rows,
            "failures": asked.failures,
            "random_images": {},
        }
        # Hours may have passed: what took the key meanwhile is kept, and so is this verdict
        with locked(ledger.path), changing(dataset):
            catch_up(dataset)
            opened = renamed(opened)
            verify_key = free_key(dataset, verify_key, opened.marking.honey_key)
            save_run(
                dataset,
                verify_key,
                VERIFICATION,
                {
                    "honey_key": opened.marking.honey_key,
                    "suspect_name": model.name,
                    "suspect_digest": model.digest,
                    "verification_id": logged.id,
                    "ledger_path": str(ledger.path),
                    "classes": list(names),
                    "outputs": asked.protocol.outputs,
                    "protocol": asked.protocol.to_dict(),
                    "alpha": level,
                    "pairs": pairs,
                    "num_references": len(others),
                    "num_random": num_random,
                    "version": __version__,
                    **provenance(opened, user),
                },
                results,
            )
        journal.remove()
        if num_random:
            # Last of all: nothing that happens here can touch the verdict
            bar.report("Querying random images", 0, 1)
            gaps = ask_controls(
                opened,
                suspect,
                model,
                names,
                num_random,
                batch_size,
                asked.protocol.outputs,
                bar,
                marked_advances(rows, ledger, call.proxy_losses),
            )
            with changing(dataset):
                save_results(dataset, verify_key, {**results, "random_images": gaps})
    return load_verification(dataset, verify_key)


def free_key(dataset: fo.Dataset, verify_key: str, honey_key: str) -> str:
    """The key, or the next free one if it was taken meanwhile; a warning tells so."""
    try:
        check_new_key(dataset, verify_key, "verify_key")
    except ParameterError as error:
        other = next_verify_key(dataset, honey_key)
        _logger.warning("%s. The verification is kept as '%s'", error, other)
        return other
    return verify_key


def renamed(opened: OpenMarking) -> OpenMarking:
    """The marking under the key that it has now; as it was if it was deleted."""
    keys = list_keys(opened.dataset, MARKING, commitment=opened.marking.commitment)
    if not keys or opened.marking.honey_key in keys:
        return opened
    return replace(opened, marking=load_marking(opened.dataset, keys[0]))
