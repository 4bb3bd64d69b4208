"""A new ledger, at the end of a marking: draws the coins and commits to them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LedgerError
from ..evidence.code_words import Code
from ..evidence.plan import Plan, check_score
from ..files import locked
from .file import write_ledger_file
from .hashes import VERSION, check_text, hash_leaf, hash_leaves, list_leaves
from .header import RESERVED, own_header
from .ledger import Ledger, load_ledger
from .lots import Beacon, Lot
from .sides import EVERYBODY, TWINS, MarkedImage, Pair, Side, check_images, image_entry, pair_entry
from .tracing import draw_tracing_pairs, tracing_entry

CoinSource = Callable[[int], Sequence[str]]


def draw_coins(num_coins: int) -> list[str]:
    """Draws fair coins, "a" or "b", from the operating system's entropy.

    Nothing goes in but their number: no image, no model and no seed can sway them.
    """
    return [TWINS[secrets.randbits(1)] for _ in range(num_coins)]


def create_ledger(
    path: str | os.PathLike[str],
    header: Mapping[str, Any],
    singles: Sequence[MarkedImage],
    pairs: Sequence[tuple[Side | MarkedImage, Side | MarkedImage]],
    plan: Plan,
    draw_coins: CoinSource = draw_coins,
    *,
    recipients: Sequence[str] = (EVERYBODY,),
    earlier_commitments: Sequence[str] = (),
    register: Callable[[str], None] | None = None,
    beacon: Beacon | None = None,
    code: Code | None = None,
    tracing_pairs: Sequence[tuple[Side, Side]] = (),
) -> Ledger:
    """Draws the coins and writes a new ledger: the last step of a marking.

    All images must be final. The query order and the salts are drawn first, the coins last, each
    from the operating system's entropy and from nothing else. With ``beacon`` no coins are drawn: the
    ledger is complete but for them, and :meth:`.ledger.Ledger.draw_coins` draws them when the round is out.

    Args:
        path: the file to write (permissions 0600); a folder that does not exist is made with 0700
        header: what the marking was made from and with; a JSON object without the keys that the
            ledger sets (:data:`.header.RESERVED`)
        singles: the HoneyImages without a twin
        pairs: the sides (a, b) of each pair, without coins; an image stands for the side of that image alone
        plan: the plan of the verifications
        draw_coins (draw_coins): gives "a" or "b" for each of so many pairs. To be replaced in
            tests only: coins that depend on the images or can be guessed make every verdict void
        recipients (everybody): who gets a release of his own, each with his own coins
        earlier_commitments (()): of every earlier marking of the dataset, oldest first
        register (None): takes the commitment down before the file is written, so that coins that
            were drawn count as a marking whatever happens next
        beacon (None): the public round that will decide, from :func:`.lots.appoint`, a moment ago; ``draw_coins`` is not
            called then
        code (None): who gets a release of his own with tracing pairs in it, see :mod:`.tracing`; nobody by default. Code
            words are drawn here and now, also where a round decides the pairs: they are the owner's secret, not a proof
        tracing_pairs (()): the sides (a, b) of each of these

    Returns:
        the ledger, as read back from the disk

    Raises:
        LedgerError: if the path exists, an image occurs twice, or the header is not JSON
        OSError: if the file cannot be written
    """
    path = Path(path)
    own = own_header(len(singles), len(pairs), earlier_commitments, beacon, len(tracing_pairs))
    if (code is None) != (not tracing_pairs):
        raise LedgerError(
            f"{len(tracing_pairs)} tracing pairs with {'no recipients' if code is None else 'recipients'}: "
            "give both, or neither"
        )
    if code is not None:
        if tuple(recipients) != (EVERYBODY,):
            raise LedgerError("Recipients of tracing pairs are named by code, not by recipients")
        own["tracing"] = {"recipients": len(code.recipients), "colluders": code.colluders}
    sides = [(Side.of(a), Side.of(b)) for a, b in pairs]
    plan = plan.with_strata(
        {index: (a.covariates, b.covariates) for index, (a, b) in enumerate(sides)}
    ).with_fit([side.references for pair in sides for side in pair])
    check_score(plan)
    header = _checked_header(header, own, plan)
    check_images(singles, [*sides, *tracing_pairs])
    if not recipients or len(set(recipients)) != len(recipients):
        raise LedgerError(f"Each recipient needs a name of his own, not {list(recipients)!r}")
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True)

    salts = [
        secrets.token_hex(32) for _ in range(len(singles) + len(pairs) + len(tracing_pairs) + 2)
    ]
    order = list(range(len(pairs)))
    secrets.SystemRandom().shuffle(order)
    query_order = [(index, TWINS[secrets.randbits(1)]) for index in order]

    traced = draw_tracing_pairs(code, tracing_pairs, len(pairs)) if code is not None else []
    content: dict[str, Any] = {
        "header": header,
        "singles": [image_entry(image) for image in singles],
        "pairs": [
            pair_entry(Pair(index, a, b, *coin), VERSION)
            for index, ((a, b), coin) in enumerate(
                zip(sides, _coins(len(sides), recipients, draw_coins, beacon), strict=True)
            )
        ],
        "query_order": [list(step) for step in query_order],
        "salts": salts,
        "log": [],
    }
    if traced:
        content["tracing_pairs"] = [tracing_entry(pair, VERSION) for pair in traced]
    leaves = list_leaves(
        header,
        content["singles"],
        content["pairs"],
        content["query_order"],
        content.get("tracing_pairs", ()),
    )
    content["commitment"] = hash_leaves(
        [hash_leaf(leaf, salt) for leaf, salt in zip(leaves, salts, strict=True)]
    )
    content["head"] = content["commitment"]

    with locked(path):
        if path.exists():
            raise LedgerError(
                f"{path} exists already, and its coins cannot be drawn again; choose another file"
            )
        if register is not None:
            register(content["commitment"])
        write_ledger_file(path, content)
    return load_ledger(path, content["commitment"])


def _coins(
    number: int, recipients: Sequence[str], draw_coins: CoinSource, beacon: Beacon | None
) -> list[tuple[Mapping[str, str], Lot | None]]:
    """Each pair's coins, or what a public round will decide them by."""
    if beacon is not None:
        return [({}, Lot(secrets.token_hex(32), tuple(recipients))) for _ in range(number)]
    coins = {recipient: list(draw_coins(number)) for recipient in recipients}
    for drawn in coins.values():
        if len(drawn) != number:
            raise LedgerError(f"{len(drawn)} coins were drawn for {number} pairs")
    return [({who: drawn[index] for who, drawn in coins.items()}, None) for index in range(number)]


def _checked_header(
    header: Mapping[str, Any], own: Mapping[str, Any], plan: Plan
) -> dict[str, Any]:
    reserved = set(RESERVED) & set(header)
    if reserved:
        raise LedgerError(f"The header's {', '.join(sorted(reserved))} is set by the ledger")
    full = {**own, **header, "plan": plan.to_dict()}
    check_text(full, "The header's text")
    try:
        plain = json.loads(json.dumps(full, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise LedgerError(f"The header must be JSON: {error}") from error
    if plain != full:
        raise LedgerError("The header must be JSON with text as keys and lists, not tuples")
    return plain
