"""Benchmarks that are made of cells, one of a kind and seed: each is a file, and is not computed again where it is there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.datasets import IMAGE_SETS
from benchmarks.results_io import environment, write_results
from fiftyone_honeyimage.core.files import write_json_atomic

Cell = dict[str, Any]

#: What of a scale can be changed → its type, in words
CHANGES: dict[str, tuple[type, str]] = {
    "epochs": (int, "epochs of every training"),
    "size": (int, "side of the images"),
    "proxy": (str, "the proxies' architecture"),
    "suspect": (str, "the suspects' architecture"),
    "batch_size": (int, "images a step"),
    "weight_decay": (float, "of every training"),
    "num_references": (int, "reference models"),
}


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark of cells consists of.

    Attributes:
        name: of its results
        about: a line for its help
        kind: what its cells are of, one word; a cell holds its own under this name
        kinds: their names
        scales: name → how much is trained, a dataclass with what :data:`CHANGES` names
        default_scale: the one that is taken if none is asked for
        world: makes what all cells of a seed share, of data set, scale, seed, device, folder of trained models and the
            methods' options that were asked for
        run_cell: computes a cell of a world and a kind, JSON-serialisable
        summarise: sums up cells
        format_table: a summary as a Markdown table
    """

    name: str
    about: str
    kind: str
    kinds: Sequence[str]
    scales: Mapping[str, Any]
    default_scale: str
    world: Callable[[str, Any, int, str | None, Path | None, Mapping[str, Any]], Any]
    run_cell: Callable[[Any, str], Cell]
    summarise: Callable[[Sequence[Cell]], dict[str, Any]]
    format_table: Callable[[Mapping[str, Any]], str]

    def main(self) -> None:
        """Computes what the command line asks for and prints the table; writes the results where all cells are there."""
        args = self._arguments()
        if args.join:
            found = [cell for place in args.join for cell in _read(place)]
            # Of a cell that was computed twice, the one that was named last
            cells = list(
                {(cell["data"], cell[self.kind], cell["seed"]): cell for cell in found}.values()
            )
        else:
            cells = [cell for seed in args.seeds for cell in self._of_seed(args, seed)]
        summary = self.summarise(cells)
        print(self.format_table(summary))
        # A run of minutes is no result unless it is given a name
        if args.join or args.name or not (args.cells or args.scale == "smoke"):
            measured = cells[0]["environment"]
            path = write_results(
                args.name or self.name,
                {"summary": summary, "cells": cells},
                device=measured["device"]["type"],
                seeds=sorted({cell["seed"] for cell in cells}),
                measured=measured,
            )
            print(f"Written to {path}")

    def _arguments(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(description=self.about)
        parser.add_argument("--data", default="cifar10", choices=IMAGE_SETS, help="the images")
        parser.add_argument(
            "--scale",
            choices=sorted(self.scales),
            default=self.default_scale,
            help=f"how much is trained (default: {self.default_scale})",
        )
        every = list(self.kinds)
        parser.add_argument(
            f"--{self.kind}s",
            dest="kinds",
            nargs="+",
            choices=sorted(every),
            default=every,
            help="which lines of the table (default: all)",
        )
        parser.add_argument(
            "--seeds",
            type=int,
            nargs="+",
            default=[0, 1, 2],
            help="each splits images and trains anew (default: 0 1 2); coins are drawn afresh in every run",
        )
        for name, (kind, what) in CHANGES.items():
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=kind, help=f"{what}, in place of the scale's")
        parser.add_argument(
            "--set",
            nargs="+",
            default=[],
            metavar="OPTION=VALUE",
            help="options of the methods, such as epsilon=7 or inner=retrain",
        )
        parser.add_argument("--device", help="such as cuda (default: the CPU)")
        parser.add_argument("--cells", type=Path, help="a folder for each cell's figures")
        parser.add_argument("--trained", type=Path, help="a folder for trained models")
        parser.add_argument(
            "--join",
            type=Path,
            nargs="+",
            help="only sum up cells: of these folders, and of earlier results that they add to",
        )
        parser.add_argument(
            "--name",
            help=f"of the file in benchmarks/results (default: {self.name}; a smoke run is written only if this is given)",
        )
        return parser.parse_args()

    def _of_seed(self, args: argparse.Namespace, seed: int) -> list[Cell]:
        changes = {name: getattr(args, name) for name in CHANGES}
        changes = {name: value for name, value in changes.items() if value is not None}
        scale = replace(self.scales[args.scale], **changes)
        asked = dict(_read_option(text) for text in args.set)
        # Epochs and size are those of the scale's machine; what else differs makes another row of the table
        varied = {k: v for k, v in {**changes, **asked}.items() if k not in ("epochs", "size")}
        variant = "".join(f" {name}={value}" for name, value in sorted(varied.items()))
        world = None
        cells = []
        for kind in args.kinds:
            name = f"{args.data}-{args.scale}-{kind}{variant.replace(' ', '-')}-{seed}.json"
            path = args.cells and args.cells / name
            if path and path.exists():
                cells.append(_read_one(path, asdict(scale)))
                continue
            if world is None:
                world = self.world(args.data, scale, seed, args.device, args.trained, asked)
            cell = {
                "data": args.data,
                "scale": {"name": args.scale, **asdict(scale)},
                **self.run_cell(world, kind),
                self.kind: f"{kind}{variant}",
                "environment": environment(torch.device(args.device or "cpu")),
            }
            cells.append(cell)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json_atomic(path, cell)
            print(
                cell[self.kind],
                seed,
                {k: cell[k] for k in ("p", "published", "seconds") if k in cell},
                flush=True,
            )
        return cells


def _read_option(text: str) -> tuple[str, Any]:
    name, value = text.split("=", 1)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _read(place: Path) -> list[Cell]:
    """The cells of a folder, or of a file of results."""
    if place.is_file():
        return json.loads(place.read_text(encoding="utf-8"))["figures"]["cells"]
    files = sorted(place.glob("*.json"))
    if not files:
        raise SystemExit(f"no cells lie in {place}")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def _read_one(path: Path, scale: Mapping[str, Any]) -> Cell:
    """A cell that was computed before, if it was at this scale."""
    cell = json.loads(path.read_text(encoding="utf-8"))
    for name, value in cell["scale"].items():
        if name in scale and scale[name] != value:
            raise SystemExit(
                f"{path} was computed with {name}={value!r}, and {scale[name]!r} is asked for; take another folder"
            )
    return cell
