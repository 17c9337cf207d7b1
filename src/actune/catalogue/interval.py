"""A closed interval as a constraint whose end points are held exactly, and where no value gets stuck.

The stored number is the value itself while it is inside, and is mirrored at the ends beyond, as often as needed: the slope is
1 or -1 everywhere. So a parameter can start at an end, where a sigmoid of a stored number would need infinity, and leave it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import Transform

__all__ = ["Closed"]


class Closed(constraints.Constraint):
    """low ≤ value ≤ high."""

    def __init__(self, low: float, high: float):
        if not low < high:
            raise ValueError(f"an interval needs low < high, got [{low}, {high}]; exchange or spread them")
        self.lower_bound, self.upper_bound = float(low), float(high)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.lower_bound) & (value <= self.upper_bound)

    def __repr__(self) -> str:
        return f"Closed({self.lower_bound:g}, {self.upper_bound:g})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Closed) and (self.lower_bound, self.upper_bound) == (other.lower_bound, other.upper_bound)

    def __hash__(self) -> int:
        return hash((self.lower_bound, self.upper_bound))


class Mirrored(Transform):
    """The triangle wave onto an interval, the identity inside it."""

    domain = constraints.real

    def __init__(self, codomain: Closed):
        super().__init__()
        self.codomain = codomain  # type: ignore[assignment]
        self.low, self.high = codomain.lower_bound, codomain.upper_bound

    def _call(self, x: Tensor) -> Tensor:
        width, largest = self.high - self.low, torch.finfo(x.dtype).max
        bounded = x.clamp(-largest, largest)
        turns = torch.remainder(bounded - self.low, 2 * width)
        folded = self.low + torch.where(turns <= width, turns, 2 * width - turns)
        value = torch.where((x >= self.low) & (x <= self.high), x, folded)
        return value + (value.clamp(self.low, self.high) - value).detach()  # rounding may leave the interval, the slope stays

    def _inverse(self, y: Tensor) -> Tensor:
        return y


@biject_to.register(Closed)
@transform_to.register(Closed)
def _transform(constraint: Closed) -> Mirrored:
    return Mirrored(constraint)
