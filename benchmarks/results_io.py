"""Benchmark results as JSON, with what is needed to repeat them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pillow", "fiftyone", "lpips")


def write_results(
    name: str,
    figures: Mapping[str, Any],
    *,
    device: str | torch.device = "cpu",
    seeds: Sequence[int] = (),
    folder: Path = RESULTS,
    measured: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a benchmark's figures as ``<folder>/<name>_<device type>.json``.

    Args:
        name: the benchmark's name
        figures: its figures, JSON-safe
        device ("cpu"): the device that it ran on
        seeds (()): the seeds that it used
        folder (benchmarks/results): where to write
        measured (None): what :func:`environment` gave where figures were measured that are only summed up here; None
            for this machine

    Returns:
        the path
    """
    device = torch.device(device)
    around = measured or environment(device)
    record = {"benchmark": name, **around, "seeds": list(seeds), "figures": figures}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_{device.type}.json"
    path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def environment(device: torch.device) -> dict[str, Any]:
    """Returns the device, the versions, the commit, the command and the time."""
    return {
        "device": {
            "type": device.type,
            "name": _device_name(device),
            "threads": torch.get_num_threads(),
            "cpus": os.cpu_count(),
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
        "command": _command(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)

    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()

    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue

    return versions


def _commit() -> str | None:
    """The commit, with "-dirty" where tracked code differs from it; None outside a checkout."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", *arguments],
                cwd=Path(__file__).parents[1],
                capture_output=True,
                encoding="utf-8",
                check=True,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no", "--", "*.py"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None

    return f"{commit}-dirty" if changes else commit


def _command() -> str:
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    start = ["-m", main.name] if main is not None else sys.argv[:1]
    return " ".join(["python", *start, *sys.argv[1:]])
