"""Task: data, network and recipe under one name. A new task is one more declaration in `TASKS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ..messages import shorten, suggestion
from .data.files import california, cifar10, cifar100, idx_images, series, sign_digits, text, uci
from .data.parts import Split, digits
from .data.synthetic import OUTPUTS, VARIABLES, feynman, harmonic, polynomial
from .losses import LOSSES
from .models.small import ActivationFactory, all_convolutional, causal, mlp, strided

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

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(
                f"the task {self.name!r} has the loss {self.loss!r}{suggestion(self.loss, LOSSES)} (known: {', '.join(LOSSES)})"
            )

    def split(self, seed: int, held_out: bool = False) -> Split:
        """The data of a training with this seed."""
        return self.data(seed, held_out) if self.drawn else self.data()


def _regression(
    name: str, summary: str, data: Callable[..., Split], *, inputs: int, epochs: int, outputs: int = 1, drawn: bool = False
) -> Task:
    """Numbers by a perceptron of four layers, trained on the squared error."""
    model = partial(mlp, inputs=inputs, outputs=outputs, width=64, layers=4)
    return Task(name, summary, data, model, epochs, loss="mse", drawn=drawn)


def _continued(name: str, what: str, data: Callable[..., Split], inputs: int) -> Task:
    summary = f"{what}, continued outside the range that was trained on (no download), by a 4-layer perceptron of width 64"
    return _regression(name, summary, data, inputs=inputs, outputs=OUTPUTS, epochs=200, drawn=True)


def _table(name: str, rows: int, inputs: int, epochs: int) -> Task:
    summary = f"UCI's {name}, {rows:,} rows of {inputs} numbers, by a 4-layer perceptron of width 64"
    return _regression(f"uci-{name}", summary, partial(uci, name), inputs=inputs, epochs=epochs)


def _series(name: str, what: str, data: Callable[..., Split], epochs: int) -> Task:
    summary = f"{what}: the next value from the last 24 changes, by a 4-layer perceptron of width 64"
    return _regression(name, summary, data, inputs=24, epochs=epochs)


def _grey(name: str, what: str, data: Callable[[], Split], *, side: int, widths: tuple[int, ...], epochs: int) -> Task:
    summary = f"{what}, {side} × {side}, by {len(widths)} convolutions and a hidden layer"
    return Task(name, summary, data, partial(strided, side=side, widths=widths, outputs=10), epochs)


def _colour(name: str, what: str, data: Callable[[], Split], outputs: int, epochs: int) -> Task:
    summary = f"{what}, 32 × 32 in colour, by a small All-CNN with batch normalisation"
    return Task(name, summary, data, partial(all_convolutional, widths=(32, 64), outputs=outputs), epochs)


TASKS: dict[str, Task] = {
    declared.name: declared
    for declared in (
        Task(
            name="digits",
            summary="8 × 8 handwritten digits (scikit-learn, no download), an 8-layer perceptron of width 64 without normalisation",
            data=digits,
            model=partial(mlp, inputs=64, outputs=10, width=64, layers=8),
        ),
        _continued("ood-polynomial", "random polynomials of degree 4 in two variables", polynomial, 2),
        _continued("ood-harmonic", "sums of three sine waves", harmonic, 1),
        _continued("ood-feynman", "equations of Feynman's lectures", feynman, VARIABLES),
        _grey("mnist", "handwritten digits, 10,000 of MNIST", partial(idx_images, "mnist"), side=28, widths=(16, 32, 32), epochs=5),
        _grey("fashion-mnist", "clothes, 10,000 of Fashion-MNIST", partial(idx_images, "fashion-mnist"), side=28,
              widths=(16, 32, 32), epochs=5),
        _grey("sign-digits", "hands that show digits", sign_digits, side=64, widths=(16, 32, 32, 32), epochs=12),
        _colour("cifar10", "45,000 images of CIFAR-10", cifar10, 10, epochs=5),
        _colour("cifar100", "18,000 images of CIFAR-100", cifar100, 100, epochs=8),
        _table("concrete", 1_030, 8, epochs=100),
        _table("energy", 768, 8, epochs=200),
        _table("kin8nm", 8_192, 8, epochs=20),
        _table("naval-propulsion-plant", 11_934, 16, epochs=20),
        _table("power-plant", 9_568, 4, epochs=20),
        _table("protein-tertiary-structure", 45_730, 9, epochs=15),
        _table("wine-quality-red", 1_599, 11, epochs=20),
        _table("yacht", 308, 6, epochs=200),
        _regression("california-housing", "prices of 20,640 block groups by a 4-layer perceptron of width 64", california, inputs=8,
                    epochs=10),
        _series("airline-passengers", "passengers a month", partial(series, "airline-passengers", 1, logarithm=True), epochs=60),
        _series("temperatures", "Melbourne's minimum temperature a day", partial(series, "daily-min-temperatures", 1), epochs=8),
        _series("sunspots", "sunspots a month", partial(series, "monthly-sunspots", 1), epochs=8),
        _series("sp500", "S&P 500 a day", partial(series, "sp500-2000", 4, logarithm=True), epochs=5),
        _series("etth1", "oil temperature of a transformer an hour", partial(series, "ETTh1", 7), epochs=5),
        Task(
            name="tiny-shakespeare",
            summary="the next character of Tiny Shakespeare, by four dilated causal convolutions of width 64",
            data=text,
            model=partial(causal, symbols=128),
            epochs=2,
            loss="next_character",
        ),
    )
}  # fmt: skip


def list_tasks() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(TASKS)


def task(name: str | Task) -> Task:
    """The task of this name; a Task is returned as it is, an unknown name raises ValueError with the nearest known one."""
    if isinstance(name, Task):
        return name
    if not isinstance(name, str):
        raise ValueError(f"a task must be a Task or the name of one, got {shorten(repr(name))} (known: {', '.join(list_tasks())})")
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}{suggestion(name, TASKS)} (known: {', '.join(list_tasks())})")
    return TASKS[name]
