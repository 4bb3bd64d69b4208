"""Scoring and marking a dataset."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..public import public

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from datetime import datetime

    import fiftyone.core.collections as foc

    from ..core.models import Proxy
    from ..core.training import TrainingConfig
    from ..dataset.hardness import HardnessSummary
    from ..dataset.marking.attach import Attached
    from ..dataset.marking.marking import Marking


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
    from ..dataset.hardness import compute_hardness as run

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
    method: str = "unperturbed",
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
    coins: str = "local",
    coins_at: datetime | str | None = None,
    relays: Sequence[str] | None = None,
    recipients: Sequence[str] = (),
    colluders: int = 2,
    num_tracing_pairs: int | None = None,
    **options: Any,
) -> Marking:
    """Chooses images that models remember, most of them twins, marks them if asked to, and writes the secret ledger.

    By default nothing in them is changed, so that nobody finds a mark; ``method="honeyimage"`` changes them by a little.
    Whatever is done, they are called HoneyImages here.

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
        method ("unperturbed"): ``"unperturbed"`` leaves all images as they are, ``"honeyimage"`` changes them by at most ε;
            or another of ``core.methods.METHODS``
        num_honeyimages (None): N, the HoneyImages of the release; 1 % of the images by default, and
            at least ``num_pairs``; of a method whose images share secrets at least 8 a secret, if a tenth of the
            images suffices for that
        num_pairs (None): M ≤ N, how many of them have a withheld twin, which the release loses;
            1 % of the images by default, between 16 and 200. 0 gives the paper's method, with which no
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
            numbers of 1 to 20, (1, 1, 1) by default; fixed in the ledger's commitment. With ``unchanged_share`` and no
            weights given, crafted and unchanged pairs have groups of their own, weighed by the proxies before the coins
        num_references (0): so many reference models are trained, each on the other images and a random half of all
            HoneyImages, withheld ones too, before the coins; what they say of both sides is committed with them.
            A score that compares with them needs 4 at least, 16 or more do better, and LiRA takes a spread an image
            from 64 on. With them, verifications also tell what the published rules of those scores would have decided
        executor (None), checkpoint_dir (None): see :func:`compute_hardness`; for the reference models, the out-model and the first in-model, which
            other options of the method do not train anew for the same images
        coins ("local"): ``"local"`` draws the coins on this computer, and others have your word for it. ``"beacon"`` lets
            nobody choose them: the marking is committed to, the commitment is shown for you to publish, and the coins are
            drawn from a round of public randomness (drand) that comes out only after. The call waits for it; interrupted,
            the same call goes on; without internet it ends with a marking that waits for :func:`draw_coins`
        coins_at (None): when the coins are drawn, a ``datetime`` with its time zone or ISO 8601; three minutes after the
            commitment by default. It must leave you time to publish the commitment
        relays (None): addresses that the round is asked of, in turn; drand's own by default. They are not trusted, and
            nothing of the marking is sent
        recipients (()): names of who gets a release of his own, two at least. Pairs of twins are the same for all of
            them, and what these withhold goes to nobody; of each of ``num_tracing_pairs`` further pairs every recipient
            gets one side, by a secret code word of his own. :func:`verify_model` and :func:`trace_copy` then say whose
            release it was
        colluders (2): how many recipients may compare and mix their copies and one of them still be named: up to 2 by
            fair coins, up to 5 by biased ones, which take more pairs
        num_tracing_pairs (None): how many; by default what :func:`plan_recipients` says for pairs of which nine in ten
            are read rightly. So many images are in no release of a recipient who has their twins
        **options: the method's own, see :func:`method_options`. Of ``"honeyimage"``: ``epsilon`` (4),
            ``step_size`` (0.4), ``num_steps`` (20), ``inner`` ("warm"), ``robust`` (False), ``smoothing`` (1.0),
            ``selection`` ("hardest"; "gain" of ``"unperturbed"``), ``matched`` (False), ``diverse`` (False), ``unchanged_share`` (0.0),
            ``num_out_models`` (1), ``diversity`` (0), ``stealth`` (0)

    Returns:
        a ``Marking``

    Raises:
        SamplesError: if the samples, labels or scores cannot be used
        ImageError: if an image cannot be read
        ParameterError: if an argument is out of range, the key is taken, or the folder exists
    """
    from ..dataset.marking.generate import generate_honeyimages as run

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
        coins=coins,
        coins_at=coins_at,
        relays=relays,
        recipients=recipients,
        colluders=colluders,
        num_tracing_pairs=num_tracing_pairs,
    )


@public
def method_options(method: str = "unperturbed") -> dict[str, tuple[Any, str]]:
    """What :func:`generate_honeyimages` takes beside its own arguments, for one method.

    Args:
        method ("unperturbed"): its name

    Returns:
        option → (default, what it is, with the values that it may have)

    Raises:
        ParameterError: if there is no such method
    """
    from ..core.limits import check_choice
    from ..core.methods import METHODS

    questions = METHODS[check_choice("method", method, METHODS)].Options.questions()
    return {q.name: (q.default, q.told()) for q in questions}


@public
def load_marking(samples: foc.SampleCollection, honey_key: str) -> Marking:
    """Loads a marking from the dataset's runs.

    Raises:
        SamplesError: if there is no such marking
    """
    from ..dataset.marking.marking import load_marking as run

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
    from ..dataset.marking.attach import attach_marking as run

    return run(samples, ledger_path, folder, honey_key=honey_key, label_field=label_field)
