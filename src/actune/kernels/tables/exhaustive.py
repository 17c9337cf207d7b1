"""Formulas of 16-bit numbers as exhaustive tables: the value for each of the 65,536 numbers that there are.

The formula's own kernel fills a table, so what is looked up is bit for bit what the kernel computes. An element costs two loads and
a store, whatever the formula; inputs of ordinary size touch a few KiB of the 128. Tables are kept by the values of the parameters,
and one is filled anew when these change, which takes as long as the kernel does for 65,536 elements.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...language.expr import Expr
from ..autograd import apply_way
from ..cpu import llvm
from ..cpu.compiler import kernel_cost
from ..cpu.fused import CpuWay, cpu_way
from ..cpu.loops import counters, loop
from ..cpu.strips import cut, run_strips
from ..cpu.threads import shared_out
from ..cpu.tiers import kernel_for
from ..layout import as_flat, fill_in_order
from ..request import Request

__all__ = ["PATTERNS", "Exhaustive", "exhaustive_way"]

PATTERNS = 65_536  # 16-bit numbers
KEPT, CHANGING = PATTERNS, 4 * PATTERNS  # elements from which a table pays: of parameters that stay, and of those that learn
CHEAP = 20  # instructions up to which a formula is computed as fast as looked up
_TABLES = 64  # that are kept, of 128 KiB
_PIECE, _SHARE = 4096, 32  # elements that no thread shares; pieces that a thread is worth


def exhaustive_way(asked: Request) -> Callable[..., Tensor | None] | None:
    """A table for large tensors of 16-bit numbers with one set of parameters, if the formula has a kernel that is slower."""
    e, least = asked.subject.e, CHANGING if asked.learns else KEPT
    if asked.dtype.itemsize != 2 or not asked.has_single_parameters or asked.elements < least:
        return None
    kernels = cpu_way(asked)
    if kernels is None or (kernel_cost(e) or 0) <= CHEAP:
        return None
    way = Exhaustive(kernels)
    if not asked.learns:
        return lambda x, tensors: apply_way(way, x, tensors)
    # One thread fills a table, which would hold up many.
    return lambda x, tensors: apply_way(way, x, tensors) if x.numel() >= least * torch.get_num_threads() else None


@dataclass(frozen=True, eq=False)
class Exhaustive:
    """The values of a formula by an exhaustive table, and the rest of a `Way` by kernels."""

    kernels: CpuWay

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        y, subject, order = torch.empty_like(x), self.kernels.subject, self.kernels.layout.order
        table = value_table(subject.e, subject.names, x.dtype, self.kernels.numbers(parameters).tobytes())
        elements = as_flat(x, order, x.dtype)
        fill_in_order(y, order, x.dtype, lambda out: look_up(table, elements, out))
        return y

    def pullback(self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        return self.kernels.pullback(x, parameters, g, needs)

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.kernels.formula(x, *parameters)


@functools.lru_cache(maxsize=_TABLES)
def value_table(e: Expr, names: tuple[str, ...], dtype: torch.dtype, numbers: bytes) -> Tensor:
    """The value for each bit pattern of this dtype, by the kernel, with these float32 numbers as parameters."""
    strip = kernel_for((e,), names, dtype, False, False, PATTERNS)
    parameters, table = np.frombuffer(numbers, np.float32).reshape(len(names), 1), torch.empty(PATTERNS, dtype=dtype, device="cpu")
    run_strips(strip, cut(1, 1, PATTERNS), parameters, _every_number(dtype), table)
    return table


@functools.cache
def _every_number(dtype: torch.dtype) -> Tensor:
    """All 16-bit numbers in the order of their bits."""
    return torch.from_numpy(np.arange(PATTERNS, dtype=np.uint16).view(np.int16)).view(dtype)


def look_up(table: Tensor, x: Tensor, y: Tensor) -> None:
    """Write the entry for each element of x to y; both contiguous and of 16-bit numbers."""
    function, size = _look_up(), x.numel()

    def share(start: int, end: int, memory: Any = (table, x, y)) -> None:  # held as long as someone is at work
        first = 2 * _PIECE * start
        function(x.data_ptr() + first, table.data_ptr(), y.data_ptr() + first, min(_PIECE * end, size) - _PIECE * start)

    pieces = -(-size // _PIECE)
    shared_out(share, pieces, pieces // _SHARE)


@functools.cache
def _look_up() -> Any:
    pointer = ctypes.c_void_p
    return llvm.compile_assembly(_assembly(), ("look_up",)).function("look_up", pointer, pointer, pointer, ctypes.c_int64)


_WORD, _WORDS = 4, 4  # elements in a word of 64 bits, words in a turn of the loop


def _assembly() -> str:
    """The loop in LLVM assembly: of single loads, at which no processor is slow; gathers are quicker on some, slower on others."""
    turn = "".join(f"""
  %i.{w} = add i64 %i, {_WORD * w}
  %x.{w}.at = getelementptr i16, ptr %X, i64 %i.{w}
  %x.{w} = load i64, ptr %x.{w}.at, align 2""" + "".join(f"""
  %x.{w}.{k}.high = lshr i64 %x.{w}, {16 * k}
  %x.{w}.{k} = and i64 %x.{w}.{k}.high, 65535{_entry(f"{w}.{k}")}""" for k in range(_WORD)) for w in range(_WORDS))  # fmt: skip
    put = "".join(
        f"""
  %i.{w}.{k} = add i64 %i, {_WORD * w + k}{_put(f"{w}.{k}", f"%i.{w}.{k}")}"""
        for w in range(_WORDS)
        for k in range(_WORD)
    )
    single = f"""
  %x.at = getelementptr i16, ptr %X, i64 %rest
  %x.one.bits = load i16, ptr %x.at, align 2
  %x.one = zext i16 %x.one.bits to i64{_entry("one")}{_put("one", "%rest")}"""
    return f"""
define void @look_up(ptr noalias %X, ptr noalias %T, ptr noalias %Y, i64 %count) {{{counters(("i", "rest"))}
  %whole = and i64 %count, {-_WORD * _WORDS}{loop("i", "0", "%whole", str(_WORD * _WORDS), turn + put)}\
{loop("rest", "%whole", "%count", "1", single)}
  ret void
}}"""


def _entry(name: str) -> str:
    """Load the entry for %x.NAME as %y.NAME."""
    return f"""
  %y.{name}.from = getelementptr i16, ptr %T, i64 %x.{name}
  %y.{name} = load i16, ptr %y.{name}.from, align 2"""


def _put(name: str, at: str) -> str:
    return f"""
  %y.{name}.at = getelementptr i16, ptr %Y, i64 {at}
  store i16 %y.{name}, ptr %y.{name}.at, align 2"""
