"""A function evaluated from tables, with autograd around it: `x` and the parameters are kept for backward, nothing else."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..special import plain, traced
from .table import DOUBLE, PLAIN, SINGLE, Precision, Table

_MOST = 0.75  # if a larger share is not covered, all is computed without the table

__all__ = ["Kernel", "eager", "precision_of", "tabulated", "wanted"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A table, and how to compute what it does not cover: (size) elements to the values of each output."""

    table: Table
    others: Callable[[Array], Any]

    def values(self, x: Tensor, y: Tensor) -> None:
        """The first output at a flat tensor, into y."""
        missed = self.table.values(x, y)
        with np.errstate(over="ignore"):  # what the dtype cannot hold is inf
            if len(missed) > _MOST * x.numel():
                y.numpy()[:] = self.others(x.numpy())[0]
            elif len(missed):
                y.numpy()[missed] = self.others(x.numpy()[missed])[0]

    def pullback(self, x: Tensor, g: Tensor, gx: Tensor) -> Array:
        """g times the first output, into gx; gives the sums of g times each other."""
        sums, missed = self.table.pullback(x, g, gx)
        if not len(missed):
            return sums
        whole = len(missed) > _MOST * x.numel()
        at = slice(None) if whole else missed
        with np.errstate(over="ignore", invalid="ignore"):
            slopes, some = self.others(x.numpy()[at]), g.numpy()[at]
            gx.numpy()[at] = some * slopes[0]
            wide = some.astype(np.float64)
            more = np.array([s.astype(np.float64) @ wide for s in slopes[1:]])
        return more if whole else sums + more


class _Tabulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Kernel, slopes: Kernel, formula: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.slopes, ctx.formula = slopes, formula
        ctx.save_for_backward(x, *parameters)
        return _laid_out(x, lambda flat, y: value.values(flat, y))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = inputs = ctx.saved_tensors
        (g,), needs = grads, ctx.needs_input_grad[3:]
        differentiable = torch.is_grad_enabled()
        batched = torch._C._are_functorch_transforms_active() or torch._C._functorch.is_legacy_batchedtensor(g)
        if differentiable or batched:  # from the formula, which has a derivative of its derivative, and takes any tensor
            needed = [t for t, n in zip(inputs, needs, strict=True) if n]
            with torch.enable_grad():
                found = iter(torch.autograd.grad(ctx.formula(*inputs), needed, g, create_graph=differentiable))
            return None, None, None, *(next(found) if n else None for n in needs)
        sums: list[Array] = []
        gx = _laid_out(x, lambda flat, h, out: sums.append(ctx.slopes.pullback(flat, h, out)), g.expand_as(x))
        total = iter(sums[0])
        of_parameters = (
            p.new_tensor(next(total)).reshape(p.shape) if n else None for p, n in zip(parameters, needs[1:], strict=True)
        )
        return None, None, None, gx, *of_parameters


def tabulated(
    value: Kernel, slopes: Kernel | None, formula: Callable[..., Tensor], x: Tensor, parameters: Sequence[Tensor | float]
) -> Tensor:
    """A function of x and parameters of one element, from its tables.

    value     of the function itself
    slopes    in x, and in those parameters that require a gradient; None: no gradient is wanted
    formula   the same function in differentiable torch operators
    """
    if slopes is not None:
        tensors = (p if isinstance(p, Tensor) else torch.tensor(float(p), dtype=torch.float64) for p in parameters)
        y: Tensor = _Tabulated.apply(value, slopes, formula, x, *tensors)  # type: ignore[no-untyped-call]
        return y
    return _laid_out(x, lambda flat, y: value.values(flat, y))


def wanted(x: Tensor, parameters: Sequence[Tensor | float]) -> tuple[int, ...]:
    """Which of (x, *parameters) the slopes must be of: x always, if anything requires a gradient."""
    learn = tuple(i for i, p in enumerate(parameters, start=1) if isinstance(p, Tensor) and p.requires_grad)
    return (0, *learn) if torch.is_grad_enabled() and (learn or x.requires_grad) else ()


def eager(x: Any, parameters: Sequence[Any]) -> bool:
    """Whether the loops may run: plain tensors on the CPU that nobody traces or transforms; a parameter may be a number."""
    if traced() or torch._C._get_tracing_state() or torch.autograd.forward_ad._current_level >= 0:
        return False
    tensors = [t for t in (x, *parameters) if not isinstance(t, (int, float))]
    return all(plain(t) and t.is_floating_point() for t in tensors) and _loops_work()


@functools.cache
def _loops_work() -> bool:
    """Whether numba compiles here; tried once."""
    try:
        from . import lanes

        lanes.uncovered(np.zeros(1, np.float32), (np.float32(1), np.float32(1)), np.empty(1, np.int64))
        if lanes.WIDE:
            constants = np.float32(1), (np.int32(0), np.int32(0))
            size = 2 * lanes.CELLS * (lanes.DEGREE + 1)
            lanes.apply(*(np.zeros(n, np.float32) for n in (16, size)), *constants, np.zeros(16, np.float32), np.empty(0, np.int64))
    except Exception as error:  # whatever numba, LLVM or a damaged cache may raise
        warnings.warn(
            f"numba does not work here ({type(error).__name__}: {error}); actune computes every function by torch operators",
            stacklevel=2,
        )
        return False
    return True


def precision_of(dtype: torch.dtype) -> Precision:
    """The tables for a dtype: half precision is computed in float32."""
    from .lanes import WIDE

    return DOUBLE if dtype == torch.float64 else SINGLE if WIDE else PLAIN


def _order(x: Tensor) -> list[int]:
    """The dimensions as they lie in memory."""
    strides = x.stride()
    return sorted(range(x.ndim), key=lambda d: (-strides[d], d))


def _laid_out(x: Tensor, run: Callable[..., None], *more: Tensor) -> Tensor:
    """A tensor like x that `run` fills: it gets flat tensors in at least float32, of x and more, and a flat one to write to.

    All in the order in which the result lies in memory. The result is no view, so that it may be changed in place.
    """
    y = torch.empty_like(x)
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    order = _order(y)
    laid = y.detach().permute(order)
    inputs = (t.detach().permute(order).to(kind).contiguous().view(-1) for t in (x, *more))
    if y.dtype == kind and laid.is_contiguous():
        run(*inputs, laid.view(-1))
    else:
        wide = torch.empty(laid.shape, dtype=kind)
        run(*inputs, wide.view(-1))
        laid.copy_(wide)
    return y
