"""Task: data, network and recipe under one name. A new task is one more declaration in `TASKS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ..expr import suggestion
from .data import Split, digits
from .models import ActivationFactory, mlp

__all__ = ["TASKS", "Task", "list_tasks", "task"]


@dataclass(frozen=True)
class Task:
    """A problem on which activation functions compete; everything but the function and the seed is fixed here.

    summary        one line
    data           gives the split, which belongs to the task: no seed changes it, unless it is drawn
    model          builds the network, untrained, from a factory of activations
    epochs, batch_size, learning_rate   of Adam, with PyTorch's other defaults
    scope          whether a learning activation has its parameters for each layer, channel or neuron
    loss           a row of `LOSSES`: what Adam minimises and what comparisons measure
    drawn          each seed has a problem of its own, data(seed, held_out); trainings that are tested have held-out ones, so that
                   neither a search nor a ranking ever meets a problem on which a claim is measured

    `data` and `model` are module-level functions (or partials of them), so that a task can be sent to another process.
    """

    name: str
    summary: str
    data: Callable[..., Split]
    model: Callable[[ActivationFactory], nn.Module]
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    scope: Literal["layer", "channel", "neuron"] = "channel"
    loss: str = "cross_entropy"
    drawn: bool = False

    def split(self, seed: int, held_out: bool = False) -> Split:
        """The data of a training with this seed."""
        return self.data(seed, held_out) if self.drawn else self.data()


TASKS: dict[str, Task] = {
    declared.name: declared
    for declared in (
        Task(
            name="digits",
            summary="8 × 8 handwritten digits (scikit-learn, no download), an 8-layer perceptron of width 64 without normalisation",
            data=digits,
            model=partial(mlp, inputs=64, outputs=10, width=64, layers=8),
        ),
    )
}


def list_tasks() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(TASKS)


def task(name: str | Task) -> Task:
    """The task of this name; a Task is returned as it is, an unknown name raises ValueError with the nearest known one."""
    if isinstance(name, Task):
        return name
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}{suggestion(name, TASKS)} (known: {', '.join(list_tasks())})")
    return TASKS[name]
