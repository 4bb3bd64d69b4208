"""Suspect models: asking them, the verdict and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..public import public

if TYPE_CHECKING:
    import fiftyone.core.collections as foc

    from ..core.bundle.bundle import Bundle
    from ..core.suspects.white_box import WhiteBoxSuspect
    from ..dataset.verification.known_models import KnownModels
    from ..dataset.verification.verification import Verification


@public
def verify_model(
    samples: foc.SampleCollection,
    honey_key: str,
    suspect: Any,
    verify_key: str | None = None,
    alpha: float | None = None,
    classes: Mapping[str, int] | Sequence[str] | None = None,
    outputs: str = "auto",
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: str = "RGB",
    batch_size: int = 64,
    references: Sequence[Any] = (),
    name: str | None = None,
    pairs: str = "all",
    num_pairs: int | None = None,
    ledger_path: str | Path | None = None,
    device: str | None = None,
    skip_failures: bool = False,
    insist: bool = False,
    num_random: int | None = None,
    user: str | None = None,
    progress: bool | Callable | None = None,
) -> Verification:
    """Queries a suspect model and gives a verdict: derived, not shown, or inconclusive.

    The suspect's losses on released and withheld twins are compared by the test that the ledger's
    commitment fixed. Whatever the suspect is, if it did not use the release it is accused with
    probability at most α. Every verification of a marking is recorded in the ledger before its first
    query, and the j-th is held to the level α/(j(j+1)): these add up to α, so for any number of
    suspects that are named beforehand, or asked about new pairs, the probability of any false accusation is
    at most α. For a suspect that is chosen because of others' answers on the same pairs, it is per model.

    First the suspect is asked about unmarked images of the dataset, in batches as they will be: what fails there,
    or is no better than chance, much worse than the proxies, or far better if asked otherwise, ends the call
    before anything is counted. How it is asked is then fixed in the ledger. Answers are on disk before they are
    used: after an error, a crash or a kill the same call goes on where it stopped, as the same verification.

    Of a marking with ``recipients`` the suspect is then asked about the tracing pairs too, and ``recipients`` says for each
    of them with which exact p-value the suspect has something of his release. Somebody of whose release it has nothing is
    named with probability at most the verification's level, whoever colluded.

    Args:
        samples: the dataset
        honey_key: the marking
        suspect: a ``torch.nn.Module``, a callable on a float32 (B, 3, H, W) RGB batch in [0, 1], the path
            of a TorchScript or ONNX file, the name of a field with predictions on the HoneyImages, or a suspect of
            :mod:`fiftyone_honeyimage.core.suspects`, such as ``DenoisingSuspect``. A TorchScript file is a program, which
            runs here
        verify_key (None): an identifier for this verification; numbered by default
        alpha (None): the committed α by default; only a smaller one is accepted
        classes (None): the suspect's classes, name → index of its output, or names in the order of its
            outputs; the dataset's classes, sorted, by default
        outputs ("auto"): ``"logits"``, ``"probabilities"``, ``"labels"``, ``"losses"`` (one loss an image, of whatever
            kind, as of a detector or a generator; lower on what it has seen), or ``"auto"``
        input_size (None), mean (None), std (None): how images are resized and normalised for the suspect
        channels ("RGB"): the order of the channels that the suspect takes, "RGB" or "BGR"
        batch_size (64): images a query
        references (()): models known to be innocent, in the forms of ``suspect``; calibrate the
            paper's threshold τ, which is shown and never decides
        name (None): what to call the suspect
        pairs ("all"): ``"all"`` pairs of twins, or the ``"unused"`` ones, for a suspect whose
            operator may have seen earlier queries
        num_pairs (None): with ``pairs="unused"``, how many: the next ones in the committed order; all that
            are left by default
        ledger_path (None): the ledger's place, if it was moved
        device (None): where to query
        skip_failures (False): an image that fails is asked again, and then counts its pair against the
            owner. False stops when those of two pairs in a row failed, as the suspect is out of order then, or when
            more than a quarter of the pairs have a failed image, before anything is concluded; True goes on
        insist (False): whether to verify a suspect that looks asked in a wrong way; the record says so
        num_random (None): random unmarked images to ask about after the verdict, for the paper's plot
            of loss gaps. One query each; they spend no pair and enter neither verdict nor ledger. 50 by
            default for a file, module or field, none for a function, whose calls may cost money
        user (None): who runs it, as recorded with the result; the operating system's user by default
        progress (None): see :func:`compute_hardness`

    Returns:
        a ``Verification``

    Raises:
        SuspectError: if the suspect cannot be loaded, answers wrongly, or looks asked in a wrong way
        LedgerError: if the ledger or a HoneyImage is missing, altered, or of another dataset
        ParameterError: if an argument is out of range, the key is taken, or so few pairs cannot decide
    """
    from ..dataset.verification.verify import verify_model as run

    return run(
        samples,
        honey_key,
        suspect,
        verify_key,
        alpha=alpha,
        classes=classes,
        outputs=outputs,
        input_size=input_size,
        mean=mean,
        std=std,
        channels=channels,
        batch_size=batch_size,
        references=references,
        name=name,
        pairs=pairs,
        num_pairs=num_pairs,
        ledger_path=ledger_path,
        device=device,
        skip_failures=skip_failures,
        insist=insist,
        num_random=num_random,
        user=user,
        progress=progress,
    )


@public
def white_box_suspect(
    samples: foc.SampleCollection,
    honey_key: str,
    model: Any,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: str = "RGB",
    name: str | None = None,
    ledger_path: str | Path | None = None,
    device: str | None = None,
) -> WhiteBoxSuspect:
    """A suspect whose weights are at hand, to be passed to :func:`verify_model`; for markings of ``method="radioactive"``.

    Instead of what it answers on images, its last layer is compared with the secret directions of both sides of every
    pair (arXiv 2002.00937), after the features of marker and suspect were brought together on up to 1,000 unmarked
    images of the dataset. The verdict is as exact as any; the published p-value stands beside it.

    Args:
        samples: the dataset
        honey_key: the marking
        model: a ``torch.nn.Module`` that ends in a linear layer
        input_size (None), mean (None), std (None), channels ("RGB"), name (None), ledger_path (None), device (None): see
            :func:`verify_model`

    Returns:
        a suspect

    Raises:
        ParameterError: if the marking has no such directions, or the model no such layer
        SuspectError: if it is no module
        LedgerError: if the ledger is missing or altered
    """
    from ..dataset.verification.suspects import open_white_box

    return open_white_box(
        samples,
        honey_key,
        model,
        {"input_size": input_size, "mean": mean, "std": std, "channels": channels},
        name=name,
        ledger_path=ledger_path,
        device=device,
    )


@public
def load_verification(samples: foc.SampleCollection, verify_key: str) -> Verification:
    """Loads a verification from the dataset's runs.

    Raises:
        SamplesError: if there is no such verification
    """
    from ..dataset.verification.verification import load_verification as run

    return run(samples, verify_key)


@public
def export_evidence(
    samples: foc.SampleCollection, verify_key: str, path: str | Path, *, overwrite: bool = False
) -> Path:
    """Writes the file from which a third party recomputes a verdict.

    It opens the coins of the pairs that were used, so publish it only when it is needed.
    ``python -m fiftyone_honeyimage check FILE`` checks it.

    Args:
        samples: the dataset
        verify_key: the verification
        path: a new JSON file
        overwrite (False): whether it may replace an older evidence file; no other file ever is

    Raises:
        LedgerError: if the ledger is missing or altered, or there is a file at the path
    """
    from ..dataset.verification.verification import export_evidence as run

    return run(samples, verify_key, path, overwrite)


@public
def export_bundle(
    samples: foc.SampleCollection,
    verify_key: str,
    path: str | Path,
    *,
    images: str = "digests",
    roots: Sequence[str | Path] | None = None,
    pdf: bool | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Writes a zip for a lawyer or an expert: evidence, a report, a checker, the images' digests, time-stamps.

    The report, HTML and PDF, has the verdict in words, what it means and what it does not, plots, pairs, dates and the steps to
    check all of it; the checker is one file that runs on Python alone. Like the evidence, it opens the coins of the pairs that were used.

    Args:
        samples: the dataset
        verify_key: the verification
        path: a new zip
        images ("digests"): ``"digests"`` puts in the opened images' SHA-256 alone, ``"files"`` the images too, withheld ones among them
        roots (None): files with root certificates, under which time-stamps are checked for the report (see :func:`stamp`)
        pdf (None): whether the report is a PDF too, which takes ``pip install 'fiftyone-honeyimage[report]'``; where that is installed by
            default
        overwrite (False): whether an older bundle may be replaced

    Returns:
        a :class:`~..core.bundle.bundle.Bundle`, with ``path`` and ``names``

    Raises:
        SamplesError: if there is no such verification
        LedgerError: if the ledger is missing or altered, an image is missing or altered, or there is a file at the path
        ParameterError: if an argument is out of range, or a PDF cannot be made
    """
    from ..dataset.verification.verification import export_bundle as run

    return run(samples, verify_key, path, images, roots, pdf, overwrite)


@public
def evaluate_known_models(
    samples: foc.SampleCollection,
    honey_key: str,
    infringing: Any,
    innocent: Any,
    threshold: float | None = None,
    classes: Sequence[str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 64,
    ledger_path: str | Path | None = None,
    device: str | None = None,
    progress: bool | Callable | None = None,
) -> KnownModels:
    """Computes the paper's measures for two models of which it is known who used the release.

    The loss gap's AUROC, TPR and TNR over the HoneyImages of the release, HL (the infringing model's
    accuracy on the release) and STL (arXiv 2508.00892). For studies with models of your own: this is
    no verification, nothing is recorded in the ledger, and nothing follows for other models.

    Args:
        samples: the view that was marked, or the dataset
        honey_key: the marking
        infringing: a model that trained on the release, in the forms of :func:`verify_model`
        innocent: a model that did not
        threshold (None): τ in nats; the one with the largest TPR + TNR on these images by default
        classes (None), input_size (None), mean (None), std (None), batch_size (64), ledger_path (None),
            device (None), progress (None): see :func:`verify_model`

    Returns:
        a ``KnownModels``

    Raises:
        SuspectError: if a model cannot be loaded or gives labels alone
    """
    from ..dataset.verification.known_models import evaluate_known_models as run

    return run(
        samples,
        honey_key,
        infringing,
        innocent,
        threshold=threshold,
        classes=classes,
        input_size=input_size,
        mean=mean,
        std=std,
        batch_size=batch_size,
        ledger_path=ledger_path,
        device=device,
        progress=progress,
    )
