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
from ...module import Activation, parameter_values
from ...surgery.layers import DEFAULT
from ..data.parts import Part, Split
from ..losses import LOSSES
from ..models.factory import HIDDEN
from ..models.small import mlp
from ..recipe import learning_rate_at
from ..tasks import Task, task
from .loop import (
    Judgement,
    Outcome,
    begin_training,
    gather_outcome,
    judge_network,
    judge_outputs,
    seeded,
    train,
)
from .networks import ActivationChoice, network_builder, place_factories
from .stack import Stack, function_of
from .steps import EVALUATED

__all__ = ["is_stackable", "train_together", "why_alone"]

Report = Callable[[int, int, float], object]


def train_together(
    what: Task | str,
    activations: Sequence[ActivationChoice],
    seeds: Sequence[int],
    *,
    report: Report | None = None,
    test: bool = False,
    course: bool = False,
) -> list[Outcome]:
    """Train one network per pair of an activation and a seed, side by side where that can be done; on the CPU.

    report   called as report(i, epoch, validation loss) for the i-th pair after each epoch with a finite loss; if it returns
             something true, this training ends there and the others go on; what it raises ends all of them
    test, course   as in `train`

    Each network has the initial weights, batches and recipe of `train`, and no influence on the others. Its losses differ from
    those of `train` by rounding, which an unstable training can make large. The same call with the same number of threads gives
    the same bits; another number of networks need not. Networks that cannot be stacked (see `why_alone`) are trained by `train`,
    after the others. An outcome's seconds are the network's share.
    """
    if len(activations) != len(seeds):
        raise ValueError(f"{len(activations)} activations and {len(seeds)} seeds; give a seed for each activation")
    t, pairs = task(what), list(zip(activations, seeds, strict=True))
    common = None if t.drawn else t.split(0, held_out=test)
    runs = {i: _begun(t, a, seed, common or t.split(seed, test)) for i, (a, seed) in enumerate(pairs) if is_stackable(t, a)}
    alike: dict[object, dict[int, _Run]] = defaultdict(dict)
    for i, run in runs.items():
        alike[_shape(run.split)][i] = run
    for some in alike.values():
        _train(t, some, report, course)
    found: dict[int, Outcome] = {}
    for i, (activation, seed) in enumerate(pairs):
        if i in runs:
            found[i] = runs[i].outcome(t, test)
        else:
            found[i] = train(t, activation, seed, report=report and partial(report, i), test=test, course=course)
    return list(found.values())


def is_stackable(what: Task | str, activation: ActivationChoice) -> bool:
    """Do networks of this task with this activation train side by side?"""
    return why_alone(what, activation) is None


def why_alone(what: Task | str, activation: ActivationChoice) -> str | None:
    """Why networks of this task with this activation are trained one by one; None where they train side by side."""
    t = task(what)
    if not isinstance(t.model, partial) or t.model.func is not mlp or t.model.args or t.model.keywords.get("layers", 8) < 2:
        return "its network is not `mlp` with a hidden layer"
    if t.recipe.augmentation != "none":
        return f"its batches are changed on the way ({t.recipe.augmentation})"
    if t.prepare is not None:
        return "its networks are prepared before they train"
    factories = place_factories(t, activation)
    make = factories.get(HIDDEN, factories.get(DEFAULT))
    if make is None or not factories.keys() <= {HIDDEN, DEFAULT}:
        return "the activations are not for the places of `mlp`"  # which `train` refuses
    act = make(t.model.keywords.get("width", 64))
    if not isinstance(act, Activation):
        return "the activation is a module that is not made from a formula"
    if act.family.params and act.scope != "channel":
        return f"the activation has its parameters per {act.scope}"
    f = function_of(act).formula
    if not has_kernel(f.e, torch.float32):
        return "no kernel computes the activation"
    if not t.split(0).train.inputs.dtype == torch.get_default_dtype() == torch.float32:
        return "its data are not float32"
    return None


@dataclass
class _Run:
    """One of the trainings, and how far it has come."""

    model: nn.Sequential
    orders: list[Tensor]
    split: Split
    history: list[Judgement] = field(default_factory=list)
    courses: list[Mapping[str, tuple[float, ...]]] = field(default_factory=list)
    seconds: float = 0.0

    def outcome(self, t: Task, test: bool) -> Outcome:
        tested = judge_network(self.model, t, self.split.test) if test else None
        return gather_outcome(self.history, tested, self.courses, self.seconds)


def _begun(t: Task, activation: ActivationChoice, seed: int, split: Split) -> _Run:
    with seeded(seed, torch.device("cpu")):
        start = begin_training(t, network_builder(t, activation), len(split.train))
    assert isinstance(start.model, nn.Sequential)
    return _Run(start.model, start.orders, split)


def _shape(split: Split) -> tuple[torch.Size, ...]:
    return tuple(x.shape for part in (split.train, split.validation) for x in (part.inputs, part.targets))


def _train(t: Task, runs: Mapping[int, _Run], report: Report | None, course: bool) -> None:
    """Train these side by side, each until it ends.

    `going` has the numbers of the runs in the stack, in its order. With runs 0, 3 and 5, the stack's network 1 is run 3; when
    that diverges or its report ends it, the others go on in a new stack of two, and `going` is [0, 5].
    """
    going = list(runs)
    stack = Stack([run.model for run in runs.values()], t.recipe)
    for epoch in range(t.recipe.epochs):
        start = time.perf_counter()
        own = [runs[i] for i in going]
        _epoch(t, stack, _Parts.of([run.split.train for run in own]), torch.stack([run.orders[epoch] for run in own]), epoch)
        judged = _judge(t, stack, [run.split.validation for run in own])
        seconds = (time.perf_counter() - start) / len(own)
        ended: set[int] = set()  # places in the stack
        for k, run in enumerate(own):
            run.seconds += seconds
            run.history.append(judged[k])
            if course:
                run.courses.append(parameter_values(stack.restore(k)))
            if judged[k].loss == math.inf or (report is not None and report(going[k], epoch, judged[k].loss)):
                ended.add(k)
        last = epoch == t.recipe.epochs - 1
        for k in range(len(own)) if last else ended:
            stack.restore(k)
        left = [k for k in range(len(own)) if k not in ended]
        if last or not left:
            return
        if ended:
            stack, going = stack.keep(left), [going[k] for k in left]


def _epoch(t: Task, stack: Stack, data: _Parts, order: Tensor, epoch: int) -> None:
    stack.refresh()
    batches = order.split(t.recipe.batch_size, 1)
    first, total = epoch * len(batches), t.recipe.epochs * len(batches)
    for step, batch in enumerate(batches, first):
        stack.step(*data.at(batch), LOSSES[t.loss], learning_rate_at(t.recipe, step, total))


def _judge(t: Task, stack: Stack, parts: Sequence[Part]) -> list[Judgement]:
    """The judgement of each network on its part."""
    data, every = _Parts.of(parts), torch.arange(len(parts[0])).expand(len(parts), -1)
    outputs = torch.cat([stack.outputs(data.at(some)[0]) for some in every.split(EVALUATED, 1)], 1)
    return [judge_outputs(own, t, part) for own, part in zip(outputs, parts, strict=True)]


@dataclass(frozen=True)
class _Parts:
    """The parts of the data for a stack: different parts one after the other, and the row where that of each network begins."""

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
