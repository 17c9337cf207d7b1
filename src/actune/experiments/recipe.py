"""How a network is trained, as data: optimizer, learning rate, batches, augmentation, clipping.

A new optimizer is one more row of `OPTIMIZERS`, a new schedule one more row of `SCHEDULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..messages import suggestion
from ..surgery import parameter_groups
from .data.augmentation import AUGMENTATIONS

__all__ = ["OPTIMIZERS", "SCHEDULES", "Recipe", "learning_rate_at", "make_optimizer", "model_groups"]


@dataclass(frozen=True)
class Requirement:
    """What a number of a recipe must be: the test, and the words for it in a message."""

    met: Callable[[Any], bool]
    words: str

    def check(self, name: str, value: Any) -> None:
        if not self.met(value):
            raise ValueError(f"{name} must be {self.words}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_shares(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(_is_number(v) and 0 <= v < 1 for v in values)


COUNT = Requirement(lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1, "a whole number of at least 1")
POSITIVE = Requirement(lambda v: _is_number(v) and v > 0, "a positive number")
NOT_NEGATIVE = Requirement(lambda v: _is_number(v) and v >= 0, "a number of at least 0")
BELOW_1 = Requirement(lambda v: _is_number(v) and 0 <= v < 1, "a number from 0 to below 1")
FLAG = Requirement(lambda v: isinstance(v, bool), "True or False")
PAIR = Requirement(lambda v: _are_shares(v) and len(v) == 2, "two numbers from 0 to below 1")
RISING = Requirement(
    lambda v: _are_shares(v) and len(v) > 0 and list(v) == sorted(set(v)), "rising shares of the training, such as (0.5, 0.75)"
)


# -- optimizers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OptimizerRow:
    """An optimizer of torch, and the options of it that a recipe may set; what it leaves out has torch's default."""

    make: Callable[..., Optimizer]
    options: Mapping[str, Requirement]


_ADAM = {"betas": PAIR, "eps": POSITIVE, "amsgrad": FLAG}
OPTIMIZERS = {
    "adam": OptimizerRow(partial(torch.optim.Adam, fused=True), _ADAM),
    "adamw": OptimizerRow(partial(torch.optim.AdamW, fused=True), _ADAM),
    "sgd": OptimizerRow(partial(torch.optim.SGD, fused=True), {"momentum": BELOW_1, "nesterov": FLAG, "dampening": BELOW_1}),
    "rmsprop": OptimizerRow(torch.optim.RMSprop, {"alpha": BELOW_1, "eps": POSITIVE, "momentum": BELOW_1, "centered": FLAG}),
}


# -- schedules of the learning rate --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScheduleRow:
    """How the learning rate goes on after the warm-up.

    factor   (share of the training that is done, share that was warm-up, options) -> what multiplies the recipe's learning rate
    """

    factor: Callable[..., float]
    options: Mapping[str, Requirement]


def constant_rate(done: float, begin: float) -> float:
    """Always the recipe's learning rate."""
    return 1.0


def linear_decay(done: float, begin: float, *, final: float = 0.0) -> float:
    """A straight line to `final` times the learning rate."""
    return 1 - (1 - final) * (done - begin) / (1 - begin)


def cosine_decay(done: float, begin: float, *, final: float = 0.0) -> float:
    """Half a cosine wave to `final` times the learning rate (Loshchilov and Hutter, arXiv:1608.03983)."""
    return final + (1 - final) * (1 + math.cos(math.pi * (done - begin) / (1 - begin))) / 2


def step_decay(done: float, begin: float, *, at: Iterable[float] = (0.5, 0.75), factor: float = 0.1) -> float:
    """Constant pieces: at each of these shares of the training the learning rate is multiplied by `factor`."""
    return float(factor ** sum(done >= share for share in at))


def one_cycle(done: float, begin: float, *, peak: float = 0.3, first: float = 0.04, final: float = 4e-6) -> float:
    """Up from `first` times the learning rate to all of it at the share `peak`, and down to `final` times (arXiv:1708.07120)."""
    if done < peak:
        return cosine_decay(1 - done / peak, 0.0, final=first)
    return cosine_decay((done - peak) / (1 - peak), 0.0, final=final)


SCHEDULES = {
    "constant": ScheduleRow(constant_rate, {}),
    "linear": ScheduleRow(linear_decay, {"final": NOT_NEGATIVE}),
    "cosine": ScheduleRow(cosine_decay, {"final": NOT_NEGATIVE}),
    "steps": ScheduleRow(step_decay, {"at": RISING, "factor": POSITIVE}),
    "one cycle": ScheduleRow(one_cycle, {"peak": BELOW_1, "first": NOT_NEGATIVE, "final": NOT_NEGATIVE}),
}


# -- the recipe ----------------------------------------------------------------------------------------------------------

_NUMBERS = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "learning_rate": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "warmup": BELOW_1,
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; without changes by Adam with PyTorch's defaults. Bad values are a ValueError of one line.

        Recipe(epochs=200, batch_size=128, learning_rate=0.1, optimizer="sgd", optimizer_options={"momentum": 0.9},
               weight_decay=5e-4, schedule="steps", schedule_options={"at": (0.3, 0.6, 0.8), "factor": 0.2},
               augmentation="crop and flip")

    Moments are shares of the training, so that a training of other length keeps the shape of its schedule.

    optimizer      a row of `OPTIMIZERS`, with its options as torch calls them
    weight_decay   as this optimizer of torch applies it, but never to parameters of activations
    schedule       a row of `SCHEDULES`, with its options; evaluated before each step
    warmup         the share of the training over which the learning rate first rises in a straight line
    augmentation   a row of `AUGMENTATIONS`: what happens to each batch of training images
    clip           the longest that the gradient of all parameters may be; None: as long as it is
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    weight_decay: float = 0.0
    schedule: str = "constant"
    schedule_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    warmup: float = 0.0
    augmentation: str = "none"
    clip: float | None = None

    def __post_init__(self) -> None:
        for name, requirement in _NUMBERS.items():
            requirement.check(name, getattr(self, name))
        if self.clip is not None:
            POSITIVE.check("clip", self.clip)
        tables: Mapping[str, Mapping[str, Any]] = {
            "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "augmentation": AUGMENTATIONS,
        }  # fmt: skip
        for name, table in tables.items():
            if (chosen := getattr(self, name)) not in table:
                raise ValueError(f"unknown {name} {chosen!r}{suggestion(str(chosen), table)} (known: {', '.join(table)})")
        _check_options("optimizer", self.optimizer, self.optimizer_options, OPTIMIZERS[self.optimizer].options)
        _check_options("schedule", self.schedule, self.schedule_options, SCHEDULES[self.schedule].options)
        momentum, dampening = (self.optimizer_options.get(name, 0.0) for name in ("momentum", "dampening"))
        if self.optimizer_options.get("nesterov") and (momentum == 0 or dampening != 0):
            raise ValueError(f"nesterov=True needs a momentum above 0 and no dampening, got momentum={momentum}, "
                             f"dampening={dampening}")  # fmt: skip
        if self.schedule == "one cycle" and self.warmup:
            raise ValueError(f"the schedule 'one cycle' warms up by itself; leave out warmup={self.warmup}")


def _check_options(kind: str, chosen: str, options: Mapping[str, Any], known: Mapping[str, Requirement]) -> None:
    for name, value in options.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"the {kind} {chosen!r} has no option {name!r}{suggestion(name, known)} ({has})")
        known[name].check(f"the option {name!r} of the {kind} {chosen!r}", value)


def model_groups(model: nn.Module, recipe: Recipe) -> Iterable[Tensor] | list[dict[str, Any]]:
    """The parameters of a model for its optimizer; where weights decay, those of activations are a group that does not."""
    return parameter_groups(model, recipe.weight_decay) if recipe.weight_decay else model.parameters()


def make_optimizer(recipe: Recipe, groups: Iterable[Tensor] | list[dict[str, Any]]) -> Optimizer:
    """The recipe's optimizer of these parameters, or groups of them."""
    row = OPTIMIZERS[recipe.optimizer]
    return row.make(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, **recipe.optimizer_options)


def learning_rate_at(recipe: Recipe, step: int, total: int) -> float:
    """The learning rate of a step, counted from 0, in a training of so many steps."""
    done = step / total
    if step + 1 < recipe.warmup * total:
        return recipe.learning_rate * (step + 1) / (recipe.warmup * total)
    factor = SCHEDULES[recipe.schedule].factor(done, min(done, recipe.warmup), **recipe.schedule_options)
    return recipe.learning_rate * factor
