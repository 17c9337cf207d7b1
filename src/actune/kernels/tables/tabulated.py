"""A function evaluated from tables, with autograd around it: `x` and the parameters are kept for backward, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...tensors import Array
from ..cpu import llvm
from ..layout import as_flat, fill_in_order, memory_order
from .polynomials import Table
from .precision import DOUBLE, PLAIN, SINGLE, Precision

_MOST = 0.75  # if a larger share is not covered, all is computed without the table

__all__ = ["Kernel", "Tabulated", "precision_of"]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A table, and how to compute what it does not cover: (size) elements to the values of each output."""

    table: Table
    others: Callable[[Array], Any]

    def values(self, x: Tensor, y: Tensor) -> None:
        """Write the first output at a flat tensor to y."""
        missed = self.table.values(x, y)
        if len(missed):
            at = _index(missed, x)
            _put(y, at, self.others(self._numbers(x, at))[0])

    def pullback(self, x: Tensor, g: Tensor, gx: Tensor) -> Array:
        """Write g times the first output to gx; returns the sums of g times each other."""
        sums, missed = self.table.pullback(x, g, gx)
        if not len(missed):
            return sums
        at = _index(missed, x)
        slopes, some = self.others(self._numbers(x, at)), self._numbers(g, at)
        with np.errstate(over="ignore", invalid="ignore"):
            _put(gx, at, some * slopes[0])
            wide = some.astype(np.float64)
            more = np.array([s.astype(np.float64) @ wide for s in slopes[1:]])
        return more if isinstance(at, slice) else sums + more

    def _numbers(self, t: Tensor, at: Array | slice) -> Array:
        """The elements there in the dtype that the table computes in."""
        if t.dtype == self.table.precision.dtype:  # by NumPy: torch takes ten times as long for a few
            some: Array = t.numpy()[at]
            return some
        found: Array = t[torch.from_numpy(at) if isinstance(at, np.ndarray) else at].to(self.table.precision.dtype).numpy()
        return found


def _put(y: Tensor, at: Array | slice, values: Any) -> None:
    """Write the elements there, rounded to the dtype of y."""
    if y.dtype in (torch.float32, torch.float64):
        with np.errstate(over="ignore"):
            y.numpy()[at] = values
    else:
        y[torch.from_numpy(at) if isinstance(at, np.ndarray) else at] = torch.as_tensor(values).to(y.dtype)


def _index(missed: Array, x: Tensor) -> Array | slice:
    """The elements to compute without the table: those that it missed, or all if these are most."""
    return slice(None) if len(missed) > _MOST * x.numel() else missed


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A function of x and parameters of one element as a `Way`.

    value     of the function itself
    slopes    in x, and in those parameters that require a gradient
    original  the same function in differentiable torch operators
    """

    value: Kernel
    slopes: Kernel | None
    original: Callable[..., Tensor]

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        y, order = torch.empty_like(x), memory_order(x)
        fill_in_order(y, order, x.dtype, lambda out: self.value.values(as_flat(x, order, x.dtype).view(-1), out.view(-1)))
        return y

    def pullback(
        self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool], spare: Tensor | None = None
    ) -> Sequence[Tensor | None]:
        assert self.slopes is not None
        gx, order = torch.empty_like(x), memory_order(x)
        elements, gradients = (as_flat(t, order, x.dtype).view(-1) for t in (x, g.expand_as(x)))
        slopes = self.slopes
        total = iter(fill_in_order(gx, order, x.dtype, lambda out: slopes.pullback(elements, gradients, out.view(-1))))
        return gx, *(p.new_full(p.shape, next(total)) if n else None for p, n in zip(parameters, needs[1:], strict=True))

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.original(x, *parameters)


def precision_of(dtype: torch.dtype) -> Precision:
    """The tables for a dtype: half precision is computed in float32."""
    return DOUBLE if dtype == torch.float64 else SINGLE if "avx512f" in llvm.cpu_features() else PLAIN
