"""A marking from files alone: images are chosen, crafted, measured and written, then coins are drawn.

:func:`mark` does all of it on a bare machine. On a FiftyOne dataset :mod:`...dataset.marking.generate` does, which also
enters the marking in the dataset.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...version import __version__
from ..codecs import encoder_versions
from ..device import choose_device
from ..errors import ParameterError
from ..evidence.code_words import Code
from ..evidence.plan import DEFAULT_WEIGHTS, Plan, check_score
from ..files import TEMPORARY_FILES, file_states, sha256_bytes, sha256_file, write_json_atomic
from ..fleet import check_folder, check_workers
from ..ledger.creation import create_ledger
from ..ledger.hashes import hash_dataset
from ..ledger.ledger import Ledger, load_ledger
from ..ledger.lots import Beacon, appoint, check_coins
from ..ledger.relays import RELAYS, check_relays
from ..limits import PROXY_SIZE, SEED, TRADE_OFF, Whole
from ..methods import METHODS
from ..methods.options import check_known
from ..methods.selection import NO_MEASURES, measures_needed
from ..methods.selection_options import settled
from ..models import Proxy, proxy_name
from ..progress import Report, silent
from ..training import TrainingConfig
from .candidates import check_exclusions, check_file_policies, exclusion_masks, select
from .coins import draw_when_out
from .crafting import make_images
from .folder import CHECKPOINTS, LEDGER, MANIFEST, read_manifest
from .labeled import LabeledSamples
from .reference_models import check_num_references
from .side_files import read_sides
from .stratum_weights import weigh_strata

_REQUEST = "request.json"


def mark(
    folder: str | os.PathLike[str],
    labeled: LabeledSamples,
    hardness: np.ndarray,
    *,
    num_honeyimages: int,
    num_pairs: int,
    input_size: int,
    method: str = "unperturbed",
    options: Mapping[str, Any] | None = None,
    plan: Plan | None = None,
    proxy: Proxy = "wrn28_2",
    training: TrainingConfig | None = None,
    exclude: Collection[str] = ("duplicates",),
    label_errors: np.ndarray | None = None,
    reencode: str = "marked",
    thumbnails: str = "exclude",
    lpips_backbone: str | Path | None = None,
    trade_off: int = 0,
    num_references: int = 0,
    seed: int = 51,
    device: str | None = None,
    skip_failures: bool = False,
    report: Report = silent,
    executor: Executor | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
    coins: str = "local",
    coins_at: datetime | str | None = None,
    relays: Sequence[str] = RELAYS,
    earlier_commitments: Sequence[str] = (),
    code: Code | None = None,
    num_tracing_pairs: int = 0,
) -> Ledger:
    """Marks labelled files, and commits to the pairs and their coins; the originals stay as they are.

    An interrupted call goes on in ``<folder>.partial`` when it is made again with the same arguments.

    Args:
        folder: a new folder for images, manifest and ledger
        labeled: the private set
        hardness: float64 (N,), nats; NaN where it is not known
        num_honeyimages, num_pairs: see :func:`fiftyone_honeyimage.generate_honeyimages`, as for what follows
        input_size: side of the proxies' input, pixels
        plan (None): a :class:`Plan`; by default one with its defaults and the method's score. A stratified test's default
            weights give way to those of :func:`.weigh_strata` where some pairs are left as they are
        label_errors (None): bool (N,), suspected label errors, where ``exclude`` names them
        executor, checkpoint_dir: who trains the proxies and where they are found again, see
            :func:`..training.train_models`
        measures ({}): what the options' choice takes beside hardness, by the names of
            :data:`..methods.selection.MEASURES`; :attr:`..hardness.HardnessResult.measures` has all
        coins ("local"): where they come from, of :data:`..ledger.lots.COINS`. With "beacon" the call commits, waits for a
            public round, and draws from it; interrupted while it waits, the same call goes on
        coins_at (None): when that round comes out, with a time zone; three minutes after the commitment by default
        relays: whom it is asked of
        earlier_commitments (()): of every marking that this dataset has had, oldest first. Here nobody remembers them: on a
            FiftyOne dataset they are found by themselves
        code (None), num_tracing_pairs (0): recipients who get a release each, and pairs that tell them apart; then the
            images of a release are ``ledger.released_images(recipient)``

    Returns:
        the ledger, which is the secret; the release holds ``ledger.released_images()`` in place of their originals,
        none of ``ledger.withheld_images()``, and none of the manifest's ``probe_sources``

    Raises:
        ParameterError: if an argument is out of range, or the folder is taken
        SamplesError: if too few images can be marked
        ImageError: if a file cannot be read
        BeaconError: if the round would be out already, or no relay gave it
    """
    check_coins(coins, None if coins == "beacon" else coins_at)
    relays = check_relays(relays)
    check_exclusions(exclude)
    labeled.check()
    check_file_policies(reencode, thumbnails)
    trained = check_folder(checkpoint_dir)
    check_workers(executor, trained)
    if method not in METHODS:
        raise ParameterError(f"method must be one of {', '.join(METHODS)}; found {method!r}")
    own = check_known(options or {}, method, {name: each.Options for name, each in METHODS.items()})
    settings = settled(METHODS[method].Options, own, measures)
    num_honeyimages = Whole(1).check("num_honeyimages", num_honeyimages)
    num_pairs = Whole(0).check("num_pairs", num_pairs)
    num_tracing_pairs = check_tracing(code, num_tracing_pairs, num_pairs, num_honeyimages, method)
    input_size = PROXY_SIZE.check("input_size", input_size)
    trade_off = TRADE_OFF.check("trade_off", trade_off)
    seed = SEED.check("seed", seed)
    for name, values in (("hardness", hardness), ("label_errors", label_errors)):
        if values is not None and np.shape(values) != (len(labeled),):
            raise ParameterError(
                f"{name} must have one value for each of the {len(labeled)} images; found shape {np.shape(values)}"
            )
    measures = {
        name: np.asarray(measures[name]) for name in measures_needed(settings) if name in measures
    }
    config = training or TrainingConfig()
    plan = plan or Plan(score=METHODS[method].score)
    check_score(plan)
    request = {
        "classes": labeled.classes,
        "method": method,
        "num_honeyimages": num_honeyimages,
        "num_pairs": num_pairs,
        **({"num_tracing_pairs": num_tracing_pairs} if code else {}),
        "exclude": sorted(exclude),
        "reencode": reencode,
        "thumbnails": thumbnails,
        **settings.to_dict(),
        "proxy": proxy_name(proxy),
        "input_size": input_size,
        "training": asdict(config),
        "num_references": check_num_references(num_references, plan.score),
        "seed": seed,
        "version": __version__,
        "encoders": encoder_versions(),
        **({} if coins == "local" else {"coins": coins}),
    }
    none = np.zeros(len(labeled), dtype=bool)
    masks = exclusion_masks(exclude, hardness, none if label_errors is None else label_errors)
    select(
        hardness, labeled.labels, masks, request, measures
    )  # too few are told before anything is read

    final = Path(folder)
    call = {
        **request,
        "ids": labeled.ids,
        "labels": labeled.labels.tolist(),
        "files": file_states(labeled.filepaths),
        "hardness": _digest(hardness, np.float64),
        "label_errors": None if label_errors is None else _digest(label_errors, np.bool_),
        "plan": plan.to_dict(),
        **({"code": asdict(code)} if code else {}),
        "trade_off": trade_off,
        "device": str(choose_device(device)),
        **{name: _digest(values, np.float64) for name, values in measures.items()},
        **({"earlier": list(earlier_commitments)} if earlier_commitments else {}),
    }
    call = json.loads(json.dumps(call))
    if _is_of(final, call):  # killed when everything was done
        return _finish(final, relays, report)
    if not (_partial(final) / LEDGER).exists():  # else the round was committed to, and may be out
        check_coins(coins, coins_at)
    partial = _open(final, call)
    if not (partial / MANIFEST).exists():
        make_images(
            partial,
            labeled,
            hardness,
            masks,
            request=request,
            proxy=proxy,
            config=config,
            device=choose_device(device),
            lpips_backbone=lpips_backbone,
            trade_off=trade_off,
            skip_failures=skip_failures,
            report=report,
            executor=executor,
            trained_dir=trained,
            measures=measures,
        )
    draw_coins_once(
        partial,
        {**request, "dataset_sha256": dataset_digest(labeled.filepaths)},
        replace(plan, direction=METHODS[method].direction),
        earlier_commitments=earlier_commitments,
        appointed=coins_source(coins, coins_at),
        weigh=plan.stratum_weights == DEFAULT_WEIGHTS and not plan.unchanged_weights,
        code=code,
    )
    shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
    for left in partial.rglob(TEMPORARY_FILES):
        left.unlink()
    partial.rename(final)
    return _finish(final, relays, report)


def _finish(final: Path, relays: Sequence[str], report: Report) -> Ledger:
    ledger = load_ledger(final / LEDGER)
    draw_when_out(ledger, relays=relays, report=report)
    (final / _REQUEST).unlink()  # last: it tells whose all of this is
    return ledger


def coins_source(coins: str, coins_at: datetime | str | None) -> Callable[[], Beacon] | None:
    """What names the public round at the moment of the commitment; None for coins that are drawn here."""
    return None if coins == "local" else lambda: appoint(coins_at)


def dataset_digest(filepaths: Sequence[str]) -> str:
    """The hash of a dataset's files, whatever they are called; those that cannot be read are left out."""
    digests = []
    for path in filepaths:
        with suppress(OSError):
            digests.append(sha256_file(path))
    return hash_dataset(digests)


def draw_coins_once(
    folder: Path,
    header: Mapping[str, Any],
    plan: Plan,
    *,
    earlier_commitments: Sequence[str] = (),
    register: Callable[[str], None] | None = None,
    weigh: bool = False,
    appointed: Callable[[], Beacon] | None = None,
    code: Code | None = None,
) -> Ledger:
    """Draws the coins of the images in a folder and writes its ledger; the last step of a marking.

    With ``appointed`` it commits, and the coins wait for a public round.

    Args:
        folder: with the manifest
        header: how the marking was made
        plan: is committed too
        weigh (False): whether a portfolio's strata get their weights from the proxies, see :func:`.weigh_strata`
        appointed (None): names that round when the commitment is written, see :func:`coins_source`
        earlier_commitments, register, code: see :func:`.create_ledger`; the last ``num_tracing_pairs`` of the header
            are those of a code

    Returns:
        the ledger; that which was written before, if there is one: coins are never drawn twice
    """
    path = folder / LEDGER
    if path.exists():
        return load_ledger(path)
    manifest = read_manifest(folder)
    singles, pairs = read_sides(manifest)
    first = len(pairs) - header.get("num_tracing_pairs", 0)
    if weigh:
        plan = weigh_strata(plan, manifest, first)
    return create_ledger(
        path,
        {
            **header,
            "torch_version": torch.__version__,
            "python_version": platform.python_version(),
        },
        singles,
        pairs[:first],
        plan,
        earlier_commitments=earlier_commitments,
        register=register,
        beacon=None if appointed is None else appointed(),
        code=code,
        tracing_pairs=pairs[first:],
    )


def check_tracing(
    code: Code | None, num_tracing_pairs: int, num_pairs: int, num_honeyimages: int, method: str
) -> int:
    """Checks the number of tracing pairs and returns it.

    Raises:
        ParameterError: if it is out of range, there are no recipients for them, a release has no room for so many, or the
            method's sides are of several images with a secret
    """
    if code is not None and METHODS[method].shares_secrets:
        raise ParameterError(
            f"method={method!r} gives many images one secret, and recipients are told apart by single images; choose "
            "another, such as 'honeyimage' or 'unperturbed', or mark without recipients"
        )
    num_tracing_pairs = Whole(0).check("num_tracing_pairs", num_tracing_pairs)
    if (code is None) != (num_tracing_pairs == 0):
        raise ParameterError(
            f"num_tracing_pairs is {num_tracing_pairs} with {'no ' if code is None else ''}recipients; tracing pairs tell "
            "recipients apart, so give both or neither"
        )
    if num_tracing_pairs and num_pairs + num_tracing_pairs > num_honeyimages:
        raise ParameterError(
            f"{num_pairs} pairs and {num_tracing_pairs} tracing pairs put {num_pairs + num_tracing_pairs} HoneyImages in "
            f"every release, and num_honeyimages is {num_honeyimages}; ask for fewer pairs or more HoneyImages"
        )
    return num_tracing_pairs


def _open(final: Path, call: Mapping[str, Any]) -> Path:
    """The partial folder: a new one, or what the same call left."""
    if final.exists():
        raise ParameterError(f"'{final}' exists already; give a new folder")
    partial = _partial(final)
    if _is_of(partial, call):
        return partial
    if (partial / _REQUEST).is_file():
        held = _read_request(partial)
        other = sorted(
            name for name in {*held, *call} if held.get(name, call) != call.get(name, held)
        )
        raise ParameterError(
            f"'{partial}' is of another call that was interrupted: {', '.join(other)} differ. Make that call again, "
            "or delete the folder"
        )
    for left in partial.glob(TEMPORARY_FILES):  # killed while the folder was made
        left.unlink()
    if partial.exists() and (not partial.is_dir() or any(partial.iterdir())):
        raise ParameterError(
            f"'{partial}' exists already and holds no interrupted call; move it away, or give another folder"
        )
    partial.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_json_atomic(partial / _REQUEST, call)
    return partial


def _partial(final: Path) -> Path:
    return final.with_name(f"{final.name}.partial")


def _is_of(folder: Path, call: Mapping[str, Any]) -> bool:
    return (folder / _REQUEST).is_file() and _read_request(folder) == call


def _read_request(folder: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads((folder / _REQUEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"'{folder}' holds an interrupted call, and its {_REQUEST} cannot be read ({error}); move the folder away"
        ) from error
    return read


def _digest(values: npt.ArrayLike, dtype: Any) -> str:
    return sha256_bytes(np.ascontiguousarray(values, dtype).tobytes())
