"""verify_model: queries a suspect on the twins and gives a verdict."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo

from .. import __version__
from ..core.errors import LedgerError, ParameterError
from ..core.evidence.ledger import Ledger
from ..core.files import locked
from ..core.suspects import PredictionsSuspect
from .marking import Marking, load_marking, open_ledger
from .progress import Progress, StageBar
from .provenance import provenance
from .queries import Questions, ask_references, paper_figures, read_twins
from .random_images import ask_controls, num_controls, probe
from .runs import (
    MARKING,
    VERIFICATION,
    catch_up,
    check_new_key,
    list_keys,
    root_dataset,
    run_config,
    save_results,
    save_run,
)
from .suspects import check_asking, check_input_size, open_suspect, suspect_classes
from .verification import Verification, known_verifications, load_verification, next_verify_key

_logger = logging.getLogger(__name__)


def verify_model(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    suspect: Any,
    verify_key: str | None,
    *,
    alpha: float | None,
    classes: Sequence[str] | None,
    outputs: str,
    input_size: int | tuple[int, int] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    batch_size: int,
    references: Sequence[Any],
    name: str | None,
    pairs: str,
    ledger_path: str | Path | None,
    device: str | None,
    skip_failures: bool,
    num_random: int | None,
    user: str | None,
    progress: Progress,
) -> Verification:
    """See :func:`fiftyone_honeyimage.verify_model`."""
    catch_up(root_dataset(samples))
    marking = load_marking(samples, honey_key)
    check_asking(
        outputs=outputs,
        input_size=input_size,
        mean=mean,
        std=std,
        batch_size=batch_size,
        pairs=pairs,
        name=name,
        references=references,
        skip_failures=skip_failures,
    )
    num_random = num_controls(suspect, num_random)
    if verify_key is None:
        verify_key = next_verify_key(samples, honey_key)
    check_new_key(samples, verify_key, "verify_key")
    ledger = open_ledger(marking, ledger_path)
    check_log(samples, honey_key, ledger)
    level = ledger.plan.alpha_for(alpha)
    names = suspect_classes(marking, classes)
    wanted = ledger.pairs_left if pairs == "unused" else [index for index, _ in ledger.query_order]
    if not wanted and ledger.pairs:
        raise ParameterError(
            f"all {len(ledger.pairs)} pairs of marking '{honey_key}' were used by earlier "
            "verifications; pass pairs='all' to use them again, or mark the dataset again"
        )

    load = {"input_size": input_size, "mean": mean, "std": std, "device": device}
    model = open_suspect(samples, marking, suspect, names, name, load)
    others = [
        open_suspect(samples, marking, reference, names, None, load) for reference in references
    ]
    images = read_twins(ledger, wanted, marking.output_dir)
    for asked_model in (model, *others):
        check_input_size(asked_model, images.values())
    if outputs == "auto" and not isinstance(model, PredictionsSuspect):
        outputs = probe(model, samples, marking, names, batch_size)

    stages = {
        "Querying reference models": 10 * len(others),
        "Querying": 90,
        "Deciding": 1,
        "Querying random images": 30 if num_random else 0,
    }
    with StageBar(stages, progress) as bar:
        asked = Questions(ledger, wanted, images, names, batch_size, outputs, skip_failures)
        # First of all: what a reference model does wrong must not cost a verification.
        reference_losses = ask_references(asked, others, bar)
        verification_id = ledger.open_verification(
            model.name, model.digest, None, wanted, alpha=level, reuse=pairs == "all"
        )
        try:
            answers = asked.ask(model, bar, ledger, verification_id, level)
        except BaseException:
            # The ledger says how much the suspect has seen, whatever became of the answers.
            seen = asked.num_pairs_seen
            ledger.close_verification(verification_id, None, num_queried=seen)
            raise
        paper = paper_figures(asked, answers, marking, ledger, reference_losses)
        bar.report("Deciding", 0, 1)
        verdict = ledger.conclude(verification_id, answers, paper=paper)
        results = {
            "verdict": verdict.to_dict(),
            "pairs": asked.table(),
            "failures": asked.failures,
            "random_images": {},
        }
        # Hours may have passed: what took the key meanwhile is kept, and so is this verdict
        with locked(ledger.path):
            catch_up(root_dataset(samples))
            marking = renamed(samples, marking)
            verify_key = free_key(samples, verify_key, marking.honey_key)
            save_run(
                samples,
                verify_key,
                VERIFICATION,
                {
                    "honey_key": marking.honey_key,
                    "suspect_name": model.name,
                    "suspect_digest": model.digest,
                    "verification_id": verification_id,
                    "ledger_path": str(ledger.path),
                    "classes": list(names),
                    "outputs": asked.outputs,
                    "alpha": level,
                    "pairs": pairs,
                    "num_references": len(others),
                    "num_random": num_random,
                    "version": __version__,
                    **provenance(marking, ledger, user),
                },
                results,
            )
        if num_random:
            # Last of all: nothing that happens here can touch the verdict
            bar.report("Querying random images", 0, 1)
            found = ask_controls(
                samples, marking, suspect, model, names, num_random, batch_size, asked.outputs, bar
            )
            save_results(samples, verify_key, {**results, "random_images": found})
    return load_verification(samples, verify_key)


def check_log(
    samples: fo.core.collections.SampleCollection, honey_key: str, ledger: Ledger
) -> None:
    """Checks that a ledger holds every verification of its marking that the dataset knows.

    An older copy would count from the start again, and the levels add up to more than α.

    Raises:
        LedgerError: naming one that it does not hold
    """
    for key in known_verifications(samples, honey_key):
        if run_config(samples, key, VERIFICATION)["verification_id"] not in ledger.verifications:
            raise LedgerError(
                f"the ledger at '{ledger.path}' does not hold verification '{key}': it is an older or "
                "another copy, which would not count it. Restore the newest copy, or pass its place as "
                "ledger_path"
            )


def free_key(samples: fo.core.collections.SampleCollection, verify_key: str, honey_key: str) -> str:
    """The key, or the next free one if it was taken meanwhile; a warning tells so."""
    try:
        check_new_key(samples, verify_key, "verify_key")
    except ParameterError as error:
        other = next_verify_key(samples, honey_key)
        _logger.warning("%s. The verification is kept as '%s'", error, other)
        return other
    return verify_key


def renamed(samples: fo.core.collections.SampleCollection, marking: Marking) -> Marking:
    """The marking under the key that it has now; as it was if it was deleted."""
    keys = list_keys(samples, MARKING, commitment=marking.commitment)
    if not keys or marking.honey_key in keys:
        return marking
    return load_marking(samples, keys[0])
