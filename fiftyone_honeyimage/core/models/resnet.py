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
        # In place where autograd allows it: on a CPU, fresh memory for large maps is slow
        out = F.relu_(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu_(out)


class ResNet(nn.Module):
    """A stem, stages of basic blocks, global average pooling and a linear classifier.

    Args:
        num_classes: the number of classes
        channels: the channels of each stage
        num_blocks: the blocks of each stage
        strides: the stride of each stage's first block
        stem_channels (None): the channels of the stem; by default those of the first stage
        stem_stride (1): the stride of the 3x3 stem
        pool (False): whether a block of stride 2 averages 2x2 pixels and then convolves with
            stride 1, instead of convolving with stride 2
    """

    def __init__(
        self,
        num_classes: int,
        *,
        channels: tuple[int, ...],
        num_blocks: tuple[int, ...],
        strides: tuple[int, ...],
        stem_channels: int | None = None,
        stem_stride: int = 1,
        pool: bool = False,
    ) -> None:
        super().__init__()
        in_channels = stem_channels or channels[0]
        self.conv1 = nn.Conv2d(3, in_channels, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        blocks: list[nn.Module] = []
        for width, count, stride in zip(channels, num_blocks, strides, strict=True):
            if pool and stride == 2:
                blocks.append(nn.AvgPool2d(2, ceil_mode=True))
                stride = 1
            for index in range(count):
                blocks.append(BasicBlock(in_channels, width, stride if index == 0 else 1))
                in_channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu_(self.bn1(self.conv1(x))))
        # mean() rather than adaptive pooling, whose gradient is not deterministic on CUDA
        return self.fc(x.mean(dim=(2, 3)))


def resnet18(num_classes: int, input_size: int) -> nn.Module:
    """ResNet-18 as used for CIFAR: a 3x3 stem of stride 1 and no max-pooling."""
    return ResNet(
        num_classes, channels=(64, 128, 256, 512), num_blocks=(2, 2, 2, 2), strides=(1, 2, 2, 2)
    )


def resnet_tiny(num_classes: int, input_size: int) -> nn.Module:
    """A residual network of 0.3 M parameters that two CPU cores train in seconds.

    The stem halves the image at once and no block works at that size, since the largest maps take
    most of the time. The blocks pool before they convolve: strided convolutions have slow
    gradients on CPUs, and on 4,000 images of CIFAR-10 the pooled ones also memorised more.
    """
    return ResNet(
        num_classes,
        channels=(64, 128),
        num_blocks=(1, 1),
        strides=(2, 2),
        stem_channels=32,
        stem_stride=2,
        pool=True,
    )
