"""Perceptrons of one shape, trained side by side: products of all networks at once, and an activation function of each.

Most of what a small network takes is not arithmetic but the way to it, which is shared here: one batched product a layer, one call
of a kernel for each network, gradients without autograd, one tensor for Adam. No network sees another's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ...catalogue.registry import Param
from ...kernels.cpu.bound import BoundFormula, KernelPair, row_layout
from ...module import Activation
from ..losses import Loss

__all__ = ["Function", "Stack", "function_of"]


@dataclass(frozen=True)
class Function:
    """What an activation module computes, and which rows of the formula's parameters each of its stored parameters gives."""

    formula: BoundFormula
    rows: tuple[tuple[str, Param, slice], ...]


def function_of(act: Activation) -> Function:
    """Of a module as it was made, its parameters at their initial values."""
    learns = {name: getattr(act, name).requires_grad for name in act.family.params}
    if act.family.closed is not None and not any(learns.values()):
        return Function(BoundFormula(act.family.closed), ())
    ordered = sorted(act.family.params.items(), key=lambda item: not learns[item[0]])  # those that learn first
    names: list[str] = []
    rows: list[tuple[str, Param, slice]] = []
    for name, p in ordered:
        rows.append((name, p, slice(len(names), len(names) + len(p.symbols(name)))))
        names += p.symbols(name)
    learned = max((part.stop for name, _, part in rows if learns[name]), default=0)
    return Function(BoundFormula(act.family.expr, tuple(names[:learned]), tuple(names[learned:])), tuple(rows))


class Stack:
    """Networks as `mlp` builds them, their activations with parameters a channel, trained by Adam.

    The models give the initial weights; `restore` gives them the present ones.
    """

    def __init__(self, models: Sequence[nn.Sequential], learning_rate: float):
        self.models, self.learning_rate = list(models), learning_rate
        self._functions = [function_of(activations(m)[0]) for m in self.models]
        self._shapes = _shapes(self.models, max((part.stop for f in self._functions for *_, part in f.rows), default=0))
        values, gradients = (torch.zeros(sum(shape.numel() for shape in self._shapes)) for _ in range(2))
        self._flat = nn.Parameter(values)
        self._flat.grad = gradients
        self._adam = torch.optim.Adam([self._flat], lr=learning_rate, fused=True)
        self._now, self._slopes = _Views.of(values, self._shapes), _Views.of(gradients, self._shapes)
        # What is stored of these is not their value: parameter, network, rows.
        rows = [(p, i, part) for i, f in enumerate(self._functions) for _, p, part in f.rows]
        self._constrained = [found for found in rows if found[0].constraint is not constraints.real]
        self._elements = [0, 0]  # that have gone through each activation since `refresh`, forward and backward
        self._ways: list[KernelPair] = []
        self._places: dict[int, _Place] = {}
        for i in range(len(self.models)):
            for ours, theirs in self._pairs(i):
                ours.copy_(theirs.detach())
        self.refresh()

    def __len__(self) -> int:
        return len(self.models)

    def _pairs(self, i: int) -> list[tuple[Tensor, Tensor]]:
        """The tensors of a network here, and those of its model."""
        now, model = self._now, self.models[i]
        found: list[tuple[Tensor, Tensor]] = []
        for k, m in enumerate(linears(model)):
            found += [(now.weights[k][i], m.weight), (now.biases[k][i, 0], m.bias)]
        for k, act in enumerate(activations(model)):
            stored = [(part, getattr(act, name)) for name, _, part in self._functions[i].rows]
            found += [(now.own[i, k, part].view(p.shape), p) for part, p in stored]
        return found

    @torch.no_grad()
    def restore(self, i: int) -> nn.Sequential:
        """The model of a network with its present weights."""
        for ours, theirs in self._pairs(i):
            theirs.copy_(ours)
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
        ways = [f.formula.ways(self._shapes[-1][-1], *self._elements) for f in self._functions]
        self._elements = [0, 0]
        if ways != self._ways:
            self._ways, self._places = ways, {}

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        """Of all networks, (networks, n, outputs), for inputs (networks, n, inputs)."""
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
            self._places[n] = _Place(n, self._shapes, [f.formula for f in self._functions], self._ways)
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


def linears(model: nn.Sequential) -> list[nn.Linear]:
    return cast(list[nn.Linear], list(model)[::2])


def activations(model: nn.Sequential) -> list[Activation]:
    return cast(list[Activation], list(model)[1::2])


def _shapes(models: Sequence[nn.Sequential], rows: int) -> list[torch.Size]:
    """Of the weights of all layers, then of their biases, then of the rows of parameters of all activations."""
    n, layers = len(models), linears(models[0])
    weights = [torch.Size((n, m.out_features, m.in_features)) for m in layers]
    biases = [torch.Size((n, 1, m.out_features)) for m in layers]
    return [*weights, *biases, torch.Size((n, len(layers) - 1, rows, layers[0].out_features))]


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

    def __init__(self, n: int, shapes: Sequence[torch.Size], functions: Sequence[BoundFormula], ways: Sequence[KernelPair]):
        networks, layers, rows, width = shapes[-1]
        self._at, distance = row_layout(n, width)
        self.elements = n * width * layers
        self.numbers = torch.ones(networks, layers, rows, distance)
        self.sums = torch.zeros(networks, layers, rows, distance, dtype=torch.float64)
        self._before, self._after = (torch.empty(layers, networks, n, width) for _ in range(2))
        self._g, self._gx = (torch.empty(networks, n, width) for _ in range(2))
        each = list(enumerate(zip(functions, ways, strict=True)))
        self._activate = [
            [f.values(w, self._before[k, i], self._after[k, i], self.numbers[i, k]) for i, (f, w) in each] for k in range(layers)
        ]
        self._pull = [
            [f.pullback(w, self._before[k, i], self._g[i], self._gx[i], self.numbers[i, k], self.sums[i, k]) for i, (f, w) in each]
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
