"""Memory of a gradient that nobody else can see any more, so that backward may write its result there.

Autograd adds gradients in place where a tensor and its storage are counted once (`can_accumulate_inplace`). Python may hold
them here: references to both count, too, also weak ones. What the counts are where nobody holds anything depends on the versions of
torch and Python, so it is measured on a gradient of our own; and if three holders do not show in them, no memory is spare.
"""

from __future__ import annotations

import functools
import sys
import weakref
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["WORTH_SPARING", "called_directly", "spare_memory"]

_F = TypeVar("_F", bound=Any)

WORTH_SPARING = 2**18  # elements, below which to look (4 µs) takes longer than new memory


def spare_memory(grads: tuple[Tensor, ...], x: Tensor) -> Tensor | None:
    """A tensor like x over the memory of the one gradient of a backward; None where anybody may still read that.

    grads   what autograd gave to `backward`, which must hold the gradient nowhere else
    """
    nobody = _nobody()
    # The first count alone tells most that is held: the others take several times as long.
    if nobody is None or sys.getrefcount(grads[0]) != nobody[0] or _holders(grads) != nobody:
        return None
    (g,) = grads
    storage = g.untyped_storage()
    alike = g.dtype == x.dtype and g.shape == x.shape and g.is_contiguous() and x.is_contiguous() and g.device == x.device
    # Memory of others, NumPy's or another process's, cannot be resized or is shared.
    own = storage.resizable() and not storage.is_shared() and storage.nbytes() == g.nbytes
    if not (alike and own) or type(g) is not Tensor or g.is_neg() or g.is_conj() or g._is_zerotensor() or g.requires_grad:
        return None
    found: Tensor = torch.empty(0, dtype=g.dtype, device=g.device).set_(storage, 0, g.shape, g.stride())  # type: ignore[call-overload]
    return found  # a tensor of its own, without what may hang on g


def _holders(grads: tuple[Tensor, ...]) -> tuple[int, ...]:
    """How often the gradient and its storage are referred to: by Python, weakly, and by torch."""
    storage = grads[0].untyped_storage()
    return (
        sys.getrefcount(grads[0]),
        weakref.getweakrefcount(grads[0]),
        grads[0]._use_count(),  # type: ignore[attr-defined]
        sys.getrefcount(storage),
        weakref.getweakrefcount(storage),
        torch._C._storage_Use_Count(storage._cdata),
    )


@functools.cache
def _nobody() -> tuple[int, ...] | None:
    """The counts where nobody else holds a gradient; None where they cannot be trusted."""
    counts = hasattr(Tensor, "_use_count") and hasattr(torch._C, "_storage_Use_Count")
    if not counts or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    free, again, hooked, shared, viewed = (_counted(holder) for holder in ("", "", "hook", "branch", "view"))
    return free if free == again and free not in (hooked, shared, viewed) else None


def _counted(holder: str) -> tuple[int, ...]:
    """The counts in a backward whose gradient this one holds too."""
    found: list[tuple[int, ...]] = []
    held: list[Any] = []
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        x = torch.ones(2, device="cpu").requires_grad_()
        other = x * 2  # made before y, so that autograd comes to y first
        y = _Counting.apply(x * 1, found)  # type: ignore[no-untyped-call]
        if holder in ("hook", "view"):
            y.register_hook(lambda g: held.append(g if holder == "hook" else g.detach()))
        torch.autograd.grad([y * 1 if holder != "branch" else (y + other) * 1], [x], [torch.ones(2, device="cpu")])
    return found[0]


def called_directly(function: _F) -> _F:
    """A class of torch.autograd.Function whose backward autograd calls itself: torch's method looks for it each time, which takes
    a microsecond, and holds the gradients meanwhile.
    """
    function._backward_cls.apply = function.backward
    return function


@called_directly
class _Counting(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, found: list[tuple[int, ...]]) -> Tensor:
        ctx.found = found
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        ctx.found.append(_holders(grads))
        return grads[0] * 1, None
