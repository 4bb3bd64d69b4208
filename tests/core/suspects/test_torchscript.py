"""TorchScript files as suspects."""

from __future__ import annotations

import copy
import hashlib
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import SuspectError
from fiftyone_honeyimage.core.suspects import Preprocessing, TorchScriptSuspect, query

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


def save(model, path, how, example):
    if how == "traced":
        program = torch.jit.trace(model.eval(), example)
    elif how == "frozen":
        program = torch.jit.freeze(torch.jit.script(model.eval()))
    else:
        program = torch.jit.script(model)
    torch.jit.save(program, path)
    return path


@pytest.fixture
def scripted(trained, tmp_path, real_digits):
    model = copy.deepcopy(trained).train()
    return save(model, tmp_path / "suspect.pt", "scripted", real_digits.batch())


@pytest.mark.parametrize("how", ["traced", "scripted", "frozen"])
def test_a_file_answers_as_the_model_that_was_saved(
    trained, trained_logits, real_digits, tmp_path, how
):
    # saved in training mode, except where that is part of the program
    path = save(copy.deepcopy(trained).train(), tmp_path / "m.pt", how, real_digits.batch())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        suspect = TorchScriptSuspect(path)
    answer = suspect.answer(real_digits.images, real_digits.keys)
    np.testing.assert_allclose(answer, trained_logits, rtol=1e-4, atol=1e-5)
    assert suspect.name == "m"
    assert suspect.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_half_precision_file_is_queried_in_its_type(
    trained, trained_logits, real_digits, tmp_path
):
    path = tmp_path / "half.ts"
    torch.jit.save(torch.jit.script(copy.deepcopy(trained).bfloat16()), path)
    answer = TorchScriptSuspect(path).answer(real_digits.images, real_digits.keys)
    np.testing.assert_allclose(answer, trained_logits, atol=0.3)


def test_images_are_resized_and_normalised(trained, scripted, real_digits):
    preprocessing = Preprocessing(input_size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    large = [np.kron(image, np.ones((2, 2, 1), np.uint8)) for image in real_digits.images]
    answer = TorchScriptSuspect(scripted, preprocessing).answer(large, real_digits.keys)
    with torch.no_grad():
        expected = trained(preprocessing(large)).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


def test_an_error_inside_the_program_names_the_batch(tmp_path, real_digits):
    class Picky(torch.nn.Module):
        def forward(self, x):
            assert x.shape[2] >= 32, "images are too small"
            return x.flatten(1)[:, :10]

    path = tmp_path / "picky.pt"
    torch.jit.save(torch.jit.script(Picky()), path)
    suspect = TorchScriptSuspect(path)
    with pytest.raises(SuspectError, match=r"images 0 to 7 \('digit-00' to 'digit-07'\): .*Error"):
        query(
            suspect,
            real_digits.images,
            real_digits.keys,
            real_digits.labels,
            num_classes=10,
            batch_size=8,
        )


def test_a_missing_file(tmp_path):
    with pytest.raises(SuspectError, match=r"no suspect model at .*gone.pt"):
        TorchScriptSuspect(tmp_path / "gone.pt")


def test_a_folder(tmp_path):
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(SuspectError, match="is not a file"):
        TorchScriptSuspect(tmp_path / "folder.pt")


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.pt").touch()
    with pytest.raises(SuspectError, match="zero bytes"):
        TorchScriptSuspect(tmp_path / "empty.pt")


def test_a_wrong_suffix(scripted, tmp_path):
    other = scripted.rename(tmp_path / "model.zip")
    with pytest.raises(SuspectError, match=r"named .pt or .pth .*got model.zip"):
        TorchScriptSuspect(other)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(scripted, keep):
    data = scripted.read_bytes()
    scripted.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(SuspectError, match="truncated or damaged"):
        TorchScriptSuspect(scripted)


def test_a_damaged_program(scripted, tmp_path):
    damaged = tmp_path / "damaged.pt"
    with zipfile.ZipFile(scripted) as old, zipfile.ZipFile(damaged, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            new.writestr(item.filename, b"def f(" if item.filename.endswith(".py") else data)
    with pytest.raises(SuspectError, match="cannot be read as TorchScript"):
        TorchScriptSuspect(damaged)


class Boobytrap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["torch.save", "torch.save, legacy", "pickle"])
def test_pickles_are_refused_and_never_opened(trained, tmp_path, how):
    trap = tmp_path / "was-run"
    content = {"state_dict": trained.state_dict(), "extra": Boobytrap(trap)}
    path = tmp_path / "checkpoint.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch.save")
    with pytest.raises(SuspectError, match=r"pickled checkpoint.*not TorchScript.*torch.jit.save"):
        TorchScriptSuspect(path)
    assert not trap.exists()


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "archive.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(SuspectError, match="holds no TorchScript program"):
        TorchScriptSuspect(path)
