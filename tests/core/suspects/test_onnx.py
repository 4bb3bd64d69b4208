"""ONNX files as suspects, run with ONNX Runtime."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest

from fiftyone_honeyimage.core.errors import ParameterError, SuspectError
from fiftyone_honeyimage.core.suspects import OnnxSuspect, Preprocessing, query

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT = onnx.TensorProto.FLOAT


def write_model(
    path,
    trained,
    shape=("batch", 3, "height", "width"),
    *,
    elem_type=FLOAT,
    labels=None,
    external=None,
):
    """Writes the trained CNN as an ONNX graph of the given input shape.

    ``labels`` adds the predicted class as another output, "before" or "after" the logits, or "only".
    """
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    element = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    weights = {key: value.numpy() for key, value in trained.state_dict().items()}
    arrays = {
        name: weights[key].astype(element)
        for name, key in {
            "conv_w": "0.weight",
            "conv_b": "0.bias",
            "bn_scale": "1.weight",
            "bn_shift": "1.bias",
            "bn_mean": "1.running_mean",
            "bn_var": "1.running_var",
            "fc_w": "6.weight",
            "fc_b": "6.bias",
        }.items()
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv_w", "conv_b"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["a", "bn_scale", "bn_shift", "bn_mean", "bn_var"], ["b"]
        ),
        helper.make_node("Relu", ["b"], ["c"]),
        # adaptive pooling to 4x4 of 8x8 images
        helper.make_node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "fc_w", "fc_b"], ["logits"], transB=1),
    ]
    outputs = [helper.make_tensor_value_info("logits", elem_type, [shape[0], 10])]
    if labels:
        nodes.append(helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0))
        label = helper.make_tensor_value_info("label", onnx.TensorProto.INT64, [shape[0]])
        outputs = {"before": [label, *outputs], "after": [*outputs, label], "only": [label]}[labels]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", elem_type, shape)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    if external:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save(model, path)
    return path


def write_identity(path, shape, elem_type=FLOAT, num_inputs=1):
    helper = onnx.helper
    names = [f"input{i}" for i in range(num_inputs)]
    graph = helper.make_graph(
        [helper.make_node("Identity", [names[0]], ["out"])],
        "identity",
        [helper.make_tensor_value_info(name, elem_type, shape) for name in names],
        [helper.make_tensor_value_info("out", elem_type, shape)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def test_a_file_answers_as_the_model_that_was_exported(
    trained, trained_logits, real_digits, tmp_path
):
    path = write_model(tmp_path / "suspect.onnx", trained)
    suspect = OnnxSuspect(path)
    answer = suspect.answer(real_digits.images, real_digits.keys)
    np.testing.assert_allclose(answer, trained_logits, rtol=1e-4, atol=1e-5)
    assert suspect.name == "suspect"
    assert suspect.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert suspect.needs_equal_sizes


@pytest.mark.parametrize("fixed_batch", [1, 3, 64])
def test_a_fixed_batch_is_respected(trained, trained_logits, real_digits, tmp_path, fixed_batch):
    path = write_model(tmp_path / "m.onnx", trained, (fixed_batch, 3, 8, 8))
    suspect = OnnxSuspect(path)
    answers = query(
        suspect,
        real_digits.images,
        real_digits.keys,
        real_digits.labels,
        num_classes=10,
        batch_size=16,
    )
    shifted = trained_logits - trained_logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    expected = -log_p[np.arange(40), real_digits.labels]
    np.testing.assert_allclose(answers.losses, expected, rtol=1e-4, atol=1e-5)


def test_a_fixed_size_is_the_default_input_size(trained, real_digits, tmp_path):
    path = write_model(tmp_path / "m.onnx", trained, ("n", 3, 8, 8))
    suspect = OnnxSuspect(path)
    assert suspect.preprocessing.input_size == (8, 8)
    assert not suspect.needs_equal_sizes
    mixed = [np.kron(image, np.ones((2, 3, 1), np.uint8)) for image in real_digits.images[:2]]
    answer = suspect.answer([*mixed, real_digits.images[2]], real_digits.keys[:3])
    assert answer.shape == (3, 10)


def test_an_input_size_that_contradicts_the_fixed_one(trained, tmp_path):
    path = write_model(tmp_path / "m.onnx", trained, ("n", 3, 8, 8))
    with pytest.raises(ParameterError, match=r"input_size is \(32, 32\), .* height 8 and width 8"):
        OnnxSuspect(path, Preprocessing(input_size=32))
    assert OnnxSuspect(path, Preprocessing(input_size=8)).preprocessing.input_size == (8, 8)


def test_normalisation(trained, real_digits, tmp_path):
    path = write_model(tmp_path / "m.onnx", trained)
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))
    answer = OnnxSuspect(path, preprocessing).answer(real_digits.images, real_digits.keys)
    expected = trained(preprocessing(real_digits.images)).detach().numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


def test_half_precision(trained, trained_logits, real_digits, tmp_path):
    path = write_model(tmp_path / "m.onnx", trained, elem_type=onnx.TensorProto.FLOAT16)
    answer = OnnxSuspect(path).answer(real_digits.images, real_digits.keys)
    np.testing.assert_allclose(answer, trained_logits, atol=0.1)


@pytest.mark.parametrize("labels", ["before", "after"])
def test_scores_are_preferred_to_labels(trained, trained_logits, real_digits, tmp_path, labels):
    path = write_model(tmp_path / "m.onnx", trained, labels=labels)
    answer = OnnxSuspect(path).answer(real_digits.images, real_digits.keys)
    np.testing.assert_allclose(answer, trained_logits, rtol=1e-4, atol=1e-5)


def test_labels_are_taken_where_there_is_nothing_else(
    trained, trained_logits, real_digits, tmp_path
):
    path = write_model(tmp_path / "m.onnx", trained, labels="only")
    answers = query(
        OnnxSuspect(path),
        real_digits.images,
        real_digits.keys,
        real_digits.labels,
        num_classes=10,
    )
    assert answers.kind == "labels"
    assert (answers.correct == (trained_logits.argmax(1) == real_digits.labels)).all()


@pytest.mark.parametrize("name", ["m.onnx.data", "m.onnx_data", "weights" * 20 + ".bin", "ä.bin"])
def test_weights_in_a_file_beside_it_count_in_the_digest(
    trained, trained_logits, real_digits, tmp_path, name
):
    path = write_model(tmp_path / "m.onnx", trained, external=name)
    weights = tmp_path / name
    suspect = OnnxSuspect(path)
    np.testing.assert_allclose(
        suspect.answer(real_digits.images, real_digits.keys), trained_logits, rtol=1e-4, atol=1e-5
    )
    other = bytearray(weights.read_bytes())
    other[len(other) // 2] ^= 1
    weights.write_bytes(other)
    assert OnnxSuspect(path).digest not in (None, suspect.digest)
    weights.unlink()
    with pytest.raises(SuspectError, match="cannot be read as an ONNX model"):
        OnnxSuspect(path)


@pytest.mark.parametrize(
    ("shape", "elem_type", "num_inputs", "message"),
    [
        (("n", 8, 8, 3), FLOAT, 1, r"channels last.*\(batch, 3, height, width\) is needed"),
        (("n", 1, 8, 8), FLOAT, 1, "1 channels"),
        (("n", 192), FLOAT, 1, r"shape \['n', 192\]"),
        (("n", 3, 8, 8), onnx.TensorProto.UINT8, 1, r"tensor\(uint8\), and one of tensor\(float\)"),
        (("n", 3, 8, 8), FLOAT, 2, r"2 inputs \('input0', 'input1'\)"),
    ],
)
def test_other_inputs_are_refused(tmp_path, shape, elem_type, num_inputs, message):
    path = write_identity(tmp_path / "m.onnx", shape, elem_type, num_inputs)
    with pytest.raises(SuspectError, match=message):
        OnnxSuspect(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "zero bytes"), (b"not a model at all", "cannot be read as an ONNX model")],
)
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(SuspectError, match=message):
        OnnxSuspect(path)


def test_a_truncated_file(trained, tmp_path):
    path = write_model(tmp_path / "m.onnx", trained)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SuspectError, match="cannot be read as an ONNX model"):
        OnnxSuspect(path)


def test_missing_files_and_wrong_suffixes(trained, tmp_path):
    with pytest.raises(SuspectError, match=r"no suspect model at .*gone.onnx"):
        OnnxSuspect(tmp_path / "gone.onnx")
    other = write_model(tmp_path / "m.bin", trained)
    with pytest.raises(SuspectError, match=r"named .onnx, got m.bin"):
        OnnxSuspect(other)


def test_without_onnx_runtime(trained, tmp_path, monkeypatch):
    path = write_model(tmp_path / "m.onnx", trained)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SuspectError, match="pip install onnxruntime"):
        OnnxSuspect(path)


def test_an_error_while_running_names_the_images(trained, real_digits, tmp_path):
    path = write_model(tmp_path / "m.onnx", trained)
    narrow = [image[:5, :5] for image in real_digits.images]
    with pytest.raises(
        SuspectError, match=r"'m' failed on images 0 to 9 \('digit-00' to 'digit-09'\)"
    ):
        query(
            OnnxSuspect(path),
            narrow,
            real_digits.keys,
            real_digits.labels,
            num_classes=10,
            batch_size=10,
        )
