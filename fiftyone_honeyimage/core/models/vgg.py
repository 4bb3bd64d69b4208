"""VGG networks with batch norm, Simonyan and Zisserman (2015)."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import vgg


class VGG(nn.Module):
    """VGG's convolutions, global average pooling and one linear layer, as is usual for CIFAR.

    Args:
        num_classes: the number of classes
        layout: the channels of its convolutions, with "M" for a max-pooling
    """

    def __init__(self, num_classes: int, layout: list[str | int]) -> None:
        super().__init__()
        self.features = vgg.make_layers(layout, batch_norm=True)
        self.fc = nn.Linear(512, num_classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # mean() rather than adaptive pooling, whose gradient is not deterministic on CUDA
        return self.fc(self.features(x).mean(dim=(2, 3)))


def vgg11_bn(num_classes: int, input_size: int) -> nn.Module:
    """VGG-11 with batch norm; its five poolings need images of 32 pixels or more."""
    return VGG(num_classes, vgg.cfgs["A"])
