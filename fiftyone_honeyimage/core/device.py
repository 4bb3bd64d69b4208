"""Where to compute, in which precision, and random numbers that leave the global ones alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import ParameterError
from .limits import shown

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Returns the device to compute on.

    Args:
        device (None): a torch device or its name, for example ``"cuda:1"``. By default the first
            of CUDA, MPS and the CPU that this machine has

    Returns:
        a ``torch.device``; CUDA devices always carry their index

    Raises:
        ParameterError: if the name is unknown or this machine lacks the device
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")

    chosen = check_name(device)
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = chosen.index
        if count and index is None:
            index = torch.cuda.current_device()
        if index is None or not 0 <= index < count:
            raise ParameterError(
                f"Device {str(chosen)!r} is not available: torch sees {count} CUDA devices here. "
                "Use another device, or leave it out to take the best one"
            )
        return torch.device("cuda", index)

    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ParameterError(
            "Device 'mps' is not available here: use another device, or leave it out to take the "
            "best one"
        )

    return chosen


def check_name(device: str | torch.device) -> torch.device:
    """Checks that a device is one that some machine could have.

    Args:
        device: a torch device or its name

    Returns:
        the device as it was named, which this machine need not have

    Raises:
        ParameterError: if the name is unknown
    """
    try:
        if not isinstance(device, (str, torch.device)):
            raise TypeError
        named = torch.device(device)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ParameterError(
            f"Unknown device {shown(device)}: use 'cuda', 'cuda:<index>', 'mps' or 'cpu', or leave it "
            "out to take the best one"
        ) from error
    if named.type not in ("cpu", "cuda", "mps"):
        raise ParameterError(
            f"Device {str(named)!r} is not supported: use 'cuda', 'cuda:<index>', 'mps' or 'cpu'"
        )
    return named


def autocast_dtype(device: torch.device, precision: str = "auto") -> torch.dtype | None:
    """Returns the type that convolutions and matrix products are autocast to.

    Args:
        device: the device
        precision ("auto"): ``"fp32"`` for none, ``"bf16"`` for bfloat16 whatever the device, or
            ``"auto"`` for bfloat16 where the hardware multiplies it natively (CUDA from compute
            capability 8.0; CPUs with AVX512-BF16 or AMX): elsewhere it is emulated and slower

    Returns:
        ``torch.bfloat16``, or None to compute in float32 throughout

    Raises:
        ParameterError: if the precision is unknown
    """
    if precision not in PRECISIONS:
        raise ParameterError(f"Unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}")

    if precision == "fp32":
        return None

    if precision == "bf16" or _multiplies_bf16(device):
        return torch.bfloat16

    return None


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)

    if device.type == "cpu":
        # Private names, absent from some versions of torch: there float32 is the safe answer
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in checks)

    return False


def seeded_generator(seed: int) -> torch.Generator:
    """Returns a CPU generator with its own state, so that draws are the same on every device."""
    return torch.Generator(device="cpu").manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seeds torch's global generators inside the block and restores their states after it.

    For code that can only draw from the global generators: weight initialisation and dropout.

    Args:
        seed: the seed
        device (None): the device whose generator is seeded too, beside the CPU's
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[], enabled=True):
        # Not torch.manual_seed(), which would also reseed every GPU for good
        torch.random.default_generator.manual_seed(seed)
        if device.type == "cpu":
            yield
            return

        module = getattr(torch, device.type)
        arguments = (device,) if device.type == "cuda" else ()
        state = module.get_rng_state(*arguments)
        try:
            if device.type == "cuda":
                torch.cuda.default_generators[device.index].manual_seed(seed)
            else:
                torch.mps.manual_seed(seed)
            yield
        finally:
            module.set_rng_state(state, *arguments)
