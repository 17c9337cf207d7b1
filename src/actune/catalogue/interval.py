"""A closed interval as a constraint: values may be exactly at its ends, and none gets stuck there.

Inside the interval the stored number is the value. Beyond, it is mirrored at the ends, as often as needed; in [0, 1] a stored 1.2
is the value 0.8, and 2.3 is 0.3. So the slope is 1 or -1 everywhere, and a parameter can start at an end and leave it. With torch's
own sigmoid transform, an end would be stored as infinity, where the slope is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import Transform

__all__ = ["Closed", "Mirrored"]


class Closed(constraints.Constraint):
    """The constraint low ≤ value ≤ high."""

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
    """The triangle wave from all numbers onto an interval; the identity inside the interval."""

    domain = constraints.real

    def __init__(self, codomain: Closed):
        super().__init__()
        self.codomain = codomain  # type: ignore[assignment]
        self.low, self.high = codomain.lower_bound, codomain.upper_bound

    def _call(self, x: Tensor) -> Tensor:
        # Inside the interval x is taken as it is, for x - low + low would be rounded.
        width, turns = self.high - self.low, self._turns(x)
        folded = self.low + torch.where(turns <= width, turns, 2 * width - turns)
        value = torch.where((x >= self.low) & (x <= self.high), x, folded)
        return value + (value.clamp(self.low, self.high) - value).detach()  # rounding may leave the interval, the slope stays

    def _turns(self, x: Tensor) -> Tensor:
        """The position in a period of the wave, which is twice the width: up, then down."""
        largest = torch.finfo(x.dtype).max
        return torch.remainder(x.clamp(-largest, largest) - self.low, 2 * (self.high - self.low))

    def slope(self, x: Tensor) -> Tensor:
        """The derivative at each x: 1 on the way up and inside the interval, -1 on the way down."""
        is_up = (self._turns(x) <= self.high - self.low) | ((x >= self.low) & (x <= self.high))
        return torch.where(is_up, 1.0, -1.0).to(x.dtype)

    def _inverse(self, y: Tensor) -> Tensor:
        return y


@biject_to.register(Closed)
@transform_to.register(Closed)
def _transform(constraint: Closed) -> Mirrored:
    return Mirrored(constraint)
