"""Training of one network with one activation function and one seed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...catalogue.registry import Family, resolve
from ...module import Activation
from ..data.parts import Part
from ..losses import LOSSES, Loss
from ..models.small import ActivationFactory
from ..tasks import Task, task

__all__ = [
    "ActivationLike",
    "Outcome",
    "activation_factory",
    "begun",
    "check_device",
    "evaluate",
    "judge",
    "one_thread",
    "outcome",
    "parameters",
    "seeded",
    "train",
]

ActivationLike = str | Family | nn.Module | type[nn.Module]  # a name or formula, a family, a module to copy, or its class
EVALUATED = 512  # inputs at a time, for the memory of a convolutional network


@dataclass(frozen=True)
class Outcome:
    """What one training gave. Equal outcomes agree in every bit but the seconds.

    validation_loss   after the last epoch, not the luckiest one; inf if the training diverged
    history           the validation loss after each epoch
    accuracy          None for a task without classes
    test_…            None unless asked for; the loss is inf where the network gives no finite one
    diverged          the validation loss became infinite or nan, and training stopped there
    course            if asked for: "layer.parameter" -> after each epoch, its values, one for each channel (neuron, …)
    """

    validation_loss: float
    validation_accuracy: float | None
    test_accuracy: float | None
    seconds: float = field(compare=False)
    history: tuple[float, ...]
    diverged: bool
    test_loss: float | None = None
    course: Mapping[str, tuple[tuple[float, ...], ...]] | None = field(default=None, hash=False)


def train(
    what: Task | str,
    activation: ActivationLike,
    seed: int,
    *,
    report: Callable[[int, float], object] | None = None,
    test: bool = False,
    course: bool = False,
    device: torch.device | str = "cpu",
) -> Outcome:
    """Train the task's network with this activation everywhere; the seed fixes the initial weights and the order of the batches.

    report   called as report(epoch, validation loss) after each epoch (from 0) with a finite loss; the training ends where it
             returns something true, or raises
    test     also measure loss and accuracy on the test part, which is not touched otherwise: leave that to the final comparison
    course   also record the parameters of the activations over the training

    The same task, activation, seed and number of threads give the same bits on a CPU. The global generators keep their state.
    """
    t = task(what)
    factory = activation_factory(activation, t.scope)
    split = t.split(seed, held_out=test)
    with seeded(seed, torch.device(device)):
        start = time.perf_counter()
        part, validation = split.train.to(device), split.validation.to(device)
        orders, model = begun(t, factory, len(part))
        model = model.to(device)
        history: list[tuple[float, float | None]] = []
        courses: list[dict[str, tuple[float, ...]]] = []
        for epoch, (loss, accuracy) in enumerate(_epochs(t, model, part, validation, orders)):
            history.append((loss, accuracy))
            courses += [parameters(model)] if course else []
            if report is not None and loss < math.inf and report(epoch, loss):
                break
        tested = evaluate(model, LOSSES[t.loss], split.test.to(device)) if test else (None, None)
        return outcome(history, tested, courses, time.perf_counter() - start)


def check_device(device: torch.device | str) -> None:
    """Refuse a device that networks cannot be trained on here, before the work and not in each of its parts."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from None


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread a worker: the same result with any number of workers, and on small networks more threads only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def activation_factory(activation: ActivationLike, scope: str) -> ActivationFactory:
    """Build new modules of this activation for any width; the scope holds for names, formulas and families.

    A module is copied, an Activation with its initial values and its own scope; the given one is never used itself.
    """
    if isinstance(activation, Activation):
        return lambda width, dim=-1: activation.fresh(channels=_channels(activation.scope, width), dim=dim)
    if isinstance(activation, nn.Module):
        return lambda width, dim=-1: copy.deepcopy(activation)
    if isinstance(activation, type) and issubclass(activation, nn.Module):
        return lambda width, dim=-1: activation()
    family = resolve(activation)
    return lambda width, dim=-1: Activation(family, scope=scope, channels=_channels(scope, width), dim=dim)


def _channels(scope: str, width: int) -> int | None:
    return None if scope == "layer" else width


def begun(t: Task, factory: ActivationFactory, n: int) -> tuple[list[Tensor], nn.Module]:
    """The order of n training inputs in each epoch, and the network, both of the generator's present state."""
    orders = [torch.randperm(n) for _ in range(t.epochs)]  # first, so that every activation sees the same batches
    return orders, t.model(factory)


def outcome(
    history: Sequence[tuple[float, float | None]],
    tested: tuple[float | None, float | None],
    courses: Sequence[Mapping[str, tuple[float, ...]]],
    seconds: float,
) -> Outcome:
    """From loss and accuracy after each epoch and on the test part, and the parameters after each epoch, if they were recorded."""
    loss, accuracy = history[-1]
    return Outcome(
        validation_loss=loss,
        validation_accuracy=accuracy,
        test_accuracy=tested[1],
        seconds=seconds,
        history=tuple(loss for loss, _ in history),
        diverged=loss == math.inf,
        test_loss=tested[0],
        course={name: tuple(after[name] for after in courses) for name in courses[0]} if courses else None,
    )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators for a while and give them their states back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _epochs(
    t: Task, model: nn.Module, part: Part, validation: Part, orders: Sequence[Tensor]
) -> Iterator[tuple[float, float | None]]:
    """Train by the recipe of the task; gives validation loss and accuracy after each epoch, and ends where the loss is inf."""
    optimizer = torch.optim.Adam(model.parameters(), lr=t.learning_rate, fused=True)
    loss = LOSSES[t.loss]
    for order in orders:
        model.train()
        for batch in order.to(part.inputs.device).split(t.batch_size):
            optimizer.zero_grad()
            loss.function(model(part.inputs[batch]), part.targets[batch]).backward()
            optimizer.step()
        yield (found := evaluate(model, loss, validation))
        if found[0] == math.inf:
            return


@torch.no_grad()
def parameters(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """The parameters of its activations as their formulas see them."""
    modules = ((path, m) for path, m in model.named_modules() if isinstance(m, Activation))
    return {f"{path}.{name}": tuple(v.flatten().tolist()) for path, m in modules for name, v in m.values().items()}


@torch.no_grad()
def evaluate(model: nn.Module, loss: Loss, part: Part) -> tuple[float, float | None]:
    """Mean loss, inf if it is not finite, and accuracy where there are classes."""
    model.eval()
    return judge(torch.cat([model(inputs) for inputs in part.inputs.split(EVALUATED)]), loss, part.targets)


def judge(outputs: Tensor, loss: Loss, targets: Tensor) -> tuple[float, float | None]:
    """The same of a network's outputs."""
    value = float(loss.function(outputs, targets))
    hits = int((outputs.argmax(-1) == targets).sum()) / targets.numel() if loss.classes else None
    return value if math.isfinite(value) else math.inf, hits
