"""Vision transformers for small images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

GRID = 8


class SmallViT(nn.Module):
    """A plain vision transformer whose patches follow the size of the images.

    After Beyer et al., "Better plain ViT baselines for ImageNet-1k" (2022): fixed sine-cosine
    positions and mean pooling instead of a class token, which small datasets train better. There
    are at most 8 x 8 patches, so the cost hardly depends on the size of the images.

    Args:
        num_classes: the number of classes
        input_size: the height and width of its images in pixels; padded to whole patches
        width (192): the channels of a token
        depth (6): the number of blocks
        heads (3): the attention heads of a block
    """

    positions: torch.Tensor

    def __init__(
        self, num_classes: int, input_size: int, *, width: int = 192, depth: int = 6, heads: int = 3
    ) -> None:
        super().__init__()
        patch = math.ceil(input_size / GRID)
        grid = math.ceil(input_size / patch)
        self.padding = grid * patch - input_size
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.register_buffer("positions", _sine_positions(grid, width), persistent=False)
        # Built one by one: nn.TransformerEncoder would start all its layers with equal weights
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width,
                    heads,
                    dim_feedforward=2 * width,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(F.pad(x, (0, self.padding, 0, self.padding)))
        x = self.blocks(x.flatten(2).transpose(1, 2) + self.positions)
        return self.fc(self.norm(x).mean(dim=1))


def vit_small(num_classes: int, input_size: int) -> nn.Module:
    """A vision transformer of 1.8 M parameters for small images."""
    return SmallViT(num_classes, input_size)


def _sine_positions(grid: int, width: int) -> torch.Tensor:
    """Fixed two-dimensional sine-cosine positions, (grid * grid, width); width a multiple of 4."""
    frequencies = 10_000.0 ** -torch.linspace(0, 1, width // 4)
    angles = torch.arange(grid)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(grid * grid, width)
