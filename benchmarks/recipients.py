"""Recipients who collude: how often an innocent one is named, how often one of them is, and how many pairs that takes.

    python -m benchmarks.recipients            # 10,000 cases, some minutes on one core

Cases go through the package's own classes: code words as a ledger draws them, colluders of core/evidence/collusion.py, the
exact test with Holm's correction as verify_model and trace_copy use it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.results_io import RESULTS, write_results
from fiftyone_honeyimage.core.evidence.code_words import FAIR_COLLUDERS, Code, Redraw, draw_word
from fiftyone_honeyimage.core.evidence.collusion import ATTACKS, plan_recipients, read
from fiftyone_honeyimage.core.evidence.recipients import RecipientVerdict, judge_recipients

RECIPIENTS = 10
#: Of all attempts; the first is held to half of it
ALPHA = 0.05
#: Chances to read a pair rightly that pairs are planned for
READABLE = (0.95, 0.9, 0.8, 0.7)


def play(
    attack: str, colluders: int, num_pairs: int, readable: float, draws: int, seed: int
) -> tuple[RecipientVerdict, set[str]]:
    """One case: words, what colluders give out, what is read of it with sizes as losses have them, and the verdict.

    Returns:
        the verdict, and who colluded
    """
    rng = np.random.default_rng([seed, colluders, list(ATTACKS).index(attack)])

    def uniform(number: int) -> list[float]:
        return rng.random(number).tolist()

    code = Code(tuple(f"r{number}" for number in range(RECIPIENTS)), colluders)
    biases = code.draw_biases(num_pairs, uniform)
    words = {name: np.array(draw_word(biases, uniform)) == "a" for name in code.recipients}
    guilty = code.recipients[:colluders]
    given = ATTACKS[attack](np.stack([words[name] for name in guilty]), rng)
    sizes = rng.exponential(1.0, num_pairs)
    # Who got both sides shows nothing but noise
    said = np.where(given == 0, rng.choice([-1, 1], num_pairs), read(given, readable, rng))
    verdict = judge_recipients(
        sizes * said,
        np.zeros(num_pairs, bool),
        biases,
        words,
        Redraw(draws, seed),
        alpha=ALPHA,
    )
    return verdict, set(guilty)


def simulate(cases: int, fair_pairs: int, biased_pairs: int, draws: int) -> list[dict[str, Any]]:
    """As many cases for each number of colluders and attack, and in how many of them anybody was named."""
    rows = []
    each = cases // (5 * len(ATTACKS))
    for colluders in range(1, 6):
        num_pairs = fair_pairs if colluders <= FAIR_COLLUDERS else biased_pairs
        for attack in ATTACKS:
            innocent = caught = 0
            for seed in range(each):
                verdict, guilty = play(attack, colluders, num_pairs, 0.9, draws, seed)
                innocent += not guilty.issuperset(verdict.named)
                caught += not guilty.isdisjoint(verdict.named)
            rows.append(
                {
                    "colluders": colluders,
                    "attack": attack,
                    "pairs": num_pairs,
                    "cases": each,
                    "innocent_named": innocent,
                    "colluder_named": caught,
                }
            )
    return rows


def sum_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Cases in which an innocent recipient was named, of all, with an upper bound of 99 %."""
    cases = sum(row["cases"] for row in rows)
    named = sum(row["innocent_named"] for row in rows)
    return {
        "cases": cases,
        "innocent_named": named,
        "share": named / cases,
        "share_at_most": float(stats.beta.ppf(0.99, named + 1, cases - named)),
        "level": ALPHA / 2,
        "alpha": ALPHA,
    }


def plan_table() -> list[dict[str, Any]]:
    """Pairs needed at α = 0.001 with power 0.9, of 10 recipients."""
    return [
        {
            "colluders": colluders,
            **{
                f"{readable:g}": plan_recipients(RECIPIENTS, colluders, readable).num_pairs
                for readable in READABLE
            },
        }
        for colluders in range(1, 6)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--fair-pairs", type=int, default=40)
    parser.add_argument("--biased-pairs", type=int, default=80)
    parser.add_argument("--draws", type=int, default=1999)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = simulate(args.cases, args.fair_pairs, args.biased_pairs, args.draws)
    figures = {"summary": sum_up(rows), "rows": rows, "pairs_needed": plan_table()}
    for row in rows:
        print(row)
    print(figures["summary"])
    for row in figures["pairs_needed"]:
        print(row)
    print(write_results("recipients", figures, seeds=range(args.cases // 25), folder=args.folder))


if __name__ == "__main__":
    main()
