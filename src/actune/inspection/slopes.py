"""The slope of an activation function at its inputs, and the units that it leaves dead."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["DEAD", "SATURATED", "live_units", "slope"]

DEAD = 1e-6  # no slope of a dead unit is larger: it trains nothing
SATURATED = 0.01  # where the slope is smaller than this, an input hardly matters


def slope(compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative of an elementwise function at each element of x."""
    with torch.inference_mode(False), torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        values = compute(at.clone())  # of a copy, for the function may work in place
        return torch.autograd.grad(values.sum(), at, materialize_grads=True)[0] if values.requires_grad else torch.zeros_like(at)


def live_units(slopes: Tensor, dim: int) -> Tensor:
    """Which entries along `dim` have a slope above 1e-6 somewhere; a slope that is nan counts for nothing."""
    units = slopes.movedim(dim, -1)
    return (units.reshape(-1, units.shape[-1]).abs() > DEAD).any(0)
