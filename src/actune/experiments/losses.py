"""What tasks are trained for, and the number that their comparisons are about: one row each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal
from torch.nn import functional

__all__ = ["ACCURACY", "LOSSES", "Loss", "Measure"]


@dataclass(frozen=True)
class Measure:
    """The number that a comparison is about, and how it is written.

    of        (loss, accuracy) on the test part -> the number; without classes the accuracy is None
    larger    whether a larger number is the better one; a gain is positive where the function is better
    scale, digits, unit   what is printed is `scale` times the number, with so many decimals
    gain      a format for a signed gain
    """

    name: str
    of: Callable[[float, float | None], float]
    larger: bool = False
    scale: float = 1.0
    digits: int = 3
    unit: str = ""
    gain: str = "a gain of {}"

    def over(self, a: float, b: float) -> float:
        """By how much a is better than b."""
        return 0.0 if a == b else a - b if self.larger else b - a

    def show(self, number: float) -> str:
        return f"{self.scale * number:.{self.digits}f}{self.unit}"

    def signed(self, number: float) -> str:
        return f"{self.scale * number:+.{self.digits}f}"


def _accuracy(loss: float, accuracy: float | None) -> float:
    assert accuracy is not None  # a loss with this measure has classes
    return accuracy


def _bits(loss: float, accuracy: float | None) -> float:
    return loss / math.log(2)


def _root(loss: float, accuracy: float | None) -> float:
    return math.sqrt(loss)


ACCURACY = Measure("accuracy", _accuracy, larger=True, scale=100, digits=1, unit=" %", gain="{} points")
BITS = Measure("bits a character", _bits)
ERROR = Measure("error", _root)  # root mean square, in standard deviations of the targets that were trained on


@dataclass(frozen=True)
class Loss:
    """What a network is trained for.

    function   (outputs, targets) -> the mean, differentiable
    classes    targets are integers, outputs (…, classes) their scores; without, outputs and targets are numbers of one shape
    measure    what comparisons are about
    predicts   the distribution of targets that outputs stand for: `function` is its negative log-likelihood, up to constants
    """

    function: Callable[[Tensor, Tensor], Tensor]
    classes: bool
    measure: Measure
    predicts: Callable[[Tensor], Distribution]


def _class(scores: Tensor) -> Distribution:
    return Categorical(logits=scores, validate_args=False)


def _around(outputs: Tensor) -> Distribution:
    return Normal(outputs, 1.0, validate_args=False)


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean over all places of targets, shape (n, …); scores have the classes last."""
    return functional.cross_entropy(scores.flatten(0, -2), targets.flatten())


LOSSES = {
    "cross_entropy": Loss(cross_entropy, True, ACCURACY, _class),
    "next_character": Loss(cross_entropy, True, BITS, _class),
    "mse": Loss(functional.mse_loss, False, ERROR, _around),
}
