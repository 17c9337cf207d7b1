"""Task: data, network and recipe under one name. A new task is one more declaration in `DECLARED`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from torch import nn

from ..messages import shorten, suggestion
from .data.images import cifar10, cifar100, idx_images, sign_digits
from .data.parts import Part, Split, digits
from .data.sequences import series, text
from .data.synthetic import OUTPUTS, VARIABLES, feynman, harmonic, polynomial
from .data.tables import california, uci
from .losses import LOSSES
from .measures import MEASURES, Measure
from .models.factory import ActivationFactory
from .models.small import all_convolutional, causal, mlp, strided
from .recipe import Recipe

__all__ = ["TASKS", "Task", "list_tasks", "task"]


@dataclass(frozen=True)
class Task:
    """A problem on which activation functions compete; everything but the function and the seed is fixed here.

    summary        one line
    data           gives the split, which belongs to the task: no seed changes it, unless it is drawn
    model          builds the network, untrained, from a factory of activations
    recipe         how the network is trained
    loss           a row of `LOSSES`: what training minimises
    measures       rows of `MEASURES`: what is measured besides the loss, and the first is what comparisons are about; left out, the
                   measure of the loss
    scope          whether a learning activation has its parameters for each layer, channel or neuron
    fixed          functions that do not compete, by their places: {"gate": "sigmoid"}; all other places have the one that does
    prepare        what is done to the network before its training, (network, training part): pretraining, say. It may draw from
                   torch's generator, which has the training's seed; the batches stay what they are without it
    drawn          each seed has a problem of its own, data(seed, held_out); trainings that are tested have held-out ones, so that
                   neither a search nor a ranking ever meets a problem on which a claim is measured

    `data`, `model` and `prepare` are module-level functions (or partials of them), so that a task can be sent to another process.
    """

    name: str
    summary: str
    data: Callable[..., Split]
    model: Callable[[ActivationFactory], nn.Module]
    recipe: Recipe = field(default_factory=Recipe)
    loss: str = "cross_entropy"
    measures: tuple[str, ...] = ()
    scope: Literal["layer", "channel", "neuron"] = "channel"
    fixed: Mapping[str, str] = field(default_factory=dict, hash=False)
    drawn: bool = False
    prepare: Callable[[nn.Module, Part], None] | None = None

    def __post_init__(self) -> None:
        for what, given, table in (("loss", (self.loss,), LOSSES), ("measure", self.measures, MEASURES)):
            for name in given:
                if name not in table:
                    raise ValueError(
                        f"the task {self.name!r} has the {what} {name!r}{suggestion(str(name), table)} (known: {', '.join(table)})"
                    )
        classes = LOSSES[self.loss].classes
        for name in self.measures:
            if MEASURES[name].classes not in (None, classes):
                kind = "classes" if MEASURES[name].classes else "numbers"
                raise ValueError(f"the measure {name!r} of the task {self.name!r} is for {kind}; the loss {self.loss!r} is not")

    @property
    def measure(self) -> Measure:
        """What comparisons are about."""
        return MEASURES[(*self.measures, LOSSES[self.loss].measure)[0]]

    @property
    def measured(self) -> tuple[Measure, ...]:
        """All that is measured besides the loss; where there are classes, the accuracy too."""
        accuracy = ("accuracy",) if LOSSES[self.loss].classes else ()
        return tuple(MEASURES[name] for name in dict.fromkeys((self.measure.name, *self.measures, *accuracy)))

    def split(self, seed: int, held_out: bool = False) -> Split:
        """The data of a training with this seed."""
        return self.data(seed, held_out) if self.drawn else self.data()

    def with_recipe(self, **changes: Any) -> Task:
        """The task, trained otherwise: with_recipe(epochs=40, optimizer="adamw")."""
        return replace(self, recipe=replace(self.recipe, **changes))

    def trained_for(self, share: float) -> Task:
        """The task, trained for this share of its epochs, but at least one."""
        return self.with_recipe(epochs=max(1, round(share * self.recipe.epochs)))


# -- the tasks -----------------------------------------------------------------------------------------------------------


def _image_task(name: str, what: str, data: Callable[[], Split], *, side: int, widths: tuple[int, ...], epochs: int) -> Task:
    """Grey images by a small network of strided convolutions."""
    summary = f"{what}, {side} × {side}, by {len(widths)} convolutions and a hidden layer"
    return Task(name, summary, data, partial(strided, side=side, widths=widths, outputs=10), Recipe(epochs))


def _colour_images(name: str, what: str, data: Callable[[], Split], *, classes: int, epochs: int) -> Task:
    """Colour images by a small all-convolutional network."""
    summary = f"{what}, 32 × 32 in colour, by a small All-CNN with batch normalisation"
    return Task(name, summary, data, partial(all_convolutional, widths=(32, 64), outputs=classes), Recipe(epochs))


def _regression_task(
    name: str, what: str, data: Callable[..., Split], *, inputs: int, epochs: int, outputs: int = 1, drawn: bool = False
) -> Task:
    """Numbers by a perceptron of four layers, trained on the squared error."""
    model = partial(mlp, inputs=inputs, outputs=outputs, width=64, layers=4)
    return Task(name, f"{what} by a 4-layer perceptron of width 64", data, model, Recipe(epochs), loss="mse", drawn=drawn)


def _continued(name: str, what: str, data: Callable[..., Split], *, inputs: int) -> Task:
    what = f"{what}, continued outside the range that was trained on (no download),"
    return _regression_task(name, what, data, inputs=inputs, outputs=OUTPUTS, epochs=200, drawn=True)


def _table(name: str, *, rows: int, inputs: int, epochs: int) -> Task:
    return _regression_task(
        f"uci-{name}", f"UCI's {name}, {rows:,} rows of {inputs} numbers,", partial(uci, name), inputs=inputs, epochs=epochs
    )


def _series_task(name: str, what: str, file: str, column: int, *, epochs: int, logarithm: bool = False) -> Task:
    data = partial(series, file, column, logarithm=True) if logarithm else partial(series, file, column)
    return _regression_task(name, f"{what}: the next value from the last 24 changes,", data, inputs=24, epochs=epochs)


DECLARED = (
    Task(
        name="digits",
        summary="8 × 8 handwritten digits (scikit-learn, no download), an 8-layer perceptron of width 64 without normalisation",
        data=digits,
        model=partial(mlp, inputs=64, outputs=10, width=64, layers=8),
    ),
    _continued("ood-polynomial", "random polynomials of degree 4 in two variables", polynomial, inputs=2),
    _continued("ood-harmonic", "sums of three sine waves", harmonic, inputs=1),
    _continued("ood-feynman", "equations of Feynman's lectures", feynman, inputs=VARIABLES),
    _image_task("mnist", "handwritten digits, 10,000 of MNIST", partial(idx_images, "mnist"),
            side=28, widths=(16, 32, 32), epochs=5),
    _image_task("fashion-mnist", "clothes, 10,000 of Fashion-MNIST", partial(idx_images, "fashion-mnist"),
            side=28, widths=(16, 32, 32), epochs=5),
    _image_task("sign-digits", "hands that show digits", sign_digits, side=64, widths=(16, 32, 32, 32), epochs=12),
    _colour_images("cifar10", "45,000 images of CIFAR-10", cifar10, classes=10, epochs=5),
    _colour_images("cifar100", "18,000 images of CIFAR-100", cifar100, classes=100, epochs=8),
    _table("concrete", rows=1_030, inputs=8, epochs=100),
    _table("energy", rows=768, inputs=8, epochs=200),
    _table("kin8nm", rows=8_192, inputs=8, epochs=20),
    _table("naval-propulsion-plant", rows=11_934, inputs=16, epochs=20),
    _table("power-plant", rows=9_568, inputs=4, epochs=20),
    _table("protein-tertiary-structure", rows=45_730, inputs=9, epochs=15),
    _table("wine-quality-red", rows=1_599, inputs=11, epochs=20),
    _table("yacht", rows=308, inputs=6, epochs=200),
    _regression_task("california-housing", "prices of 20,640 block groups", california, inputs=8, epochs=10),
    _series_task("airline-passengers", "passengers per month", "airline-passengers", 1, logarithm=True, epochs=60),
    _series_task("temperatures", "Melbourne's minimum temperature per day", "daily-min-temperatures", 1, epochs=8),
    _series_task("sunspots", "sunspots per month", "monthly-sunspots", 1, epochs=8),
    _series_task("sp500", "S&P 500 per day", "sp500-2000", 4, logarithm=True, epochs=5),
    _series_task("etth1", "oil temperature of a transformer per hour", "ETTh1", 7, epochs=5),
    Task(
        name="tiny-shakespeare",
        summary="the next character of Tiny Shakespeare, by four dilated causal convolutions of width 64",
        data=text,
        model=partial(causal, symbols=128),
        recipe=Recipe(epochs=2),
        loss="next_character",
    ),
)  # fmt: skip
TASKS: dict[str, Task] = {declared.name: declared for declared in DECLARED}


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
