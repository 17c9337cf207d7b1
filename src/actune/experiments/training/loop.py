"""Training of one network with one choice of activation functions and one seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...module import parameter_values
from ..data.parts import Part
from ..losses import LOSSES
from ..tasks import Task, task
from .networks import ActivationChoice, network_builder
from .steps import compute_outputs, draw_orders, fit_epochs

__all__ = [
    "Judgement",
    "Outcome",
    "Start",
    "begin_training",
    "check_device",
    "gather_outcome",
    "judge_network",
    "judge_outputs",
    "one_thread",
    "seeded",
    "train",
]


@dataclass(frozen=True)
class Outcome:
    """What one training gave. Equal outcomes agree in every bit but the seconds.

    validation_loss    after the last epoch, not the luckiest one; inf if the training diverged
    validation_scores  then, each measure of the task by its name
    history            the validation loss after each epoch
    test_…             None unless asked for; the loss is inf where the network gives no finite one
    diverged           the validation loss became infinite or nan, and training stopped there
    course             if asked for: "layer.parameter" -> after each epoch, its values, one for each channel (neuron, …)
    """

    validation_loss: float
    validation_scores: Mapping[str, float] = field(hash=False)
    seconds: float = field(compare=False)
    history: tuple[float, ...]
    diverged: bool
    test_loss: float | None = None
    test_scores: Mapping[str, float] | None = field(default=None, hash=False)
    course: Mapping[str, tuple[tuple[float, ...], ...]] | None = field(default=None, hash=False)

    @property
    def validation_accuracy(self) -> float | None:
        """The share of right classes on the validation part; None for a task without classes."""
        return self.validation_scores.get("accuracy")

    @property
    def test_accuracy(self) -> float | None:
        """The share of right classes on the test part; None for a task without classes, and unless asked for."""
        return None if self.test_scores is None else self.test_scores.get("accuracy")


@dataclass(frozen=True)
class Judgement:
    """How well a network does on a part of the data: the mean loss, inf if it is not finite, and each measure of the task."""

    loss: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Start:
    """What a training begins with: the order of its inputs in each epoch, a generator for augmentation, and the network."""

    orders: list[Tensor]
    draw: torch.Generator | None
    model: nn.Module


def train(
    what: Task | str,
    activation: ActivationChoice,
    seed: int,
    *,
    report: Callable[[int, float], object] | None = None,
    test: bool = False,
    course: bool = False,
    inspect: Callable[[nn.Module], object] | None = None,
    device: torch.device | str = "cpu",
) -> Outcome:
    """Train the task's network with this activation; the seed fixes the initial weights and the order of the batches.

    activation   one for all places of the network, or a mapping from places: {"gate": "sigmoid", "default": "tanh"}
    report   called as report(epoch, validation loss) after each epoch (from 0) with a finite loss; the training ends where it
             returns something true, or raises
    test     also measure loss and scores on the test part, which is not touched otherwise: leave that to the final comparison
    course   also record the parameters of the activations over the training
    inspect  called with the network before its first step and after its last one, to look at it

    The same task, activation, seed and number of threads give the same bits on a CPU. The global generators keep their state.
    """
    t = task(what)
    build = network_builder(t, activation)
    split = t.split(seed, held_out=test)
    with seeded(seed, torch.device(device)):
        start = time.perf_counter()
        part, validation = split.train.to(device), split.validation.to(device)
        begun = begin_training(t, build, len(part))
        model = begun.model.to(device)
        if t.prepare is not None:
            t.prepare(model, part)
        if inspect is not None:
            inspect(model)
        history: list[Judgement] = []
        courses: list[dict[str, tuple[float, ...]]] = []
        for epoch, judged in enumerate(_epochs(t, begun, part, validation)):
            history.append(judged)
            courses += [parameter_values(model)] if course else []
            if report is not None and judged.loss < math.inf and report(epoch, judged.loss):
                break
        if inspect is not None:
            inspect(model)
        tested = judge_network(model, t, split.test.to(device)) if test else None
        return gather_outcome(history, tested, courses, time.perf_counter() - start)


def check_device(device: torch.device | str) -> None:
    """Refuse a device that networks cannot be trained on here, before the work and not in each of its parts."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from None


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread for a while: results do not depend on the number of workers, and on small networks more threads only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators for a while and give them their states back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def begin_training(t: Task, build: Callable[[], nn.Module], n: int) -> Start:
    """Draw from the generator's present state what a training of n inputs begins with."""
    # The network comes last: an activation that draws random numbers must not change the batches.
    orders = draw_orders(t.recipe.epochs, n)
    draw = None
    if t.recipe.augmentation != "none":
        draw = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    return Start(orders, draw, build())


def gather_outcome(
    history: Sequence[Judgement],
    tested: Judgement | None,
    courses: Sequence[Mapping[str, tuple[float, ...]]],
    seconds: float,
) -> Outcome:
    """An Outcome from the judgements after each epoch and on the test part, and the parameters after each epoch, if recorded."""
    last = history[-1]
    return Outcome(
        validation_loss=last.loss,
        validation_scores=last.scores,
        seconds=seconds,
        history=tuple(judged.loss for judged in history),
        diverged=last.loss == math.inf,
        test_loss=None if tested is None else tested.loss,
        test_scores=None if tested is None else tested.scores,
        course={name: tuple(after[name] for after in courses) for name in courses[0]} if courses else None,
    )


def _epochs(t: Task, begun: Start, part: Part, validation: Part) -> Iterator[Judgement]:
    """Train by the recipe of the task; judges the network after each epoch, and ends where the loss is inf."""
    for _ in fit_epochs(begun.model, part, t.recipe, LOSSES[t.loss].function, begun.orders, begun.draw):
        yield (judged := judge_network(begun.model, t, validation))
        if judged.loss == math.inf:
            return


@torch.no_grad()
def judge_network(model: nn.Module, t: Task, part: Part) -> Judgement:
    """Run a network of the task over a part of the data, and judge its outputs."""
    return judge_outputs(compute_outputs(model, part.inputs), t, part)


def judge_outputs(outputs: Tensor, t: Task, part: Part) -> Judgement:
    """The mean loss of these outputs for a part of the data, and each measure of the task."""
    mean = float(LOSSES[t.loss].function(outputs, part.targets))
    loss = mean if math.isfinite(mean) else math.inf
    return Judgement(loss, {m.name: m.value(outputs, part.targets, loss, part.deviation) for m in t.measured})
