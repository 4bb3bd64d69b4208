"""Releases of a marked dataset."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..public import public

if TYPE_CHECKING:
    import fiftyone.core.collections as foc

    from ..core.audit import AuditReport
    from ..core.ledger.ledger import Ledger
    from ..core.ledger.stamping import StampReport
    from ..core.models import Proxy
    from ..core.training import TrainingConfig
    from ..dataset.release.history import Release
    from ..dataset.release.report import ReleaseReport


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
    *,
    recipient: str | None = None,
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
        recipient (None): whose release it is, of a marking with ``recipients``. It holds his sides of the tracing pairs;
            what pairs of twins withhold is in nobody's. The report says what whoever has another recipient's
            release too would see by comparing

    Returns:
        a ``ReleaseReport``

    Raises:
        ReleaseError: if something would be missing from the release or stand out in it
        LedgerError: if the ledger is missing, altered, or of another dataset
        ParameterError: if the folder exists or an option is not supported
    """
    from ..dataset.release.export import export_release as run

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
        recipient=recipient,
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
    *,
    recipient: str | None = None,
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
        recipient (None): whose release it is, of a marking with ``recipients``; found out by its files by default

    Returns:
        an ``AuditReport``: ``passed``, ``leaks``, ``metadata``, ``pixels``, ``markdown()``

    Raises:
        ReleaseError: if the folder does not hold the ledger's HoneyImages byte by byte
        LedgerError: if the ledger is missing or altered
        ParameterError: if an argument is out of range
    """
    from ..dataset.release.audit import audit_release as run

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
        recipient=recipient,
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
    from ..dataset.release.history import list_releases as run

    return run(samples, honey_key)


@public
def stamp(
    samples: foc.SampleCollection,
    honey_key: str,
    what: Sequence[str] = ("commitment", "releases", "head"),
    authorities: Sequence[str] = ("digicert", "freetsa"),
    *,
    roots: Sequence[str | Path] = (),
    timeout: float = 20.0,
    ledger_path: str | Path | None = None,
) -> StampReport:
    """Has a marking's commitment, its releases and the head of its log dated by time-stamp authorities (RFC 3161).

    A stamp shows a stranger that what was stamped was there at a time: the commitment before its release, the log before
    a dispute. Each authority is sent the SHA-256 of a digest over HTTP, nothing else, and only by this call. Stamps are kept beside
    the ledger, in ``<ledger>.stamps.json``, go into every evidence file that is exported from then on, and are checked offline:
    ``python -m fiftyone_honeyimage check EVIDENCE --roots FILE``. An authority that has stamped the same before is not
    asked again.

    Args:
        samples: the dataset
        honey_key: the marking
        what (("commitment", "releases", "head")): what is dated
        authorities (("digicert", "freetsa")): names of ``core.ledger.authorities.AUTHORITIES``, or http or https addresses; two that
            have nothing to do with each other are worth more than one
        roots (()): files with root certificates, PEM or DER, of which one must vouch for each stamp
        timeout (20.0): seconds that an authority is waited for
        ledger_path (None): the ledger's place, if it was moved

    Returns:
        a :class:`~..core.ledger.stamping.StampReport`; ``print`` it. It says who refused, and why

    Raises:
        SamplesError: if there is no such marking
        ParameterError: if an argument is out of range
        LedgerError: if the ledger is missing or altered, a root cannot be read, or no authority gave a stamp
    """
    from ..dataset.marking.stamping import stamp as run

    return run(samples, honey_key, what, authorities, roots, timeout, ledger_path)
