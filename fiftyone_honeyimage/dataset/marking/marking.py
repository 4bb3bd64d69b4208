"""A marking as it is kept on the dataset, and its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import fiftyone as fo

from ...core.errors import LedgerError, SamplesError
from ...core.ledger.ledger import Ledger, load_ledger
from ...core.ledger.sides import MarkedImage, Side
from ...core.limits import check_path
from .. import storage
from ..identity import recorded_images
from ..runs import MARKING, list_keys, made_by, root_dataset, run_config, run_results

ORIGINAL = "original"
HONEYIMAGE = "honeyimage"


@dataclass(frozen=True)
class Marking:
    """A marking as it is kept on the dataset.

    Attributes:
        honey_key: the run's key; also the field, the tag and the saved view of that name
        dataset_name: the dataset
        num_honeyimages: N, HoneyImages that a release holds
        num_pairs: M, pairs of twins
        num_withheld: images withheld from a release: one of each pair, several where a side has several
        output_dir: the folder of the HoneyImage files and the ledger
        ledger_path: the owner's secret record
        commitment: the ledger's public salted hash; publish or time-stamp it before release
        excluded: how many images were left out of the candidates, by reason
        metrics: mean of each measure over the HoneyImages
        worst: the most visible value of each measure over the HoneyImages
        trade_off: loss gap and visibility at several budgets, see
            :class:`~..core.methods.trade_off.TradeOff`; empty if it was not measured
        survival: transform → mean loss gap under the proxies, and share of HoneyImages that keep their
            effect
        recipients: who gets a release of his own; nobody where all get the same
        num_tracing_pairs: pairs that tell them apart; of each every recipient gets one side
        made_persistent: whether the dataset became persistent with the marking; FiftyOne deletes others
        config: the run's whole config
        timestamp: when the run was registered, UTC
    """

    honey_key: str
    dataset_name: str
    num_honeyimages: int
    num_pairs: int
    num_withheld: int
    output_dir: Path
    ledger_path: Path
    commitment: str
    excluded: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    survival: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    worst: Mapping[str, float | None] = field(default_factory=dict)
    trade_off: Mapping[str, Any] = field(default_factory=dict)
    recipients: tuple[str, ...] = ()
    num_tracing_pairs: int = 0
    made_persistent: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    timestamp: Any = None

    def __str__(self) -> str:
        lines = [
            f"{self.num_honeyimages:,} HoneyImages for a release, {self.num_pairs:,} pairs of twins to verify models with",
            *self._tracing(),
            *self._visibility(),
            *self._effect(),
            f"Ledger, to be backed up and kept secret: {self.ledger_path}",
            f"Commitment, to be published before the release: {self.commitment}",
            *self._coins(),
        ]
        return "\n".join(lines)

    @property
    def coins(self) -> str:
        """Where its coins come from: "local" or "beacon"."""
        return "local" if self.config.get("beacon") is None else "beacon"

    @property
    def pending(self) -> bool:
        """Whether its coins are not drawn yet, as they wait for a public round.

        Raises:
            LedgerError: if the ledger is missing or altered
        """
        return self.coins == "beacon" and self.load_ledger().pending

    def _coins(self) -> list[str]:
        """Where the coins stand; nothing where they were drawn at the marking."""
        if self.coins == "local":
            return []
        try:
            ledger = self.load_ledger()
        except LedgerError:
            return []  # whoever needs it is told
        if ledger.beacon is None:
            return []
        if ledger.pending:
            return [f"Not finished: {ledger.beacon.pending_text()}"]
        return [
            f"Coins: from round {ledger.beacon.round} of {ledger.beacon.chain.name}, which came out at "
            f"{ledger.beacon.coins_at:%Y-%m-%d %H:%M:%S} UTC"
        ]

    def _tracing(self) -> list[str]:
        if not self.recipients:
            return []
        return [
            f"{self.num_tracing_pairs:,} tracing pairs tell the releases of {len(self.recipients)} recipients apart: "
            f"{', '.join(self.recipients)}"
        ]

    def _visibility(self) -> list[str]:
        """How visible the HoneyImages are; nothing if they are the originals."""
        told = [
            words.format(values[name])
            for words, values, name in (
                ("no value changed by more than {:.3g} of 255", self.worst, "linf"),
                ("SSIM {:.3f} (1: no change)", self.metrics, "ssim"),
                ("{:.3f} at the most visible spot of all", self.worst, "worst_window"),
                ("PSNR {:.1f} dB", self.metrics, "psnr"),
                ("LPIPS {:.4f} (0: no change)", self.metrics, "lpips"),
            )
            if values.get(name) is not None
        ]
        return [f"How visible they are: {', '.join(told)}"] if told else []

    def _effect(self) -> list[str]:
        """What making them did to the proxies' losses; nothing where it was not measured."""
        before, after, inside = (
            self.metrics.get(name) for name in ("original_loss", "proxy_loss", "in_loss")
        )
        if before is None or after is None or inside is None:
            return []
        return [
            f"What they do: a model trained without them has a loss of {after:.2f} nats on them ({before:.2f} on their "
            f"originals), one trained with them {inside:.2f}"
        ]

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
    dataset = root_dataset(samples)
    _check_run(dataset, honey_key)
    config = run_config(dataset, honey_key, MARKING)
    results = run_results(dataset, honey_key)
    return Marking(
        honey_key=honey_key,
        dataset_name=dataset.name,
        num_honeyimages=config["num_honeyimages"],
        num_pairs=config["num_pairs"],
        num_withheld=len(results["images"]) - config["num_honeyimages"],
        output_dir=Path(config["output_dir"]),
        ledger_path=Path(config["ledger_path"]),
        commitment=config["commitment"],
        excluded=results["excluded"],
        metrics=results["metrics"],
        survival=results.get("survival", {}),
        worst=results.get("worst", {}),
        trade_off=results.get("trade_off", {}),
        recipients=tuple(config.get("recipients", ())),
        num_tracing_pairs=config.get("num_tracing_pairs", 0),
        made_persistent=not config["was_persistent"],
        config=config,
        timestamp=config["timestamp"],
    )


def _check_run(dataset: fo.Dataset, honey_key: str) -> None:
    """Checks that nobody deleted or renamed a marking's run with FiftyOne's own tools.

    Raises:
        SamplesError: saying which it was, and how to mend it
    """
    if not isinstance(honey_key, str):
        return  # there is no such run, which is said where it is read
    if honey_key in list_keys(dataset, MARKING):
        known_as = dataset.get_run_info(honey_key).config.honey_key
        if known_as != honey_key:
            raise SamplesError(
                f"the run of marking '{known_as}' was renamed to '{honey_key}' with other tools, so that its "
                f"verifications would not be counted. Undo it with dataset.rename_run('{honey_key}', "
                f"'{known_as}'), or finish it with attach_marking(dataset, ledger_path)"
            )
        return
    for key in list_keys(dataset, MARKING, honey_key=honey_key):
        raise SamplesError(
            f"the run of marking '{honey_key}' was renamed to '{key}' with other tools. Undo it with "
            f"dataset.rename_run('{key}', '{honey_key}'), or finish it with attach_marking(dataset, "
            "ledger_path)"
        )
    if made_by(dataset, honey_key, MARKING):
        folder = dataset.get_field(honey_key).info["output_dir"]
        raise SamplesError(
            f"the run of marking '{honey_key}' was deleted with other tools, or was interrupted while it "
            f"was entered. Bring it back with attach_marking(dataset, '{Path(folder) / storage.LEDGER}'), "
            f"or take the rest off with delete_run(dataset, '{honey_key}')"
        )


def open_ledger(marking: Marking, ledger_path: str | Path | None) -> Ledger:
    """Loads a marking's ledger, from another place if given, and checks whose it is.

    Raises:
        LedgerError: if it is missing, altered, or of another marking or dataset
        ParameterError: if no file can have this path
    """
    path = check_path("ledger_path", ledger_path) if ledger_path else marking.ledger_path
    try:
        is_there = path.is_file()
    except OSError as error:
        raise LedgerError(
            f"the ledger of marking '{marking.honey_key}' at '{path}' cannot be read ({error.strerror}); run "
            "this as the user who owns it"
        ) from error
    if not is_there:
        raise LedgerError(
            f"the ledger of marking '{marking.honey_key}' is not at '{path}'; if it was moved, pass "
            "its place as ledger_path, or once for all with attach_marking(dataset, ledger_path, folder). "
            "Without it nothing can be released or verified"
        )
    ledger = load_ledger(path, commitment=marking.commitment)
    if ledger.header["dataset_id"] != marking.config["dataset_id"]:
        raise LedgerError(f"the ledger at '{path}' belongs to another dataset")
    return ledger


class LedgerInDataset(Ledger):
    """A ledger to read, whose images go by the ids that their originals have in a dataset.

    Those differ from the ledger's where the dataset was imported again and the marking attached.
    """

    def __init__(self, ledger: Ledger, ids: Mapping[str, str]) -> None:
        def here(image: MarkedImage) -> MarkedImage:
            return replace(image, sample_id=ids.get(image.sample_id, image.sample_id))

        def there(side: Side) -> Side:
            return replace(side, files=tuple(map(here, side.files)))

        self.__dict__.update(ledger.__dict__)
        self.singles = [here(image) for image in ledger.singles]
        self.pairs = [replace(pair, a=there(pair.a), b=there(pair.b)) for pair in ledger.pairs]
        self.tracing_pairs = [
            replace(pair, a=there(pair.a), b=there(pair.b)) for pair in ledger.tracing_pairs
        ]

    def _append(self, *entry: Any) -> None:
        raise LedgerError("this is a copy of the ledger to read; nothing is written with it")


@dataclass(frozen=True)
class OpenMarking:
    """A marking and its ledger as they were when an operation opened them, perhaps hours ago.

    Whatever may have changed since, and must hold in the end, is read anew there.

    Attributes:
        dataset: that was marked
        marking: as its run tells
        ledger: the owner's, to write
    """

    dataset: fo.Dataset
    marking: Marking
    ledger: Ledger

    @cached_property
    def in_dataset(self) -> Ledger:
        """The ledger to read, with the ids that the originals had in this dataset at the first look."""
        images = recorded_images(self.dataset, self.marking.honey_key)
        ids = {image["source"]: image["sample"] for image in images if image["sample"]}
        return LedgerInDataset(self.ledger, ids)


def open_marking(
    dataset: fo.Dataset,
    honey_key: str,
    ledger_path: str | Path | None,
    recipient: str | None = None,
) -> OpenMarking:
    """Opens a marking with its ledger, which may have been moved to another place.

    Args:
        dataset, honey_key: the marking
        ledger_path: the place of its ledger
        recipient (None): whose release is meant

    Raises:
        SamplesError: if there is no such marking, or other tools renamed or deleted its run
        LedgerError: if its ledger is missing, altered, or of another marking or dataset
        ParameterError: if no file can have this path
    """
    marking = load_marking(dataset, honey_key)
    ledger = open_ledger(marking, ledger_path)
    if recipient is not None:
        ledger = ledger.for_recipient(recipient)
    return OpenMarking(dataset, marking, ledger)
