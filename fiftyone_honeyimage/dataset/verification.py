"""verify_model: queries a suspect on the twins and gives a verdict."""

from __future__ import annotations

import getpass
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F

from .. import __version__
from ..core.errors import HoneyImageError, LedgerError, ParameterError, SuspectError
from ..core.evidence.ledger import Ledger
from ..core.evidence.loss_gap import calibrate_threshold, loss_gaps
from ..core.evidence.record import export_evidence as write_evidence
from ..core.evidence.sequential import EProcess
from ..core.evidence.twins import PairAnswers
from ..core.evidence.verdict import Verdict, may_stop
from ..core.files import locked, sha256_file
from ..core.images import read_image
from ..core.suspects import Answers, PredictionsSuspect, Suspect, load_suspect, query
from . import storage
from .checks import HONEYIMAGE_TAG, whole_number
from .marking import HONEYIMAGE, Marking, load_marking, open_ledger
from .progress import Progress, StageBar
from .runs import (
    MARKING,
    VERIFICATION,
    catch_up,
    check_new_key,
    list_keys,
    root_dataset,
    run_config,
    run_results,
    save_results,
    save_run,
)

#: Unmarked images that are asked first, so that a suspect that cannot be used is found out before
#: it has seen a HoneyImage.
_NUM_PROBES = 8

#: Random unmarked images that a suspect at hand is asked about, for the paper's plot
DEFAULT_NUM_RANDOM = 50

_logger = logging.getLogger(__name__)

#: Packages whose version is kept with a verification
_PACKAGES = ("fiftyone", "torch", "numpy", "scipy")


@dataclass(frozen=True)
class Verification:
    """A verification as it is kept on the dataset.

    Attributes:
        verify_key: the run's key
        honey_key: the marking
        verdict: the :class:`~..core.evidence.verdict.Verdict`
        suspect_name: what the suspect is called
        suspect_digest: SHA-256 of its file or weights, None where it has none
        pairs: one dict a pair in the order queried: ``pair``, ``released_loss``, ``withheld_loss``
            (nats; None for labels alone), ``released_correct``, ``withheld_correct``, ``failed``
        config: the run's whole config
        timestamp: when the run was registered, UTC
        random_images: the paper's controls, which never decide: ``ids`` of unmarked samples and
            their loss ``gaps`` (nats), or a ``note`` that says why there are none; empty if none
            were asked for
    """

    verify_key: str
    honey_key: str
    verdict: Verdict
    suspect_name: str
    suspect_digest: str | None
    pairs: list[dict[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    timestamp: Any = None
    random_images: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.suspect_name}: {self.verdict.verdict}. {self.verdict.statement}"


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
    num_random = num_controls(suspect, num_random)
    if verify_key is None:
        verify_key = next_verify_key(samples, honey_key)
    check_new_key(samples, verify_key, "verify_key")
    ledger = open_ledger(marking, ledger_path)
    check_log(samples, honey_key, ledger)
    level = ledger.plan.alpha_for(alpha)
    names = suspect_classes(marking, classes)
    if pairs not in ("all", "unused"):
        raise ParameterError(f"pairs must be 'all' or 'unused'; found {pairs!r}")
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
    if outputs == "auto" and not isinstance(model, PredictionsSuspect):
        outputs = probe(model, samples, marking, names, batch_size)

    stages = {
        "Querying reference models": 10 * len(others),
        "Querying": 90,
        "Deciding": 1,
        "Querying random images": 30 if num_random else 0,
    }
    with StageBar(stages, progress) as bar:
        asked = _Questions(ledger, wanted, images, names, batch_size, outputs, skip_failures)
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


def next_verify_key(samples: fo.core.collections.SampleCollection, honey_key: str) -> str:
    """The first free key ``<honey_key>_verification_<n>``."""
    dataset = root_dataset(samples)
    taken = {*dataset.list_runs(), *dataset.get_field_schema(), *dataset.list_saved_views()}
    number = 1
    while f"{honey_key}_verification_{number}" in taken:
        number += 1
    return f"{honey_key}_verification_{number}"


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


def load_verification(
    samples: fo.core.collections.SampleCollection, verify_key: str
) -> Verification:
    """Loads a verification from the dataset's runs.

    Raises:
        SamplesError: if there is no such verification
    """
    config = run_config(samples, verify_key, VERIFICATION)
    results = run_results(samples, verify_key)
    return Verification(
        verify_key=verify_key,
        honey_key=config["honey_key"],
        verdict=Verdict.from_dict(results["verdict"]),
        suspect_name=config["suspect_name"],
        suspect_digest=config["suspect_digest"],
        pairs=results["pairs"],
        config=config,
        timestamp=config["timestamp"],
        random_images=results.get("random_images") or {},
    )


def provenance(marking: Marking, ledger: Ledger, user: str | None) -> dict[str, Any]:
    """What a verification rests on: kept with it, and shown beside the verdict."""
    return {
        "commitment": ledger.commitment,
        "ledger_head": ledger.head,
        "seed": marking.config.get("seed"),
        "user": user or os_user(),
        "versions": {
            "python": platform.python_version(),
            **{name: installed(name) for name in _PACKAGES},
        },
    }


def os_user() -> str | None:
    """The name of the operating system's user, None where there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def installed(package: str) -> str | None:
    """The installed version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def export_evidence(
    samples: fo.core.collections.SampleCollection, verify_key: str, path: str | Path
) -> Path:
    """See :func:`fiftyone_honeyimage.export_evidence`."""
    verification = load_verification(samples, verify_key)
    marking = load_marking(samples, verification.honey_key)
    ledger = open_ledger(marking, verification.config["ledger_path"])
    kind = verification.verdict.kind
    what = "loss" if kind == "scores" else "correct"
    values: dict[str, list[Any]] = {"a": [], "b": []}
    for row in verification.pairs:
        released = ledger.pairs[row["pair"]].released
        withheld = "b" if released == "a" else "a"
        values[released].append(None if row["failed"] else row[f"released_{what}"])
        values[withheld].append(None if row["failed"] else row[f"withheld_{what}"])
    pairs = tuple(row["pair"] for row in verification.pairs)
    answers = PairAnswers(kind, pairs, tuple(values["a"]), tuple(values["b"]))
    target = Path(path).expanduser()
    write_evidence(ledger, verification.config["verification_id"], answers, target)
    return target


def suspect_classes(marking: Marking, classes: Sequence[str] | None) -> list[str]:
    """The suspect's classes in the order of its outputs.

    Raises:
        ParameterError: if a class of the dataset is not among them, or one occurs twice
    """
    own = list(marking.config["classes"])
    if classes is None:
        return own
    names = list(classes)
    missing = [label for label in own if label not in names]
    if missing:
        raise ParameterError(
            f"classes must hold every class of the dataset; {missing[0]!r} is missing "
            f"({len(missing)} in all)"
        )
    if len(set(names)) != len(names):
        raise ParameterError("classes names a class twice")
    return names


def open_suspect(
    samples: fo.core.collections.SampleCollection,
    marking: Marking,
    suspect: Any,
    classes: Sequence[str],
    name: str | None,
    load: Mapping[str, Any],
) -> Suspect:
    """Loads a suspect: a model, a file, or a field of predictions.

    Raises:
        SuspectError: if it is none of these
    """
    dataset = root_dataset(samples)
    if not isinstance(suspect, str):
        return load_suspect(suspect, name=name, **load)
    if dataset.has_field(suspect):
        held = field_predictions(dataset, marking.honey_key, suspect, classes)
        return load_suspect(predictions=held, name=name or f"field {suspect}")
    if os.path.exists(os.path.expanduser(suspect)):
        return load_suspect(os.path.expanduser(suspect), name=name, **load)
    raise SuspectError(
        f"'{suspect}' is neither a file nor a field of dataset '{dataset.name}'; pass the path of a "
        "TorchScript or ONNX file, or the name of a field with predictions on the HoneyImages"
    )


def field_predictions(
    dataset: fo.Dataset, honey_key: str, field_name: str, classes: Sequence[str]
) -> dict[str, Any]:
    """Predictions on the HoneyImages of a marking, by the id of their source sample.

    Raises:
        SuspectError: see :func:`read_predictions`
    """
    view = dataset.match_tags(HONEYIMAGE_TAG).match(F(f"{honey_key}.role") == HONEYIMAGE)
    return read_predictions(view, f"{honey_key}.source", field_name, classes)


def read_predictions(
    view: fo.DatasetView, key_path: str, field_name: str, classes: Sequence[str]
) -> dict[str, Any]:
    """Predictions on the samples of a view, by what stands at ``key_path``.

    A Classification with logits gives scores; one without gives its label alone; a list or vector
    gives scores.

    Raises:
        SuspectError: if the field's type cannot hold predictions, or the logits' order contradicts
            the labels
    """
    kind = view._dataset.get_field(field_name)
    if isinstance(kind, (fo.ListField, fo.VectorField, fo.ArrayField)):
        sources, rows = view.values([key_path, field_name])
        return {
            source: None if row is None else np.asarray(row, dtype=np.float64)
            for source, row in zip(sources, rows, strict=True)
        }
    if getattr(kind, "document_type", None) is not fo.Classification:
        raise SuspectError(
            f"field '{field_name}' holds no predictions: it must be a Classification, with logits if "
            "there are any, or a list of scores"
        )

    sources, labels, logits = view.values([key_path, f"{field_name}.label", f"{field_name}.logits"])
    known = {label: index for index, label in enumerate(classes)}
    unknown = sorted({label for label in labels if label is not None and label not in known})
    if unknown:
        raise SuspectError(
            f"field '{field_name}' predicts {unknown[0]!r}, which is none of the suspect's classes; "
            "pass all of them as classes=, in the order of its outputs"
        )
    if all(row is None for row in logits):
        return {
            source: None if label is None else known[label]
            for source, label in zip(sources, labels, strict=True)
        }
    for source, label, row in zip(sources, labels, logits, strict=True):
        if row is None or label is None or len(row) != len(classes):
            continue
        if known[label] != int(np.argmax(row)) and row[known[label]] < np.max(row):
            raise SuspectError(
                f"in field '{field_name}' the largest logit for sample {source} is "
                f"that of {classes[int(np.argmax(row))]!r}, but its label is {label!r}: the logits "
                "are in another order. Pass the suspect's classes as classes=, in the order of its "
                "outputs"
            )
    return {
        source: None if row is None else np.asarray(row, dtype=np.float64)
        for source, row in zip(sources, logits, strict=True)
    }


def read_twins(ledger: Ledger, pairs: Sequence[int], folder: Path) -> dict[str, np.ndarray]:
    """The twins' images by the id of their source sample, each checked against the ledger.

    Raises:
        LedgerError: if a file is missing or altered
    """
    images = {}
    for _, _, image in ledger.queries(pairs):
        path = folder / image.file
        if not path.is_file():
            raise LedgerError(
                f"HoneyImage '{path}' is missing; restore the marking's folder '{folder}'"
            )
        if sha256_file(path) != image.marked_sha256:
            raise LedgerError(
                f"HoneyImage '{path}' was altered since it was marked; restore it from a backup"
            )
        images[image.sample_id] = read_image(path)
    return images


def probe(
    suspect: Suspect,
    samples: fo.core.collections.SampleCollection,
    marking: Marking,
    classes: Sequence[str],
    batch_size: int,
) -> str:
    """Asks a suspect about a few unmarked images; what its outputs are.

    Raises:
        SuspectError: if it cannot be used
    """
    dataset = root_dataset(samples)
    label_field = marking.config["label_field"]
    own = unmarked(dataset).exists(f"{label_field}.label")
    images: list[np.ndarray] = []
    keys: list[str] = []
    labels: list[int] = []
    for sample_id, path, label in zip(
        *own.limit(4 * _NUM_PROBES).values(["id", "filepath", f"{label_field}.label"]), strict=True
    ):
        if label not in classes or len(images) == _NUM_PROBES:
            continue
        try:
            images.append(read_image(path))
        except HoneyImageError:
            continue  # a probe only has to be some image
        keys.append(sample_id)
        labels.append(classes.index(label))
    if not images:
        return "auto"
    answers = query(
        suspect,
        images,
        keys,
        np.array(labels, dtype=np.int64),
        num_classes=len(classes),
        batch_size=batch_size,
    )
    return answers.outputs


def unmarked(dataset: fo.Dataset) -> fo.DatasetView:
    """The images that no marking has chosen, of which every release holds the same file.

    The original of any HoneyImage would show whoever holds a release with it which image is marked.
    """
    view = dataset.match_tags(HONEYIMAGE_TAG, bool=False)
    for honey_key in list_keys(dataset, MARKING):
        if dataset.has_field(honey_key):
            view = view.match(F(f"{honey_key}.source") == None)  # noqa: E711 (a query)
    return view


def num_controls(suspect: Any, num_random: int | None) -> int:
    """How many random images to ask about: by default some if that costs nothing but time.

    Raises:
        ParameterError: if it is no whole number
    """
    if num_random is None:
        # A function may be somebody's paid service; a file, a module or a field is at hand
        at_hand = isinstance(suspect, (str, Path)) or hasattr(suspect, "state_dict")
        return DEFAULT_NUM_RANDOM if at_hand else 0
    return whole_number(num_random, "num_random", 0)


def ask_controls(
    samples: fo.core.collections.SampleCollection,
    marking: Marking,
    suspect: Any,
    model: Suspect,
    classes: Sequence[str],
    num_random: int,
    batch_size: int,
    outputs: str,
    bar: StageBar,
) -> dict[str, Any]:
    """The loss gap of random unmarked images: the paper's comparison, which never decides.

    The proxy's loss is that of the half proxy that has not seen the image, its hardness: the
    out-model has trained on most unmarked images.

    Returns:
        ``ids`` and ``gaps`` (nats) of the samples, or a ``note`` that says why there are none
    """
    if outputs == "labels":
        return {"note": "a suspect that gives labels alone has no loss"}
    dataset = root_dataset(samples)
    hardness, label_field = marking.config["hardness_field"], marking.config["label_field"]
    for name in (hardness, label_field):
        if not dataset.has_field(name):
            return {"note": f"field '{name}' was deleted"}
    view = unmarked(dataset).match(
        (F(hardness) != None) & F(f"{label_field}.label").is_in(list(classes))  # noqa: E711
    )
    asked: Suspect = model
    try:
        if isinstance(model, PredictionsSuspect):
            if not isinstance(suspect, str):
                return {"note": "the suspect is given by its answers on the HoneyImages alone"}
            view = view.exists(suspect)
            held = read_predictions(view, "id", suspect, classes)
            if not held:
                return {"note": f"no unmarked image has predictions in field '{suspect}'"}
            asked = load_suspect(predictions=held)
        chosen = view.take(num_random, seed=51)
        ids, labels, losses, images = _readable(chosen, label_field, hardness)
        if not ids:
            return {"note": "no unmarked image with a hardness score can be read"}
        answers = query(
            asked,
            images,
            ids,
            np.array([classes.index(label) for label in labels], dtype=np.int64),
            num_classes=len(classes),
            batch_size=batch_size,
            outputs=outputs,  # type: ignore[arg-type]
            skip_failures=True,
            report=lambda _, done, total: bar.report("Querying random images", done, total),
        )
    except HoneyImageError as error:
        return {"note": str(error)}
    usable = ~answers.failed & np.isfinite(answers.losses) & np.isfinite(losses)
    answered = np.flatnonzero(usable)
    gaps = loss_gaps(np.array(losses)[answered], answers.losses[answered])
    return {"ids": [ids[row] for row in answered], "gaps": [float(gap) for gap in gaps]}


def _readable(
    view: fo.DatasetView, label_field: str, hardness_field: str
) -> tuple[list[str], list[str], list[float], list[np.ndarray]]:
    """Ids, labels, hardness and images of the samples whose file can be read."""
    found: tuple[list[str], list[str], list[float], list[np.ndarray]] = ([], [], [], [])
    names = ["id", "filepath", f"{label_field}.label", hardness_field]
    for sample_id, path, label, hardness in zip(*view.values(names), strict=True):
        try:
            image = read_image(path)
        except HoneyImageError:
            continue  # any image serves
        for values, value in zip(found, (sample_id, label, hardness, image), strict=True):
            values.append(value)  # type: ignore[attr-defined]
    return found


class _Questions:
    """The queries of one verification and the suspect's answers so far."""

    def __init__(
        self,
        ledger: Ledger,
        pairs: Sequence[int],
        images: Mapping[str, np.ndarray],
        classes: Sequence[str],
        batch_size: int,
        outputs: str,
        skip_failures: bool,
    ) -> None:
        self._queries = ledger.queries(pairs)
        self._images = images
        self._classes = list(classes)
        # Whole pairs a batch, so that a batch that fails spends no half pair.
        self._batch_size = max(2, batch_size // 2 * 2)
        self._skip_failures = skip_failures
        self._ledger = ledger
        self._seen = 0
        self.outputs = outputs
        self.failures: dict[str, str] = {}
        self._losses: dict[tuple[int, str], float] = {}
        self._correct: dict[tuple[int, str], bool] = {}
        self._failed: dict[tuple[int, str], bool] = {}

    @property
    def num_pairs_seen(self) -> int:
        """How many pairs the suspect may have seen, also of a batch that failed."""
        return (self._seen + 1) // 2

    def ask(
        self,
        suspect: Suspect,
        bar: StageBar,
        ledger: Ledger,
        verification_id: str,
        alpha: float,
    ) -> PairAnswers:
        """Queries in the committed order: all at once, or pair by pair until it suffices."""
        if not self._queries:
            return PairAnswers("scores", (), (), ())
        if ledger.plan.test != "e_process":
            return self._answers(suspect, self._queries, bar)

        process = EProcess()
        position = ledger.position(verification_id)
        answers: PairAnswers | None = None
        for end in range(2, len(self._queries) + 1, 2):
            pair = self._answers(suspect, self._queries[end - 2 : end], bar)
            if pair.num_failed == 0:
                process.update(_difference(pair, ledger))
            answers = self._collected(pair.kind, end)
            if may_stop(process, ledger.plan, position, alpha):
                break
        assert answers is not None
        return answers

    def ask_reference(self, suspect: Suspect) -> dict[tuple[int, str], float]:
        """A reference model's losses on every query.

        Raises:
            SuspectError: if it gives labels alone
        """
        answers = self._query(suspect, self._queries, skip_failures=False, outputs="auto")
        if answers.kind != "scores":
            raise SuspectError(
                f"reference model '{suspect.name}' gives labels alone; the threshold of the loss gap "
                "needs scores"
            )
        losses = zip(self._queries, answers.losses, strict=True)
        return {(index, twin): float(loss) for (index, twin, _), loss in losses}

    def _answers(self, suspect: Suspect, queries: Sequence[Any], bar: StageBar) -> PairAnswers:
        before = self._seen

        def report(stage: str, done: int, total: int) -> None:
            self._seen = before + min(done + self._batch_size, len(queries))
            bar.report("Querying", before + done, len(self._queries))

        # A batch counts as seen when it is sent, not when its answers arrive.
        self._seen = before + min(self._batch_size, len(queries))
        answers = self._query(suspect, queries, self._skip_failures, self.outputs, report)
        if self.outputs == "auto" and not answers.failed.all():
            self.outputs = answers.outputs
        self.failures.update(answers.failures)
        # The answer on the other twin goes too: a failure is kept beside the sample's id, so that
        # the twin without a loss would be known
        failed = np.repeat(answers.failed.reshape(-1, 2).any(axis=1), 2)
        for row, (index, twin, _) in enumerate(queries):
            self._losses[index, twin] = np.nan if failed[row] else float(answers.losses[row])
            self._correct[index, twin] = bool(answers.correct[row] and not failed[row])
            self._failed[index, twin] = bool(failed[row])
        values = answers.losses if answers.kind == "scores" else answers.correct
        keys = [(index, twin) for index, twin, _ in queries]
        return PairAnswers.from_queries(answers.kind, keys, values, failed)

    def _collected(self, kind: str, end: int) -> PairAnswers:
        keys = [(index, twin) for index, twin, _ in self._queries[:end]]
        values = self._losses if kind == "scores" else self._correct
        return PairAnswers.from_queries(
            kind, keys, [values[key] for key in keys], [self._failed[key] for key in keys]
        )

    def _query(
        self,
        suspect: Suspect,
        queries: Sequence[Any],
        skip_failures: bool,
        outputs: str,
        report: Any = None,
    ) -> Answers:
        images = [image for _, _, image in queries]
        return query(
            suspect,
            (self._images[image.sample_id] for image in images),
            [image.sample_id for image in images],
            np.array([self._classes.index(image.label) for image in images], dtype=np.int64),
            num_classes=len(self._classes),
            batch_size=self._batch_size,
            outputs=outputs,  # type: ignore[arg-type]
            skip_failures=skip_failures,
            report=report,
        )

    def released(self) -> list[tuple[int, str]]:
        """(pair, twin) of the released twins that the suspect answered, in order."""
        return [
            (index, twin)
            for index, twin, _ in self._queries
            if self._ledger.pairs[index].released == twin
            and not self._failed.get((index, twin), True)
        ]

    def losses(self, keys: Sequence[tuple[int, str]]) -> np.ndarray:
        """float64, the suspect's losses; NaN for labels alone."""
        return np.array([self._losses[key] for key in keys], dtype=np.float64)

    def table(self) -> list[dict[str, Any]]:
        """One row a pair, by role: it does not say which image was released."""
        rows = []
        for index in dict.fromkeys(index for index, _, _ in self._queries):
            if (index, "a") not in self._failed:
                continue  # not reached by a test that stopped early
            released = self._ledger.pairs[index].released
            withheld = "b" if released == "a" else "a"
            rows.append(
                {
                    "pair": index,
                    "failed": self._failed[index, "a"] or self._failed[index, "b"],
                    "released_loss": _finite(self._losses[index, released]),
                    "withheld_loss": _finite(self._losses[index, withheld]),
                    "released_correct": self._correct[index, released],
                    "withheld_correct": self._correct[index, withheld],
                }
            )
        return rows


def ask_references(
    asked: _Questions, references: Sequence[Suspect], bar: StageBar
) -> list[dict[tuple[int, str], float]]:
    """Every reference model's losses on every query."""
    losses = []
    for number, reference in enumerate(references):
        losses.append(asked.ask_reference(reference))
        bar.report("Querying reference models", number + 1, len(references))
    return losses


def paper_figures(
    asked: _Questions,
    answers: PairAnswers,
    marking: Marking,
    ledger: Ledger,
    reference_losses: Sequence[Mapping[tuple[int, str], float]],
) -> dict[str, Any]:
    """The paper's loss gap on the released twins, and τ if there are reference models."""
    keys = asked.released() if answers.kind == "scores" else []
    if not keys:
        return {}
    manifest = storage.read_manifest(marking.output_dir)
    proxy = {image["source"]: image["proxy_loss"] for image in manifest["images"]}
    proxies = [proxy[getattr(ledger.pairs[index], twin).sample_id] for index, twin in keys]
    gaps = loss_gaps(proxies, asked.losses(keys))
    figures: dict[str, Any] = {
        "mean_loss_gap": _rounded(gaps.mean()),
        "num_images": len(keys),
        "num_references": len(reference_losses),
    }
    if not reference_losses:
        return figures

    reference_gaps = [loss_gaps(proxies, [losses[k] for k in keys]) for losses in reference_losses]
    calibrated = calibrate_threshold(reference_gaps, 1 / (len(reference_losses) + 1))
    figures["reference_mean_loss_gaps"] = [_rounded(values.mean()) for values in reference_gaps]
    figures["threshold"] = _rounded(calibrated.threshold)
    figures["threshold_false_positive_rate"] = calibrated.false_positive_rate
    figures["exceeds_threshold"] = bool(gaps.mean() > calibrated.threshold)
    return figures


def _difference(pair: PairAnswers, ledger: Ledger) -> float:
    """``d`` of one answered pair, from scores or labels."""
    compared = pair.compare(ledger.released())
    if isinstance(compared, tuple):
        released, withheld = compared
        return float(released[0]) - float(withheld[0])
    return float(compared[0])


def _rounded(value: float) -> float:
    """Three digits, and no finer than 0.01 nats.

    An exact mean over the released twins would tell which they are: the proxy's losses of all twins
    are known, and of some thirty pairs one choice of twins alone has this sum.
    """
    return round(float(f"{value:.3g}"), 2)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def known_verifications(samples: fo.core.collections.SampleCollection, honey_key: str) -> list[str]:
    """Keys of the verifications of one marking, oldest first."""
    return list_keys(samples, VERIFICATION, honey_key=honey_key)


__all__ = ["Verification", "export_evidence", "load_verification", "verify_model"]
