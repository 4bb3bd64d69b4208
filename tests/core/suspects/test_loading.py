"""What a user may call a suspect."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import ParameterError, SuspectError
from fiftyone_honeyimage.core.suspects import (
    CallableSuspect,
    OnnxSuspect,
    PredictionsSuspect,
    Preprocessing,
    TorchScriptSuspect,
    load_suspect,
)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_files_are_told_apart_by_their_suffix(trained, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", ["x"], ["y"])],
        "flatten",
        [value("x", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])],
        [value("y", onnx.TensorProto.FLOAT, ["n", 192])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    torch.jit.save(torch.jit.script(trained), tmp_path / "m.PT")
    assert isinstance(load_suspect(tmp_path / "m.onnx"), OnnxSuspect)
    assert isinstance(load_suspect(str(tmp_path / "m.PT")), TorchScriptSuspect)


def test_modules_callables_and_predictions(trained):
    assert isinstance(load_suspect(trained), CallableSuspect)
    assert isinstance(load_suspect(lambda x: x), CallableSuspect)
    assert isinstance(load_suspect(predictions={"a": 1}, name="theirs"), PredictionsSuspect)
    assert isinstance(load_suspect({"a": [0.5, 0.5]}), PredictionsSuspect)


def test_a_loaded_suspect_is_returned_as_it_is(trained):
    suspect = load_suspect(trained)
    assert load_suspect(suspect) is suspect


def test_options_reach_the_suspect(trained, real_digits):
    suspect = load_suspect(
        trained, input_size=(8, 8), mean=[0.5] * 3, std=[0.5] * 3, device="cpu", name="Acme"
    )
    assert suspect.name == "Acme"
    large = [np.kron(image, np.ones((2, 2, 1), np.uint8)) for image in real_digits.images]
    preprocessing = Preprocessing(input_size=8, mean=[0.5] * 3, std=[0.5] * 3)
    with torch.no_grad():
        expected = trained(preprocessing(large)).numpy()
    np.testing.assert_allclose(suspect.answer(large, real_digits.keys), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pkl", ".h5", ""])
def test_other_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"weights")
    with pytest.raises(SuspectError, match=r"no kind that can be loaded .*torch.nn.Module"):
        load_suspect(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(SuspectError, match="no suspect model at"):
        load_suspect(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("suspect", "message"),
    [(None, "no suspect was given"), (3, "type int"), (torch.nn.Linear, "class")],
)
def test_other_things_are_refused(suspect, message):
    with pytest.raises(SuspectError, match=message):
        load_suspect(suspect)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "quantum"}, "quantum"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"input_size": -1}, "image size"),
        ({"mean": [128] * 3}, "mean"),
        ({"predictions": {"a": 1}}, "not both"),
    ],
)
def test_options_are_checked(trained, options, message):
    with pytest.raises(ParameterError, match=message):
        load_suspect(trained, **options)


def test_options_that_would_be_ignored_are_refused(trained):
    with pytest.raises(ParameterError, match="input_size, mean cannot be given with a suspect"):
        load_suspect(load_suspect(trained), input_size=8, mean=[0.5] * 3)
    with pytest.raises(ParameterError, match="device cannot be given with answers"):
        load_suspect(predictions={"a": 1}, device="cpu")
