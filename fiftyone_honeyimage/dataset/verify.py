"""verify_model: queries a suspect on the twins and gives a verdict."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo

from .. import __version__
from ..core.errors import LedgerError, ParameterError, SuspectError
from ..core.evidence.ledger import Ledger
from ..core.evidence.verdict import Verdict
from ..core.evidence.verification_log import Verification as Logged
from ..core.files import locked
from ..core.suspects import OUTPUTS, Protocol, Suspect, check_batch_size
from ..core.suspects.journal import Journal
from .marking import Marking, load_marking, open_ledger
from .pair_choice import check_reach, choose_pairs
from .probing import Probe, probe, same_suspect
from .progress import Progress, StageBar
from .provenance import provenance
from .queries import Questions, ask_references, paper_figures, read_twins
from .random_images import ask_controls, num_controls
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
from .suspects import open_suspect, suspect_classes
from .verification import Verification, known_verifications, load_verification, next_verify_key

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
    catch_up(root_dataset(samples))
    marking = load_marking(samples, honey_key)
    num_random = num_controls(suspect, num_random)
    if verify_key is None:
        verify_key = next_verify_key(samples, honey_key)
    check_new_key(samples, verify_key, "verify_key")
    ledger = open_ledger(marking, ledger_path)
    check_log(samples, honey_key, ledger)
    level = ledger.plan.alpha_for(alpha)
    names = suspect_classes(marking, classes)
    if outputs not in OUTPUTS:
        raise ParameterError(f"outputs is one of {', '.join(OUTPUTS)}; got {outputs!r}")
    check_batch_size(batch_size)

    load = {
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "channels": None if channels == "RGB" else channels,
        "device": device,
    }
    model = open_suspect(samples, marking, suspect, names, name, load)
    others = [
        open_suspect(samples, marking, reference, names, None, load) for reference in references
    ]

    def protocol(found: str, **about: Any) -> Protocol:
        return Protocol.of(model, names, found, batch_size, others, **about)

    call = {
        "suspect": model.digest or model.name,
        "asking": protocol("labels" if outputs == "auto" else outputs).asking(),
        "outputs": outputs,
        "alpha": level,
        "pairs": pairs,
        "num_pairs": num_pairs,
    }
    stages = {
        "Asking about unmarked images": 10,
        "Querying reference models": 10 * len(others),
        "Querying": 90,
        "Deciding": 1,
        "Querying random images": 30 if num_random else 0,
    }
    journal = Journal.open(ledger.path, call)
    try:
        with StageBar(stages, progress) as bar:
            bar.report("Asking about unmarked images", 0, 1)
            logged = _begun(samples, ledger, journal, model, protocol)
            _name_left_open(ledger, logged)
            wanted = (
                list(logged.pairs) if logged else choose_pairs(ledger, marking, pairs, num_pairs)
            )
            if logged is None:
                check_reach(ledger, len(wanted), level)
            images = read_twins(ledger, wanted, marking.output_dir)
            how = {
                "outputs": outputs,
                "batch_size": batch_size if ledger.plan.test != "e_process" else min(batch_size, 2),
                "twins": images,
                "num_queries": 2 * len(wanted),
            }
            if logged is None:
                found = probe(model, samples, marking, names, **how)
                fixed = protocol(
                    found.outputs,
                    unmarked=found.competence.to_dict(),
                    caution=found.caution(insist),
                )
                if fixed.caution:
                    _logger.warning(fixed.caution)
            else:
                fixed = protocol(
                    logged.protocol["outputs"],
                    unmarked=logged.protocol["unmarked"],
                    caution=logged.protocol["caution"],
                )
                if model.digest is None and not logged.closed:
                    _check_same(journal, model, probe(model, samples, marking, names, **how))
            asked = Questions(ledger, wanted, images, fixed)
            # First of all: what a reference model does wrong must not cost a verification.
            reference_losses = ask_references(asked, others, bar)
            if logged is None:
                journal.begin(found.fingerprint)
                logged = ledger.verifications[
                    ledger.open_verification(
                        model.name,
                        model.digest,
                        asked.kind,
                        wanted,
                        protocol=fixed.to_dict(),
                        alpha=level,
                        reuse=pairs == "all",
                    )
                ]
                journal.opened(logged.id)
            verdict = _verdict(
                asked, model, marking, ledger, journal, logged, reference_losses, skip_failures, bar
            )
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
                        "verification_id": logged.id,
                        "ledger_path": str(ledger.path),
                        "classes": list(names),
                        "outputs": fixed.outputs,
                        "protocol": fixed.to_dict(),
                        "alpha": level,
                        "pairs": pairs,
                        "num_references": len(others),
                        "num_random": num_random,
                        "version": __version__,
                        **provenance(marking, ledger, user),
                    },
                    results,
                )
            journal.remove()
            if num_random:
                # Last of all: nothing that happens here can touch the verdict
                bar.report("Querying random images", 0, 1)
                gaps = ask_controls(
                    samples,
                    marking,
                    suspect,
                    model,
                    names,
                    num_random,
                    batch_size,
                    fixed.outputs,
                    bar,
                )
                save_results(samples, verify_key, {**results, "random_images": gaps})
    finally:
        if journal.probe is None:
            journal.remove()  # nothing was begun
        journal.close()
    return load_verification(samples, verify_key)


def _verdict(
    asked: Questions,
    model: Suspect,
    marking: Marking,
    ledger: Ledger,
    journal: Journal,
    logged: Logged,
    reference_losses: Sequence[Mapping[tuple[int, str], float]],
    skip_failures: bool,
    bar: StageBar,
) -> Verdict:
    """Asks what is left to ask and concludes; of a verification that was concluded, its verdict."""
    if logged.closed:
        return ledger.verdict_of(logged.id, asked.replay(journal))
    try:
        answers = asked.ask(model, bar, journal, logged.id, logged.alpha, skip_failures)
    except BaseException as error:
        where = (
            f"{len(journal.answers)} of {2 * len(logged.pairs)} images are answered, and the answers are "
            "kept beside the ledger. The same call goes on from there, as the same verification; it counts "
            "until then, and takes no further place in the ledger"
        )
        if isinstance(error, SuspectError):
            raise SuspectError(f"{error}. {where}") from error
        _logger.warning("The verification of '%s' was interrupted: %s", model.name, where)
        raise
    paper = paper_figures(asked, answers, marking, ledger, reference_losses)
    bar.report("Deciding", 0, 1)
    return ledger.conclude(logged.id, answers, paper=paper)


def _begun(
    samples: fo.core.collections.SampleCollection,
    ledger: Ledger,
    journal: Journal,
    model: Suspect,
    protocol: Any,
) -> Logged | None:
    """The verification that an earlier, interrupted call began, if this one is to go on with it.

    Raises:
        LedgerError: if the ledger does not know the one that was begun
    """
    if not journal.was_there:
        return None
    if journal.verification_id is None:
        # Killed between the ledger and the journal
        for logged in ledger.open_verifications():
            same = (logged.suspect_name, logged.suspect_digest) == (model.name, model.digest)
            asking = protocol(logged.protocol["outputs"]).asking()
            if same and asking.items() <= logged.protocol.items():
                journal.opened(logged.id)
                return logged
        return None
    logged = ledger.verifications.get(journal.verification_id)
    if logged is None:
        raise LedgerError(
            f"the ledger at '{ledger.path}' does not hold the verification of '{model.name}' that was "
            f"interrupted, of which '{journal.path.name}' beside it holds the answers: it is an older copy. "
            "Restore the newest one"
        )
    saved = {
        run_config(samples, key, VERIFICATION)["verification_id"]
        for key in list_keys(samples, VERIFICATION)
    }
    if logged.closed and (not logged.concluded or logged.id in saved):
        return None  # what it held is where it belongs
    _logger.warning(
        "Going on with the verification of '%s' that was opened at %s and interrupted: %d of %d images "
        "are answered",
        model.name,
        logged.opened_at,
        len(journal.answers),
        2 * len(logged.pairs),
    )
    return logged


def _name_left_open(ledger: Ledger, logged: Logged | None) -> None:
    for other in ledger.open_verifications():
        if logged is None or other.id != logged.id:
            _logger.warning(
                "The verification of '%s' that was opened at %s has no verdict yet: it is running, or was "
                "interrupted. It stays counted; the call that began it goes on with it",
                other.suspect_name,
                other.opened_at,
            )


def _check_same(journal: Journal, model: Suspect, found: Probe) -> None:
    """A suspect without a digest has to answer as the one of that name that was interrupted.

    Raises:
        SuspectError: if it does not
    """
    if not same_suspect(journal.probe, found.fingerprint):
        raise SuspectError(
            f"an earlier verification of '{model.name}' was interrupted, and on unmarked images this suspect "
            "answers otherwise than that one did. If it is another model, pass another name=: it then has its "
            "own verification"
        )


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
