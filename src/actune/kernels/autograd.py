"""One pass forward and one pass backward around kernels that autograd does not see: x and the parameters are kept, nothing else.

A way computes the values of a formula, and from x, the parameters and a gradient all gradients. Where a derivative of the
derivative is wanted, or gradients are batched, the formula itself is differentiated instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active
from torch._C._functorch import is_legacy_batchedtensor

from .spare import WORTH_SPARING, called_directly, spare_memory

__all__ = ["Way", "apply_way", "needed_gradients"]


class Way(Protocol):
    """A function of x and its parameters that computes without autograd."""

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The values, in a new tensor laid out as x is."""

    def pullback(
        self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool], spare: Tensor | None = None
    ) -> Sequence[Tensor | None]:
        """The gradients of (x, *parameters), None where it is not needed.

        spare   memory that may become the gradient of x: a tensor like x, which may be the memory of g
        """

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """The values by torch operators that can be differentiated again."""


def apply_way(way: Way, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The values, differentiable where gradients are recorded."""
    if _is_recorded(x, parameters):
        y: Tensor = _apply(way, x, *parameters)
        return y
    return way.values(x, parameters)


def _is_recorded(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether autograd will want gradients of some of these."""
    return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters))


def needed_gradients(x: Tensor, parameters: Sequence[Tensor]) -> tuple[int, ...]:
    """The indices in (x, *parameters) of what slopes are needed of: x always, if anything requires a gradient."""
    if not _is_recorded(x, parameters):
        return ()
    return (0, *(i for i, p in enumerate(parameters, start=1) if p.requires_grad))


@called_directly
class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, way: Way, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.way = way
        ctx.save_for_backward(x, *parameters)
        return way.values(x, parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        way, needs, inputs, again = ctx.way, ctx.needs_input_grad[1:], ctx.saved_tensors, torch.is_grad_enabled()
        if again or _are_functorch_transforms_active() or is_legacy_batchedtensor(grads[0]):
            with torch.enable_grad():
                # Views detach the inputs from each other: if one depends on another, only the direct part of the gradient is ours.
                fresh = [t.view_as(t) for t in inputs]
                needed = [t for t, n in zip(fresh, needs, strict=True) if n]
                found = iter(torch.autograd.grad(way.formula(*fresh), needed, grads[0], create_graph=again))
            return None, *(next(found) if n else None for n in needs)
        x = inputs[0]
        spare = None if x.numel() < WORTH_SPARING else spare_memory(grads, x)  # before anything here refers to the gradient
        return None, *way.pullback(x, inputs[1:], grads[0], needs, spare)


# What `_Once.apply` does after it has looked for tensors of function transforms, which no way gets.
_apply = super(torch.autograd.Function, _Once).apply
