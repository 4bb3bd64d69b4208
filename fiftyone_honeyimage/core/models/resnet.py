"""Residual networks for small images: ResNet-18 with a 3x3 stem, and a tiny one for CPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    """The basic block of He et al., "Deep Residual Learning" (2016), with projection shortcuts."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, stages of basic blocks, global average pooling and a linear classifier.

    Args:
        num_classes: the number of classes
        channels: the channels of each stage
        num_blocks: the blocks of each stage
        strides: the stride of each stage's first block
        stem_stride (1): the stride of the 3x3 stem
    """

    def __init__(
        self,
        num_classes: int,
        *,
        channels: tuple[int, ...],
        num_blocks: tuple[int, ...],
        strides: tuple[int, ...],
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        blocks: list[nn.Module] = []
        in_channels = channels[0]
        for width, count, stride in zip(channels, num_blocks, strides, strict=True):
            for index in range(count):
                blocks.append(BasicBlock(in_channels, width, stride if index == 0 else 1))
                in_channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        # mean() rather than adaptive pooling, whose gradient is not deterministic on CUDA
        return self.fc(x.mean(dim=(2, 3)))


def resnet18(num_classes: int, input_size: int) -> nn.Module:
    """ResNet-18 as used for CIFAR: a 3x3 stem of stride 1 and no max-pooling."""
    return ResNet(
        num_classes, channels=(64, 128, 256, 512), num_blocks=(2, 2, 2, 2), strides=(1, 2, 2, 2)
    )


def resnet_tiny(num_classes: int, input_size: int) -> nn.Module:
    """A residual network of 0.3 M parameters that two CPU cores train in seconds.

    The stem halves the image at once, since most of the time goes into the largest feature maps.
    """
    return ResNet(
        num_classes,
        channels=(32, 64, 128),
        num_blocks=(1, 1, 1),
        strides=(1, 2, 2),
        stem_stride=2,
    )
