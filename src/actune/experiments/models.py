"""The networks of the tasks, each a function of the activations that it is to use."""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

from torch import nn

__all__ = ["ActivationFactory", "mlp"]


class ActivationFactory(Protocol):
    """Makes a new activation for a place with this many channels along `dim`."""

    def __call__(self, width: int, dim: int = -1) -> nn.Module: ...


def mlp(activation: ActivationFactory, *, inputs: int, outputs: int, width: int = 64, layers: int = 8) -> nn.Module:
    """A plain perceptron: `layers` linear layers with PyTorch's initial weights, an activation after each but the last.

    Nothing normalises in between, so what the activation does to the scale of the signal decides whether depth can be trained.
    """
    widths = [*[width] * (layers - 1), outputs]
    modules: list[nn.Module] = [nn.Linear(inputs, widths[0])]
    for below, above in pairwise(widths):
        modules += [activation(below), nn.Linear(below, above)]
    return nn.Sequential(*modules)
