"""What the sides of a marking hold beside the images of a release: secrets, and what suspects are asked about."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..evidence.twins import UNCHANGED
from ..files import sha256_bytes, sha256_file, write_atomic
from ..images import read_image
from ..ledger.sides import TWINS, MarkedImage, Side, read_references, references_entry
from ..methods.out_model import losses, thumbnails
from ..methods.request import CraftResult, Probe
from ..methods.selection import Candidates
from ..scores import SideReferences
from .folder import PROBES
from .labeled import LabeledSamples


def relabelled(classes: Sequence[str], before: int, after: int) -> dict[str, str]:
    """What a manifest notes of an image whose class the method changed; nothing where it is kept."""
    return {} if before == after else {"source_label": classes[before]}


def write_sides(
    partial: Path,
    labeled: LabeledSamples,
    candidates: Candidates,
    result: CraftResult,
    references: Sequence[tuple[SideReferences, SideReferences]],
    input_size: int,
) -> list[dict[str, Any]]:
    """Writes what suspects are asked about in the stead of a release's images; the sides' secrets, probes and what
    reference models say of them, of each pair; empty if there is none of it."""
    nothing: tuple[Any, Any] = ((), ())
    sides = []
    for pair in range(max(len(result.secrets), len(result.probes), len(references))):
        secrets = result.secrets[pair] if result.secrets else ({}, {})
        probes = result.probes[pair] if result.probes else nothing
        said = references[pair] if references else (None, None)
        for side, secret, own, models in zip(TWINS, secrets, probes, said, strict=True):
            entries = [
                _write_probe(
                    partial, labeled, candidates, f"{PROBES}/{pair}/{side}/{number}.png", probe
                )
                for number, probe in enumerate(own)
            ]
            sides.append({"pair": pair, "secret": dict(secret), "probes": entries})
            if models is not None:
                sides[-1]["references"] = references_entry(models)
            if own:
                sides[-1]["covariates"] = {
                    "probes": float(np.mean(_probe_losses(result, own, input_size)))
                }
    return sides


def write_probe_sources(
    partial: Path, labeled: LabeledSamples, candidates: Candidates
) -> list[dict[str, Any]]:
    """Writes the images that probes were made of, as they are, for published rules that compare with them.

    The manifest says which they are: a release leaves them out, so that no suspect knows a question by its image.
    """
    entries = []
    for number, row in enumerate(candidates.probes):
        path = labeled.filepaths[row]
        name = f"{PROBES}/unmarked/{number}.png"
        _write_png(partial / name, read_image(path))
        entries.append(
            {
                "source": labeled.ids[row],
                "file": name,
                "source_sha256": sha256_file(path),
                "source_bytes": os.path.getsize(path),
            }
        )
    return entries


def _write_probe(
    partial: Path, labeled: LabeledSamples, candidates: Candidates, name: str, probe: Probe
) -> dict[str, str]:
    row = candidates.probes[probe.source]
    return {
        "sample_id": name,
        "label": labeled.classes[probe.label],
        "file": name,
        "source_sha256": sha256_file(labeled.filepaths[row]),
        "marked_sha256": _write_png(partial / name, probe.image),
    }


def _write_png(path: Path, pixels: np.ndarray) -> str:
    """Writes a file and returns its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    write_atomic(path, buffer.getvalue())
    return sha256_bytes(buffer.getvalue())


def _probe_losses(result: CraftResult, probes: Sequence[Probe], size: int) -> np.ndarray:
    """What the out-model, which never saw a coin, says of a side's probes."""
    labels = torch.tensor([probe.label for probe in probes], dtype=torch.int64)
    images = thumbnails([probe.image for probe in probes], size)
    return losses(result.out_model, images, labels, torch.device("cpu"))


def read_sides(manifest: Mapping[str, Any]) -> tuple[list[MarkedImage], list[tuple[Side, Side]]]:
    """The single HoneyImages and the sides of each pair that a manifest lists, without coins."""
    singles: list[MarkedImage] = []
    files: dict[int, tuple[list[Any], list[Any]]] = {}
    for row in manifest["images"]:
        if row["pair"] is None:
            singles.append(_image(row))
            continue
        sides = files.setdefault(row["pair"], ([], []))
        # Twins stand one after the other: sides a and b in turn
        sides[len(sides[0]) > len(sides[1])].append(row)
    noted: dict[int, list[Mapping[str, Any]]] = {}
    for entry in manifest.get("sides", ()):
        noted.setdefault(entry["pair"], []).append(entry)
    kinds = any(row.get("unchanged", False) for row in manifest["images"])
    pairs = []
    for pair in sorted(files):
        a, b = (
            _side(rows, entry, kinds)
            for rows, entry in zip(files[pair], noted.get(pair, ({}, {})), strict=True)
        )
        pairs.append((a, b))
    return singles, pairs


def _side(rows: Sequence[Mapping[str, Any]], noted: Mapping[str, Any], kinds: bool) -> Side:
    unchanged = all(row.get("unchanged", False) for row in rows)
    return Side(
        tuple(map(_image, rows)),
        noted.get("secret", {}),
        # How hard the originals are to models that never saw a coin: the out-model, and the half proxies that have
        # not seen them. Not the losses on the marks, which were made against the out-model
        noted.get("covariates")
        or {
            "original": float(np.mean([row["original_loss"] for row in rows])),
            "hardness": float(np.mean([row["hardness"] for row in rows])),
            **({UNCHANGED: float(unchanged)} if kinds else {}),
        },
        tuple(MarkedImage(**probe) for probe in noted.get("probes", ())),
        read_references(noted["references"]) if "references" in noted else None,
    )


def _image(row: Mapping[str, Any]) -> MarkedImage:
    return MarkedImage(
        sample_id=row["source"],
        label=row["label"],
        file=row["file"],
        source_sha256=row["source_sha256"],
        marked_sha256=row["marked_sha256"],
        source_label=row.get("source_label"),
    )
