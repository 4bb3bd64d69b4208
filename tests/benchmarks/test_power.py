"""An infringing model is found on CIFAR-10, with really trained models.

The full experiment, three seeds with an innocent model and the accuracy that a release costs, is benchmarks/power.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_infringing_model_is_found_on_cifar10(data_dir, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks.power import Setting, run_seed
    from fiftyone_honeyimage.core.training import TrainingConfig

    # Fewer public images than there: they take most of the time, and are no part of what is shown
    setting = replace(
        Setting(),
        num_public=1000,
        proxy_config=TrainingConfig(epochs=20),
        suspect_config=TrainingConfig(epochs=60),
        num_test=1000,
    )
    assert setting.num_pairs <= setting.num_private // 100  # at most 1 % is withheld
    # Fixed coins: p depends on them, by a factor of ten and more
    figures = run_seed(setting, seed=0, with_innocent=False, with_clean=False, coins=[0, 1] * 10)
    print(figures["infringing"])
    # Both bounds leave room for the first verification's share of alpha, one half.
    assert figures["infringing"]["p_scores"] < 1e-3 / 2
    assert figures["infringing"]["p_labels"] < 1e-2 / 2
