"""One pass forward and one pass backward around kernels that autograd does not see: x and the parameters are kept, nothing else.

A way computes the values of a formula, and from x, the parameters and a gradient all gradients. Where a derivative of the
derivative is wanted, or gradients are batched, the formula itself is differentiated instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..tensors import is_bare, is_plain, is_traced

__all__ = ["Way", "compute", "eager", "filled", "flat", "memory_order", "on_gpu", "order_of", "restored", "wanted"]

T = TypeVar("T")


class Way(Protocol):
    """A function of x and its parameters that computes without autograd."""

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The values, in a new tensor laid out as x is."""

    def pullback(self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        """The gradients of (x, *parameters), None where it is not needed."""

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """The same in torch operators that can be differentiated again."""


def compute(way: Way, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The values, differentiable where gradients are recorded."""
    if wanted(x, parameters):
        y: Tensor = _Once.apply(way, x, *parameters)  # type: ignore[no-untyped-call]
        return y
    return way.values(x, parameters)


def wanted(x: Tensor, parameters: Sequence[Tensor]) -> tuple[int, ...]:
    """Which of (x, *parameters) the slopes must be of: x always, if anything requires a gradient."""
    learn = tuple(i for i, p in enumerate(parameters, start=1) if p.requires_grad)
    return (0, *learn) if (learn or x.requires_grad) and torch.is_grad_enabled() else ()


def eager(x: Any, parameters: Sequence[Any]) -> bool:
    """Whether kernels may run: plain tensors on the CPU that nobody traces or transforms."""
    return not _watched() and all(is_plain(t) and t.is_floating_point() for t in (x, *parameters))


def on_gpu(x: Any, parameters: Sequence[Any]) -> bool:
    """The same for tensors on a GPU."""
    tensors = (x, *parameters)
    return bool(x.is_cuda) and not _watched() and all(is_bare(t) and t.is_cuda and t.is_floating_point() for t in tensors)


def _watched() -> bool:
    return is_traced() or bool(torch._C._get_tracing_state()) or torch.autograd.forward_ad._current_level >= 0


def memory_order(x: Tensor) -> tuple[int, ...] | None:
    """The dimensions as they lie in memory, the last contiguous; None: in their order."""
    return None if x.is_contiguous() else order_of(x.stride())


def order_of(strides: Sequence[int]) -> tuple[int, ...]:
    """The dimensions by falling strides."""
    return tuple(sorted(range(len(strides)), key=lambda d: (-strides[d], d)))


def restored(t: Tensor, order: Sequence[int] | None) -> Tensor:
    """A tensor whose dimensions are in this order, with them as they were."""
    return t if order is None else t.permute(sorted(range(len(order)), key=order.__getitem__))


def flat(t: Tensor, order: tuple[int, ...] | None, dtype: torch.dtype) -> Tensor:
    """The elements in this order, one after the other in memory; no copy where they are so already."""
    t = t.detach().resolve_neg()
    t = t.clone() if t._is_zerotensor() else t  # has no memory
    return (t if order is None else t.permute(order)).to(dtype).contiguous()


def filled(y: Tensor, order: tuple[int, ...] | None, dtype: torch.dtype, write: Callable[[Tensor], T]) -> T:
    """What `write` returns when given memory for the elements of y in this order and dtype; y gets what it wrote."""
    laid = y if order is None else y.permute(order)
    if laid.is_contiguous() and laid.dtype == dtype:
        return write(laid)
    dense = torch.empty(laid.shape, dtype=dtype, device="cpu")
    found = write(dense)
    laid.copy_(dense)
    return found


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, way: Way, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.way = way
        ctx.save_for_backward(x, *parameters)
        return way.values(x, parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (g,), needs = grads, ctx.needs_input_grad[1:]
        x, *parameters = inputs = ctx.saved_tensors
        again = torch.is_grad_enabled()
        if again or torch._C._are_functorch_transforms_active() or torch._C._functorch.is_legacy_batchedtensor(g):
            with torch.enable_grad():  # views: of inputs that depend on one another only the direct part belongs here
                fresh = [t.view_as(t) for t in inputs]
                needed = [t for t, n in zip(fresh, needs, strict=True) if n]
                found = iter(torch.autograd.grad(ctx.way.formula(*fresh), needed, g, create_graph=again))
            return None, *(next(found) if n else None for n in needs)
        return None, *ctx.way.pullback(x, parameters, g, needs)
