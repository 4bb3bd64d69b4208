"""An infringing model is found, and an innocent one is not, on CIFAR-10 with really trained models.

The full experiment, three seeds with the accuracy that a release costs, is benchmarks/power.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_infringing_model_is_found_on_cifar10(data_dir, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks.power import Setting, run_seed
    from fiftyone_honeyimage.core.training import TrainingConfig

    config = TrainingConfig(epochs=20)
    setting = replace(Setting(), proxy_config=config, suspect_config=config, num_test=2000)
    assert setting.num_pairs <= setting.num_private // 100  # at most 1 % is withheld
    figures = run_seed(setting, seed=0, with_clean=False)
    print(figures["infringing"], figures["innocent"])
    # Both bounds leave room for the first verification's share of alpha, one half.
    assert figures["infringing"]["p_scores"] < 1e-3 / 2
    assert figures["infringing"]["p_labels"] < 1e-2 / 2
    # Fair coins: an innocent model falls below this once in a thousand runs.
    assert figures["innocent"]["p_scores"] > 1e-3
