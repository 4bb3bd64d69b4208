"""Modules and callables as suspects: how they are called, left behind, and read."""

from __future__ import annotations

import copy
import hashlib
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fiftyone_honeyimage.core.errors import SuspectError
from fiftyone_honeyimage.core.suspects import CallableSuspect, Preprocessing
from fiftyone_honeyimage.core.suspects.callable_suspect import as_array, digest_of_state


def state_of(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_a_module_in_training_mode_is_queried_in_evaluation_mode_and_left_as_it_was(
    trained, trained_logits, real_digits
):
    model = copy.deepcopy(trained).train()
    model[1].eval()  # a frozen batch normalisation, as in fine-tuning
    modes = [module.training for module in model.modules()]
    state = state_of(model)
    suspect = CallableSuspect(model)
    for _ in range(2):
        answer = suspect.answer(real_digits.images, real_digits.keys)
        np.testing.assert_allclose(answer, trained_logits, rtol=1e-5, atol=1e-5)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_training_mode_comes_back_after_an_error(real_digits):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        CallableSuspect(model).answer(real_digits.images, real_digits.keys)
    assert model.training


def test_no_gradients_are_kept(real_digits):
    seen = []

    def spy(x):
        seen.append((x.requires_grad, torch.is_grad_enabled(), x.dtype, tuple(x.shape)))
        return torch.zeros(len(x), 10)

    CallableSuspect(spy).answer(real_digits.images, real_digits.keys)
    assert seen == [(False, False, torch.float32, (40, 3, 8, 8))]
    assert torch.is_grad_enabled()


def test_a_callable_gets_rgb_in_zero_to_one():
    image = np.zeros((2, 5, 3), np.uint8)
    image[0, 3] = (255, 51, 0)
    inputs = []
    CallableSuspect(lambda x: inputs.append(x) or x.flatten(1)).answer([image], ["k"])
    assert inputs[0].shape == (1, 3, 2, 5)
    assert inputs[0][0, :, 0, 3].tolist() == [1.0, pytest.approx(0.2), 0.0]
    assert inputs[0].sum() == pytest.approx(1.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_of_another_floating_type_gets_its_own(
    trained, trained_logits, real_digits, dtype
):
    suspect = CallableSuspect(copy.deepcopy(trained).to(dtype))
    answer = suspect.answer(real_digits.images, real_digits.keys)
    assert answer.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    np.testing.assert_allclose(answer, trained_logits, atol=0.2)


def test_a_module_is_copied_to_another_device_and_stays_where_it_is(trained):
    suspect = CallableSuspect(trained, device=torch.device("meta"))
    assert suspect.model is not trained
    assert {p.device.type for p in suspect.model.parameters()} == {"meta"}
    assert {p.device.type for p in trained.parameters()} == {"cpu"}
    assert suspect.digest == digest_of_state(trained)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_module_on_a_gpu_is_queried_there(trained, trained_logits, real_digits):
    model = copy.deepcopy(trained).cuda()
    for suspect in (
        CallableSuspect(model),
        CallableSuspect(trained, device=model[0].weight.device),
    ):
        answer = suspect.answer(real_digits.images, real_digits.keys)
        np.testing.assert_allclose(answer, trained_logits, rtol=1e-3, atol=1e-3)
    assert trained[0].weight.device.type == "cpu"


def test_a_module_that_cannot_be_copied_says_so():
    class Rooted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle a socket")

    with pytest.raises(SuspectError, match=r"'Rooted' cannot be copied to meta .*socket"):
        CallableSuspect(Rooted(), device=torch.device("meta"))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_scripted_module_in_this_process_is_a_module(trained, trained_logits, real_digits):
    scripted = torch.jit.script(copy.deepcopy(trained).train())
    suspect = CallableSuspect(scripted)
    answer = suspect.answer(real_digits.images, real_digits.keys)
    np.testing.assert_allclose(answer, trained_logits, rtol=1e-5, atol=1e-5)
    assert scripted.training


Outputs = namedtuple("Outputs", ["scores", "auxiliary"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: y,
        lambda y: y.numpy(),
        lambda y: y.bfloat16().float(),
        lambda y: y.double(),
        lambda y: y.tolist(),
        lambda y: tuple(y.tolist()),
        lambda y: list(y),
        lambda y: [row.numpy() for row in y],
        lambda y: (y,),
        lambda y: [y, torch.zeros(3)],
        lambda y: (y, y.argmax(1)),
        lambda y: Outputs(y, -y),
        lambda y: SimpleNamespace(logits=y, hidden_states=None),
        lambda y: {"logits": y, "loss": None},
        lambda y: y.clone().requires_grad_(),
    ],
)
def test_the_usual_kinds_of_output_are_understood(trained_logits, wrap):
    y = torch.from_numpy(trained_logits)
    array = as_array(wrap(y))
    assert array.shape == trained_logits.shape
    np.testing.assert_allclose(array, trained_logits, rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_become_float32(trained_logits, dtype):
    y = torch.from_numpy(trained_logits).to(dtype)
    array = as_array(y)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, y.float().numpy())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"predictions": torch.zeros(2, 3)}, r"mapping of \['predictions'\] without 'logits'"),
        ([[1.0, 2.0], [1.0]], "rows of different lengths"),
        (None, "NoneType"),
        (0.5, "float"),
        (object(), "object"),
    ],
)
def test_other_outputs_are_refused(output, message):
    with pytest.raises(SuspectError, match=message):
        as_array(output)


def test_classes_and_values_are_refused():
    with pytest.raises(SuspectError, match=r"the class Linear; pass an instance"):
        CallableSuspect(nn.Linear)
    with pytest.raises(SuspectError, match=r"of type int cannot be called"):
        CallableSuspect(3)


def test_names(trained):
    def my_service(x):
        return x

    assert CallableSuspect(trained).name == "Sequential"
    assert CallableSuspect(my_service).name == "my_service"
    assert CallableSuspect(trained, name="Acme v2").name == "Acme v2"


def test_the_digest_is_of_the_weights(trained):
    digest = CallableSuspect(trained).digest
    assert digest == CallableSuspect(copy.deepcopy(trained).train()).digest
    assert len(bytes.fromhex(digest)) == hashlib.sha256().digest_size
    for key in trained.state_dict():
        other = copy.deepcopy(trained)
        value = other.state_dict()[key]
        value.view(-1)[-1] += 1
        assert CallableSuspect(other).digest != digest, key
    assert CallableSuspect(copy.deepcopy(trained).half()).digest != digest


def test_what_has_no_weights_has_no_digest():
    assert CallableSuspect(lambda x: x).digest is None
    assert CallableSuspect(nn.Flatten()).digest is None


def test_bfloat16_weights_and_extra_state_have_a_digest():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"version": 2}

        def set_extra_state(self, state):
            pass

    assert digest_of_state(Extra(2, 2).bfloat16()) is not None


def test_images_need_one_size_unless_they_are_resized():
    assert CallableSuspect(lambda x: x).needs_equal_sizes
    assert not CallableSuspect(lambda x: x, Preprocessing(input_size=8)).needs_equal_sizes
