"""ShuffleNet V2 (Ma et al., arXiv:1807.11164): half of the channels pass each unit unchanged, then all are shuffled."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import channel_shuffle

from .factory import ActivationFactory
from .images import Bytes, Stem, normalised_convolution, pooled_scores, stem_halves

__all__ = ["shufflenet_v2"]

# Table 5: for each size, the channels of the first convolution, the three stages and the last convolution.
_WIDTHS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}
_UNITS = (4, 8, 4)  # for each stage


def shufflenet_v2(
    activation: ActivationFactory, *, size: float = 1.0, stem: Stem = "cifar", colours: int = 3, classes: int = 10
) -> nn.Module:
    """ShuffleNet V2, 0.5×, 1.0×, 1.5× or 2.0×.

    stem   "imagenet": the first convolution and a pooling each halve the image, as in the paper; "cifar": nothing does
    """
    if size not in _WIDTHS:
        raise ValueError(f"size must be one of {', '.join(map(str, _WIDTHS))}, got {size!r}")
    halves = stem_halves(stem)
    below, *widths, last = _WIDTHS[size]
    modules: list[nn.Module] = [Bytes(), *normalised_convolution(colours, below, stride=1 + halves), activation(below, 1)]
    modules += [nn.MaxPool2d(3, 2, padding=1)] if halves else []
    for width, units in zip(widths, _UNITS, strict=True):
        modules += [_HalvingUnit(activation, below, width), *(_Unit(activation, width) for _ in range(units - 1))]
        below = width
    return nn.Sequential(*modules, *normalised_convolution(below, last, 1), activation(last, 1), *pooled_scores(last, classes))


class _Unit(nn.Module):
    """A unit that keeps the size (Figure 3c): one half of the channels is changed."""

    def __init__(self, activation: ActivationFactory, width: int):
        super().__init__()
        self.branch = _branch(activation, width // 2, width // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        return _shuffled(kept, self.branch(changed))


class _HalvingUnit(nn.Module):
    """A unit that halves the image (Figure 3d): two branches that each see all channels."""

    def __init__(self, activation: ActivationFactory, inputs: int, outputs: int):
        super().__init__()
        half = outputs // 2
        self.first = nn.Sequential(
            *normalised_convolution(inputs, inputs, stride=2, groups=inputs),
            *(*normalised_convolution(inputs, half, 1), activation(half, 1)),
        )
        self.second = _branch(activation, inputs, half, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return _shuffled(self.first(x), self.second(x))


def _branch(activation: ActivationFactory, inputs: int, outputs: int, *, stride: int) -> nn.Module:
    """A 1 × 1 convolution, one of each channel by itself without activation after it, and another 1 × 1."""
    return nn.Sequential(
        *(*normalised_convolution(inputs, outputs, 1), activation(outputs, 1)),
        *normalised_convolution(outputs, outputs, stride=stride, groups=outputs),
        *(*normalised_convolution(outputs, outputs, 1), activation(outputs, 1)),
    )


def _shuffled(first: Tensor, second: Tensor) -> Tensor:
    """The channels (dimension 1) of both, in turns."""
    return channel_shuffle(torch.cat([first, second], 1), 2)
