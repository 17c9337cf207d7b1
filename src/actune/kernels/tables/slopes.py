"""Slopes of formulas of 16-bit numbers as exhaustive tables, from which a pullback is made.

A table has the slope in float32 for each of the 65,536 numbers, by the kernel of the pullback. The rest is as in that kernel: the
same products, summed in the same order, so all gradients are the same bits.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np
import torch
from torch import Tensor

from ...language.expr import Expr
from ...tensors import Array
from ..cpu import llvm, tiers
from ..cpu.compiler import processor_lanes, strip_assembly
from ..cpu.elements import STORED
from ..cpu.lanes import Value, vector
from ..cpu.strips import Strip, cut, link_strip, run_strips

__all__ = ["every_number", "slope_strip", "slope_tables"]

_COUNT = 2**16  # 16-bit numbers


def slope_tables(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, numbers: Array, elements: int) -> Tensor:
    """The slopes at every number, (slopes, 65,536), in float32, for so many elements.

    numbers   the parameters, (names, 1)
    """
    x, found = every_number(dtype).float(), torch.empty(len(exprs), _COUNT, dtype=torch.float32, device="cpu")
    one = torch.ones_like(x)
    for k, table in enumerate(found):
        # By the pullback of a gradient of one, in which each slope is the first in turn: slopes share parts, and by itself a slope
        # may be computed by other steps, whose last bit differs.
        turned = (exprs[k], *exprs[:k], *exprs[k + 1 :])
        strip = tiers.kernel_for(turned, names, torch.float32, False, True, elements)
        run_strips(strip, cut(1, 1, _COUNT), numbers, x, table, one, len(exprs) - 1)  # whose sums mean nothing here
    return found


@functools.cache
def every_number(dtype: torch.dtype) -> Tensor:
    """All numbers in the order of their bits."""
    return torch.from_numpy(np.arange(_COUNT, dtype=np.uint16).view(np.int16)).view(dtype)


def slope_strip(tables: Tensor, dtype: torch.dtype) -> Strip:
    """The pullback from these tables, for elements of this dtype."""
    context = ctypes.c_void_p(tables.data_ptr())
    return Strip(_kernel(dtype, len(tables)).run, ctypes.addressof(context), (context, tables))


@functools.cache
def _kernel(dtype: torch.dtype, outputs: int) -> Strip:
    return link_strip(llvm.compile_assembly(_assembly(dtype, outputs), ("run",)))


def _assembly(dtype: torch.dtype, outputs: int) -> str:
    """The kernel in LLVM assembly, whose context is the address of the tables."""
    lanes = processor_lanes(False)
    bits = lanes.code.emit(f"bitcast {vector(STORED[dtype])} %x to {vector('i16')}")
    index = Value(lanes.code, "i32", lanes.code.emit(f"zext {vector('i16')} {bits} to {vector('i32')}"))
    found = [lanes.gather("%tables", index + k * _COUNT) for k in range(outputs)]
    before = "\n  %tables = load ptr, ptr %context, align 8"
    return strip_assembly(lanes, dtype, found, 0, False, True, before=before, flushed=True)
