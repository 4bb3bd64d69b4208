"""A marking as it is kept on the dataset, and its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo

from ..core.errors import LedgerError
from ..core.evidence.ledger import Ledger, load_ledger
from ..core.limits import check_path
from .runs import MARKING, root_dataset, run_config, run_results

ORIGINAL = "original"
HONEYIMAGE = "honeyimage"


@dataclass(frozen=True)
class Marking:
    """A marking as it is kept on the dataset.

    Attributes:
        honey_key: the run's key; also the field, the tag and the saved view of that name
        dataset_name: the dataset
        num_honeyimages: N, HoneyImages that a release holds
        num_pairs: M, pairs of twins; as many images are withheld from a release
        output_dir: the folder of the HoneyImage files and the ledger
        ledger_path: the owner's secret record
        commitment: the ledger's public salted hash; publish or time-stamp it before release
        excluded: how many images were left out of the candidates, by reason
        metrics: mean of each measure over the HoneyImages
        worst: the most visible value of each measure over the HoneyImages
        trade_off: loss gap and visibility at several budgets, see
            :class:`~..core.marking.trade_off.TradeOff`; empty if it was not measured
        survival: transform → mean loss gap under the proxies, and share of HoneyImages that keep their
            effect
        config: the run's whole config
        timestamp: when the run was registered, UTC
    """

    honey_key: str
    dataset_name: str
    num_honeyimages: int
    num_pairs: int
    output_dir: Path
    ledger_path: Path
    commitment: str
    excluded: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    survival: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    worst: Mapping[str, float | None] = field(default_factory=dict)
    trade_off: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    timestamp: Any = None

    def view(self) -> fo.DatasetView:
        """The HoneyImages beside their originals."""
        return fo.load_dataset(self.dataset_name).load_saved_view(self.honey_key)

    def load_ledger(self) -> Ledger:
        """Reads the ledger and checks it against the commitment.

        Raises:
            LedgerError: if it is missing or altered
        """
        return load_ledger(self.ledger_path, commitment=self.commitment)


def load_marking(samples: fo.core.collections.SampleCollection, honey_key: str) -> Marking:
    """Loads a marking from the dataset's runs.

    Raises:
        SamplesError: if there is no such marking
    """
    config = run_config(samples, honey_key, MARKING)
    results = run_results(samples, honey_key)
    return Marking(
        honey_key=honey_key,
        dataset_name=root_dataset(samples).name,
        num_honeyimages=config["num_honeyimages"],
        num_pairs=config["num_pairs"],
        output_dir=Path(config["output_dir"]),
        ledger_path=Path(config["ledger_path"]),
        commitment=config["commitment"],
        excluded=results["excluded"],
        metrics=results["metrics"],
        survival=results.get("survival", {}),
        worst=results.get("worst", {}),
        trade_off=results.get("trade_off", {}),
        config=config,
        timestamp=config["timestamp"],
    )


def open_ledger(marking: Marking, ledger_path: str | Path | None) -> Ledger:
    """Loads a marking's ledger, from another place if given, and checks whose it is.

    Raises:
        LedgerError: if it is missing, altered, or of another marking or dataset
        ParameterError: if no file can have this path
    """
    path = check_path("ledger_path", ledger_path) if ledger_path else marking.ledger_path
    if not path.is_file():
        raise LedgerError(
            f"the ledger of marking '{marking.honey_key}' is not at '{path}'; if it was moved, pass "
            "its place as ledger_path. Without it nothing can be released or verified"
        )
    ledger = load_ledger(path, commitment=marking.commitment)
    if ledger.header["dataset_id"] != marking.config["dataset_id"]:
        raise LedgerError(f"the ledger at '{path}' belongs to another dataset")
    return ledger
