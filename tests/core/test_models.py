"""Tests of the proxy architectures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.models import PROXIES, build_model, proxy_name

PARAMETERS = {
    "wrn28_2": 1_467_223,
    "resnet18": 11_172_423,
    "densenet121": 6_961_031,
    "vgg11_bn": 9_229_575,
    "vit_small": 862_759,
    "resnet_tiny": 289_703,
}

SIZES = [
    *((name, 32) for name in PROXIES),
    *((name, size) for name in ("resnet_tiny", "vit_small") for size in (8, 16, 28, 64)),
]


def tiny_factory(num_classes: int) -> nn.Module:
    """A user's own architecture."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))


def noise(size: int, num_images: int = 4) -> torch.Tensor:
    return torch.rand(num_images, 3, size, size, generator=torch.Generator().manual_seed(size))


def test_every_proxy_has_a_known_size():
    assert set(PARAMETERS) == set(PROXIES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters_for_seven_classes(name):
    model = build_model(name, 7, input_size=32, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_proxy_learns_from_every_parameter(name, size):
    model = build_model(name, 5, input_size=size, seed=1)
    assert model.training
    images = noise(size).requires_grad_()
    loss = F.cross_entropy(model(images), torch.tensor([0, 1, 2, 4]))
    loss.backward()
    assert torch.isfinite(loss)
    # The gradient by the image is what marking ascends
    assert torch.isfinite(images.grad).all()
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        if size >= 16:
            assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", PROXIES)
def test_evaluation_treats_each_image_alone(name):
    model = build_model(name, 5, input_size=32, seed=1).eval()
    images = noise(32)
    with torch.inference_mode():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet_tiny", "vit_small", "vgg11_bn"])
def test_weights_follow_the_seed_and_nothing_else(name):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    first = build_model(name, 4, input_size=32, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)

    torch.manual_seed(1)
    again = build_model(name, 4, input_size=32, seed=5).state_dict()
    other = build_model(name, 4, input_size=32, seed=6).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_vit_blocks_start_with_different_weights():
    blocks = build_model("vit_small", 4, input_size=16, seed=0).network.blocks
    assert not torch.equal(blocks[0].qkv.weight, blocks[1].qkv.weight)


def test_vit_knows_where_a_patch_is():
    model = build_model("vit_small", 4, input_size=16, seed=0).eval()
    image = noise(16, 1)
    with torch.inference_mode():
        assert not torch.allclose(model(image), model(image.flip(2)), atol=1e-4)


def test_images_are_normalised_inside():
    model = build_model("resnet_tiny", 4, input_size=16, seed=0).eval()
    images = noise(16)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), model.network((images - 0.5) / 0.25))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vit_b_32", "googlenet"])
def test_torchvision_classifiers_by_name(name):
    proxy = f"torchvision:{name}"
    model = build_model(proxy, 3, input_size=64, seed=0)
    logits = model(noise(64, 2))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert proxy_name(proxy) == proxy


def test_a_factory_gets_plain_images():
    model = build_model(tiny_factory, 6, input_size=8, seed=2)
    images = noise(8)
    torch.testing.assert_close(model(images), model[1](images.flatten(1)))
    again = build_model(tiny_factory, 6, input_size=8, seed=2)
    assert torch.equal(model[1].weight, again[1].weight)
    assert proxy_name(tiny_factory).endswith("test_models.tiny_factory")


@pytest.mark.parametrize(
    ("proxy", "options", "message"),
    [
        ("resnet19", {}, "Unknown proxy 'resnet19'.*resnet_tiny"),
        ("torchvision:resnet19", {}, "torchvision has no classifier 'resnet19'"),
        ("torchvision:vit_b_16", {"input_size": 24}, "cannot be built for images of 24x24"),
        ("vgg11_bn", {"input_size": 16}, "does not take images of 16x16 pixels"),
        ("densenet121", {"input_size": 8}, "does not take images of 8x8 pixels"),
        (tiny_factory, {"input_size": 16}, "tiny_factory does not take images of 16x16"),
        (lambda num_classes: tiny_factory(3), {"input_size": 8}, r"shape \(B, 4\).*\(2, 3\)"),
        (lambda num_classes: "model", {}, "returned str, not a torch module"),
        (nn.Linear(2, 2), {}, "not Linear"),
        (18, {}, "not int"),
        ("resnet_tiny", {"num_classes": 1}, "at least 2 classes"),
        ("resnet_tiny", {"input_size": 0}, "input_size is 0"),
    ],
)
def test_wrong_proxies_are_refused(proxy, options, message):
    options = {"num_classes": 4, "input_size": 32, **options}
    with pytest.raises(ParameterError, match=message):
        build_model(proxy, options["num_classes"], input_size=options["input_size"], seed=0)


def test_building_does_not_touch_batch_norm():
    model = build_model("resnet_tiny", 4, input_size=16, seed=0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(int(norm.num_batches_tracked) == 0 for norm in norms)
