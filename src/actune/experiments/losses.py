"""What networks are trained for: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal
from torch.nn import functional

from .measures import cross_entropy

__all__ = ["LOSSES", "OUTLIERS", "Loss"]


@dataclass(frozen=True)
class Loss:
    """What a network is trained for.

    function   (outputs, targets) -> the mean, differentiable
    classes    targets are integers, outputs (…, classes) their scores; without, outputs and targets are numbers of one shape
    measure    the row of `MEASURES` that comparisons are about unless a task names others
    predicts   the distribution of targets that outputs stand for: `function` is its negative log-likelihood, up to constants;
               None where they stand for none
    """

    function: Callable[[Tensor, Tensor], Tensor]
    classes: bool
    measure: str
    predicts: Callable[[Tensor], Distribution] | None


def _class(scores: Tensor) -> Distribution:
    return Categorical(logits=scores, validate_args=False)


def _around(outputs: Tensor) -> Distribution:
    return Normal(outputs, 1.0, validate_args=False)


# -- anomalies: outputs are scores, larger for what is stranger; targets are 0 for what is normal ------------------------------

OUTLIERS = 0.1  # the share of training inputs that may lie beyond the boundary: nu of Ruff et al., 2018


def _normal(scores: Tensor, targets: Tensor) -> Tensor:
    """The scores of what is normal: all of a training part, and of the others what the network is to make small."""
    return scores[targets == 0]


def _mean_score(scores: Tensor, targets: Tensor) -> Tensor:
    return _normal(scores, targets).mean()


def _beyond_boundary(scores: Tensor, targets: Tensor) -> Tensor:
    """The soft-boundary objective of Deep SVDD but for its radius, which is not learned by gradients; scores are distance² - R²."""
    return _normal(scores, targets).relu().mean() / OUTLIERS


LOSSES = {
    "cross_entropy": Loss(cross_entropy, True, "accuracy", _class),
    "next_character": Loss(cross_entropy, True, "bits per character", _class),
    "mse": Loss(functional.mse_loss, False, "RMSE", _around),
    "score": Loss(_mean_score, False, "AUROC", None),
    "soft boundary": Loss(_beyond_boundary, False, "AUROC", None),
}
