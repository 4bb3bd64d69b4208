"""Which images may become HoneyImages, and the choice among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from ..core.candidates import Candidates, select_candidates
from ..core.codecs import check_markable
from ..core.errors import ImageError, ParameterError, SamplesError
from ..core.hardness import find_duplicates
from ..core.limits import shown
from .samples import LabeledSamples

#: What ``exclude=`` accepts.
EXCLUSIONS = ("label_errors", "duplicates")


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


def exclusion_masks(
    exclude: Collection[str], hardness: np.ndarray, label_errors: np.ndarray
) -> dict[str, np.ndarray]:
    """Which images may not be chosen, by reason, as far as it is known before images are read."""
    masks = {}
    missing = np.isnan(hardness)
    if missing.any():
        masks["no_hardness"] = missing
    if "label_errors" in exclude:
        masks["label_errors"] = label_errors & ~missing
    return masks


def select_by_hardness(
    hardness: np.ndarray,
    labels: np.ndarray,
    masks: Mapping[str, np.ndarray],
    request: Mapping[str, Any],
) -> Candidates:
    """Selects by hardness alone, among the images that no mask leaves out; ``request`` tells how many."""
    return select_candidates(
        np.nan_to_num(hardness, nan=-np.inf),
        labels,
        num_honeyimages=request["num_honeyimages"],
        num_pairs=request["num_pairs"],
        excluded=masks,
    )


def choose_candidates(
    labeled: LabeledSamples,
    images: torch.Tensor,
    hardness: np.ndarray,
    masks: dict[str, np.ndarray],
    request: Mapping[str, Any],
) -> Candidates:
    """Selects the candidates, leaving out images that cannot be written again, and duplicates."""
    duplicates = "duplicates" in request["exclude"]
    if duplicates:
        masks["duplicates"] = np.zeros(len(labeled), dtype=bool)
    # Only images that would be chosen are looked at, and compared with all others; those that move up
    # in their stead are looked at in the next turn, until no chosen image has to be left out.
    checked = np.zeros(len(labeled), dtype=bool)
    reason = ""
    while True:
        try:
            candidates = select_by_hardness(hardness, labeled.labels, masks, request)
        except SamplesError as error:
            raise SamplesError(f"{error}{reason}") from error
        new = candidates.rows[~checked[candidates.rows]]
        if len(new) == 0:
            return candidates
        if duplicates:
            masks["duplicates"][new] = find_duplicates(images, new)
        for row in new:
            try:
                check_markable(labeled.filepaths[row])
            except ImageError as error:
                masks.setdefault("cannot_be_marked", np.zeros(len(labeled), dtype=bool))[row] = True
                reason = reason or f". The first that cannot be marked: {error}"
        checked[new] = True
