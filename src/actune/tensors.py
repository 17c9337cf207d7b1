"""Is this an ordinary tensor? The questions that every way of computing asks first."""

from __future__ import annotations

import functools
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["KINDS", "Array", "check_input", "is_plain", "is_traced", "is_watched"]


Array = NDArray[Any]
KINDS = (Tensor, torch.nn.Parameter)  # the types of tensors whose memory holds what they are


def check_input(x: Any) -> None:
    """Raise TypeError, saying what to pass, unless x is a tensor on whose elements a formula can be computed."""
    if not isinstance(x, Tensor):
        raise TypeError(f"the input must be a tensor, got {type(x).__name__}; convert it with torch.as_tensor(x)")
    if not x.is_floating_point():
        raise TypeError(f"an activation function needs a floating-point tensor, got {x.dtype}; convert it with .float()")
    if x.dtype.itemsize == 1:
        raise TypeError(f"{x.dtype} is a format for storing: torch has no arithmetic in it; convert the input with .float()")
    if x.layout is not torch.strided and x.layout is not torch.jagged:
        raise TypeError(f"the input must be a dense tensor, got layout {x.layout}; convert it with .to_dense()")
    if x.is_nested and x.layout is torch.strided:
        raise TypeError("nested tensors need layout=torch.jagged, got torch.strided; make the input with that, or pad it")


def is_traced() -> bool:
    """Whether torch compiles, exports or transforms what is computed now."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def is_watched() -> bool:
    """Whether a dispatch mode sees every operator, and would miss a kernel."""
    return bool(torch._C._len_torch_dispatch_stack())


def is_plain(t: Tensor) -> bool:
    """Whether kernels may read the memory of this tensor: it is on the CPU, dense, of no subclass, and no view with a pending sign.

    What torch would look at to call an operator tells all of that at once.
    """
    return type(t) in KINDS and torch._C._dispatch_keys(t).raw_repr() in _plain_keys()


@functools.cache
def _plain_keys() -> frozenset[int]:
    """The keys of new tensors, and of those made in inference mode."""
    found = []
    for inference in (False, True):
        with torch.inference_mode(inference):
            found.append(torch._C._dispatch_keys(torch.empty(0, device="cpu")).raw_repr())
    return frozenset(found)
