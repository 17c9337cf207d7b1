"""The factory that a model asks for its activations."""

from __future__ import annotations

from typing import Protocol

from torch import nn

__all__ = ["HIDDEN", "ActivationFactory"]

HIDDEN = "hidden"  # the place of an activation between two layers, where a model says nothing else


class ActivationFactory(Protocol):
    """Makes a new activation with this many channels along `dim`.

    place   what the activation is for. A model whose activations do different things names them, each in a word:

        def cell(activation: ActivationFactory, *, width: int) -> nn.Module:
            forget, candidate = activation(width, place="gate"), activation(width, place="cell")

    Then `train`, `compare` and `rank` take a function for each place: {"gate": "sigmoid", "cell": "sau"}.
    """

    def __call__(self, width: int, dim: int = -1, place: str = HIDDEN) -> nn.Module: ...
