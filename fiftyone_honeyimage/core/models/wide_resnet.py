"""Wide residual networks, Zagoruyko and Komodakis, "Wide Residual Networks" (2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class PreActivationBlock(nn.Module):
    """Batch norm, ReLU and 3x3 convolution, twice, around a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu_(self.bn1(x))
        # Where the shape changes, the shortcut starts after the activation, as in the reference
        shortcut = x if self.shortcut is None else self.shortcut(out)
        # In place where autograd allows it: on a CPU, fresh memory for large maps is slow
        out = self.conv2(F.relu_(self.bn2(self.conv1(out))))
        out += shortcut
        return out


class WideResNet(nn.Module):
    """WRN-depth-widen for small images, without dropout.

    Args:
        num_classes: the number of classes
        depth: the depth, ``6 n + 4``
        widen: the widening factor
    """

    def __init__(self, num_classes: int, *, depth: int, widen: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        in_channels = 16
        for stage, channels in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for index in range((depth - 4) // 6):
                stride = 2 if stage and index == 0 else 1
                blocks.append(PreActivationBlock(in_channels, channels, stride))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(in_channels)
        self.fc = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu_(self.bn(self.blocks(self.conv1(x))))
        # mean() rather than adaptive pooling, whose gradient is not deterministic on CUDA
        return self.fc(x.mean(dim=(2, 3)))


def wrn28_2(num_classes: int, input_size: int) -> nn.Module:
    """WRN-28-2, the proxy of the HoneyImage paper."""
    return WideResNet(num_classes, depth=28, widen=2)
