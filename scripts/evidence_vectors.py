"""Test vectors for whoever writes a checker of his own: docs/vectors/*.json.

    python scripts/evidence_vectors.py          writes docs/vectors/rules.json anew

``evidence.json`` and ``evidence-round.json``, whole files of format 3, are not written anew: their coins and salts were drawn once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_honeyimage.core.evidence.alpha_spending import adjusted_p
from fiftyone_honeyimage.core.evidence.exact_tests import TESTS
from fiftyone_honeyimage.core.evidence.rounding import rounded
from fiftyone_honeyimage.core.evidence.twins import Strata
from fiftyone_honeyimage.core.ledger.beacon import QUICKNET
from fiftyone_honeyimage.core.ledger.hashes import canonical
from fiftyone_honeyimage.core.ledger.lots import toss
from fiftyone_honeyimage.core.scores import SCORES, References, SideReferences

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "vectors"

DIFFERENCES = [0.5, -0.25, 1.0, 0.0, 2.0, 0.5, 3.25, -0.125, 1.5, 0.75, 4.0, 0.875]
#: One of two pairs more that failed, in their places
FAILED = [False] * 5 + [True] + [False] * 7
STRATA = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
WEIGHTS = (1, 2, 5)
VALUES: list[Any] = [
    {"b": [1, 2.0, 0.1, 1e-7, 1e21, -0.0, True, None], "a": "größe\n\u2028"},
    [123456789.125, 5e-324, 1.7976931348623157e308, 4503599627370497.5],
    {"\ue000": 1, "\U0001f600": 2},
]
REFERENCES = SideReferences(
    (0.02, 1.5, 0.4, 0.9, 0.05, 2.25), (True, False, True, False, True, False)
)
LOSS = 0.25
#: A round of quicknet, and a pair's secret, as in docs/ledger_format.md
ROUND = 657413
SIGNATURE = "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b"
SECRET = "b3c32637b56d93a35a8984cd4ce899fa501f15b0bf56a6cb85d09f73f1b0e7eb"


def make() -> dict[str, Any]:
    """The vectors, from the package's own code."""
    strata = Strata(np.array(STRATA, np.int64), WEIGHTS)
    failed = np.array(FAILED)
    tests = []
    for name, test in TESTS.items():
        found = test.run(np.array(DIFFERENCES), failed, strata)
        least = test.least_p(failed, strata)
        tests.append(
            {
                "test": name,
                "p_value": found.p_value,
                "least_p": least,
                "e_values": list(found.e_values),
            }
        )
    others = SideReferences((0.5, 1.1, 0.3, 0.7, 0.6, 1.9), (False, True, False, True, False, True))
    scores = []
    for name, score in SCORES.items():
        if not score.decides or name == "correct":
            continue
        learned = dict(score.fit(References.of_sides([REFERENCES, others])))
        own = References.of_sides([REFERENCES], learned)
        value = float(score.of([LOSS], own if score.least_references else None)[0])
        scores.append({"score": name, "score_fit": learned, "value": value})
    return {
        "hashes": [{"value": value, "text": canonical(value).decode("utf-8")} for value in VALUES],
        "differences": DIFFERENCES,
        "failed": FAILED,
        "strata": STRATA,
        "weights": list(WEIGHTS),
        "tests": tests,
        "loss": LOSS,
        "references": [
            {"losses": list(side.losses), "members": list(side.members)}
            for side in (REFERENCES, others)
        ],
        "scores": scores,
        "rounded": [
            {"value": value, "size": size, "rounded": float(rounded([value], [size])[0])}
            for value, size in ((0.1234567894, 1.0), (1e-10, 1.0), (-2.5e-9, 1.0))
        ],
        "round": {
            "chain": QUICKNET.hash,
            "round": ROUND,
            "signature": SIGNATURE,
            "coins_at": QUICKNET.time_of(ROUND).isoformat(),
            "secret": SECRET,
            "coins": [
                {
                    "recipient": name,
                    "of_pairs_0_to_15": "".join(
                        toss(SECRET, bytes.fromhex(SIGNATURE), index, name) for index in range(16)
                    ),
                }
                for name in ("", "hospital-a")
            ],
        },
        "adjusted": [
            {"p_value": p, "position": position, "adjusted": adjusted_p(p, position)}
            for p, position in ((0.001, 1), (0.001, 3), (0.4, 2))
        ],
    }


if __name__ == "__main__":
    text = json.dumps(make(), indent=1, ensure_ascii=False)
    (FOLDER / "rules.json").write_text(text + "\n", encoding="utf-8")
