"""The networks of the tasks, each a function of the activations that it is to use."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .factory import ActivationFactory
from .images import Bytes, normalised_convolution

__all__ = ["all_convolutional", "causal", "image_mlp", "mlp", "strided"]


def mlp(activation: ActivationFactory, *, inputs: int, outputs: int, width: int = 64, layers: int = 8) -> nn.Module:
    """A plain perceptron: `layers` linear layers with PyTorch's initial weights, an activation after each but the last.

    Nothing normalises in between, so what the activation does to the scale of the signal decides whether depth can be trained.
    """
    widths = [*[width] * (layers - 1), outputs]
    modules: list[nn.Module] = [nn.Linear(inputs, widths[0])]
    for below, above in pairwise(widths):
        modules += [activation(below), nn.Linear(below, above)]
    return nn.Sequential(*modules)


def image_mlp(
    activation: ActivationFactory, *, pixels: int = 28 * 28, outputs: int = 10, width: int = 256, layers: int = 3
) -> nn.Module:
    """A plain perceptron of images, bytes (n, …) of so many pixels."""
    return nn.Sequential(Bytes(), nn.Flatten(), mlp(activation, inputs=pixels, outputs=outputs, width=width, layers=layers))


def strided(activation: ActivationFactory, *, side: int, widths: Sequence[int], outputs: int, hidden: int = 64) -> nn.Module:
    """Convolutions that halve grey images, side × side, then one hidden layer; nothing normalises in between."""
    modules: list[nn.Module] = [Bytes()]
    for below, above in pairwise((1, *widths)):
        modules += [nn.Conv2d(below, above, 3, stride=2, padding=1), activation(above, 1)]
        side = (side + 1) // 2
    modules += [nn.Flatten(), nn.Linear(widths[-1] * side * side, hidden), activation(hidden), nn.Linear(hidden, outputs)]
    return nn.Sequential(*modules)


def all_convolutional(activation: ActivationFactory, *, widths: Sequence[int], outputs: int) -> nn.Module:
    """A small All-CNN (Springenberg et al., 2015) of colour images: two 3 × 3 convolutions of each width, the second of which
    halves the image, batch normalisation before each activation, a 1 × 1 convolution to the classes, and the mean over positions.
    """
    modules: list[nn.Module] = [Bytes()]
    for below, above in pairwise((3, *widths)):
        for inputs, stride in ((below, 1), (above, 2)):
            modules += [*normalised_convolution(inputs, above, stride=stride), activation(above, 1)]
    return nn.Sequential(*modules, nn.Conv2d(widths[-1], outputs, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _Pairs(nn.Module):
    """Joins each position (dimension 1) with the one `distance` before it, or with zeros where there is none."""

    def __init__(self, distance: int):
        super().__init__()
        self.distance = distance

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, pad(x, (0, 0, self.distance, 0))[:, : x.shape[1]]], -1)


def causal(activation: ActivationFactory, *, symbols: int, width: int = 64, distances: Sequence[int] = (1, 2, 4, 8)) -> nn.Module:
    """Dilated convolutions that score the next symbol from those up to each position: (n, length) -> (n, length, symbols)."""
    modules: list[nn.Module] = [nn.Embedding(symbols, width)]
    for distance in distances:
        modules += [_Pairs(distance), nn.Linear(2 * width, width), activation(width)]
    return nn.Sequential(*modules, nn.Linear(width, symbols))
