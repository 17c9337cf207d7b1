"""The numbers that comparisons are about: one row each, computed from a network's outputs and the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["MEASURES", "Measure", "cross_entropy"]


@dataclass(frozen=True)
class Measure:
    """A number that says how well a network does, and how it is written.

    of        (outputs, targets, loss) -> the number, over a whole part of the data; the loss is the mean that training minimises
    larger    whether a larger number is the better one; a gain is positive where the function is better
    classes   True: targets are classes, and outputs have their scores last; False: outputs and targets are numbers of one shape;
              None: it depends on neither
    original  whether it is in the units of the published data: the deviation of the targets times what `of` gives
    scale, digits, unit   what is printed is `scale` times the number, with so many decimals
    gain      a format for a signed gain
    """

    name: str
    of: Callable[[Tensor, Tensor, float], float]
    larger: bool = False
    classes: bool | None = None
    scale: float = 1.0
    digits: int = 3
    unit: str = ""
    gain: str = "a gain of {}"
    original: bool = False

    def value(self, outputs: Tensor, targets: Tensor, loss: float, deviation: float = 1.0) -> float:
        """The number; where smaller is better, inf for outputs that give none, such as those of a network that diverged."""
        number = self.of(outputs, targets, loss) * (deviation if self.original else 1)
        return number if self.larger or math.isfinite(number) else math.inf

    def over(self, a: float, b: float) -> float:
        """By how much a is better than b."""
        return 0.0 if a == b else a - b if self.larger else b - a

    def to_json(self) -> dict[str, Any]:
        """What it is called and how it is printed, as plain data."""
        return {name: getattr(self, name) for name in ("name", "larger", "scale", "digits", "unit", "gain")}

    def show(self, number: float) -> str:
        return f"{self.scale * number:.{self.digits}f}{self.unit}"

    def signed(self, number: float) -> str:
        return f"{self.scale * number:+.{self.digits}f}"


# -- classes -------------------------------------------------------------------------------------------------------------


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """The mean over all places of targets, shape (n, …); scores have the classes last."""
    return functional.cross_entropy(scores.flatten(0, -2), targets.flatten())


def _accuracy(scores: Tensor, targets: Tensor, loss: float) -> float:
    return int((scores.argmax(-1) == targets).sum()) / targets.numel()


def _top_5(scores: Tensor, targets: Tensor, loss: float) -> float:
    best = scores.topk(min(5, scores.shape[-1])).indices
    return int((best == targets[..., None]).sum()) / targets.numel()


def _macro_f1(scores: Tensor, targets: Tensor, loss: float) -> float:
    """The mean over all classes that are there or were predicted of 2 TP / (2 TP + FP + FN)."""
    classes = scores.shape[-1]
    predicted, true = scores.argmax(-1).flatten(), targets.flatten()
    hits = torch.bincount(true[predicted == true], minlength=classes).double()
    total = (torch.bincount(predicted, minlength=classes) + torch.bincount(true, minlength=classes)).double()
    return float((2 * hits / total)[total > 0].mean())


def _nats(scores: Tensor, targets: Tensor, loss: float) -> float:
    return float(cross_entropy(scores, targets))


def _bits(scores: Tensor, targets: Tensor, loss: float) -> float:
    return _nats(scores, targets, loss) / math.log(2)


def _perplexity(scores: Tensor, targets: Tensor, loss: float) -> float:
    nats = _nats(scores, targets, loss)
    return math.exp(nats) if nats < 700 else math.inf  # beyond, exp overflows


# -- anomalies -----------------------------------------------------------------------------------------------------------


def _auroc(outputs: Tensor, targets: Tensor, loss: float) -> float:
    """The share of pairs, one of each class, that the outputs order as the targets do; ties count one half.

    Outputs are one number for each target, larger for class 1, or the scores of two classes. nan where a class is missing.
    """
    flat = targets.flatten() > 0
    scores = outputs[..., 1] - outputs[..., 0] if outputs.numel() == 2 * targets.numel() else outputs
    scores = scores.flatten().double().nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    # The sum of the ranks of class 1 counts the pairs (Mann and Whitney, 1947); equal outputs share the mean of their ranks.
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    ranks = (count.cumsum(0) - (count - 1) / 2)[place]
    ones, zeros = int(flat.sum()), int((~flat).sum())
    if not ones or not zeros:
        return math.nan
    return (float(ranks[flat].sum()) - ones * (ones + 1) / 2) / (ones * zeros)


# -- numbers -------------------------------------------------------------------------------------------------------------


def _rmse(outputs: Tensor, targets: Tensor, loss: float) -> float:
    return math.sqrt(float(functional.mse_loss(outputs, targets)))


def _mae(outputs: Tensor, targets: Tensor, loss: float) -> float:
    return float(functional.l1_loss(outputs, targets))


def _loss(outputs: Tensor, targets: Tensor, loss: float) -> float:
    return loss


MEASURES = {
    row.name: row
    for row in (
        Measure("accuracy", _accuracy, larger=True, classes=True, scale=100, digits=1, unit=" %", gain="{} points"),
        Measure("top-5 accuracy", _top_5, larger=True, classes=True, scale=100, digits=1, unit=" %", gain="{} points"),
        Measure("macro F1", _macro_f1, larger=True, classes=True, scale=100, digits=1, unit=" %", gain="{} points"),
        Measure("AUROC", _auroc, larger=True, scale=100, digits=1, unit=" %", gain="{} points"),
        Measure("bits per character", _bits, classes=True),
        Measure("nats per character", _nats, classes=True),
        Measure("perplexity", _perplexity, classes=True, digits=2),
        Measure("RMSE", _rmse, classes=False),
        Measure("MAE", _mae, classes=False),
        Measure("RMSE in original units", _rmse, classes=False, digits=4, original=True),
        Measure("loss", _loss),
    )
}
