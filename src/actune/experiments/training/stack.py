"""Perceptrons of one shape, trained side by side: products of all networks at once, and an activation function of each.

Most of what a small network takes is not arithmetic but the way to it, which is shared here: one batched product per layer, one
call of a kernel per network, gradients without autograd, one tensor for the optimizer. No network sees another's numbers.

Three perceptrons 2 → 12 → 12 → 2 whose formulas have at most two parameters per channel are one tensor of numbers, seen as

    weights   (3, 12, 2), (3, 12, 12), (3, 2, 12)
    biases    (3, 1, 12), (3, 1, 12), (3, 1, 2)
    own       (3, 2, 2, 12)    parameters: networks, layers, rows, channels

and so are the gradients and what the optimizer keeps. Optimizers work element by element, so one step moves all networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ...catalogue.registry import Param
from ...kernels.cpu.bound import BoundFormula, KernelPair, row_layout
from ...module import Activation
from ..losses import Loss
from ..recipe import Recipe, make_optimizer

__all__ = ["Stack", "StackedFunction", "function_of"]


@dataclass(frozen=True)
class StackedFunction:
    """What an activation module computes, and which rows of the formula's parameters each of its stored parameters gives."""

    formula: BoundFormula
    rows: tuple[tuple[str, Param, slice], ...]


def function_of(act: Activation) -> StackedFunction:
    """The function of a module as it was made, with its parameters at their initial values."""
    learns = {name: getattr(act, name).requires_grad for name in act.family.params}
    if act.family.initial_form is not None and not any(learns.values()):
        return StackedFunction(BoundFormula(act.family.initial_form), ())
    ordered = sorted(act.family.params.items(), key=lambda item: not learns[item[0]])  # those that learn first
    names: list[str] = []
    rows: list[tuple[str, Param, slice]] = []
    for name, p in ordered:
        rows.append((name, p, slice(len(names), len(names) + len(p.symbols(name)))))
        names += p.symbols(name)
    learned = max((part.stop for name, _, part in rows if learns[name]), default=0)
    return StackedFunction(BoundFormula(act.family.expr, tuple(names[:learned]), tuple(names[learned:])), tuple(rows))


class Stack:
    """Networks as `mlp` builds them, their activations with parameters per channel, trained by a recipe without augmentation.

    The models give the initial weights; `restore` gives them the present ones.
    """

    def __init__(self, models: Sequence[nn.Sequential], recipe: Recipe):
        self.models, self.recipe = list(models), recipe
        self._functions = [function_of(activations(m)[0]) for m in self.models]
        self._shapes = _shapes(self.models, max((part.stop for f in self._functions for *_, part in f.rows), default=0))
        values, gradients = (torch.zeros(sum(shape.numel() for shape in self._shapes)) for _ in range(2))
        self._learned = _groups(values, gradients, self._shapes[-1].numel(), recipe)
        self._optimizer = make_optimizer(recipe, self._learned)
        self._now, self._slopes = _Views.of(values, self._shapes), _Views.of(gradients, self._shapes)
        # What is stored of these is not their value: parameter, network, rows.
        rows = [(p, i, part) for i, f in enumerate(self._functions) for _, p, part in f.rows]
        self._constrained = [found for found in rows if found[0].constraint is not constraints.real]
        self._elements = [0, 0]  # that have gone through each activation since `refresh`, forward and backward
        self._ways: list[KernelPair] = []
        self._memory: dict[int, _Memory] = {}
        for i in range(len(self.models)):
            for ours, theirs in self._pairs(i):
                ours.copy_(theirs.detach())
        self.refresh()

    def __len__(self) -> int:
        return len(self.models)

    def _pairs(self, i: int) -> list[tuple[Tensor, Tensor]]:
        """Pairs of a tensor of a network here and that of its model."""
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
        """A stack of these networks alone, which goes on where this one is."""
        for i in which:
            self.restore(i)
        new, at = Stack([self.models[i] for i in which], self.recipe), torch.tensor(which)
        states = [self._optimizer.state[p] for p in self._tensors()]
        for name, kept in states[0].items():
            if kept is None or kept.dim() == 0:  # the number of steps; a buffer that this optimizer does without
                moved = [kept if kept is None else kept.clone() for _ in states]
            else:
                old, flat = torch.cat([state[name] for state in states]), torch.zeros_like(torch.cat(new._tensors()))
                for a, b in zip(_Views.of(old, self._shapes).all(), _Views.of(flat, new._shapes).all(), strict=True):
                    b.copy_(a[at][:, :, : b.shape[2]])  # the formulas that go on may have fewer rows of parameters
                moved = list(flat.split([p.numel() for p in new._tensors()]))
            for p, value in zip(new._tensors(), moved, strict=True):
                new._optimizer.state[p][name] = value
        return new

    def _tensors(self) -> list[Tensor]:
        return [p for group in self._learned for p in group["params"]]

    def refresh(self) -> None:
        """Let formulas that were used often move from the interpreter to compiled code. Call once per epoch."""
        ways = [f.formula.ways(self._shapes[-1][-1], *self._elements) for f in self._functions]
        self._elements = [0, 0]
        if ways != self._ways:
            self._ways, self._memory = ways, {}

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        """The outputs of all networks, (networks, n, outputs), for inputs (networks, n, inputs)."""
        memory = self._memory_for(inputs.shape[1])
        self._elements[0] += memory.elements
        self._values(memory)
        return memory.forward(inputs, self._now)

    def step(self, inputs: Tensor, targets: Tensor, loss: Loss, learning_rate: float) -> None:
        """Move every network by one step of the optimizer, each for its own batch, (networks, batch, …)."""
        scores = self.outputs(inputs).requires_grad_()
        mean = loss.function(scores.flatten(0, 1), targets.flatten(0, 1))
        (g,) = torch.autograd.grad(mean, scores, torch.tensor(float(len(self))))
        memory = self._memory_for(inputs.shape[1])
        self._elements[1] += memory.elements
        with torch.no_grad():
            memory.backward(inputs, g, self._now, self._slopes)
            self._chain(memory)
            if self.recipe.clip is not None:
                self._clip(self.recipe.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()

    def _clip(self, longest: float) -> None:
        """Shorten the gradient of each network to this length, as `clip_grad_norm_` does with one."""
        views = self._slopes.all()
        length = torch.stack([v.flatten(1).square().sum(1) for v in views]).sum(0).sqrt()
        factor = (longest / (length + 1e-6)).clamp(max=1.0)
        for v in views:
            v.mul_(factor.view(-1, *[1] * (v.dim() - 1)))

    def _memory_for(self, n: int) -> _Memory:
        if n not in self._memory:
            self._memory[n] = _Memory(n, self._shapes, [f.formula for f in self._functions], self._ways)
        return self._memory[n]

    def _values(self, memory: _Memory) -> None:
        """Write the values of the parameters, which are what their constraints make of the stored numbers, where kernels read."""
        own = self._now.own
        if not own.numel():
            return
        if self._constrained:
            own = own.clone()
            for p, i, rows in self._constrained:
                own[i, :, rows] = p.value(own[i, :, rows])
        memory.own(memory.numbers).copy_(own[:, :, :, None])

    def _chain(self, memory: _Memory) -> None:
        """Write the gradients of the stored numbers: the kernels' sums, times the slope of the constraint (the chain rule)."""
        if self._now.own.numel():
            sums = memory.own(memory.sums).sum(3)
            for p, i, rows in self._constrained:
                stored = self._now.own[i, :, rows]
                sums[i, :, rows] *= p.slope(stored, p.value(stored))
            self._slopes.own.copy_(sums)


def linears(model: nn.Sequential) -> list[nn.Linear]:
    return cast(list[nn.Linear], list(model)[::2])


def activations(model: nn.Sequential) -> list[Activation]:
    return cast(list[Activation], list(model)[1::2])


def _groups(values: Tensor, gradients: Tensor, own: int, recipe: Recipe) -> list[dict[str, Any]]:
    """All numbers as parameters of the optimizer; where weights decay, the last, which belong to activations, do not."""
    parts = [len(values) - own, own] if recipe.weight_decay and own else [len(values)]
    groups = []
    for value, gradient, decay in zip(values.split(parts), gradients.split(parts), (recipe.weight_decay, 0.0), strict=False):
        p = nn.Parameter(value)
        p.grad = gradient
        groups.append({"params": [p], "weight_decay": decay})
    return groups


def _shapes(models: Sequence[nn.Sequential], rows: int) -> list[torch.Size]:
    """The shapes of the weights of all layers, then of their biases, then of the rows of parameters of all activations."""
    n, layers = len(models), linears(models[0])
    weights = [torch.Size((n, m.out_features, m.in_features)) for m in layers]
    biases = [torch.Size((n, 1, m.out_features)) for m in layers]
    return [*weights, *biases, torch.Size((n, len(layers) - 1, rows, layers[0].out_features))]


@dataclass(frozen=True)
class _Views:
    """Views of one tensor: the weights of all layers, (networks, out, in), biases, (networks, 1, out), and parameters of the
    activations, (networks, layers, rows, channels).
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


class _Memory:
    """The memory for so many samples of each network, and the kernels on it.

    Kernels are bound to fixed memory once, so that a step only calls them: with three networks of two hidden layers, `_activate`
    is [[f, g, h], [f, g, h]], where each entry reads the products of its layer and network from `_before` and writes to
    `_after`. `_pull` is alike: from `_before` and `_g`, the gradient of the values, to `_gx`, and the sums of its parameters to
    `sums`.
    """

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
        """View rows of numbers or sums as (networks, layers, rows, repeats, channels)."""
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
