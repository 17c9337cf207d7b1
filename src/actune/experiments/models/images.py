"""Parts that networks of images share: bytes as numbers, normalised convolutions, scores of classes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ...messages import suggestion

__all__ = ["Bytes", "Stem", "normalised_convolution", "pooled_scores", "stem_halves"]

Stem = Literal["cifar", "imagenet"]  # a first layer for images of 32 × 32, or one that makes those of 224 × 224 smaller at once


class Bytes(nn.Module):
    """Maps bytes of images, 0 to 255, to numbers from -1 to 1, laid out in memory with the channels (dimension 1) last."""

    def forward(self, x: Tensor) -> Tensor:
        # Layers keep the layout that they get. In this one a CPU convolves and pools small images up to twice as fast.
        return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def normalised_convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """A convolution of stride 1 that keeps the size of the image, or of stride 2 that halves it; then batch normalisation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
    return [convolution, nn.BatchNorm2d(outputs)]


def pooled_scores(width: int, classes: int) -> list[nn.Module]:
    """The mean of each channel over the image, then scores of the classes by a linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]


def stem_halves(stem: Stem) -> bool:
    """Whether the first layer of this kind of network halves the image; an unknown kind is a ValueError."""
    if stem not in get_args(Stem):
        raise ValueError(f"stem must be one of {', '.join(get_args(Stem))}, got {stem!r}{suggestion(str(stem), get_args(Stem))}")
    return stem == "imagenet"
