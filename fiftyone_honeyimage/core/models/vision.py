"""Architectures that torchvision defines, untrained."""

from __future__ import annotations

from typing import Any

import torchvision
from torch import nn

from ..errors import ParameterError
from ..limits import shown


def check_torchvision_name(name: str) -> None:
    """Checks that torchvision has such a classifier.

    Raises:
        ParameterError: naming those that it has
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise ParameterError(
            f"torchvision has no classifier {shown(name)}: use one of {', '.join(sorted(names))}"
        )


def torchvision_classifier(name: str, num_classes: int, input_size: int) -> nn.Module:
    """Any image classifier of torchvision, by its name there, without pretrained weights.

    Args:
        name: the name, for example ``"mobilenet_v3_small"``
        num_classes: the number of classes
        input_size: the height and width of its images in pixels

    Raises:
        ParameterError: if torchvision has no such classifier
    """
    check_torchvision_name(name)
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # The auxiliary heads would make the output a tuple while training
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": input_size}
    elif name.startswith("maxvit"):
        options = {"input_size": (input_size, input_size)}

    try:
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ParameterError(
            f"torchvision's {name} cannot be built for images of {input_size}x{input_size} "
            f"pixels: {error}"
        ) from error
