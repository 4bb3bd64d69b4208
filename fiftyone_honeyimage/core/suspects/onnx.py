"""Suspects stored as ONNX files, run with ONNX Runtime."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import ParameterError, SuspectError
from ..files import sha256_file
from .base import Preprocessing, Suspect
from .query import cause_of
from .torchscript import read_model_file

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class OnnxSuspect(Suspect):
    """An ONNX model with one floating point input of shape ``(batch, 3, height, width)``.

    A fixed batch dimension B is respected: images are queried B at a time, the last batch filled up with
    copies. A fixed height and width is the default ``input_size``. Of several outputs, the first one of
    rank 2 is taken (labels, if there is none).

    Args:
        path: the file. The digest covers all files beside it that hold weights of it
        preprocessing (Preprocessing()): how images become its input
        device (None): None and the CPU run on the CPU; CUDA needs ``onnxruntime-gpu``
        name (None): what to call it; None takes the file's name

    Raises:
        SuspectError: if ONNX Runtime is not installed, the file is missing or damaged, or the model's
            input is of another kind
        ParameterError: if ``input_size`` contradicts the model's fixed size
    """

    title = "an ONNX file"
    suffixes = (".onnx",)

    preprocessing: Preprocessing

    def __init__(
        self,
        path: str | os.PathLike[str],
        preprocessing: Preprocessing | None = None,
        *,
        device: torch.device | None = None,
        name: str | None = None,
    ) -> None:
        path = Path(path)
        data = read_model_file(path, self.suffixes, "ONNX")
        self.name = name or path.stem
        self.digest = _digest(path, data)
        self.session = _open(path, device)
        self.device = device or torch.device("cpu")

        preprocessing = preprocessing or Preprocessing()
        model_input = self._image_input(path)
        batch, _, *spatial = model_input.shape
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.dtype = _TYPES[model_input.type]
        self.input_name = model_input.name
        self.preprocessing = _with_fixed_size(path, preprocessing, spatial)
        self.needs_equal_sizes = self.preprocessing.input_size is None
        self.output_name = self._scores_output()

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        batch = self.preprocessing(images).numpy().astype(self.dtype)
        if self.fixed_batch is None:
            return self._run(batch)
        parts = []
        for start in range(0, len(batch), self.fixed_batch):
            part = batch[start : start + self.fixed_batch]
            missing = self.fixed_batch - len(part)
            filled = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            parts.append(self._run(filled)[: len(part)])
        return np.concatenate(parts)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(self.session.run([self.output_name], {self.input_name: batch})[0])

    def _image_input(self, path: Path) -> Any:
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(repr(i.name) for i in inputs)
            raise SuspectError(
                f"{path} has {len(inputs)} inputs ({names}), and one image is needed"
            )
        (model_input,) = inputs
        shape = model_input.shape
        wanted = (
            "and (batch, 3, height, width) is needed; wrap it in a function and pass that instead"
        )
        if len(shape) != 4:
            raise SuspectError(f"the input of {path} has shape {shape}, {wanted}")
        if isinstance(shape[1], int) and shape[1] != 3:
            layout = "channels last" if shape[3] == 3 else f"{shape[1]} channels"
            raise SuspectError(f"the input of {path} has shape {shape} ({layout}), {wanted}")
        if model_input.type not in _TYPES:
            raise SuspectError(
                f"the input of {path} is {model_input.type}, and one of {', '.join(_TYPES)} is needed"
            )
        return model_input

    def _scores_output(self) -> str:
        outputs = self.session.get_outputs()
        rows = [o for o in outputs if o.type in _TYPES and len(o.shape) == 2]
        return (rows or outputs)[0].name


def _open(path: Path, device: torch.device | None) -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise SuspectError(
            f"ONNX Runtime is needed to query {path}: pip install onnxruntime"
        ) from e
    providers = ["CPUExecutionProvider"]
    if device is not None and device.type != "cpu":
        if (
            device.type != "cuda"
            or "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
        ):
            raise SuspectError(
                f"this ONNX Runtime cannot run on {device}; install onnxruntime-gpu for CUDA, or query on "
                "the CPU"
            )
        providers = ["CUDAExecutionProvider", *providers]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        # from the path, as weights may lie in files beside it
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as e:  # ONNX Runtime's errors share no base class
        raise SuspectError(f"{path} cannot be read as an ONNX model: {cause_of(e)}") from e


def _with_fixed_size(path: Path, preprocessing: Preprocessing, spatial: list[Any]) -> Preprocessing:
    given = preprocessing.input_size
    if given is None:
        if all(isinstance(side, int) for side in spatial):
            return replace(preprocessing, input_size=(spatial[0], spatial[1]))
        return preprocessing
    assert isinstance(given, tuple)  # Preprocessing makes it one
    for side, fixed in zip(given, spatial, strict=True):
        if isinstance(fixed, int) and fixed != side:
            raise ParameterError(
                f"input_size is {given}, but {path} takes images of height {spatial[0]} and width "
                f"{spatial[1]} only"
            )
    return preprocessing


def _digest(path: Path, data: bytes) -> str | None:
    """Of the file and of all that holds weights of it; None where that cannot be told."""
    names = _external_files(data)
    if names is None:
        return None
    sha = hashlib.sha256(data)
    for name in sorted(names):
        try:
            sha.update(sha256_file(path.parent / os.fsdecode(name)).encode())
        except OSError:
            return None
    return sha.hexdigest()


def _external_files(data: bytes) -> set[bytes] | None:
    """The names of files that hold weights of an ONNX model; None if one of them cannot be read off.

    A tensor outside the file has an entry of the key ``location``, whose value is a path beside the model: in
    Protocol Buffers' bytes field 1, its length and the key, then field 2, a length and the value.
    """
    names = set()
    for found in re.finditer(rb"\x08location", data):
        entry = re.match(rb"\x12([\x80-\xff]*[\x00-\x7f])", data[found.end() : found.end() + 6])
        if data[found.start() - 1 : found.start()] != b"\n" or entry is None:
            return None
        length = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(entry[1]))
        start = found.end() + entry.end()
        names.add(data[start : start + length])
    return names
