"""How visible a change of an image is."""

from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torchvision import models

from .device import choose_device, seeded
from .errors import HoneyImageError, ImageError, ParameterError
from .images import check_image, largest_change, strips
from .limits import check_path
from .resizing import differentiable_resize

#: Side in pixels that smaller images are enlarged to before LPIPS, which was fitted on patches of 64x64.
LPIPS_MIN_SIDE = 64

#: Side in pixels of the Gaussian window of SSIM; smaller images have none.
SSIM_WINDOW = 11

#: Least similarity of any window of a HoneyImage to the original's: marks are made weaker until they keep to it.
#: Where an eye found a mark on photographs (skies, black borders, skin), the window had 0.94 or less.
LEAST_SIMILARITY = 0.95

#: Red, green and blue of brightness (ITU-R BT.601)
BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)

#: The largest side of what LPIPS compares at once.
_TILE_SIDE = 1024

_BACKBONE_SUFFIXES = (".safetensors", ".pt", ".pth")

_BACKBONES: dict[str, Any] = {
    "alex": models.AlexNet_Weights.IMAGENET1K_V1,
    "squeeze": models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
    "vgg": models.VGG16_Weights.IMAGENET1K_V1,
}


class LpipsUnavailable(HoneyImageError):  # noqa: N818
    """LPIPS needs a pretrained backbone, and it cannot be had."""


def linf(original: np.ndarray, marked: np.ndarray) -> int:
    """The largest change of any channel of any pixel, in 0–255 units.

    Args:
        original: uint8 array of shape ``(height, width, 3)``
        marked: the changed image, of the same shape

    Raises:
        ImageError: if these are no images, or differ in shape
    """
    _check_pair(original, marked)
    return largest_change(original, marked)


def psnr(original: np.ndarray, marked: np.ndarray) -> float:
    """The peak signal-to-noise ratio over all channels in dB, for a peak of 255; infinite if identical.

    Arguments and errors are those of :func:`linf`.
    """
    _check_pair(original, marked)
    squares = sum(
        int(((original[rows].astype(np.int32) - marked[rows]) ** 2).sum(dtype=np.int64))
        for rows in strips(len(original))
    )
    mse = squares / original.size
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def ssim(original: np.ndarray, marked: np.ndarray) -> float:
    """The structural similarity, mean of the three channels, with the constants of Wang et al. (2004).

    That is an 11x11 Gaussian window with sigma 1.5, K1 = 0.01, K2 = 0.03, a range of 255 and population
    covariances; of colour images, each channel is compared alone.

    Arguments and errors are those of :func:`linf`; images that are smaller than the window are an error too.
    """
    _check_pair(original, marked)
    if min(original.shape[:2]) < SSIM_WINDOW:
        raise ImageError(
            f"SSIM needs at least {SSIM_WINDOW} pixels a side, got {original.shape[1]}x{original.shape[0]}"
        )
    total, windows = 0.0, 0
    for _, similarity in window_similarity(original, marked):
        total += float(similarity.sum(dtype=np.float64))
        windows += similarity.size
    return total / windows


def worst_window(original: np.ndarray, marked: np.ndarray) -> float | None:
    """The lowest structural similarity of any window of an image, at most 1: where a change shows most.

    The mean over an image says little of what is seen: a grid of dots in a clear sky beside a busy
    foreground has a mean of 0.98. Arguments and errors are those of :func:`linf`.

    Returns:
        the lowest value of :func:`window_similarity`; None below 11 pixels a side
    """
    _check_pair(original, marked)
    return min(
        (float(similarity.min()) for _, similarity in window_similarity(original, marked)),
        default=None,
    )


def window_similarity(
    original: np.ndarray, marked: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """The structural similarity of every 11x11 window, see :func:`ssim`, a few hundred rows at a time.

    Yields:
        the rows in which windows begin, and float (rows, width − 10): row r, column c is the window whose
        first pixel is there, mean of the three channels; nothing below 11 pixels a side
    """
    half = SSIM_WINDOW // 2
    if min(original.shape[:2]) < SSIM_WINDOW:
        return
    # Strips that overlap by a window give every window once
    for rows in strips(len(original) - SSIM_WINDOW + 1):
        part = slice(rows.start, rows.stop + SSIM_WINDOW - 1)
        _, similarity = structural_similarity(
            original[part],
            marked[part],
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            K1=0.01,
            K2=0.03,
            full=True,
        )
        yield rows, similarity[half:-half, half:-half].mean(axis=2)


def stealthiness(lpips: float) -> float:
    """STL, the score of stealth between 0 (plain to see) and 1 (invisible): ``exp(-10 * LPIPS)``.

    The paper's formula did not survive in its text. This one is inferred: it fits the values that the
    paper gives for its method and for cropping.
    """
    return math.exp(-10 * lpips)


class LpipsMetric:
    """The learned perceptual distance LPIPS (Zhang et al. 2018), version 0.1 of its fitted heads.

    The heads come with the package ``lpips``. The backbone's pretrained features come from torchvision,
    which downloads them once, or from a local file. Images with a side below 64 pixels are enlarged first
    (bilinear), so that the shorter side has 64. Images with a side above 1,024 pixels are compared in equal
    tiles of at most that, and their distances averaged, which bounds memory.

    Args:
        net ("alex"): the backbone: "alex" (AlexNet), "squeeze" (SqueezeNet 1.1) or "vgg" (VGG16)
        backbone_file (None): a ``.safetensors`` or ``.pt``/``.pth`` file with torchvision's keys
            ``features.N.weight`` and ``features.N.bias`` (others are ignored). A ``.pt`` file is read
            with ``weights_only=True``. None takes torchvision's weights
        device (None): where to compute; None takes the best

    Raises:
        ParameterError: if ``net`` is unknown or ``backbone_file`` does not fit it
        LpipsUnavailable: if torchvision's weights can neither be downloaded nor found in its cache, or
            a package that is needed is absent
    """

    def __init__(
        self,
        net: str = "alex",
        backbone_file: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | None = None,
    ) -> None:
        if net not in _BACKBONES:
            raise ParameterError(f"the LPIPS net is one of {', '.join(_BACKBONES)}; got {net!r}")
        self.net = net
        self.device = choose_device(device)
        if backbone_file is None:
            state, source = _download(net), f"torchvision's {_BACKBONES[net]}"
        else:
            state, source = _read_backbone(Path(backbone_file)), str(backbone_file)
        self._model = _build(net, state, source).to(self.device)

    def __call__(self, original: np.ndarray, marked: np.ndarray) -> float:
        """The distance of two images; arguments and errors are those of :func:`linf`."""
        _check_pair(original, marked)
        total = 0.0
        for tile in _tiles(*original.shape[:2]):
            pair = [
                torch.from_numpy(np.array(x[tile].transpose(2, 0, 1))).unsqueeze(0)
                for x in (original, marked)
            ]
            total += float(self.distances(*pair)[0]) * pair[0].shape[-1] * pair[0].shape[-2]
        return total / (original.shape[0] * original.shape[1])

    def distances(self, originals: Tensor, marked: Tensor) -> np.ndarray:
        """The distances of B pairs at once.

        Args:
            originals: uint8 tensor of shape ``(B, 3, height, width)``
            marked: the changed images, of the same shape

        Returns:
            float64 array (B,)
        """
        if originals.shape != marked.shape or originals.ndim != 4:
            raise ImageError(
                f"LPIPS compares batches of one shape (B, 3, height, width), got "
                f"{tuple(originals.shape)} and {tuple(marked.shape)}"
            )
        with torch.no_grad():
            values = self._model(self._input(originals), self._input(marked), normalize=True)
        return values.reshape(-1).double().cpu().numpy()

    def _input(self, images: Tensor) -> Tensor:
        x = images.to(self.device, torch.float32) / 255
        height, width = x.shape[-2:]
        shorter = min(height, width)
        if shorter >= LPIPS_MIN_SIDE:
            return x
        scale = LPIPS_MIN_SIDE / shorter
        return differentiable_resize(x, (round(height * scale), round(width * scale)))


def compare_images(
    original: np.ndarray, marked: np.ndarray, lpips_metric: LpipsMetric | None = None
) -> dict[str, float | None]:
    """How visible a change is, in every measure of this module, as values that JSON can hold.

    Args:
        original, marked: see :func:`linf`
        lpips_metric (None): None leaves "lpips" and "stl" out, as None

    Returns:
        a dict of

        -   "linf": the largest change, in 0–255 units
        -   "psnr": in dB, or None where the images are identical (it is infinite then)
        -   "ssim": or None below 11 pixels a side
        -   "worst_window": the lowest SSIM of any window, see :func:`worst_window`, or None likewise
        -   "lpips": or None
        -   "stl": ``exp(-10 * LPIPS)``, see :func:`stealthiness`, or None
    """
    ratio = psnr(original, marked)
    small = min(original.shape[:2]) < SSIM_WINDOW
    distance = None if lpips_metric is None else lpips_metric(original, marked)
    return {
        "linf": linf(original, marked),
        "psnr": ratio if math.isfinite(ratio) else None,
        "ssim": None if small else ssim(original, marked),
        "worst_window": worst_window(original, marked),
        "lpips": distance,
        "stl": None if distance is None else stealthiness(distance),
    }


def _check_pair(original: np.ndarray, marked: np.ndarray) -> None:
    check_image(original, "the original")
    check_image(marked, "the marked image")
    if original.shape != marked.shape:
        raise ImageError(
            f"the original has shape {original.shape} and the marked image {marked.shape}; a mark keeps "
            "the size"
        )


def _tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    rows, columns = (
        np.linspace(0, length, math.ceil(length / _TILE_SIDE) + 1).astype(int)
        for length in (height, width)
    )
    return [
        (slice(top, bottom), slice(left, right))
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _download(net: str) -> Mapping[str, Tensor]:
    weights = _BACKBONES[net]
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as e:  # URLError is an OSError; a wrong hash is a RuntimeError
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise LpipsUnavailable(
            f"LPIPS needs torchvision's weights {weights}, and they cannot be downloaded ({e}). Fetch "
            f"{weights.url} on a machine with a connection, and put the file into {cache} or pass its path "
            "as lpips_backbone"
        ) from e


def check_backbone(file: str | os.PathLike[str]) -> Path:
    """Checks that a file is there that may hold LPIPS' backbone; it is not read.

    Returns:
        its path, absolute

    Raises:
        ParameterError: if it cannot be one
    """
    path = check_backbone_path(file)
    if not path.is_file():
        raise ParameterError(f"there is no LPIPS backbone file at {path}")
    return path


def check_backbone_path(file: str | os.PathLike[str]) -> Path:
    """What :func:`check_backbone` can check on any machine: the path alone."""
    path = check_path("lpips_backbone", file)
    if path.suffix.lower() not in _BACKBONE_SUFFIXES:
        raise ParameterError(
            f"an LPIPS backbone is a .safetensors, .pt or .pth file, got {path.name}"
        )
    return path


def _read_backbone(path: Path) -> Mapping[str, Tensor]:
    path = check_backbone(path)
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as e:
        reason = next(iter(str(e).splitlines()), type(e).__name__)
        raise ParameterError(f"the LPIPS backbone {path} cannot be read: {reason}") from e
    if not isinstance(state, Mapping):
        raise ParameterError(
            f"the LPIPS backbone {path} holds a {type(state).__name__}, and a state dict is needed"
        )
    return state


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as e:
        raise LpipsUnavailable(
            f"the package safetensors is needed to read {path}: pip install safetensors"
        ) from e
    try:
        return load_file(path)
    except (OSError, SafetensorError) as e:
        raise ParameterError(f"the LPIPS backbone {path} cannot be read: {e}") from e


def _build(net: str, state: Mapping[str, Tensor], source: str) -> torch.nn.Module:
    """The package's model with the given backbone. The package prints, warns and draws random weights."""
    try:
        import lpips
    except ImportError as e:
        raise LpipsUnavailable("the package lpips is needed for LPIPS: pip install lpips") from e
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), seeded(0):
        warnings.simplefilter("ignore")
        # pnet_rand keeps the package from downloading a backbone itself
        model = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
    model.net.load_state_dict(_backbone_state(model.net, state, net, source))
    return model.requires_grad_(False).eval()


def _backbone_state(
    backbone: torch.nn.Module, state: Mapping[str, Tensor], net: str, source: str
) -> dict[str, Tensor]:
    """Renames torchvision's ``features.N.*`` to the package's ``sliceK.N.*``."""
    renamed = {}
    for name, expected in backbone.state_dict().items():
        key = "features." + name.partition(".")[2]
        value = state.get(key)
        if not isinstance(value, Tensor):
            raise ParameterError(
                f"{source} lacks {key!r}, which net={net!r} needs; is it another network's?"
            )
        if value.shape != expected.shape:
            raise ParameterError(
                f"{source} has {key!r} of shape {tuple(value.shape)}, and net={net!r} needs "
                f"{tuple(expected.shape)}; is it another network's?"
            )
        if not torch.isfinite(value).all():
            raise ParameterError(f"{source} has NaN or infinity in {key!r}; the file is damaged")
        renamed[name] = value
    return renamed
