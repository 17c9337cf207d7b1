"""Triton's operations as Python values, over which the kernel column of the table is written.

A `TritonLanes` is for Triton what `Lanes` is for LLVM: the functions of the column record lines of Triton, each once. Triton must
not contract a product and a sum by itself (`enable_fp_fusion=False`): the column says `fma` where it means it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..cpu.lanes import Code, Lanes, Value

__all__ = ["TritonCode", "TritonLanes", "TritonValue"]

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^", "shl": "<<"}
_COMPARISONS = {"olt": "<", "ole": "<=", "ogt": ">", "oge": ">=", "oeq": "==", "une": "!=",
                "slt": "<", "sle": "<=", "sgt": ">", "sge": ">=", "eq": "==", "ne": "!="}  # fmt: skip


@dataclass(eq=False)
class TritonCode(Code):
    """Lines of Triton without control flow, each recorded once under a name."""

    brief: bool = False  # results are rounded to half precision: an error of some units of float32 does not matter

    NAME, LINE = "v{}", "{} = {}"


class TritonValue(Value):
    """A block of numbers of one kind, or one number, in a program of Triton."""

    code: Any

    def _emitted(self, kind: str, text: str) -> TritonValue:
        return TritonValue(self.code, kind, self.code.emit(text))

    def _with(self, other: Any) -> Value:
        return other if isinstance(other, Value) else triton_constant(self.code, self.kind, other)

    def _two(self, op: str, other: Any, reverse: bool = False) -> Value:
        a, b = (self._with(other), self) if reverse else (self, self._with(other))
        if op == "fdiv":  # `/` takes a third of the instructions, and has an error of two units
            return self._emitted(self.kind, f"{a.name} / {b.name}" if self.code.brief else f"tl.div_rn({a.name}, {b.name})")
        return self._emitted(self.kind, f"{a.name} {_SIGNS[op.removeprefix('f')]} {b.name}")

    def _compare(self, ordered: str, signed: str, other: Any) -> Value:
        sign = _COMPARISONS[ordered if self.kind == "float" else signed]
        return self._emitted("i1", f"{self.name} {sign} {self._with(other).name}")

    def __neg__(self) -> Value:
        if self.number is not None:
            return triton_constant(self.code, self.kind, -self.number)
        return self._emitted(self.kind, f"-{self.name}")


def triton_constant(code: Any, kind: str, number: Any) -> TritonValue:
    """A number, rounded to this kind."""
    if kind != "float":
        return TritonValue(code, kind, repr(int(number)))
    try:
        rounded = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        rounded = math.copysign(math.inf, number)
    text = repr(rounded) if math.isfinite(rounded) else f'float("{rounded}")'
    # As a value of its kind: of a bare number Triton would choose the kind by its size.
    return TritonValue(code, kind, code.emit(f"tl.full((), {text}, tl.float32)"), rounded)


class TritonLanes(Lanes):
    """The functions of `Lanes` that those of the kernel column need which Triton lacks: over float32, as Triton."""

    def __init__(self, code: TritonCode):
        self.code: Any = code
        self.double, self.kind = False, "float"

    def quick(self, count: int) -> bool:
        return False

    def const(self, number: Any) -> Value:
        return triton_constant(self.code, self.kind, number)

    def _emitted(self, kind: str, text: str, *arguments: Any) -> Value:
        return TritonValue(self.code, kind, self.code.emit(text.format(*(self._of(a).name for a in arguments))))

    def fma(self, a: Any, b: Any, c: Any) -> Value:
        return self.own("fma", a, b, c)

    def own(self, name: str, *arguments: Any) -> Value:
        """A function of the device's own library."""
        return self._emitted(self.kind, f"libdevice.{name}({', '.join('{}' for _ in arguments)})", *arguments)

    def exp(self, a: Value) -> Value:
        """The exponential function; brief, its relative error is 2^-24 |a|."""
        return self._emitted(self.kind, "tl.exp({})", a) if self.code.brief else self.own("exp", a)

    def sqrt(self, a: Value) -> Value:
        return self._emitted(self.kind, "tl.sqrt({})" if self.code.brief else "tl.sqrt_rn({})", a)

    def abs(self, a: Value) -> Value:
        return self._emitted(self.kind, "tl.abs({})", a)

    def round(self, a: Value) -> Value:
        return self.own("rint", a)

    def where(self, condition: Value, a: Any, b: Any) -> Value:
        a, b = self._of(a), self._of(b)
        return self._emitted(a.kind, "tl.where({}, {}, {})", condition, a, b)

    def isnan(self, a: Value) -> Value:
        return self._emitted("i1", "{0} != {0}", a)

    def rarely(self, condition: Value, seldom: Callable[..., Value], usual: Value, *arguments: Value) -> Value:
        """Both are computed, and one is chosen: all threads of a program would have to wait to find out whether any needs it."""
        return self.where(condition, seldom(self, *arguments), usual)

    def bits(self, a: Value) -> Value:
        return self._emitted("i32", "{}.to(tl.int32, bitcast=True)", a)

    def from_bits(self, i: Value) -> Value:
        return self._emitted("float", "{}.to(tl.float32, bitcast=True)", i)

    def to_int(self, a: Value) -> Value:
        return self._emitted("i32", "{}.to(tl.int32)", a)

    def ldexp(self, a: Value, k: Value) -> Value:
        """a * 2^k for an integral number k of at most twice a normal exponent."""
        shift = self.const(1.5 * 2.0**23)  # in the last bits of the sum is k: a conversion takes eight times as long
        whole = self.bits(k + shift) - self.bits(shift)
        half = self._emitted("i32", "{} >> 1", whole)
        return a * self._power(half) * self._power(whole - half)

    def _power(self, k: Value) -> Value:
        return self.from_bits((k + 127) << 23)
