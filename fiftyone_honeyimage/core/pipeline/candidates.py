"""Which images may become HoneyImages, and the choice among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..codecs import RewrittenError, check_markable, open_codec
from ..codecs.previews import find_preview, without_previews
from ..errors import ImageError, ParameterError, SamplesError
from ..hardness import find_duplicates
from ..limits import shown
from ..methods import METHODS
from ..methods.selection import NO_MEASURES, Candidates
from .labeled import LabeledSamples

#: What ``exclude=`` accepts.
EXCLUSIONS = ("label_errors", "duplicates")

#: What ``thumbnails=`` accepts
THUMBNAILS = ("exclude", "drop")

#: What ``reencode=`` accepts
REENCODE = ("marked", "all")

#: So many images are looked at before a marking gives up if not one of them can be marked
_ENOUGH = 1000

_WORKERS = 4


@dataclass(frozen=True)
class _Refusal:
    """Why an image may not be chosen: a word for the counts, and a sentence."""

    reason: str
    text: str


def check_exclusions(exclude: Collection[str]) -> None:
    """Checks the names in ``exclude``.

    Raises:
        ParameterError: if one is unknown
    """
    is_list = isinstance(exclude, Collection) and not isinstance(exclude, str)
    unknown = [name for name in exclude if name not in EXCLUSIONS] if is_list else [exclude]
    if unknown:
        raise ParameterError(
            f"exclude takes a list of names from {list(EXCLUSIONS)}; found {shown(unknown[0])}"
        )


def check_file_policies(reencode: str, thumbnails: str) -> None:
    """Checks what is to be done about files of other encoders and about thumbnails.

    Raises:
        ParameterError: if one is unknown
    """
    if reencode not in REENCODE:
        raise ParameterError(f"reencode must be 'marked' or 'all'; found {reencode!r}")
    if thumbnails not in THUMBNAILS:
        raise ParameterError(f"thumbnails must be 'exclude' or 'drop'; found {thumbnails!r}")


def exclusion_masks(
    exclude: Collection[str],
    hardness: np.ndarray,
    label_errors: np.ndarray,
    earlier: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Which images may not be chosen, by reason, as far as it is known before images are read."""
    masks = {}
    if earlier is not None and earlier.any():
        masks["earlier_markings"] = earlier
    missing = np.isnan(hardness)
    if missing.any():
        masks["no_hardness"] = missing
    if "label_errors" in exclude:
        masks["label_errors"] = label_errors & ~missing
    return masks


def select(
    hardness: np.ndarray,
    labels: np.ndarray,
    masks: Mapping[str, np.ndarray],
    request: Mapping[str, Any],
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
) -> Candidates:
    """The method's choice by labels and what the proxies say, among the images that no mask leaves out."""
    method = METHODS[request["method"]]
    tracing = request.get("num_tracing_pairs", 0)
    chosen = method.choose(
        np.nan_to_num(hardness, nan=-np.inf),
        labels,
        options=method.Options.read(request),
        num_honeyimages=request["num_honeyimages"],
        num_pairs=request["num_pairs"] + tracing,
        excluded=masks,
        seed=request["seed"],
        # A method that was written before there were measures takes none
        **({"measures": measures} if measures else {}),
    )
    # The last pairs tell recipients apart: any of them, and not the least hard
    return chosen.with_pairs_shuffled(request["seed"]) if tracing else chosen


def choose_candidates(
    labeled: LabeledSamples,
    images: torch.Tensor,
    hardness: np.ndarray,
    masks: dict[str, np.ndarray],
    request: Mapping[str, Any],
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
) -> Candidates:
    """Selects the candidates, leaving out duplicates and images whose files would give a mark away.

    These are files that cannot be written again, that would not come back byte for byte if nothing were changed
    (unless the whole release is to be encoded anew), and that hold a thumbnail of the unmarked picture (unless
    thumbnails are dropped everywhere), and images that have no room for a mark that no eye finds. All of it is
    told by the original alone, so that both twins of a pair are judged alike, before anything is trained.
    """
    duplicates = "duplicates" in request["exclude"]
    if duplicates:
        masks["duplicates"] = np.zeros(len(labeled), dtype=bool)
    # Only images that would be chosen are looked at, and compared with all others; those that move up
    # in their stead are looked at in the next turn, until no chosen image has to be left out.
    checked = np.zeros(len(labeled), dtype=bool)
    first: dict[str, str] = {}
    while True:
        try:
            candidates = select(hardness, labeled.labels, masks, request, measures)
        except SamplesError as error:
            raise SamplesError(f"{error}{_advice(first)}") from error
        new = candidates.rows[~checked[candidates.rows]]
        if len(new) == 0:
            return candidates
        if duplicates:
            masks["duplicates"][new] = find_duplicates(images, new)
        paths = [labeled.filepaths[row] for row in new]
        with ThreadPoolExecutor(_WORKERS) as pool:
            refusals = list(pool.map(lambda path: _refusal(path, request), paths))
        for row, refusal in zip(new, refusals, strict=True):
            if refusal is None:
                continue
            mask = masks.setdefault(refusal.reason, np.zeros(len(labeled), dtype=bool))
            mask[row] = True
            first.setdefault(refusal.reason, refusal.text)
        checked[new] = True
        refused = sum(int(masks[reason].sum()) for reason in first)
        if refused >= _ENOUGH and refused == checked.sum():
            raise SamplesError(
                f"none of the first {refused} images has a file that can be marked{_advice(first)}"
            )


def _refusal(path: str, request: Mapping[str, Any]) -> _Refusal | None:
    """Why an image may not become a HoneyImage."""
    try:
        check_markable(path, rewritten=request["reencode"] == "all")
        shown = _preview_refusal(path, request["thumbnails"])
        method = METHODS[request["method"]]
        if shown is not None or not method.changes_pixels:
            return shown
        roomy = method.has_room(open_codec(path), method.Options.read(request))
    except RewrittenError as error:
        return _Refusal(
            "would_be_rewritten", f"{error}; pass reencode='all', here and to the export"
        )
    except ImageError as error:
        return _Refusal("cannot_be_marked", str(error))
    if roomy:
        return None
    return _Refusal(
        "no_room",
        f"{path} is {method.no_room}; method='unperturbed' changes no pixel and takes such images",
    )


def _preview_refusal(path: str, thumbnails: str) -> _Refusal | None:
    """Why the thumbnail in a file keeps it from being chosen; None if there is none, or it can be dropped."""
    data = Path(path).read_bytes()
    preview = find_preview(data)
    if preview is None:
        return None
    if thumbnails == "exclude":
        return _Refusal(
            "has_thumbnail",
            f"{path} holds {preview}, which shows the unmarked picture; pass thumbnails='drop' to drop "
            "them from all files of the release",
        )
    try:
        without_previews(data, path)
    except ImageError as error:
        return _Refusal("has_thumbnail", str(error))
    return None


def _advice(first: Mapping[str, str]) -> str:
    """The first image of each reason, in words."""
    return "".join(
        f". The first counted as {reason!r}: {text}" for reason, text in sorted(first.items())
    )
