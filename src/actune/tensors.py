"""Is this an ordinary tensor? The questions that every way of computing asks first."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "check_input", "is_bare", "is_plain", "is_traced"]


Array = NDArray[Any]


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


def is_plain(t: Tensor) -> bool:
    """Whether kernels may read the memory of this tensor: it is bare and on the CPU."""
    return t.is_cpu and is_bare(t)


def is_bare(*tensors: Tensor) -> bool:
    """Whether these are dense tensors of no subclass that no dispatch mode watches."""
    for t in tensors:  # a loop: `all` of a generator takes three times as long, and a small tensor is no more than that
        if type(t) not in _KINDS or t.layout is not torch.strided or t.is_nested:
            return False
    return not torch._C._len_torch_dispatch_stack()


_KINDS = (Tensor, torch.nn.Parameter)
