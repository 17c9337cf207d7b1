"""Recurrent networks whose gates and cells take any function; with sigmoid and tanh they are torch's own LSTM and GRU.

Parameters have the names, the layout and the initial values of `torch.nn.LSTM` and `torch.nn.GRU`, so weights can be exchanged.
The places of an activation are "gate", "cell" (the candidate) and, in an LSTM, "output" (of the cell's state on its way out). All
gates of a layer share one activation of as many channels as they have, so that each step calls it once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from .factory import ActivationFactory
from .images import Bytes

__all__ = ["GRU", "LSTM", "gru_classifier", "gru_forecaster", "lstm_classifier", "lstm_forecaster"]

Summary = Literal["last", "mean"]  # what of the hidden states of all steps goes to the output layer


class _Layers(nn.Module, ABC):
    """The weights of stacked recurrent layers, in torch's layout: `blocks` blocks of `width` rows, one for each gate and the cell.

    Inputs (n, steps, inputs) give the hidden states of the last layer, (n, steps, width); those before the first step are zero.
    """

    blocks: int

    def __init__(self, inputs: int, width: int, layers: int):
        super().__init__()
        self.width, self.layers = width, layers
        for k in range(layers):
            for name, *columns in (("weight_ih", inputs if k == 0 else width), ("weight_hh", width), ("bias_ih",), ("bias_hh",)):
                initial = torch.empty(self.blocks * width, *columns)
                self.register_parameter(f"{name}_l{k}", nn.Parameter(initial.uniform_(-(width**-0.5), width**-0.5)))

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(0, 1)
        for k in range(self.layers):
            weights = (getattr(self, f"{name}_l{k}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            steps = torch.stack(self._states(steps, k, *weights))
        return steps.transpose(0, 1)

    @abstractmethod
    def _states(self, x: Tensor, k: int, inward: Tensor, recurrent: Tensor, bias: Tensor, inner: Tensor) -> list[Tensor]:
        """The hidden states of layer k, each (n, width), for x of shape (steps, n, inputs)."""


class LSTM(_Layers):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), with a forget gate (Gers et al., 2000) and without peepholes.

    input, forget, output gates i, f, o = gate(W x + V h + b); c = f c + i cell(W x + V h + b); h = o output(c)
    """

    blocks = 4

    def __init__(self, activation: ActivationFactory, inputs: int, width: int, layers: int = 1):
        super().__init__(inputs, width, layers)
        self.gates = nn.ModuleList(activation(3 * width, place="gate") for _ in range(layers))
        self.cells = nn.ModuleList(activation(width, place="cell") for _ in range(layers))
        self.outputs = nn.ModuleList(activation(width, place="output") for _ in range(layers))

    def _states(self, x: Tensor, k: int, inward: Tensor, recurrent: Tensor, bias: Tensor, inner: Tensor) -> list[Tensor]:
        gate, cell, output = self.gates[k], self.cells[k], self.outputs[k]
        # torch's rows are input, forget, cell, output; with the cell last, the gates are one block, and one call of a function.
        inward, recurrent, bias = (_cell_last(w, self.width) for w in (inward, recurrent, bias + inner))
        turned = recurrent.T
        h = c = x.new_zeros(x.shape[1], self.width)
        states = []
        for step in (x @ inward.T + bias).unbind():
            gates, candidate = torch.addmm(step, h, turned).split((3 * self.width, self.width), -1)
            i, f, o = gate(gates).chunk(3, -1)
            c = torch.addcmul(f * c, i, cell(candidate))
            h = o * output(c)
            states.append(h)
        return states


def _cell_last(rows: Tensor, width: int) -> Tensor:
    i, f, g, o = rows.split(width)
    return torch.cat([i, f, o, g])


class GRU(_Layers):
    """Gated recurrent units (Cho et al., arXiv:1406.1078), as torch and cuDNN have them: reset after the product.

    reset, update gates r, z = gate(W x + V h + b); n = cell(W x + b + r (V h + b)); h = (1 - z) n + z h
    """

    blocks = 3

    def __init__(self, activation: ActivationFactory, inputs: int, width: int, layers: int = 1):
        super().__init__(inputs, width, layers)
        self.gates = nn.ModuleList(activation(2 * width, place="gate") for _ in range(layers))
        self.cells = nn.ModuleList(activation(width, place="cell") for _ in range(layers))

    def _states(self, x: Tensor, k: int, inward: Tensor, recurrent: Tensor, bias: Tensor, inner: Tensor) -> list[Tensor]:
        gate, cell = self.gates[k], self.cells[k]
        parts = (2 * self.width, self.width)
        turned = recurrent.T
        h = x.new_zeros(x.shape[1], self.width)
        states = []
        for step in (x @ inward.T + bias).unbind():
            outer_gates, outer = step.split(parts, -1)
            inner_gates, candidate = torch.addmm(inner, h, turned).split(parts, -1)
            r, z = gate(outer_gates + inner_gates).chunk(2, -1)
            n = cell(torch.addcmul(outer, r, candidate))
            h = n + z * (h - n)
            states.append(h)
        return states


# -- networks --------------------------------------------------------------------------------------------------------------


class _Steps(nn.Module):
    """Shapes inputs as steps: a window of numbers (n, steps) has one input per step, an image is read row by row."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return x[..., None]
        return x.movedim(1, 2).flatten(2) if x.ndim == 4 else x  # (n, colours, rows, columns) -> (n, rows, colours · columns)


class _Summary(nn.Module):
    """The last hidden state, or the mean of all: (n, steps, width) -> (n, width)."""

    def __init__(self, which: Summary):
        super().__init__()
        if which not in ("last", "mean"):
            raise ValueError(f"summary must be 'last' or 'mean', got {which!r}")
        self.which = which

    def forward(self, states: Tensor) -> Tensor:
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
