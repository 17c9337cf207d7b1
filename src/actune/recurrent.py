"""LSTM and GRU layers whose gates and cells take any function; with sigmoid and tanh they are torch's own.

Parameters have the names, the layout and the initial values of `torch.nn.LSTM` and `torch.nn.GRU`, and calls take and give what
theirs do, so one can stand for the other, with its weights. The places of an activation are "gate", "cell" (the candidate) and, in
an LSTM, "output" (of the cell's state on its way out). All gates of a layer share one activation of as many channels as they have,
so that each step calls it once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "Recurrent"]


class _Factory(Protocol):
    """Makes the activation of so many channels along `dim`, for a place."""

    def __call__(self, width: int, dim: int = -1, place: str = "hidden") -> nn.Module: ...


class Recurrent(nn.Module, ABC):
    """Stacked recurrent layers, in torch's layout: weights of `blocks` blocks of rows, one for each gate and the cell.

    activation     makes the activation for a place
    inputs, width  features of a step, and of a hidden state
    batch_first    whether inputs are (n, steps, inputs), as here by default, or (steps, n, inputs), torch's default
    weights        parameters to take over, by their names, instead of new ones

    bias, dropout and bidirectional are as in torch. Called with inputs and, if wanted, the first states, it gives the hidden states
    of the last layer for each step, and the last states of all layers.
    """

    blocks: ClassVar[int]
    places: ClassVar[Mapping[str, int]]  # place -> how many blocks its activation serves

    def __init__(
        self,
        activation: _Factory,
        inputs: int,
        width: int,
        layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        weights: Mapping[str, nn.Parameter] | None = None,
    ):
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = inputs, width, layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.directions = ("", "_reverse") if bidirectional else ("",)
        for k in range(layers):
            for way in self.directions:
                columns = inputs if k == 0 else len(self.directions) * width
                shapes = {"weight_ih": (columns,), "weight_hh": (width,)} | ({"bias_ih": (), "bias_hh": ()} if bias else {})
                for kind, rest in shapes.items():
                    name = f"{kind}_l{k}{way}"
                    self.register_parameter(name, self._new(width, rest) if weights is None else weights[name])
        for place, count in self.places.items():
            acts = [activation(count * width, place=place) for _ in range(layers * len(self.directions))]
            self.add_module(f"{place}s", nn.ModuleList(acts))

    def _new(self, width: int, columns: tuple[int, ...]) -> nn.Parameter:
        return nn.Parameter(torch.empty(self.blocks * width, *columns).uniform_(-(width**-0.5), width**-0.5))

    @classmethod
    def like(cls, layer: nn.RNNBase, activation: _Factory) -> Recurrent:
        """A layer with the settings of one of torch's and its very parameters; raises ValueError for one with projections."""
        if layer.proj_size:
            raise ValueError(f"proj_size={layer.proj_size} is not known to this layer; keep torch's")
        return cls(
            activation, layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, batch_first=layer.batch_first,
            dropout=layer.dropout, bidirectional=layer.bidirectional, weights=dict(layer.named_parameters()),
        ).train(layer.training)  # fmt: skip

    def activation(self, place: str, at: int = 0) -> nn.Module:
        """The activation for a place in layer number `at`; with two directions those of a layer follow each other."""
        acts = getattr(self, f"{place}s")
        assert isinstance(acts, nn.ModuleList)
        return acts[at]

    def flatten_parameters(self) -> None:
        """Does nothing; torch's layers put their weights together for cuDNN."""

    def extra_repr(self) -> str:
        more = [f"{k}={v!r}" for k, v in (("bias", self.bias), ("dropout", self.dropout), ("bidirectional", self.bidirectional))]
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, batch_first={self.batch_first}, " + ", ".join(
            more
        )

    def _stacked(self, x: Tensor, first: list[tuple[Tensor, ...]] | None) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Hidden states of the last layer, (steps, n, width · directions), and the last states of each layer and direction."""
        if isinstance(x, PackedSequence):
            raise TypeError("the input is a PackedSequence; pad it (torch.nn.utils.rnn.pad_packed_sequence), or keep torch's layer")
        ways = len(self.directions)
        last: list[tuple[Tensor, ...]] = []
        for k in range(self.num_layers):
            found = []
            for d, way in enumerate(self.directions):
                at = k * ways + d
                steps = x.flip(0) if way else x
                states = self._zeros(x) if first is None else first[at]
                hidden, end = self._states(steps, f"_l{k}{way}", at, states)
                found.append(torch.stack(hidden[::-1] if way else hidden))
                last.append(end)
            x = found[0] if ways == 1 else torch.cat(found, -1)
            if self.dropout and k < self.num_layers - 1:
                x = drop(x, self.dropout, self.training)
        return x, last

    def _zeros(self, x: Tensor) -> tuple[Tensor, ...]:
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        return (zeros,) * self._carried

    _carried: ClassVar[int]  # how many states go from step to step

    def _biases(self, x: Tensor, suffix: str) -> tuple[Tensor, Tensor]:
        if self.bias:
            return getattr(self, f"bias_ih{suffix}"), getattr(self, f"bias_hh{suffix}")
        zeros = x.new_zeros(self.blocks * self.hidden_size)
        return zeros, zeros

    def _call(self, x: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """For inputs as torch takes them, hidden states and the last states, stacked over layers and directions."""
        is_alone = isinstance(x, Tensor) and x.ndim == 2
        if is_alone:  # one sequence without a batch
            x = x.unsqueeze(0 if self.batch_first else 1)
            state = None if state is None else tuple(s.unsqueeze(1) for s in state)
        ordered = x.transpose(0, 1) if self.batch_first and isinstance(x, Tensor) else x
        first = None if state is None else list(zip(*(s.unbind() for s in state), strict=True))
        hidden, last = self._stacked(ordered, first)
        stacked = tuple(torch.stack(s) for s in zip(*last, strict=True))
        hidden = hidden.transpose(0, 1) if self.batch_first else hidden
        if is_alone:
            return hidden.squeeze(0 if self.batch_first else 1), tuple(s.squeeze(1) for s in stacked)
        return hidden, stacked

    @abstractmethod
    def _states(self, x: Tensor, suffix: str, at: int, states: tuple[Tensor, ...]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """The hidden state of each step, (n, width), for x of shape (steps, n, inputs), and the states after the last."""


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), with a forget gate (Gers et al., 2000) and without peepholes.

    input, forget, output gates i, f, o = gate(W x + V h + b); c = f c + i cell(W x + V h + b); h = o output(c)
    """

    blocks, _carried = 4, 2
    places: ClassVar[Mapping[str, int]] = {"gate": 3, "cell": 1, "output": 1}

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, (h, c) = self._call(x, state)
        return hidden, (h, c)

    def _states(self, x: Tensor, suffix: str, at: int, states: tuple[Tensor, ...]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        gate, cell, output = (self.activation(place, at) for place in ("gate", "cell", "output"))
        outer, inner = self._biases(x, suffix)
        # torch's rows are input, forget, cell, output; with the cell last, the gates are one block, and one call of a function.
        rows = (getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}"), outer + inner)
        inward, recurrent, bias = (_cell_last(w, self.hidden_size) for w in rows)
        turned = recurrent.T
        h, c = states
        found = []
        for step in (x @ inward.T + bias).unbind():
            gates, candidate = torch.addmm(step, h, turned).split((3 * self.hidden_size, self.hidden_size), -1)
            i, f, o = gate(gates).chunk(3, -1)
            c = torch.addcmul(f * c, i, cell(candidate))
            h = o * output(c)
            found.append(h)
        return found, (h, c)


def _cell_last(rows: Tensor, width: int) -> Tensor:
    i, f, g, o = rows.split(width)
    return torch.cat([i, f, o, g])


class GRU(Recurrent):
    """Gated recurrent units (Cho et al., arXiv:1406.1078), as torch and cuDNN have them: reset after the product.

    reset, update gates r, z = gate(W x + V h + b); n = cell(W x + b + r (V h + b)); h = (1 - z) n + z h
    """

    blocks, _carried = 3, 1
    places: ClassVar[Mapping[str, int]] = {"gate": 2, "cell": 1}

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden, (h,) = self._call(x, None if state is None else (state,))
        return hidden, h

    def _states(self, x: Tensor, suffix: str, at: int, states: tuple[Tensor, ...]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        gate, cell = self.activation("gate", at), self.activation("cell", at)
        parts = (2 * self.hidden_size, self.hidden_size)
        outer, inner = self._biases(x, suffix)
        turned = getattr(self, f"weight_hh{suffix}").T
        (h,) = states
        found = []
        for step in (x @ getattr(self, f"weight_ih{suffix}").T + outer).unbind():
            outer_gates, outside = step.split(parts, -1)
            inner_gates, candidate = torch.addmm(inner, h, turned).split(parts, -1)
            r, z = gate(outer_gates + inner_gates).chunk(2, -1)
            n = cell(torch.addcmul(outside, r, candidate))
            h = n + z * (h - n)
            found.append(h)
        return found, (h,)
