"""Perceptrons of one shape, trained side by side: products of all networks at once, and an activation function of each.

Most of what a small network takes is not arithmetic but the way to it, which is shared here: one batched product a layer, one call
of a kernel for each network, gradients without autograd, one tensor for Adam. No network sees another's numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..family import Param
from ..kernels.placed import Placed, Ways, arranged
from ..module import Activation
from .losses import Loss

__all__ = ["Stack", "placed"]


@dataclass(frozen=True)
class _Row:
    """A stored parameter: its name in the module, the rows that its entries take, and its Param."""

    name: str
    rows: slice
    param: Param


def placed(act: Activation) -> Placed:
    """The formula that a module of trained or initial parameters computes."""
    learned = {name for name in act.family.params if getattr(act, name).requires_grad}
    if act.family.closed is not None and not learned:
        return Placed(act.family.closed)
    names = [p.symbols(name) for name, p in _ordered(act)]
    flat = [n for group in names for n in group]
    count = sum(len(p.symbols(name)) for name, p in act.family.params.items() if name in learned)
    return Placed(act.family.expr, tuple(flat[:count]), tuple(flat[count:]))


def _ordered(act: Activation) -> list[tuple[str, Param]]:
    """The parameters, those that learn first."""
    return sorted(act.family.params.items(), key=lambda item: not getattr(act, item[0]).requires_grad)


def _rows(act: Activation) -> Iterator[_Row]:
    start = 0
    if placed(act).names:
        for name, p in _ordered(act):
            count = len(p.symbols(name))
            yield _Row(name, slice(start, start + count), p)
            start += count


class Stack:
    """Networks as `mlp` builds them, with parameters a channel; Adam trains them, and `keep` leaves some behind.

    The models give the initial weights; `restore` gives them the present ones.
    """

    def __init__(self, models: Sequence[nn.Sequential], learning_rate: float):
        self.models, self.learning_rate = list(models), learning_rate
        self._linears = [list(m)[::2] for m in self.models]
        self._activations = [list(m)[1::2] for m in self.models]
        self._functions = [placed(acts[0]) for acts in self._activations]
        self._params = [list(_rows(acts[0])) for acts in self._activations]
        self._shapes = self._sizes()
        values, gradients = (torch.zeros(sum(s.numel() for s in self._shapes)) for _ in range(2))
        self._flat = nn.Parameter(values)
        self._flat.grad = gradients
        self._adam = torch.optim.Adam([self._flat], lr=learning_rate, fused=True)
        self._now, self._slopes = _Views.of(values, self._shapes), _Views.of(gradients, self._shapes)
        self._constrained = list(self._with_constraints())
        self._elements = [0, 0]
        self._ways: list[Ways] = []
        self._places: dict[int, _Place] = {}
        for i in range(len(self.models)):
            self._copy(i, back=False)
        self.refresh()

    def __len__(self) -> int:
        return len(self.models)

    def _sizes(self) -> list[torch.Size]:
        n, linears = len(self.models), self._linears[0]
        rows = max((r.rows.stop for params in self._params for r in params), default=0)
        weights = [torch.Size((n, *m.weight.shape)) for m in linears]
        biases = [torch.Size((n, 1, *m.bias.shape)) for m in linears]
        return [*weights, *biases, torch.Size((n, len(linears) - 1, rows, linears[0].out_features))]

    def _with_constraints(self) -> Iterator[tuple[Param, int, slice]]:
        """The parameters whose values are not what is stored: network and rows."""
        for i, params in enumerate(self._params):
            yield from ((r.param, i, r.rows) for r in params if r.param.value(s := torch.ones(1)) is not s)

    @torch.no_grad()
    def _copy(self, i: int, back: bool) -> None:
        """The weights of a network from its model, or back."""
        now = self._now
        pairs: list[tuple[Tensor, Tensor]] = []
        for layer, m in enumerate(self._linears[i]):
            pairs += [(now.weights[layer][i], m.weight), (now.biases[layer][i, 0], m.bias)]
        for layer, act in enumerate(self._activations[i]):
            for r in self._params[i]:
                p = getattr(act, r.name)
                pairs.append((now.own[i, layer, r.rows].view(p.shape), p))
        for ours, theirs in pairs:
            theirs.copy_(ours) if back else ours.copy_(theirs)

    def restore(self, i: int) -> nn.Sequential:
        """The model of a network with its present weights."""
        self._copy(i, back=True)
        return self.models[i]

    def keep(self, which: Sequence[int]) -> Stack:
        """These networks as a stack of their own, which goes on where this one is."""
        for i in which:
            self.restore(i)
        new, at = Stack([self.models[i] for i in which], self.learning_rate), torch.tensor(which)
        state = self._adam.state[self._flat]
        moments = {}
        for name in ("exp_avg", "exp_avg_sq"):
            old, moments[name] = _Views.of(state[name], self._shapes), torch.zeros_like(new._flat)
            for a, b in zip(old.all(), _Views.of(moments[name], new._shapes).all(), strict=True):
                b.copy_(a[at][:, :, : b.shape[2]])
        new._adam.state[new._flat] = {"step": state["step"].clone(), **moments}
        return new

    def refresh(self) -> None:
        """Now and then: kernels are compiled for formulas that have been used much."""
        width = self._linears[0][0].out_features
        ways = [f.ways(width, *self._elements) for f in self._functions]
        self._elements = [0, 0]
        if ways != self._ways:
            self._ways, self._places = ways, {}

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        """Of all networks, (networks, n, outputs), for inputs (networks, n, inputs); the memory is written to again."""
        place = self._place(inputs.shape[1])
        self._elements[0] += place.elements
        self._values(place)
        return place.forward(inputs, self._now)

    def step(self, inputs: Tensor, targets: Tensor, loss: Loss) -> None:
        """One step of Adam for every network, each with a batch of its own, (networks, batch, …)."""
        scores = self.outputs(inputs).requires_grad_()
        mean = loss.function(scores.flatten(0, 1), targets.flatten(0, 1))
        (g,) = torch.autograd.grad(mean, scores, torch.tensor(float(len(self))))
        place = self._place(inputs.shape[1])
        self._elements[1] += place.elements
        with torch.no_grad():
            place.backward(inputs, g, self._now, self._slopes)
            self._chain(place)
        self._adam.step()

    def _place(self, n: int) -> _Place:
        if n not in self._places:
            self._places[n] = _Place(n, self._shapes, self._functions, self._ways)
        return self._places[n]

    def _values(self, place: _Place) -> None:
        """What the formulas see of the parameters, to where the kernels read it."""
        own = self._now.own
        if not own.numel():
            return
        if self._constrained:
            own = own.clone()
            for p, i, rows in self._constrained:
                own[i, :, rows] = p.value(own[i, :, rows])
        place.own(place.numbers).copy_(own[:, :, :, None])

    def _chain(self, place: _Place) -> None:
        """The gradients of what is stored, from the sums of the kernels."""
        if self._now.own.numel():
            sums = place.own(place.sums).sum(3)
            for p, i, rows in self._constrained:
                stored = self._now.own[i, :, rows]
                sums[i, :, rows] *= p.slope(stored, p.value(stored))
            self._slopes.own.copy_(sums)


@dataclass(frozen=True)
class _Views:
    """One tensor as the weights of all layers, (networks, out, in), biases, (networks, 1, out), and parameters of the activations,
    (networks, layers, rows, channels).
    """

    weights: list[Tensor]
    biases: list[Tensor]
    own: Tensor

    @classmethod
    def of(cls, flat: Tensor, shapes: Sequence[torch.Size]) -> _Views:
        parts = flat.detach().split([s.numel() for s in shapes])
        *layers, own = (part.view(shape) for part, shape in zip(parts, shapes, strict=True))
        return cls(layers[: len(layers) // 2], layers[len(layers) // 2 :], own)

    def all(self) -> list[Tensor]:
        return [*self.weights, *self.biases, self.own]


class _Place:
    """The memory for so many samples of each network, and the kernels on it."""

    def __init__(self, n: int, shapes: Sequence[torch.Size], functions: Sequence[Placed], ways: Sequence[Ways]):
        networks, layers, rows, width = shapes[-1]
        outputs = shapes[layers][1]
        self._at, distance = arranged(n, width)
        self.elements = n * width * layers
        self.numbers = torch.ones(networks, layers, rows, distance)
        self.sums = torch.zeros(networks, layers, rows, distance, dtype=torch.float64)
        self._before, self._after = (torch.empty(layers, networks, n, width) for _ in range(2))
        self._g, self._gx = (torch.empty(networks, n, width) for _ in range(2))
        self._last = torch.empty(networks, n, outputs)
        each = list(enumerate(zip(functions, ways, strict=True)))
        self._activate = [
            [f.values(w, self._before[k, i], self._after[k, i], self.numbers[i, k]) for i, (f, w) in each] for k in range(layers)
        ]
        self._pull = [
            [
                f.pullback(w, self._before[k, i], self._g[i], self._gx[i], self.numbers[i, k], self.sums[i, k])
                for i, (f, w) in each
            ]
            for k in range(layers)
        ]

    def own(self, rows: Tensor) -> Tensor:
        """Rows of numbers or sums as (networks, layers, rows, repeats, channels)."""
        return rows[..., : self._at.channels].unflatten(-1, (self._at.repeats, self._at.own))

    def forward(self, inputs: Tensor, now: _Views) -> Tensor:
        for k, calls in enumerate(self._activate):
            torch.baddbmm(now.biases[k], inputs, now.weights[k].mT, out=self._before[k])
            for call in calls:
                call()
            inputs = self._after[k]
        return torch.baddbmm(now.biases[-1], inputs, now.weights[-1].mT)

    def backward(self, inputs: Tensor, g: Tensor, now: _Views, slopes: _Views) -> None:
        self.sums.zero_()
        for k in range(len(now.weights) - 1, -1, -1):
            below = self._after[k - 1] if k else inputs
            torch.bmm(g.mT, below, out=slopes.weights[k])
            torch.sum(g, 1, keepdim=True, out=slopes.biases[k])
            if k:
                torch.bmm(g, now.weights[k], out=self._g)
                for call in self._pull[k - 1]:
                    call()
                g = self._gx
