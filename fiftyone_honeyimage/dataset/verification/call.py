"""How a verification begins: a new one, checked and opened, or one that was interrupted and goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo

from ...core.errors import LedgerError, SuspectError
from ...core.evidence.exact_tests import TESTS
from ...core.ledger.ledger import Ledger
from ...core.ledger.log import Verification as Logged
from ...core.ledger.log import unspent
from ...core.suspects import Protocol, Suspect
from ...core.suspects.journal import Journal, begun_elsewhere
from ..ledger_heads import note_head
from ..marking.marking import Marking
from ..progress import StageBar
from ..runs import VERIFICATION, list_keys, run_config
from .pair_choice import check_reach, choose_pairs
from .probing import Probe, probe, same_suspect
from .questions import Questions, ask_references, read_twins

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """What one call of ``verify_model`` asks for, as far as it decides anything.

    Attributes:
        samples, marking, ledger: what was marked
        model: the suspect, loaded
        references: models known to be innocent, loaded
        classes: in the order of the suspect's outputs
        outputs: what its answers are, "auto" if that has to be found out
        batch_size: images a query
        alpha: the level
        pairs, num_pairs: which pairs
        insist: whether a suspect that looks asked in a wrong way is verified all the same
    """

    samples: fo.core.collections.SampleCollection
    marking: Marking
    ledger: Ledger
    model: Suspect
    references: Sequence[Suspect]
    classes: Sequence[str]
    outputs: str
    batch_size: int
    alpha: float
    pairs: str
    num_pairs: int | None
    insist: bool

    def protocol(self, outputs: str, **about: Any) -> Protocol:
        """How the suspect is asked, once it is known what its answers are."""
        return Protocol.of(
            self.model, self.classes, outputs, self.batch_size, self.references, **about
        )

    def key(self) -> dict[str, Any]:
        """What tells this call from others; the same call goes on with what it began."""
        known = "labels" if self.outputs == "auto" else self.outputs
        return {
            "suspect": self.model.digest or self.model.name,
            "asking": self.protocol(known).asking(),
            "outputs": self.outputs,
            "alpha": self.alpha,
            "pairs": self.pairs,
            "num_pairs": self.num_pairs,
        }


@dataclass(frozen=True)
class Begun:
    """A verification that stands in the ledger.

    Attributes:
        logged: as the ledger tells it
        asked: its questions
        reference_losses: every reference model's losses on every query
    """

    logged: Logged
    asked: Questions
    reference_losses: Sequence[Mapping[tuple[int, str], float]]


def begin(call: Call, journal: Journal, bar: StageBar) -> Begun:
    """Goes on with what the same call began, or checks everything and opens a new verification.

    Raises:
        SuspectError: if the suspect cannot be used, or looks asked in a wrong way
        ParameterError: if the pairs are not there, or so few cannot decide
        LedgerError: if a HoneyImage or the ledger is not what it was
    """
    bar.report("Asking about unmarked images", 0, 1)
    logged = _interrupted(call, journal)
    _name_left_open(call.ledger, logged)
    if logged is not None:
        asked = _resumed(call, journal, logged)
        return Begun(logged, asked, ask_references(asked, call.references, bar))

    wanted = choose_pairs(call.ledger, call.marking, call.pairs, call.num_pairs)
    check_reach(call.ledger, len(wanted), call.alpha)
    images = read_twins(call.ledger, wanted, call.marking.output_dir)
    found = _probe(call, images, len(wanted))
    caution = found.caution(call.insist)
    if caution:
        _logger.warning(caution)
    protocol = call.protocol(found.outputs, unmarked=found.competence.to_dict(), caution=caution)
    asked = Questions(call.ledger, wanted, images, protocol)
    # First of all: what a reference model does wrong must not cost a verification.
    reference_losses = ask_references(asked, call.references, bar)
    # The journal first: killed in between, the same call finds the ledger's entry
    journal.begin(found.fingerprint)
    verification_id = call.ledger.open_verification(
        call.model.name,
        call.model.digest,
        asked.kind,
        wanted,
        protocol=protocol.to_dict(),
        alpha=call.alpha,
        reuse=call.pairs == "all",
    )
    note_head(call.ledger)
    journal.opened(verification_id)
    return Begun(call.ledger.verifications[verification_id], asked, reference_losses)


def _probe(call: Call, images: Mapping[str, Any], num_pairs: int) -> Probe:
    one_by_one = TESTS[call.ledger.plan.test].sequential
    return probe(
        call.model,
        call.samples,
        call.marking,
        call.classes,
        outputs=call.outputs,
        batch_size=min(call.batch_size, 2) if one_by_one else call.batch_size,
        twins=images,
        num_queries=2 * num_pairs,
    )


def _resumed(call: Call, journal: Journal, logged: Logged) -> Questions:
    _logger.warning(
        "Going on with the verification of '%s' that was opened at %s and interrupted: %d of %d images "
        "are answered",
        call.model.name,
        logged.opened_at,
        len(journal.answers),
        2 * len(logged.pairs),
    )
    images = read_twins(call.ledger, logged.pairs, call.marking.output_dir)
    # A suspect without a digest has to answer as the one of that name that was interrupted
    if call.model.digest is None and not logged.closed:
        found = _probe(call, images, len(logged.pairs))
        if not same_suspect(journal.probe, found.fingerprint):
            raise SuspectError(
                f"a verification of '{call.model.name}' was interrupted, and on unmarked images this "
                "suspect answers otherwise than that one did. If it is another model, pass another name=: it "
                "then has a verification of its own"
            )
    about = {name: logged.protocol[name] for name in ("unmarked", "caution")}
    protocol = call.protocol(logged.protocol["outputs"], **about)
    return Questions(call.ledger, logged.pairs, images, protocol)


def _interrupted(call: Call, journal: Journal) -> Logged | None:
    """The verification that the same call began and did not bring to its end.

    Raises:
        LedgerError: if the ledger does not know the one that was begun
    """
    if not journal.was_there:
        return None
    ledger = call.ledger
    if journal.verification_id is None:
        # Killed between the ledger and the journal
        others = begun_elsewhere(journal.path, ledger.path)
        for logged in ledger.open_verifications():
            same = (
                logged.id not in others
                and logged.alpha == ledger.plan.alpha_for(call.alpha)
                and list(logged.pairs) == _pairs_then(call, logged)
                and (logged.suspect_name, logged.suspect_digest)
                == (call.model.name, call.model.digest)
            )
            asking = call.protocol(logged.protocol["outputs"]).asking()
            if same and asking.items() <= logged.protocol.items():
                journal.opened(logged.id)
                return logged
        return None
    begun = ledger.verifications.get(journal.verification_id)
    if begun is None:
        raise LedgerError(
            f"the ledger at '{ledger.path}' does not hold the verification of '{call.model.name}' that was "
            f"interrupted, of which '{journal.path.name}' beside it holds the answers: it is an older copy. "
            "Restore the newest one"
        )
    saved = {
        run_config(call.samples, key, VERIFICATION)["verification_id"]
        for key in list_keys(call.samples, VERIFICATION)
    }
    if begun.closed and (not begun.concluded or begun.id in saved):
        return None  # what it held is where it belongs
    return begun


def _pairs_then(call: Call, logged: Logged) -> list[int]:
    """The pairs that this call would have taken when that verification was opened."""
    ledger = call.ledger
    if call.pairs == "all":
        return [index for index, _ in ledger.query_order]
    # Verifications close with all their pairs used, but for a sequential test that stopped early
    earlier = [item for item in ledger.verifications.values() if item.position < logged.position]
    return unspent(ledger.query_order, earlier)[: call.num_pairs]


def _name_left_open(ledger: Ledger, logged: Logged | None) -> None:
    for other in ledger.open_verifications():
        if logged is None or other.id != logged.id:
            _logger.warning(
                "The verification of '%s' that was opened at %s has no verdict yet: it is running, or was "
                "interrupted. It stays counted; the call that began it goes on with it",
                other.suspect_name,
                other.opened_at,
            )
