"""What a method says of its sides, checked before anything is trained on it or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rfc8785

from ..errors import ParameterError
from .request import CraftRequest, CraftResult, Probe


def check_sides(
    request: CraftRequest,
    labels: np.ndarray | None,
    secrets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    probes: Sequence[tuple[Sequence[Probe], Sequence[Probe]]],
) -> None:
    """Checks labels, secrets and probes: what no ledger would take later on, or no suspect could be asked about.

    Args:
        request: what the method was asked for
        labels, secrets, probes: see :class:`.request.CraftResult`

    Raises:
        ParameterError: saying what is wrong with which pair
    """
    if labels is not None:
        _check_labels(request, np.asarray(labels))
    num_pairs = len(request.sides)
    for name, given in (("secrets", secrets), ("probes", probes)):
        if len(given) not in (0, num_pairs):
            raise ParameterError(
                f"The method gives {name} for {len(given)} pairs, and there are {num_pairs}; give them for each or "
                "for none"
            )
        for pair, both in enumerate(given):
            if len(both) != 2:
                raise ParameterError(
                    f"The method's {name} of pair {pair} are of {len(both)} sides, and a pair has two"
                )
    for pair, both in enumerate(secrets):
        for secret in both:
            _check_secret(pair, secret)
    for pair, (a, b) in enumerate(probes):
        for probe in (*a, *b):
            _check_probe(request, pair, probe)
        of_a, of_b = (sorted(int(probe.label) for probe in own) for own in (a, b))
        if of_a != of_b or not of_a:
            raise ParameterError(
                f"The method's probes of pair {pair} have the labels {of_a!r:.200} on side a and {of_b!r:.200} on "
                "side b; give both sides of a pair as many with the same labels, at least one"
            )


def check_result(request: CraftRequest, result: CraftResult) -> None:
    """Checks all that a method returns, before it is measured and written.

    Raises:
        ParameterError: if something is missing or out of range
    """
    number = len(request.candidates)
    check_sides(request, result.labels, result.secrets, result.probes)
    counts = {"images": len(result.images)}
    if request.codecs is not None:
        counts["encoded"] = 0 if result.encoded is None else len(result.encoded)
    for name in ("proxy_losses", "original_losses", "in_losses"):
        values = np.asarray(getattr(result, name))
        counts[name] = len(values) if values.ndim == 1 else -1
        if name != "in_losses" and not np.isfinite(values).all():
            raise ParameterError(f"The method's {name} are not all finite numbers")
    for name, count in counts.items():
        if count != number:
            raise ParameterError(
                f"The method was given {number} candidates and returns {max(count, 0)} {name}; return one of each"
            )


def _check_labels(request: CraftRequest, labels: np.ndarray) -> None:
    number = len(request.candidates)
    if labels.shape != (number,) or labels.dtype.kind not in "iu":
        raise ParameterError(
            f"The method's labels have shape {labels.shape} and type {labels.dtype}; give {number} whole numbers"
        )
    outside = labels[(labels < 0) | (labels >= request.num_classes)]
    if outside.size:
        raise ParameterError(
            f"The method gives an image the class {int(outside[0])}, and classes are 0 to {request.num_classes - 1}"
        )
    for pair, (a, b) in enumerate(request.sides):
        of_a, of_b = (sorted(labels[side].tolist()) for side in (a, b))
        if of_a != of_b:
            raise ParameterError(
                f"The method gives side a of pair {pair} the labels {of_a!r:.200} and side b {of_b!r:.200}; both "
                "need the same"
            )


def _check_secret(pair: int, secret: Any) -> None:
    if not isinstance(secret, Mapping):
        raise ParameterError(f"The method's secret of pair {pair} is no mapping: {secret!r:.200}")
    try:
        rfc8785.dumps(dict(secret))
    except (ValueError, TypeError, RecursionError) as error:
        raise ParameterError(
            f"The method's secret of pair {pair} cannot be written down for every reader: {error}. Give texts, lists, "
            "Python's own finite numbers, whole ones up to 2^53, and larger ones as texts"
        ) from error


def _check_probe(request: CraftRequest, pair: int, probe: Any) -> None:
    if not isinstance(probe, Probe):
        raise ParameterError(f"The method's probes of pair {pair} hold {probe!r:.200}, no Probe")
    if not 0 <= probe.source < len(request.probe_sources):
        raise ParameterError(
            f"A probe of pair {pair} was made of source {probe.source}, and there are {len(request.probe_sources)}"
        )
    if not 0 <= probe.label < request.num_classes:
        raise ParameterError(
            f"A probe of pair {pair} has the class {probe.label}, and classes are 0 to {request.num_classes - 1}"
        )
    image = probe.image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ParameterError(f"A probe of pair {pair} is no uint8 image of shape (H, W, 3)")
