"""Densely connected networks, Huang et al. (2017)."""

from __future__ import annotations

import torchvision
from torch import nn


def densenet121(num_classes: int, input_size: int) -> nn.Module:
    """torchvision's DenseNet-121; its pooling needs images of 29 pixels or more."""
    return torchvision.models.densenet121(weights=None, num_classes=num_classes)
