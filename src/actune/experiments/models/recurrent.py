"""Recurrent networks whose gates and cells take any function: forecasters, and readers of images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ...recurrent import GRU, LSTM
from .factory import ActivationFactory
from .images import Bytes

__all__ = ["gru_classifier", "gru_forecaster", "lstm_classifier", "lstm_forecaster"]

Summary = Literal["last", "mean"]  # what of the hidden states of all steps goes to the output layer


class _Steps(nn.Module):
    """Shapes inputs as steps: a window of numbers (n, steps) has one input per step, an image is read row by row."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return x[..., None]
        return x.movedim(1, 2).flatten(2) if x.ndim == 4 else x  # (n, colours, rows, columns) -> (n, rows, colours · columns)


class _Summary(nn.Module):
    """The last hidden state, or the mean of all, from what a recurrent layer gives: (n, steps, width) -> (n, width)."""

    def __init__(self, which: Summary):
        super().__init__()
        if which not in ("last", "mean"):
            raise ValueError(f"summary must be 'last' or 'mean', got {which!r}")
        self.which = which

    def forward(self, given: tuple[Tensor, object]) -> Tensor:
        states, _ = given
        return states[:, -1] if self.which == "last" else states.mean(1)


def lstm_forecaster(
    activation: ActivationFactory, *, inputs: int = 1, width: int = 64, layers: int = 1, outputs: int = 1, summary: Summary = "last"
) -> nn.Module:
    """An LSTM that says what follows a window: (n, steps), or (n, steps, inputs), -> (n, outputs)."""
    return nn.Sequential(_Steps(), LSTM(activation, inputs, width, layers), _Summary(summary), nn.Linear(width, outputs))


def gru_forecaster(
    activation: ActivationFactory, *, inputs: int = 1, width: int = 64, layers: int = 1, outputs: int = 1, summary: Summary = "last"
) -> nn.Module:
    """A GRU that says what follows a window: (n, steps), or (n, steps, inputs), -> (n, outputs)."""
    return nn.Sequential(_Steps(), GRU(activation, inputs, width, layers), _Summary(summary), nn.Linear(width, outputs))


def lstm_classifier(
    activation: ActivationFactory,
    *,
    inputs: int = 28,
    width: int = 128,
    layers: int = 1,
    outputs: int = 10,
    summary: Summary = "last",
) -> nn.Module:
    """An LSTM reads images row by row: bytes (n, colours, rows, columns) -> scores (n, outputs); inputs = colours · columns."""
    reader = lstm_forecaster(activation, inputs=inputs, width=width, layers=layers, outputs=outputs, summary=summary)
    return nn.Sequential(Bytes(), reader)


def gru_classifier(
    activation: ActivationFactory,
    *,
    inputs: int = 28,
    width: int = 128,
    layers: int = 1,
    outputs: int = 10,
    summary: Summary = "last",
) -> nn.Module:
    """A GRU reads images row by row: bytes (n, colours, rows, columns) -> scores (n, outputs); inputs = colours · columns."""
    reader = gru_forecaster(activation, inputs=inputs, width=width, layers=layers, outputs=outputs, summary=summary)
    return nn.Sequential(Bytes(), reader)
