"""Trainings of several small networks in one program: what `train` does with each of them, in less time."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from ...kernels.cpu.fused import has_kernel
from ...module import Activation
from ..data.parts import Part, Split
from ..losses import LOSSES, Loss
from ..models.small import mlp
from ..tasks import Task, task
from .loop import EVALUATED, ActivationLike, Outcome, activation_factory, begun, evaluate, judge, outcome, parameters, seeded, train
from .stack import Stack, function_of

__all__ = ["stackable", "train_together"]

Report = Callable[[int, int, float], object]


def train_together(
    what: Task | str,
    activations: Sequence[ActivationLike],
    seeds: Sequence[int],
    *,
    report: Report | None = None,
    test: bool = False,
    course: bool = False,
) -> list[Outcome]:
    """Train a network for each pair of an activation and a seed, side by side where that can be done; on the CPU.

    report   called as report(i, epoch, validation loss) for the i-th pair after each epoch with a finite loss; if it returns
             something true, this training ends there and the others go on; what it raises ends all of them
    test, course   as in `train`

    Each network has the initial weights, batches and recipe of `train`, and no influence on the others. Its losses differ from
    those of `train` by rounding, which an unstable training can make large. The same call with the same number of threads gives
    the same bits; another number of networks need not. Networks that are no plain perceptrons (see `stackable`) are trained by
    `train`, after the others. An outcome's seconds are the network's share.
    """
    if len(activations) != len(seeds):
        raise ValueError(f"{len(activations)} activations and {len(seeds)} seeds; give a seed for each activation")
    t, pairs = task(what), list(zip(activations, seeds, strict=True))
    common = None if t.drawn else t.split(0, held_out=test)
    runs = {i: _begun(t, a, seed, common or t.split(seed, test)) for i, (a, seed) in enumerate(pairs) if stackable(t, a)}
    alike: dict[object, dict[int, _Run]] = defaultdict(dict)
    for i, run in runs.items():
        alike[_shape(run.split)][i] = run
    for some in alike.values():
        _train(t, some, report, course)
    found: dict[int, Outcome] = {}
    for i, (activation, seed) in enumerate(pairs):
        if i in runs:
            found[i] = runs[i].outcome(LOSSES[t.loss], test)
        else:
            found[i] = train(t, activation, seed, report=report and partial(report, i), test=test, course=course)
    return list(found.values())


def stackable(what: Task | str, activation: ActivationLike) -> bool:
    """Whether networks of this task with this activation train side by side: the task's network is `mlp` with a hidden layer, its
    data are float32, and the activation is a formula that kernels compute, with no parameters or one of each a channel.
    """
    t = task(what)
    if not isinstance(t.model, partial) or t.model.func is not mlp or t.model.args or t.model.keywords.get("layers", 8) < 2:
        return False
    act = activation_factory(activation, t.scope)(t.model.keywords.get("width", 64), -1)
    if not isinstance(act, Activation) or (act.family.params and act.scope != "channel"):
        return False
    f = function_of(act).formula
    return has_kernel(f.e, torch.float32) and t.split(0).train.inputs.dtype == torch.get_default_dtype() == torch.float32


@dataclass
class _Run:
    """One of the trainings, and how far it has come."""

    model: nn.Sequential
    orders: list[Tensor]
    split: Split
    history: list[tuple[float, float | None]] = field(default_factory=list)
    courses: list[Mapping[str, tuple[float, ...]]] = field(default_factory=list)
    seconds: float = 0.0

    def outcome(self, loss: Loss, test: bool) -> Outcome:
        tested = evaluate(self.model, loss, self.split.test) if test else (None, None)
        return outcome(self.history, tested, self.courses, self.seconds)


def _begun(t: Task, activation: ActivationLike, seed: int, split: Split) -> _Run:
    with seeded(seed, torch.device("cpu")):
        orders, model = begun(t, activation_factory(activation, t.scope), len(split.train))
    assert isinstance(model, nn.Sequential)
    return _Run(model, orders, split)


def _shape(split: Split) -> tuple[torch.Size, ...]:
    return tuple(x.shape for part in (split.train, split.validation) for x in (part.inputs, part.targets))


def _train(t: Task, runs: Mapping[int, _Run], report: Report | None, course: bool) -> None:
    """Train these side by side; those that end are left behind."""
    going, loss = list(runs), LOSSES[t.loss]
    stack = Stack([run.model for run in runs.values()], t.learning_rate)
    for epoch in range(t.epochs):
        start = time.perf_counter()
        own = [runs[i] for i in going]
        _epoch(stack, _Parts.of([run.split.train for run in own]), torch.stack([run.orders[epoch] for run in own]), t)
        found = _judged(stack, [run.split.validation for run in own], loss)
        seconds, ended = (time.perf_counter() - start) / len(own), set()
        for k, run in enumerate(own):
            run.seconds += seconds
            run.history.append(found[k])
            if course:
                run.courses.append(parameters(stack.restore(k)))
            value = found[k][0]
            if value == math.inf or (report is not None and report(going[k], epoch, value)):
                ended.add(k)
        last = epoch == t.epochs - 1
        for k in range(len(own)) if last else ended:
            stack.restore(k)
        left = [k for k in range(len(own)) if k not in ended]
        if last or not left:
            return
        if ended:
            stack, going = stack.keep(left), [going[k] for k in left]


def _epoch(stack: Stack, data: _Parts, order: Tensor, t: Task) -> None:
    stack.refresh()
    for batch in order.split(t.batch_size, 1):
        stack.step(*data.at(batch), LOSSES[t.loss])


def _judged(stack: Stack, parts: Sequence[Part], loss: Loss) -> list[tuple[float, float | None]]:
    """Loss and accuracy of each network on its part."""
    data, every = _Parts.of(parts), torch.arange(len(parts[0])).expand(len(parts), -1)
    outputs = torch.cat([stack.outputs(data.at(some)[0]) for some in every.split(EVALUATED, 1)], 1)
    return [judge(own, loss, part.targets) for own, part in zip(outputs, parts, strict=True)]


@dataclass(frozen=True)
class _Parts:
    """A part of the data for each network: those that differ, one after the other, and where each network finds its own."""

    inputs: Tensor
    targets: Tensor
    first: Tensor

    @classmethod
    def of(cls, parts: Sequence[Part]) -> _Parts:
        different = list({id(part): part for part in parts}.values())
        first = torch.tensor([[different.index(part) * len(part)] for part in parts])
        if len(different) == 1:
            return cls(different[0].inputs, different[0].targets, first)
        return cls(torch.cat([part.inputs for part in different]), torch.cat([part.targets for part in different]), first)

    def at(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """These inputs and targets, by their numbers in the part, (networks, n)."""
        rows = which + self.first
        return self.inputs[rows], self.targets[rows]
