"""MobileNet (Howard et al., arXiv:1704.04861): convolutions of each channel by itself, then 1 × 1 convolutions."""

from __future__ import annotations

from torch import nn

from .factory import ActivationFactory
from .images import Bytes, Stem, normalised_convolution, pooled_scores, stem_halves

__all__ = ["mobilenet_v1"]

_ROWS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))  # (channels, stride)


def mobilenet_v1(
    activation: ActivationFactory, *, multiplier: float = 1.0, stem: Stem = "cifar", colours: int = 3, classes: int = 10
) -> nn.Module:
    """MobileNet v1: an activation after each convolution, 27 in all.

    multiplier   of the channels of all layers (the paper's width multiplier)
    stem         "imagenet": the first convolution halves the image, as in the paper; "cifar": it does not
    """
    below = round(32 * multiplier)
    modules: list[nn.Module] = [
        Bytes(),
        *normalised_convolution(colours, below, stride=1 + stem_halves(stem)),
        activation(below, 1),
    ]
    for channels, stride in _ROWS:
        above = round(channels * multiplier)
        modules += [*normalised_convolution(below, below, stride=stride, groups=below), activation(below, 1)]
        modules += [*normalised_convolution(below, above, 1), activation(above, 1)]
        below = above
    return nn.Sequential(*modules, *pooled_scores(below, classes))
