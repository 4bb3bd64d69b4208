"""The panel of thieves: name → attack with its strength. Adding one means adding a file and a line here."""

from __future__ import annotations

from benchmarks.attacks.after_training import Distil, FineTune, Prune, Quantise
from benchmarks.attacks.answer_otherwise import LabelsAlone, LookUp, Noise, Rounded
from benchmarks.attacks.augment import Augment
from benchmarks.attacks.base import Attack
from benchmarks.attacks.clean_images import CleanImages
from benchmarks.attacks.deduplicate import Deduplicate
from benchmarks.attacks.drop_detected import DropDetected, DropSeen
from benchmarks.attacks.drop_hardest import DropHardest
from benchmarks.attacks.drop_mislabelled import DropMislabelled
from benchmarks.attacks.drop_unsettled import DropUnsettled
from benchmarks.attacks.honest import Epochs, LabelSmoothing, Nothing, WeightDecay
from benchmarks.attacks.private_training import PrivateTraining
from benchmarks.attacks.use_a_part import MixIn, UsePart

ATTACKS: dict[str, Attack] = {
    "nothing": Nothing(),
    **{f"drop_hardest_{share}": DropHardest(share / 100) for share in (1, 2, 5, 10)},
    "drop_mislabelled": DropMislabelled(),
    "drop_unsettled_2": DropUnsettled(0.02),
    **{f"drop_detected_{share}": DropDetected(share / 100) for share in (2, 5)},
    "drop_seen_5": DropSeen(0.05),
    "deduplicate_2": Deduplicate(0.02),
    **{f"jpeg_{quality}": CleanImages("jpeg", quality) for quality in (75, 50)},
    "resize_half": CleanImages("resize", 0.5),
    "median_3": CleanImages("median", 3),
    "randaugment": Augment("randaugment", 9),
    "mixup": Augment("mixup", 0.2),
    "cutmix": Augment("cutmix", 1.0),
    "half_the_epochs": Epochs(0.5),
    "twice_the_epochs": Epochs(2.0),
    "weight_decay": WeightDecay(5e-3),
    "label_smoothing": LabelSmoothing(0.2),
    **{f"use_{share}": UsePart(share / 100) for share in (10, 25, 50)},
    **{f"mix_into_{times}": MixIn(times) for times in (5, 20)},
    "fine_tune": FineTune(),
    "distil": Distil(),
    "prune_half": Prune(0.5),
    "quantise_4_bits": Quantise(4),
    "labels_alone": LabelsAlone(),
    "rounded_2": Rounded(2),
    "noise": Noise(0.5),
    "dp_sgd": PrivateTraining(),
    "look_up": LookUp(),
}
