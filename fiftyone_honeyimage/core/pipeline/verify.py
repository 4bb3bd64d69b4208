"""A verification from its beginning to its verdict: a new one, or one that was interrupted and goes on.

It needs the ledger, the folder with the marking's files and the suspect; what it would like to know beside is
:class:`.surroundings.Surroundings`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LedgerError, ParameterError, SuspectError
from ..evidence.decisions import with_decisions
from ..evidence.exact_tests import TESTS
from ..evidence.pair_answers import PairAnswers
from ..evidence.plan import check_own_losses, check_score
from ..evidence.verdict import Verdict, may_stop
from ..images import read_image
from ..ledger.ledger import Ledger
from ..ledger.log import LoggedVerification, unspent
from ..ledger.marked_files import find_wrong_file
from ..progress import Report, silent
from ..suspects import Protocol, Suspect
from ..suspects.answers import alike
from ..suspects.journal import Journal, begun_elsewhere
from .pair_choice import check_reach, choose_pairs
from .questions import Query, Questions, Suffices, ask_references
from .roles import published_figures
from .surroundings import Surroundings
from .trial import Trial, try_out
from .unmarked_probes import published_decisions

_logger = logging.getLogger(__name__)


def read_twins(ledger: Ledger, pairs: Sequence[int], folder: Path) -> dict[str, np.ndarray]:
    """The twins' images by the id of their source sample, each checked against the ledger.

    Raises:
        LedgerError: if a file is missing or altered
    """
    return read_asked(ledger.queries(pairs), folder)


def read_asked(queries: Sequence[Query], folder: Path) -> dict[str, np.ndarray]:
    """The images of queries by the id of their source sample, see :func:`read_twins`."""
    images = [image for _, _, image in queries]
    wrong = find_wrong_file(images, folder)
    if wrong is not None:
        raise LedgerError(f"{wrong}; restore the marking's folder '{folder}' from a backup")
    return {image.sample_id: read_image(folder / image.file) for image in images}


@dataclass(frozen=True)
class Call:
    """What one call of ``verify_model`` asks for, as far as it decides anything.

    Attributes:
        ledger: of the marking
        folder: with the marking's files
        proxy_losses: the out-model's loss by sample id, nats
        model: the suspect, loaded
        references: models known to be innocent, loaded
        classes: in the order of the suspect's outputs
        outputs: what its answers are, "auto" if that has to be found out
        batch_size: images a query
        alpha: the level, None for the plan's
        pairs, num_pairs: which pairs
        insist: whether a suspect that looks asked in a wrong way is verified all the same
        around: the surroundings
    """

    ledger: Ledger
    folder: Path
    proxy_losses: Mapping[str, float]
    model: Suspect
    classes: Sequence[str]
    references: Sequence[Suspect] = ()
    outputs: str = "auto"
    batch_size: int = 64
    alpha: float | None = None
    pairs: str = "all"
    num_pairs: int | None = None
    insist: bool = False
    around: Surroundings = field(default_factory=Surroundings)

    @property
    def tells_losses(self) -> bool:
        """Whether the suspect tells one loss an image and no class."""
        return "losses" in (self.outputs, self.model.outputs)

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
        reference_losses: every reference model's loss on every side
    """

    logged: LoggedVerification
    asked: Questions
    reference_losses: Sequence[Mapping[tuple[int, str], float]]


def begin(call: Call, journal: Journal, report: Report = silent) -> Begun:
    """Goes on with what the same call began, or checks everything and opens a new verification.

    Raises:
        SuspectError: if the suspect cannot be used, or looks asked in a wrong way
        ParameterError: if the pairs are not there, or so few cannot decide
        LedgerError: if a HoneyImage or the ledger is not what it was
    """
    call.ledger.check_recipient()
    report("Asking about unmarked images", 0, 1)
    logged = _interrupted(call, journal)
    _name_left_open(call.ledger, logged)
    if logged is not None:
        asked = _resumed(call, journal, logged)
        return Begun(logged, asked, ask_references(asked, call.references, report))

    wanted = choose_pairs(call.ledger, call.pairs, call.num_pairs)
    check_score(call.ledger.plan)
    if call.tells_losses:
        check_own_losses(call.ledger.plan)
        if call.references:
            raise ParameterError(
                "references calibrate the paper's threshold of loss gaps, and a suspect that tells one loss an image "
                "has none; leave references out"
            )
    check_reach(call.ledger, len(wanted), call.ledger.plan.alpha_for(call.alpha))
    images = read_twins(call.ledger, wanted, call.folder)
    found = _try_out(call, images)
    caution = " ".join(filter(None, (found.caution(call.insist), call.model.caution))) or None
    if caution:
        _logger.warning(caution)
    protocol = call.protocol(found.outputs, unmarked=found.competence.to_dict(), caution=caution)
    asked = Questions(call.ledger.queries(wanted), images, protocol)
    # First of all: what a reference model does wrong must not cost a verification.
    reference_losses = ask_references(asked, call.references, report)
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
    call.around.note(call.ledger)
    journal.opened(verification_id)
    return Begun(call.ledger.verifications[verification_id], asked, reference_losses)


def decide(
    call: Call,
    begun: Begun,
    journal: Journal,
    *,
    skip_failures: bool = False,
    report: Report = silent,
) -> Verdict:
    """Asks what is left to ask and concludes; of a verification that was concluded, its verdict.

    Raises:
        SuspectError: if the suspect is out of order; the same call goes on where this one stopped
    """
    asked, logged = begun.asked, begun.logged
    if logged.closed:
        return call.ledger.verdict_of(logged.id, asked.replay(journal))
    try:
        answers = asked.ask(
            call.model,
            journal,
            skip_failures=skip_failures,
            suffices=_suffices(call.ledger, logged) if _in_turn(call.ledger, asked.kind) else None,
            report=report,
        )
    except BaseException as error:
        where = (
            f"{len(journal.answers)} of {asked.num_queries} images are answered, and their answers are "
            "kept. The same call goes on from there, as the same verification, and takes no further place in "
            "the ledger"
        )
        if isinstance(error, SuspectError):
            raise SuspectError(f"{error}. {where}") from error
        _logger.warning("The verification of '%s' was interrupted: %s", call.model.name, where)
        raise
    # A loss of the suspect's own has no gap to the proxy's, which is a cross-entropy
    paper: Mapping[str, Any] = {}
    if not call.tells_losses:
        paper = published_figures(
            asked.recorded, call.ledger, call.proxy_losses, begun.reference_losses
        )
    decisions = published_decisions(call.model, asked, journal, call.ledger, call.folder)
    paper = with_decisions(paper, decisions)
    report("Deciding", 0, 1)
    verdict = call.ledger.conclude(logged.id, answers, paper=paper)
    call.around.note(call.ledger)
    return verdict


def _in_turn(ledger: Ledger, kind: str) -> bool:
    """Whether a suspect that gives this kind of answer is asked pair by pair."""
    return TESTS[ledger.plan.test_for(kind)].sequential


def _suffices(ledger: Ledger, logged: LoggedVerification) -> Suffices:
    """Looks at the coins of the pairs that were asked, so that whoever asks need not."""

    def suffices(answers: PairAnswers) -> bool:
        return may_stop(
            ledger.plan,
            ledger.differences(answers),
            answers.failed,
            kind=answers.kind,
            position=logged.position,
            strata=ledger.plan.strata(answers.pairs, ledger.covariates()),
            alpha=logged.alpha,
        )

    return suffices


def _try_out(call: Call, images: Mapping[str, Any]) -> Trial:
    # Scores are what most give of whom it is not known yet
    kind = "labels" if call.outputs == "labels" else "scores"
    in_turn = _in_turn(call.ledger, kind)
    at_once = len(call.ledger.pairs[0].asked) if in_turn else call.batch_size
    return try_out(
        call.model,
        call.around,
        call.classes,
        outputs=call.outputs,
        batch_size=min(call.batch_size, at_once),
        twins=images,
        num_queries=len(images),
    )


def _resumed(call: Call, journal: Journal, logged: LoggedVerification) -> Questions:
    _logger.warning(
        "Going on with the verification of '%s' that was opened at %s and interrupted: %d of %d images "
        "are answered",
        call.model.name,
        logged.opened_at,
        len(journal.answers),
        len(call.ledger.queries(logged.pairs)),
    )
    images = read_twins(call.ledger, logged.pairs, call.folder)
    about = {name: logged.protocol[name] for name in ("unmarked", "caution")}
    protocol = call.protocol(logged.protocol["outputs"], **about)
    asked = Questions(call.ledger.queries(logged.pairs), images, protocol)
    # One that is no file is known by its name or weights alone, and has to answer as the one that was interrupted
    if not call.model.is_known_by_digest:
        found = _try_out(call, images)
        least = 1e-9 if found.outputs == "losses" else 1e-5
        same = journal.trial is not None and alike(journal.trial, found.fingerprint, least)
        if not same or not asked.labels_alike(call.model, journal):
            where = "images that it was asked about" if same else "unmarked images"
            raise SuspectError(
                f"a verification of '{call.model.name}' was interrupted, and on {where} this "
                "suspect answers otherwise than that one did. If it is another model, pass another name=: it "
                "then has a verification of its own"
            )
    return asked


def _interrupted(call: Call, journal: Journal) -> LoggedVerification | None:
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
    if begun.closed and (not begun.concluded or call.around.is_saved(begun.id)):
        return None  # what it held is where it belongs
    return begun


def _pairs_then(call: Call, logged: LoggedVerification) -> list[int]:
    """The pairs that this call would have taken when that verification was opened."""
    ledger = call.ledger
    if call.pairs == "all":
        return [index for index, _ in ledger.query_order]
    # Verifications close with all their pairs used, but for a sequential test that stopped early
    earlier = [item for item in ledger.verifications.values() if item.position < logged.position]
    return unspent(ledger.query_order, earlier)[: call.num_pairs]


def _name_left_open(ledger: Ledger, logged: LoggedVerification | None) -> None:
    for other in ledger.open_verifications():
        if logged is None or other.id != logged.id:
            _logger.warning(
                "The verification of '%s' that was opened at %s has no verdict yet: it is running, or was "
                "interrupted. It stays counted; the call that began it goes on with it",
                other.suspect_name,
                other.opened_at,
            )
