"""What a ledger fixes at the marking: images, pairs, coins, the order of the queries and the plan, under a commitment.

The *commitment* is a SHA-256 over the list of leaf hashes, one for the header, each single HoneyImage, each
pair and the query order. Where a public round decides, a pair's leaf holds the secret of its coins instead of the coins,
so that it is complete, and published, before there are any (see :mod:`.lots`). Every leaf is hashed with 32 random bytes of its own, so that the hashes tell
nothing about the coins, and single leaves can be opened as evidence while the others stay secret.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import BeaconError, LedgerError
from ..evidence.pair_answers import PairAnswers
from ..evidence.plan import Plan
from ..evidence.verdict import Verdict, judge, tested_differences
from ..scores import SideReferences
from .hashes import hash_leaf, hash_leaves, is_digest, list_leaves, read_version
from .header import check_header
from .log import LoggedVerification
from .lots import read_beacon
from .protocol import loss_unit
from .sides import (
    EVERYBODY,
    MarkedImage,
    Pair,
    check_images,
    image_entry,
    pair_entry,
    read_pair,
    read_query_order,
)
from .tracing import TracingPair, read_tracing_pairs, tracing_entry

_Own = TypeVar("_Own", bound="CommittedMarking")


class CommittedMarking:
    """What was committed to, read and checked.

    Attributes:
        path: its file
        header: what the marking was made from and with, and the plan
        version: of its format
        beacon: the public round that decides, and its signature once it is out; None where the coins were drawn here
        plan: the plan of the verifications
        singles: HoneyImages without a twin, all released
        pairs: the pairs of twins; ``pairs[i].index == i``
        tracing_pairs: pairs that tell recipients apart, numbered after these; none where all get the same release
        query_order: (pair, twin to be queried first), in the order of the queries
        salts: one for each leaf: header, singles, pairs, query order
        leaf_hashes: the hash of each leaf
        commitment: the hash over the leaf hashes, to be published before the release

    Raises:
        LedgerError: if the content does not fit its commitment
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self.header: dict[str, Any] = content["header"]
        self.plan = Plan.from_dict(self.header["plan"])
        self.singles = [MarkedImage(**entry) for entry in content["singles"]]
        self.version = read_version(self.header.get("format"), "ledger")
        self.beacon = read_beacon(self.header, content.get("beacon"))
        self.pairs = [read_pair(entry, self.version, self.beacon) for entry in content["pairs"]]
        self.query_order = read_query_order(content["query_order"], len(self.pairs))
        self.salts: list[str] = content["salts"]
        self.commitment: str = content["commitment"]

        self.tracing_pairs: list[TracingPair] = read_tracing_pairs(
            content.get("tracing_pairs", ()), self.header, len(self.pairs), self.version
        )

        check_header(self.header, len(self.singles), len(self.pairs), len(self.tracing_pairs))
        check_images(self.singles, [(pair.a, pair.b) for pair in self.all_pairs])

        leaves = self.leaves()
        if len(self.salts) != len(leaves) or not all(map(is_digest, self.salts)):
            raise LedgerError(f"{path} was altered: it has {len(leaves)} leaves but other salts")
        self.leaf_hashes = [
            hash_leaf(leaf, salt, self.version)
            for leaf, salt in zip(leaves, self.salts, strict=True)
        ]
        if hash_leaves(self.leaf_hashes, self.version) != self.commitment:
            raise LedgerError(
                f"{path} was altered: its content does not fit its commitment. Restore the file "
                "that was written at the marking"
            )

    def leaves(self) -> list[dict[str, Any]]:
        """Returns what is committed to, in the order of the leaf hashes."""
        content = self.content()
        return list_leaves(
            content["header"],
            content["singles"],
            content["pairs"],
            content["query_order"],
            content.get("tracing_pairs", ()),
        )

    def content(self) -> dict[str, Any]:
        """What stands in a ledger's file, less the log."""
        content = {
            "header": self.header,
            "singles": [image_entry(image) for image in self.singles],
            "pairs": [pair_entry(pair, self.version) for pair in self.pairs],
            "query_order": [list(step) for step in self.query_order],
            "salts": self.salts,
            "commitment": self.commitment,
            **({"beacon": self.beacon.draw()} if self.beacon and not self.pending else {}),
        }
        if self.tracing_pairs:
            content["tracing_pairs"] = [
                tracing_entry(pair, self.version) for pair in self.tracing_pairs
            ]
        return content

    @property
    def all_pairs(self) -> list[Pair]:
        """Every pair, tracing ones last."""
        return [*self.pairs, *self.tracing_pairs]

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who gets a release of his own with tracing pairs in it, by name; nobody where all get the same."""
        return tuple(sorted(self.tracing_pairs[0].released)) if self.tracing_pairs else ()

    def queries(self, pairs: Iterable[int]) -> list[tuple[int, str, MarkedImage]]:
        """Returns (pair, "a" or "b", image) of every query to make, in the committed order.

        Which twin comes first was drawn apart from the coins: a suspect whose answers depend on
        the order cannot favour the released twins by chance or by intent.
        """
        wanted = set(pairs)
        return [
            (index, twin, image)
            for index, first in self.query_order
            if index in wanted
            for twin in (first, "b" if first == "a" else "a")
            for image in self.pairs[index].side(twin).asked
        ]

    @property
    def pending(self) -> bool:
        """Whether the coins are not drawn yet: they wait for a public round."""
        return self.beacon is not None and self.beacon.signature is None

    @property
    def coins_at(self) -> datetime | None:
        """When the public round came out, or will; None where the coins were drawn at the marking."""
        return None if self.beacon is None else self.beacon.coins_at

    def check_drawn(self) -> None:
        """Raises BeaconError, saying what to do, as long as the coins are not drawn."""
        if self.beacon is not None and self.pending:
            raise BeaconError(f"{self.path}: {self.beacon.pending_text()}")

    @property
    def asks_probes(self) -> bool:
        """Whether suspects are asked about other images than those of a release."""
        return any(pair.a.probes for pair in self.pairs)  # side b then has as many

    @property
    def marked_images(self) -> list[MarkedImage]:
        """Every HoneyImage, withheld ones too, in an order that knows no coin.

        Errors are kept with a delegated operation. One that only a released twin can cause, or that names
        the released one of two first, would tell which it is.
        """
        return [*self.singles, *(image for pair in self.all_pairs for image in pair.images)]

    #: Whose release is meant where none is named
    recipient: str = EVERYBODY

    def for_recipient(self: _Own, recipient: str | None) -> _Own:
        """The same, of which a release is that of one recipient where none is named.

        Args:
            recipient: his name; None where everybody gets the same release

        Raises:
            LedgerError: if nobody of that name has one, or each recipient has his own and none is named
        """
        same = copy.copy(self)
        same.recipient = EVERYBODY if recipient is None else recipient
        same.released_images()
        return same

    def released_images(self, recipient: str | None = None) -> list[MarkedImage]:
        """Returns every HoneyImage in a recipient's release: singles, then released sides.

        Raises:
            LedgerError: if nobody of that name has one; so do the other methods that take a recipient
        """
        sides = [pair.released_side(who) for pair, who in self._of_release(recipient)]
        return [*self.singles, *(image for side in sides for image in side.files)]

    def withheld_images(self, recipient: str | None = None) -> list[MarkedImage]:
        """Returns the images that this recipient must not have."""
        sides = [pair.withheld_side(who) for pair, who in self._of_release(recipient)]
        return [image for side in sides for image in side.files]

    def _of_release(self, recipient: str | None) -> list[tuple[Pair, str]]:
        """Every pair, and under whose name its coin stands."""
        if recipient is None:
            recipient = self.recipient
        self.check_drawn()
        if not self.tracing_pairs:
            self.check_recipient(recipient)
            return [(pair, recipient) for pair in self.pairs]
        if recipient not in self.recipients:
            raise LedgerError(
                f"{self.path} has a release for each of {', '.join(self.recipients)[:200]}, and none for "
                f"{repr(recipient) if recipient else 'everybody'}; name one of them as recipient"
            )
        # Ownership pairs have one coin for all: what they withhold goes to nobody
        return [
            *((pair, EVERYBODY) for pair in self.pairs),
            *((pair, recipient) for pair in self.tracing_pairs),
        ]

    def released(self, recipient: str = EVERYBODY) -> dict[int, str]:
        """Returns a recipient's coins: for each pair's index, which side was released."""
        self.check_recipient(recipient)
        return {pair.index: pair.released[recipient] for pair in self.pairs}

    def check_recipient(self, recipient: str = EVERYBODY) -> None:
        """Raises LedgerError unless this recipient has a release; by default that which everybody gets."""
        self.check_drawn()
        if all(recipient in pair.released for pair in self.pairs):
            return
        known = sorted({who for pair in self.pairs for who in pair.released})
        if recipient == EVERYBODY:
            raise LedgerError(
                f"{self.path} has no release for everybody, but one each for {', '.join(known)[:200]}: releases and "
                "verifications by recipient are not supported by this version. Mark the dataset anew without "
                "recipients"
            )
        raise LedgerError(
            f"{self.path} has no release for {recipient!r}; it has those of: "
            f"{', '.join(who or 'everybody' for who in known)[:200]}"
        )

    def differences(self, answers: PairAnswers) -> npt.NDArray[np.float64]:
        """What the planned test is made with, of the pairs that did not fail, shape (n,)."""
        return tested_differences(
            self.plan, answers, self.released(), self.covariates(), self.references()
        )

    @property
    def labels(self) -> set[str]:
        """Every class that a suspect may be asked about."""
        labels = {image.label for pair in self.pairs for image in pair.asked}
        return labels.union(self.header.get("classes", ()))

    def judge(
        self,
        opened: LoggedVerification,
        answers: PairAnswers,
        num_left: int,
        paper: Mapping[str, Any] | None,
    ) -> Verdict:
        """Returns the verdict that follows from a verification's answers.

        Args:
            opened: as the log tells it
            answers: to its pairs
            num_left: pairs that no verification has used, once this one is closed
            paper: the published method's figures, passed through
        """
        return judge(
            self.plan,
            answers,
            self.released(),
            self.covariates(),
            self.references(),
            num_left=num_left,
            position=opened.position,
            alpha=opened.alpha,
            paper=paper,
            caution=opened.protocol.get("caution"),
            unit=loss_unit(opened.protocol),
        )

    def covariates(self) -> dict[int, tuple[Mapping[str, float], Mapping[str, float]]]:
        """Returns what was committed of both sides of each pair beside their images."""
        return {pair.index: (pair.a.covariates, pair.b.covariates) for pair in self.pairs}

    def references(self) -> dict[int, tuple[SideReferences | None, SideReferences | None]]:
        """Returns what reference models said of both sides of each pair, as committed; None without them."""
        return {pair.index: (pair.a.references, pair.b.references) for pair in self.pairs}
