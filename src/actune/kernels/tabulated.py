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

from .table import DOUBLE, PLAIN, SINGLE, Precision, Table

__all__ = ["Kernel", "eager", "precision_of", "tabulated", "wanted"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A table, and how to compute what it does not cover: (size) elements to (outputs, size) values."""

    table: Table
    others: Callable[[Array], Array]

    def values(self, x: Tensor) -> Tensor:
        """The first output at a flat tensor."""
        y, missed = self.table.values(x)
        if len(missed):
            with np.errstate(over="ignore"):  # what the dtype cannot hold is inf
                y.numpy()[missed] = self.others(x.numpy()[missed])[0]
        return y

    def pullback(self, x: Tensor, g: Tensor) -> tuple[Tensor, Array]:
        """g times the first output, and the sums of g times each other."""
        gx, sums, missed = self.table.pullback(x, g)
        if len(missed):
            with np.errstate(over="ignore", invalid="ignore"):
                slopes, some = self.others(x.numpy()[missed]), g.numpy()[missed]
                gx.numpy()[missed] = some * slopes[0]
                sums += slopes[1:] @ some.astype(np.float64)
        return gx, sums


class _Tabulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Kernel, slopes: Kernel, formula: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.slopes, ctx.formula = slopes, formula
        ctx.save_for_backward(x, *parameters)
        flat, restore = _flat(x)
        return restore(value.values(flat))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = inputs = ctx.saved_tensors
        (g,), needs = grads, ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():  # a derivative of the derivative is wanted: from the formula, not from a table
            needed = [t for t, n in zip(inputs, needs, strict=True) if n]
            found = iter(torch.autograd.grad(ctx.formula(*inputs), needed, g, create_graph=True))
            return None, None, None, *(next(found) if n else None for n in needs)
        flat, restore = _flat(x)
        gx, sums = ctx.slopes.pullback(flat, g.expand_as(x).permute(_order(x)).to(flat.dtype).reshape(-1))
        total = iter(sums)
        of_parameters = (
            p.new_tensor(next(total)).reshape(p.shape) if n else None for p, n in zip(parameters, needs[1:], strict=True)
        )
        return None, None, None, restore(gx), *of_parameters


def tabulated(
    value: Kernel, slopes: Kernel | None, formula: Callable[..., Tensor], x: Tensor, parameters: Sequence[Tensor]
) -> Tensor:
    """A function of x and parameters of one element, from its tables.

    value     of the function itself
    slopes    in x, and in those parameters that require a gradient; None: no gradient is wanted
    formula   the same function in differentiable torch operators
    """
    if slopes is not None:
        y: Tensor = _Tabulated.apply(value, slopes, formula, x, *parameters)  # type: ignore[no-untyped-call]
        return y
    flat, restore = _flat(x)
    return restore(value.values(flat))


def wanted(x: Tensor, parameters: Sequence[Tensor]) -> tuple[int, ...]:
    """Which of (x, *parameters) the slopes must be of: x always, if anything requires a gradient."""
    if not torch.is_grad_enabled() or not any(t.requires_grad for t in (x, *parameters)):
        return ()
    return 0, *(i for i, p in enumerate(parameters, start=1) if p.requires_grad)


def eager(x: Any, parameters: Sequence[Any]) -> bool:
    """Whether the loops may run: plain tensors on the CPU that nobody traces or transforms; a parameter may be a number."""
    if (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    ):
        return False
    tensors = [t for t in (x, *parameters) if not isinstance(t, (int, float))]
    if any(type(t) not in (Tensor, torch.nn.Parameter) or not t.is_cpu or not t.is_floating_point() for t in tensors):
        return False
    return _loops_work()


@functools.cache
def _loops_work() -> bool:
    try:
        from . import lanes  # noqa: F401
    except ImportError as error:
        warnings.warn(f"numba cannot be used here ({error}); actune computes every function by torch operators", stacklevel=2)
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


def _flat(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The elements in one dimension as they lie in memory, in at least float32; and how to give a result the form of x again."""
    order = _order(x)
    inverse = sorted(range(x.ndim), key=order.__getitem__)
    laid = x.detach().permute(order)
    wide = laid.to(torch.float64 if x.dtype == torch.float64 else torch.float32).contiguous()
    return wide.view(-1), lambda t: t.view(laid.shape).permute(inverse).to(x.dtype)
