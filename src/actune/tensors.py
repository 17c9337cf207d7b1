"""Is this an ordinary tensor? The questions that every way of computing asks first."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_bare", "is_plain", "is_traced"]


def is_traced() -> bool:
    """Whether torch compiles, exports or transforms what is computed now."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def is_plain(t: Tensor) -> bool:
    """Whether kernels may read the memory of this tensor: it is bare and on the CPU."""
    return t.is_cpu and is_bare(t)


def is_bare(t: Tensor) -> bool:
    """Whether this is a dense tensor of no subclass that no dispatch mode watches."""
    known = type(t) in (Tensor, torch.nn.Parameter) and t.layout is torch.strided
    return known and not torch._C._len_torch_dispatch_stack()
