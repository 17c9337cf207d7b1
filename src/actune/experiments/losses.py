"""What networks are trained for: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal
from torch.nn import functional

from .measures import cross_entropy

__all__ = ["LOSSES", "Loss"]


@dataclass(frozen=True)
class Loss:
    """What a network is trained for.

    function   (outputs, targets) -> the mean, differentiable
    classes    targets are integers, outputs (…, classes) their scores; without, outputs and targets are numbers of one shape
    measure    the row of `MEASURES` that comparisons are about unless a task names others
    predicts   the distribution of targets that outputs stand for: `function` is its negative log-likelihood, up to constants
    """

    function: Callable[[Tensor, Tensor], Tensor]
    classes: bool
    measure: str
    predicts: Callable[[Tensor], Distribution]


def _class(scores: Tensor) -> Distribution:
    return Categorical(logits=scores, validate_args=False)


def _around(outputs: Tensor) -> Distribution:
    return Normal(outputs, 1.0, validate_args=False)


LOSSES = {
    "cross_entropy": Loss(cross_entropy, True, "accuracy", _class),
    "next_character": Loss(cross_entropy, True, "bits per character", _class),
    "mse": Loss(functional.mse_loss, False, "RMSE", _around),
}
