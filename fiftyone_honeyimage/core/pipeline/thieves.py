"""What a thief's ways leave of a marking, as measured: for plans.

The numbers are those of ``python -m benchmarks.thieves`` on CIFAR-10 (three seeds, so that they are rough),
committed as ``benchmarks/results/thieves_cpu.json``; ``python -m benchmarks.thief_table`` derives them, and a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..methods.selection import IN_ORDER


@dataclass(frozen=True)
class Thief:
    """One way to use a release.

    Attributes:
        name: in the SDK
        title: what the thief does, for a curator
        kept_hardest: of twins that were chosen as the first of an order (the hardest, those that are remembered best), the share
            that he trains on
        kept_others: of twins that were chosen otherwise
        effect: what his model remembers of those, 0 to 1: the mean of pairs' differences over their root mean square, as
            a share of that of a model trained in the plain way
        attack: its name in ``benchmarks.thieves``; None for the plain way
    """

    name: str
    title: str
    kept_hardest: float = 1.0
    kept_others: float = 1.0
    effect: float = 1.0
    attack: str | None = None

    def kept(self, rule: str) -> float:
        """The share of the released twins that he trains on, of pairs chosen by a rule of ``selection.RULES``."""
        return self.kept_hardest if rule in IN_ORDER else self.kept_others

    def left(self, rule: str) -> float:
        """The share of the pairs whose difference still tells which twin was released."""
        return self.kept(rule) * self.effect


#: name → what it leaves
THIEVES: dict[str, Thief] = {
    thief.name: thief
    for thief in (
        Thief("none", "Trains on all of it, as it is"),
        Thief(
            "drops_hardest_2",
            "Leaves out the hardest 2 % of the images",
            0.94,
            0.99,
            1,
            "drop_hardest_2",
        ),
        Thief(
            "drops_hardest_5",
            "Leaves out the hardest 5 % of the images",
            0.79,
            0.97,
            0.96,
            "drop_hardest_5",
        ),
        Thief(
            "drops_hardest_10",
            "Leaves out the hardest 10 % of the images",
            0.6,
            0.93,
            0.93,
            "drop_hardest_10",
        ),
        Thief(
            "drops_mislabelled",
            "Leaves out what looks mislabelled",
            0.27,
            0.62,
            1,
            "drop_mislabelled",
        ),
        Thief("half_of_it", "Uses half of it", 0.52, 0.53, 1, "use_50"),
        Thief("few_epochs", "Trains for half as long", 1, 1, 0.59, "half_the_epochs"),
        Thief("augments", "Trains with strong augmentation (mixup)", 1, 1, 0.78, "mixup"),
        Thief("mixes", "Mixes it with five times as much other data", 1, 1, 0.81, "mix_into_5"),
        Thief(
            "fine_tunes", "Fine-tunes a model that was trained without it", 1, 1, 0.72, "fine_tune"
        ),
        Thief(
            "distils", "Distils a model of it into another, on other images", 1, 1, 0.44, "distil"
        ),
        Thief(
            "looks_up",
            "Answers for images of it by a model that has not seen them",
            1,
            1,
            0,
            "look_up",
        ),
    )
}
