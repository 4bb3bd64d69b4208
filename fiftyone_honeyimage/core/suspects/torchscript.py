"""Suspects stored as TorchScript files."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import SuspectError
from .base import Preprocessing, Suspect
from .callable_suspect import as_array
from .query import cause_of


class TorchScriptSuspect(Suspect):
    """A model saved with ``torch.jit.save``, queried in evaluation mode.

    Files are read with ``torch.jit.load`` alone and never unpickled, since a pickle from a third party
    could run any code here. A TorchScript file is still a program: query one that you have every reason
    to distrust on a machine that holds nothing else.

    Args:
        path: the file
        preprocessing (Preprocessing()): how images become its input
        device (None): where to query it; None is the CPU
        name (None): what to call it; None takes the file's name

    Raises:
        SuspectError: if the file is missing, damaged, or a checkpoint of another kind
    """

    title = "a TorchScript file"
    suffixes = (".pt", ".pth", ".ts", ".jit", ".torchscript")

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
        data = read_model_file(path, self.suffixes, "TorchScript")
        _refuse_other_kinds(path, data)
        self.preprocessing = preprocessing or Preprocessing()
        self.name = name or path.stem
        self.needs_equal_sizes = self.preprocessing.input_size is None
        self.digest = hashlib.sha256(data).hexdigest()
        self.device = device or torch.device("cpu")
        try:
            with warnings.catch_warnings():
                # torch announces that TorchScript will go; files that exist still have to be read
                warnings.filterwarnings("ignore", message=".*torch.jit.load")
                # from the bytes that were hashed, so that the digest is of what is queried
                self.model = torch.jit.load(io.BytesIO(data), map_location=self.device)
        except (RuntimeError, ValueError) as e:
            raise SuspectError(f"{path} cannot be read as TorchScript: {cause_of(e)}") from e
        self.model.eval()
        self.dtype = next(
            (p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32
        )

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        batch = self.preprocessing(images).to(self.device, self.dtype)
        with torch.no_grad():
            return as_array(self.model(batch))


def read_model_file(path: Path, suffixes: Sequence[str], kind: str) -> bytes:
    """Reads a model's file whole.

    Args:
        path: the file
        suffixes: the suffixes that it may have
        kind: what the errors call its format

    Raises:
        SuspectError: if it is missing, empty, no file, or has another suffix
    """
    if not path.exists():
        raise SuspectError(f"there is no suspect model at {path}")
    if not path.is_file():
        raise SuspectError(f"the suspect model {path} is not a file")
    if path.suffix.lower() not in suffixes:
        raise SuspectError(f"a {kind} file is named {' or '.join(suffixes)}, got {path.name}")
    try:
        data = path.read_bytes()
    except OSError as e:
        raise SuspectError(f"the suspect model {path} cannot be read: {e}") from e
    if not data:
        raise SuspectError(f"the suspect model {path} is empty (zero bytes)")
    return data


def _refuse_other_kinds(path: Path, data: bytes) -> None:
    how = (
        "pass the loaded torch.nn.Module instead, or save it with "
        "torch.jit.save(torch.jit.trace(model.eval(), example), path)"
    )
    if not zipfile.is_zipfile(io.BytesIO(data)):
        # a pickle of protocol 2 and later starts with 0x80 and the protocol
        if data[0] == 0x80 and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
            raise SuspectError(
                f"{path} is a pickled checkpoint, not TorchScript; it is not opened, as a pickle from "
                f"others can run any code: {how}"
            )
        raise SuspectError(f"{path} is not a TorchScript file, or it is truncated or damaged")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as e:
        raise SuspectError(f"{path} is damaged: {e}") from e
    if any("/code/" in name for name in names):
        return
    if any(name.endswith("/data.pkl") for name in names):
        raise SuspectError(
            f"{path} is a pickled checkpoint (torch.save), not TorchScript; it is not opened, as a pickle "
            f"from others can run any code: {how}"
        )
    raise SuspectError(f"{path} is a zip archive, but holds no TorchScript program: {how}")
