"""A formula over memory that stays where it is: what `CpuWay` does anew at each call is done once, for thousands of calls.

For float32 matrices (samples, channels) with parameters a channel, in one thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...language.expr import Expr
from ..layout import layout_of
from . import tiers
from .fused import slopes
from .strips import Cut, Strip, bind_strips, cut

__all__ = ["BoundFormula", "KernelPair", "row_layout"]

Call = Callable[[], None]


@dataclass(frozen=True)
class KernelPair:
    """What computes the values of a formula now, and what its gradients."""

    values: Strip
    pullback: Strip


@dataclass(frozen=True)
class BoundFormula:
    """A formula of x and parameters, of which the learned ones are the first."""

    e: Expr
    learned: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.learned + self.fixed

    def ways(self, channels: int, forward: int, backward: int) -> KernelPair:
        """The kernels for so many elements more; they may be others each time, and give the same bits."""
        columns = bool(self.names) and channels > 1
        values = tiers.kernel_for((self.e,), self.names, torch.float32, columns, False, forward)
        return KernelPair(
            values, tiers.kernel_for(slopes(self.e, self.learned), self.names, torch.float32, columns, True, backward)
        )

    def values(self, ways: KernelPair, x: Tensor, y: Tensor, numbers: Tensor) -> Call:
        """Writes the values at x to y, when called; numbers: a row for each parameter, see `row_layout`."""
        return bind_strips(ways.values, self._layout(x), numbers, x, y)

    def pullback(self, ways: KernelPair, x: Tensor, g: Tensor, gx: Tensor, numbers: Tensor, sums: Tensor) -> Call:
        """Writes the gradient of x to gx, adds those of the learned parameters to sums: float64, laid out as numbers."""
        return bind_strips(ways.pullback, self._layout(x), numbers, x, gx, g, sums)

    def _layout(self, x: Tensor) -> Cut:
        return row_layout(*x.shape)[0] if self.names else Cut(1, 1, x.numel())


@functools.lru_cache(maxsize=256)
def row_layout(samples: int, channels: int) -> tuple[Cut, int]:
    """How a matrix with parameters per channel is cut, and the length of a row of numbers."""
    layout = layout_of((samples, channels), None, ((1, channels),))
    assert layout is not None  # the channels are a run of dimensions
    at = cut(*layout.extents)
    return at, at.width
