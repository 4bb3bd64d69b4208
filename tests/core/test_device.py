"""Tests of the choice of device, precision and random numbers."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.device import (
    autocast_dtype,
    check_name,
    choose_device,
    seeded,
    seeded_generator,
)
from fiftyone_honeyimage.core.errors import ParameterError


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(torch.device("cpu")) == torch.device("cpu")


def test_an_accelerator_comes_first():
    chosen = choose_device()
    if torch.cuda.is_available():
        assert chosen == torch.device("cuda", torch.cuda.current_device())
    else:
        assert chosen.type == ("mps" if torch.backends.mps.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", 3.5, 3, ["cpu"], "cuda:" + "9" * 30])
def test_unknown_devices_are_refused(name):
    for check in (choose_device, check_name):
        with pytest.raises(ParameterError, match="Unknown device"):
            check(name)


def test_a_device_can_be_named_that_is_not_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check_name("cuda:7") == torch.device("cuda", 7)
    with pytest.raises(ParameterError, match="not available"):
        choose_device("cuda:7")


def test_devices_that_could_never_train_are_refused():
    with pytest.raises(ParameterError, match="not supported"):
        choose_device("meta")


def test_absent_devices_are_refused():
    with pytest.raises(ParameterError, match="not available"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="sees 0 CUDA devices"):
        choose_device("cuda")


def test_mps_elsewhere_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="'mps' is not available"):
        choose_device("mps")


def test_a_precision_can_be_forced():
    cpu = torch.device("cpu")
    assert autocast_dtype(cpu, "fp32") is None
    assert autocast_dtype(cpu, "bf16") is torch.bfloat16
    assert autocast_dtype(torch.device("mps"), "auto") is None
    with pytest.raises(ParameterError, match="Unknown precision 'half'"):
        autocast_dtype(cpu, "half")


def test_cpus_use_bfloat16_where_they_multiply_it():
    info = Path("/proc/cpuinfo")
    if not info.exists() or "flags" not in info.read_text(encoding="utf-8"):
        pytest.skip("This machine does not list its CPU's flags in /proc/cpuinfo")

    flags = info.read_text(encoding="utf-8")
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    assert autocast_dtype(torch.device("cpu"), "auto") is (torch.bfloat16 if native else None)


def test_generators_have_their_own_state():
    before = torch.get_rng_state()
    first = torch.rand(5, generator=seeded_generator(7))
    assert torch.equal(first, torch.rand(5, generator=seeded_generator(7)))
    assert not torch.equal(first, torch.rand(5, generator=seeded_generator(8)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_holds_inside_the_block_only():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    with seeded(3):
        inside = torch.rand(5)
    with seeded(3):
        assert torch.equal(torch.rand(5), inside)
    with pytest.raises(RuntimeError), seeded(3):
        torch.rand(2) @ torch.rand(3)

    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_seed_holds_for_cuda_too():
    device = choose_device("cuda")
    before = torch.cuda.get_rng_state(device)
    with seeded(3, device):
        inside = torch.rand(5, device=device)
    with seeded(3, device):
        assert torch.equal(torch.rand(5, device=device), inside)
    assert torch.equal(torch.cuda.get_rng_state(device), before)
