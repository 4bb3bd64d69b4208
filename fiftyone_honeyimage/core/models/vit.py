"""Vision transformers for small images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

GRID = 8
STEM_CHANNELS = 32


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each after a layer norm and around a shortcut.

    The attention is written out: the sequences are short, torch's fused kernels have gradients
    that are not deterministic on CUDA, and in bfloat16 on a CPU theirs are four times slower.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        scores = query / math.sqrt(query.shape[3]) @ key.transpose(2, 3)
        # In float32, which on a CPU is also the faster softmax
        attended = scores.float().softmax(dim=3).to(value.dtype) @ value
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """A plain vision transformer whose patches follow the size of the images.

    Fixed sine-cosine positions and mean pooling instead of a class token, after Beyer et al.,
    "Better plain ViT baselines for ImageNet-1k" (2022). A convolutional stem with batch norm,
    after Xiao et al., "Early convolutions help transformers see better" (2021): without it, plain
    SGD hardly fits 64 images. There are at most 8 x 8 patches, so the cost of the blocks does not
    grow with the images.

    Args:
        num_classes: the number of classes
        input_size: the height and width of its images in pixels; padded to whole patches
        width (128): the channels of a token
        depth (6): the number of blocks
        heads (4): the attention heads of a block
    """

    positions: torch.Tensor

    def __init__(
        self, num_classes: int, input_size: int, *, width: int = 128, depth: int = 6, heads: int = 4
    ) -> None:
        super().__init__()
        patch = math.ceil(input_size / GRID)
        grid = math.ceil(input_size / patch)
        self.padding = grid * patch - input_size
        self.embed = nn.Sequential(
            nn.Conv2d(3, STEM_CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(STEM_CHANNELS),
            nn.ReLU(inplace=True),
            nn.Conv2d(STEM_CHANNELS, width, patch, stride=patch, bias=False),
            nn.BatchNorm2d(width),
        )
        self.register_buffer("positions", _sine_positions(grid, width), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(F.pad(x, (0, self.padding, 0, self.padding)))
        x = self.blocks(x.flatten(2).transpose(1, 2) + self.positions)
        return self.fc(self.norm(x).mean(dim=1))


def vit_small(num_classes: int, input_size: int) -> nn.Module:
    """A vision transformer of 0.9 M parameters for small images."""
    return SmallViT(num_classes, input_size)


def _sine_positions(grid: int, width: int) -> torch.Tensor:
    """Fixed two-dimensional sine-cosine positions, (grid * grid, width); width a multiple of 4."""
    frequencies = 10_000.0 ** -torch.linspace(0, 1, width // 4)
    angles = torch.arange(grid)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(grid * grid, width)
