"""A function over an interval, to be drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from ..catalogue.registry import Family
from .operators import evaluate

__all__ = ["curve_values"]


def curve_values(f: Family, x: Tensor, order: int) -> Tensor:
    """The function or its derivative at the initial values of the parameters, with a gap where the function is not finite."""
    formulas = [f.expr.diff("x", n) for n in range(order + 1)]
    *below, y = (evaluate(e, {"x": x, **dict(f.initial())}).expand(x.shape) for e in formulas)
    finite = torch.stack([y, *below]).isfinite().all(dim=0)  # 1/x is no slope of log(x) where x < 0
    return y.where(finite, torch.nan)
