"""HoneyImage for FiftyOne: prove that a model was trained on your image dataset.

Score how hard each image is, turn a few hard ones into HoneyImages that no one can see, export a
protected release, and later query any suspect model as a black box for a verdict that accuses an
innocent one with probability at most α. The method is HoneyImage (arXiv 2508.00892); the verdict
rests on twins, of which a secret coin releases one and withholds the other.

Functions take samples first, then field names and keys, then keywords, as in the FiftyOne Brain.
Everything heavy is imported inside them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import (
    DatabaseError,
    HoneyImageError,
    ImageError,
    InterruptedRunError,
    LedgerError,
    ParameterError,
    ReleaseError,
    SamplesError,
    SuspectError,
)
from .public import public

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import fiftyone.core.collections as foc

    from .core.audit import AuditReport
    from .core.ledger.ledger import Ledger
    from .core.models import Proxy
    from .core.training import TrainingConfig
    from .dataset.hardness import HardnessSummary
    from .dataset.management.notes import Note
    from .dataset.management.run_list import RunSummary
    from .dataset.marking.attach import Attached
    from .dataset.marking.marking import Marking
    from .dataset.release.export import ReleaseReport
    from .dataset.release.history import Release
    from .dataset.verification.known_models import KnownModels
    from .dataset.verification.verification import Verification

from .version import __version__

__all__ = [
    "DatabaseError",
    "HoneyImageError",
    "ImageError",
    "InterruptedRunError",
    "LedgerError",
    "ParameterError",
    "ReleaseError",
    "SamplesError",
    "SuspectError",
    "__version__",
    "attach_marking",
    "audit_release",
    "compute_hardness",
    "delete_run",
    "evaluate_known_models",
    "export_evidence",
    "export_release",
    "generate_honeyimages",
    "list_releases",
    "list_runs",
    "load_marking",
    "load_verification",
    "method_options",
    "read_note",
    "rename_run",
    "save_workspace",
    "verify_model",
    "write_note",
]


@public
def compute_hardness(
    samples: foc.SampleCollection,
    label_field: str,
    hardness_field: str = "honey_hardness",
    proxy: Proxy = "wrn28_2",
    input_size: int | None = None,
    training: TrainingConfig | Mapping[str, Any] | str | None = None,
    seed: int = 51,
    device: str | None = None,
    skip_failures: bool = False,
    progress: bool | Callable | None = None,
    *,
    executor: Executor | None = None,
    checkpoint_dir: str | Path | None = None,
) -> HardnessSummary:
    """Scores how hard each image is for a model that has not seen it.

    The samples are split into two random halves, a proxy is trained on each, and every image gets
    its cross-entropy under the proxy of the other half (arXiv 2508.00892). Writes a float field, a
    boolean field ``<hardness_field>_label_error`` with suspected label errors (confident learning on
    the same predictions), and registers a run named after the field. Where the proxies are too weak to
    judge, no label is called wrong (``labels_judged``) or the hardness itself is unreliable
    (``reliable``); the summary says so.

    Args:
        samples: a dataset or view of images; HoneyImages of earlier markings are left out
        label_field: a :class:`fiftyone.core.labels.Classification` field
        hardness_field ("honey_hardness"): the field to write; an earlier hardness field is
            overwritten, any other field is refused
        proxy ("wrn28_2"): the proxy architecture: ``"wrn28_2"``, ``"resnet18"``, ``"densenet121"``,
            ``"vgg11_bn"``, ``"vit_small"``, ``"resnet_tiny"`` (for CPUs), ``"torchvision:<name>"``,
            or a function from the number of classes to a ``torch.nn.Module`` that returns logits
        input_size (None): side of the proxies' input in pixels; the images' own size up to 64 by
            default
        training (None): a ``TrainingConfig``, a dict of changes to its defaults, such as
            ``{"epochs": 30, "flip": False}``, or a recipe of ``core.training_config.RECIPES``: ``"quick"``,
            ``"paper"``, or with changes ``{"recipe": "paper", "epochs": 30}``
        seed (51): same seed and device, same scores
        device (None): ``"cuda"``, ``"mps"`` or ``"cpu"``; chosen in this order by default
        skip_failures (False): whether to leave out images that cannot be read, and count them
        progress (None): whether to render a progress bar, or a callback, as everywhere in FiftyOne
        executor (None): any ``concurrent.futures.Executor``, whose workers train the proxies at once
        checkpoint_dir (None): a folder, reached by all workers, in which a training that is done is found again

    Returns:
        a ``HardnessSummary``

    Raises:
        SamplesError: if the samples or labels cannot be used
        ImageError: if an image cannot be read
        ParameterError: if an argument is out of range or the field is taken
    """
    from .dataset.hardness import compute_hardness as run

    return run(
        samples,
        label_field,
        hardness_field,
        proxy=proxy,
        input_size=input_size,
        training=training,
        seed=seed,
        device=device,
        skip_failures=skip_failures,
        progress=progress,
        executor=executor,
        checkpoint_dir=checkpoint_dir,
    )


@public
def generate_honeyimages(
    samples: foc.SampleCollection,
    label_field: str,
    honey_key: str,
    method: str = "honeyimage",
    num_honeyimages: int | None = None,
    num_pairs: int | None = None,
    hardness_field: str = "honey_hardness",
    exclude: Collection[str] = ("duplicates",),
    proxy: Proxy = "wrn28_2",
    input_size: int | None = None,
    training: TrainingConfig | Mapping[str, Any] | str | None = None,
    alpha: float = 0.001,
    test: str = "signed_rank",
    output_dir: str | Path | None = None,
    lpips_backbone: str | Path | None = None,
    trade_off: int = 16,
    reencode: str = "marked",
    thumbnails: str = "exclude",
    seed: int = 51,
    device: str | None = None,
    skip_failures: bool = False,
    progress: bool | Callable | None = None,
    *,
    score: str | None = None,
    adjustment: str = "none",
    stratum_weights: Sequence[int] = (),
    num_references: int = 0,
    executor: Executor | None = None,
    checkpoint_dir: str | Path | None = None,
    **options: Any,
) -> Marking:
    """Turns the hardest images into HoneyImages, some of them twins, and writes the secret ledger.

    HoneyImages are new samples beside their originals: tagged ``"honeyimage"`` and ``honey_key``,
    with a field ``honey_key`` that names their source, pair and visibility, in a saved view
    ``honey_key``. Tags and field are for looking; what is a HoneyImage is told by the run's own record. Images
    that another marking chose are not chosen again. The dataset becomes persistent. The originals are not touched. Which twin of each pair a release holds is decided
    by coins that are drawn last of all, from the operating system's entropy; they stand in the
    ledger file alone (mode 0600), never in the dataset. An interrupted run resumes when it is
    called again with the same arguments.

    Every file keeps its source's name, size, format, mode, compression tables and metadata. Images
    that cannot be written like they are (with a palette, interlaced, progressive, lossy WebP, ...), that would not
    come back byte for byte without a change, or that hold a thumbnail, are left out of the choice and
    counted in ``excluded``, before anything is trained. So are images without room for a mark: those that are flat,
    dark or saturated nearly everywhere, where a change would be seen. Such areas stay as they are in all
    images, and no window of 11 pixels is less like the original's than an SSIM of 0.95; ``worst``
    holds the least like. The marking's ``survival`` says which HoneyImages keep their effect
    after JPEG 75 and 50, resizing, a median filter, crop and flip.

    Args:
        samples: the private dataset, or a view of it
        label_field: a :class:`fiftyone.core.labels.Classification` field
        honey_key: an identifier for this marking
        method ("honeyimage"): ``"honeyimage"``, or another of ``core.methods.METHODS``, such as ``"unperturbed"``
        num_honeyimages (None): N, the HoneyImages of the release; 1 % of the images by default, and
            at least ``num_pairs``
        num_pairs (None): M ≤ N, how many of them have a withheld twin, which the release loses;
            1 % of the images by default, between 16 and 36. 0 gives the paper's method, with which no
            verdict but "inconclusive" is possible
        hardness_field ("honey_hardness"): scores of :func:`compute_hardness`
        exclude (("duplicates",)): images that are not marked: ``"duplicates"`` (exact or near
            duplicates of another image) and ``"label_errors"`` (suspected label errors)
        proxy ("wrn28_2"), input_size (None), training (None): see :func:`compute_hardness`
        alpha (0.001): the probability with which an innocent model may be accused; fixed in the
            ledger's commitment
        test ("signed_rank"): ``"signed_rank"``; ``"stratified_signed_rank"``, which ranks pairs among those as hard
            as they; or ``"e_process"``, which queries pair by pair and stops early; fixed in the ledger's commitment
        output_dir (None): a new folder for the files and the ledger; one below FiftyOne's default
            dataset folder by default
        lpips_backbone (None): a local file with the AlexNet features that LPIPS needs; torchvision's
            by default, and without either LPIPS is left out
        trade_off (16): at most so many candidates are also crafted, with the finished proxies, at
            ε = 1, 2, 4, 8 and 16, which gives the marking's ``trade_off``: loss gap against visibility. Fewer
            where that would take more than a tenth of the time of the crafting, and none in the
            shortest runs. No HoneyImage depends on it; 0 for none
        reencode ("marked"): ``"marked"`` leaves out files that another encoder than Pillow's or libjpeg's wrote, which
            would not come back byte for byte; ``"all"`` marks them too, and every release of this marking
            has to be exported with ``reencode="all"``
        thumbnails ("exclude"): ``"exclude"`` leaves out files that hold a thumbnail or another preview, as it
            shows the unmarked picture; ``"drop"`` marks them, and previews of all files of a release are
            dropped (JPEG alone)
        seed (51): same seed and device, same HoneyImages, byte for byte
        device (None), skip_failures (False), progress (None): see :func:`compute_hardness`
        score (None): what the two sides of a pair are compared by: ``"loss"``, or ``"confidence"``, which tells
            sure answers apart too; or, beside reference models, ``"lira_online"``, ``"lira_offline"``,
            ``"carlini_compat"``, ``"bavaria"``, ``"model_loss"`` or ``"learn_original"``; the method's own by default,
            ``"loss"`` for the present ones; fixed in the ledger's commitment
        adjustment ("none"): ``"references"`` allows for how hard each image is to the proxies, which never see
            the coins; fixed in the ledger's commitment. Not used where a suspect gives labels alone
        stratum_weights (()): what pairs count in a stratified test, from the easiest group to the hardest: whole
            numbers of 1 to 100, (1, 1, 1) by default; fixed in the ledger's commitment
        num_references (0): so many reference models are trained, each on the other images and a random half of all
            HoneyImages, withheld ones too, before the coins; what they say of both sides is committed with them.
            A score that compares with them needs 4 at least, 16 or more do better, and LiRA takes a spread an image
            from 64 on. With them, verifications also tell what the published rules of those scores would have decided
        executor (None), checkpoint_dir (None): see :func:`compute_hardness`; for the reference models, the out-model and the first in-model, which
            other options of the method do not train anew for the same images
        **options: the method's own, see :func:`method_options`. Of ``"honeyimage"``: ``epsilon`` (4),
            ``step_size`` (0.4), ``num_steps`` (20), ``inner`` ("warm"), ``robust`` (False), ``smoothing`` (1.0)

    Returns:
        a ``Marking``

    Raises:
        SamplesError: if the samples, labels or scores cannot be used
        ImageError: if an image cannot be read
        ParameterError: if an argument is out of range, the key is taken, or the folder exists
    """
    from .dataset.marking.generate import generate_honeyimages as run

    return run(
        samples,
        label_field,
        honey_key,
        method=method,
        num_honeyimages=num_honeyimages,
        num_pairs=num_pairs,
        hardness_field=hardness_field,
        exclude=exclude,
        options=options,
        proxy=proxy,
        input_size=input_size,
        training=training,
        alpha=alpha,
        test=test,
        score=score,
        adjustment=adjustment,
        stratum_weights=stratum_weights,
        num_references=num_references,
        output_dir=output_dir,
        lpips_backbone=lpips_backbone,
        trade_off=trade_off,
        reencode=reencode,
        thumbnails=thumbnails,
        seed=seed,
        device=device,
        skip_failures=skip_failures,
        progress=progress,
        executor=executor,
        checkpoint_dir=checkpoint_dir,
    )


@public
def method_options(method: str = "honeyimage") -> dict[str, tuple[Any, str]]:
    """What :func:`generate_honeyimages` takes beside its own arguments, for one method.

    Args:
        method ("honeyimage"): its name

    Returns:
        option → (default, what it is)

    Raises:
        ParameterError: if there is no such method
    """
    from .core.limits import check_choice
    from .core.methods import METHODS

    questions = METHODS[check_choice("method", method, METHODS)].Options.questions()
    return {q.name: (q.default, f"{q.label}. {q.help}".strip()) for q in questions}


@public
def export_release(
    samples: foc.SampleCollection,
    honey_key: str,
    export_dir: str | Path,
    dataset_type: type | None = None,
    label_field: str | None = None,
    ledger_path: str | Path | None = None,
    export_media: Any = True,
    reencode: str = "marked",
    names: str = "keep",
    fields: Sequence[str] = (),
    unpublished: Collection[str | Path] = (),
    progress: bool | Callable | None = None,
) -> ReleaseReport:
    """Exports the dataset with released twins in place of their originals, withheld twins absent.

    Originals that other markings of the dataset chose are left out, and so are copies of marked ones: a
    release must not publish what another marking withholds. The report counts them.

    The folder appears whole or not at all. Nothing of the working dataset but labels, pixels, file
    names and order gets out; every file has the same time stamp and permissions. Before it appears, it is
    read back by FiftyOne's importer, and files and labels are compared. Meanwhile it lies in a folder that
    you alone can read; what an export that was killed leaves of it is cleared by the next call of any
    function here.

    Args:
        samples: the dataset, or the view that was marked; HoneyImages of other markings are left out
        honey_key: the marking
        export_dir: a new folder
        dataset_type (None): ``fiftyone.types.ImageClassificationDirectoryTree`` by default;
            ``FiftyOneImageClassificationDataset``, ``FiftyOneDataset``, ``CSVDataset`` or
            ``COCODetectionDataset`` (each label as a box around the whole image)
        label_field (None): the Classification field to release; that of the marking by default
        ledger_path (None): the ledger's place, if it was moved
        export_media (True): only True is accepted
        reencode ("marked"): ``"marked"`` copies unmarked images byte for byte, ``"all"`` encodes them
            anew in their own format, as the HoneyImages were, so that no encoder tells them apart
        names ("keep"): ``"keep"`` leaves the files' names, where withheld images leave gaps in
            numbered names; ``"renumber"`` numbers all files anew, in their order.
            Where the method changes labels files are numbered at random, whatever is asked: names or an order that
            tell what an image shows would tell which label does not fit
        fields (()): further fields to carry along (FiftyOneDataset and CSVDataset); a HoneyImage gets
            its original's values. In a CSV file a label is its class or value. Values that name files
            (masks, maps) are refused
        unpublished (()): folders of earlier releases of this marking that nobody was given. With others
            this one must have ``reencode`` in common, or comparing them would show the HoneyImages
        progress (None): see :func:`compute_hardness`

    Returns:
        a ``ReleaseReport``

    Raises:
        ReleaseError: if something would be missing from the release or stand out in it
        LedgerError: if the ledger is missing, altered, or of another dataset
        ParameterError: if the folder exists or an option is not supported
    """
    from .dataset.release.export import export_release as run

    return run(
        samples,
        honey_key,
        export_dir,
        dataset_type=dataset_type,
        label_field=label_field,
        ledger_path=ledger_path,
        export_media=export_media,
        reencode=reencode,
        names=names,
        fields=fields,
        unpublished=unpublished,
        progress=progress,
    )


@public
def audit_release(
    export_dir: str | Path,
    ledger: str | Path | Ledger,
    samples: foc.SampleCollection | None = None,
    hardness_field: str | None = None,
    proxy: Proxy | None = "resnet_tiny",
    input_size: int | None = None,
    training: TrainingConfig | Mapping[str, Any] | str | None = None,
    alpha: float = 0.01,
    seed: int = 51,
    device: str | None = None,
    progress: bool | Callable | None = None,
) -> AuditReport:
    """Tries to tell the HoneyImages of a release from its other images, as an adversary would.

    Looks at everything that a file says besides its pixels (times, permissions, names, order, formats,
    tables, segments, size given the image, fields and ids in label files), at the pixels (noise, traces of
    earlier compression, near duplicates) and at the loss under models that it trains on the release.
    The ledger only tells which images are marked when the attempts are scored. Metadata that separate
    are leaks; what the pixels give away is shown. HoneyImages are compared with unmarked images of
    the same class and similar hardness.

    Args:
        export_dir: the release
        ledger: the marking's ledger, or the path of its file
        samples (None): the working dataset, whose ids must not be in the release
        hardness_field (None): the field of ``samples`` with the scores that the images were chosen by;
            without it, images are compared that have about the same loss under the audit's own models
        proxy ("resnet_tiny"): the model to train; None for no model, which is faster
        input_size (None): side of its input in pixels; the images' own size up to 64 by default
        training (None): see :func:`compute_hardness`; ``"quick"`` by default, 15 epochs
        alpha (0.01): the probability with which the metadata, or the pixels, are said to separate
            although the marks fell at random
        seed (51): same seed and device, same report
        device (None), progress (None): see :func:`compute_hardness`

    Returns:
        an ``AuditReport``: ``passed``, ``leaks``, ``metadata``, ``pixels``, ``markdown()``

    Raises:
        ReleaseError: if the folder does not hold the ledger's HoneyImages byte by byte
        LedgerError: if the ledger is missing or altered
        ParameterError: if an argument is out of range
    """
    from .dataset.release.audit import audit_release as run

    return run(
        export_dir,
        ledger,
        samples=samples,
        hardness_field=hardness_field,
        proxy=proxy,
        input_size=input_size,
        training=training,
        alpha=alpha,
        seed=seed,
        device=device,
        progress=progress,
    )


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
            owner. False stops when four in a row failed, as the suspect is out of order then; True goes on
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
    from .dataset.verification.verify import verify_model as run

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
def list_releases(samples: foc.SampleCollection, honey_key: str) -> list[Release]:
    """Lists the releases of a marking, oldest first: where, when and how each was exported.

    Noted by :func:`export_release`, and by :func:`audit_release` if it is given the samples. The list
    is part of the marking's run on the dataset, and never of a release.

    Args:
        samples: the dataset
        honey_key: the marking

    Returns:
        a list of ``Release``: the folder and whether it is still there, its format, the outcome of
        its newest audit, and how many originals were added, deleted or edited since

    Raises:
        SamplesError: if there is no such marking
    """
    from .dataset.release.history import list_releases as run

    return run(samples, honey_key)


@public
def list_runs(samples: foc.SampleCollection) -> list[RunSummary]:
    """Lists the hardness runs, markings and verifications of a dataset, oldest first."""
    from .dataset.management.run_list import list_runs as run

    return run(samples)


@public
def rename_run(samples: foc.SampleCollection, key: str, new_key: str) -> None:
    """Renames a marking, with its field, tag and saved view, or a verification.

    Raises:
        SamplesError: if there is no such run
        ParameterError: if the new key is taken or not an identifier
    """
    from .dataset.management.run_list import rename_run as run

    run(samples, key, new_key)


@public
def delete_run(samples: foc.SampleCollection, key: str, delete_files: bool = False) -> None:
    """Deletes a hardness run, a marking with its verifications, or a verification.

    Args:
        samples: the dataset
        key: the run's key
        delete_files (False): for a marking, whether to delete its HoneyImage files and its ledger
            too. Without the ledger no release of this marking can ever be verified

    Raises:
        SamplesError: if there is no such run
    """
    from .dataset.management.run_list import delete_run as run

    run(samples, key, delete_files=delete_files)


@public
def read_note(samples: foc.SampleCollection, key: str) -> Note:
    """Reads the note that people keep on a hardness run, a marking or a verification.

    Returns:
        a ``Note``: its ``text``, empty if there is none, and who wrote it when

    Raises:
        SamplesError: if there is no such run
    """
    from .dataset.management.notes import read_note as run

    return run(samples, key)


@public
def write_note(samples: foc.SampleCollection, key: str, text: str, user: str | None = None) -> Note:
    """Writes the note on a run, in place of the one that was there; an empty text deletes it.

    It is kept with the run on the dataset: a rename keeps it, deleting the run deletes it, and no
    release or evidence file holds it.

    Args:
        samples: the dataset
        key: the run's key
        text: the note, at most 10,000 characters
        user (None): who writes it; the operating system's user by default

    Raises:
        SamplesError: if there is no such run
        ParameterError: if the text is too long
    """
    from .dataset.management.notes import write_note as run

    return run(samples, key, text, user)


@public
def save_workspace(samples: foc.SampleCollection) -> bool:
    """Saves the workspace ``"HoneyImage"``, which opens both panels beside the grid of the App.

    :func:`generate_honeyimages` does so too. A workspace of that name is never overwritten.

    Args:
        samples: the dataset

    Returns:
        whether the workspace of that name is this plugin's; False if it is somebody else's
    """
    from .dataset.workspace import save_workspace as run

    return run(samples)


@public
def load_marking(samples: foc.SampleCollection, honey_key: str) -> Marking:
    """Loads a marking from the dataset's runs.

    Raises:
        SamplesError: if there is no such marking
    """
    from .dataset.marking.marking import load_marking as run

    return run(samples, honey_key)


@public
def attach_marking(
    samples: foc.SampleCollection,
    ledger_path: str | Path,
    folder: str | Path | None = None,
    honey_key: str | None = None,
    label_field: str | None = None,
) -> Attached:
    """Brings a marking back from its ledger and its folder.

    For a dataset that was lost and imported again, a folder or ledger that was moved, another machine, and
    a run or field that was deleted, renamed or edited with other tools. Originals are found by the bytes of
    their files, so they may have other ids and paths. HoneyImages that the dataset no longer holds are added
    again; those that it holds keep their ids and what was predicted on them. Verifications and releases that
    the dataset knows stay. It can be called again at any time.

    Nothing here binds the owner: on a dataset that knows no verification, an older copy of the ledger is
    as good as the newest one. Attach the newest.

    Args:
        samples: the dataset, with the originals that were marked
        ledger_path: the ledger, wherever it lies now; later calls look for it there
        folder (None): the marking's folder, with its manifest and HoneyImages; the ledger's own by default
        honey_key (None): the key of the marking, if this dataset does not know it; by default the one it
            was marked under
        label_field (None): the Classification field, if it goes by another name than at the marking

    Returns:
        an ``Attached``: the ``Marking``, and how many of its images were found

    Raises:
        LedgerError: if the ledger is missing, altered or older than the dataset knows, or the folder does
            not hold its HoneyImages byte by byte
        SamplesError: if the dataset holds fewer than half of the originals
        ParameterError: if something else has the key
    """
    from .dataset.marking.attach import attach_marking as run

    return run(samples, ledger_path, folder, honey_key=honey_key, label_field=label_field)


@public
def load_verification(samples: foc.SampleCollection, verify_key: str) -> Verification:
    """Loads a verification from the dataset's runs.

    Raises:
        SamplesError: if there is no such verification
    """
    from .dataset.verification.verification import load_verification as run

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
    from .dataset.verification.verification import export_evidence as run

    return run(samples, verify_key, path, overwrite)


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
    from .dataset.verification.known_models import evaluate_known_models as run

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
