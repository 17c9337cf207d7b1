"""Loops, conditions and vectors of one number in LLVM assembly, as text around text.

A counter i lives in memory at %i.place, which the function must have (`counters`); the compiler keeps it in a register.
"""

from __future__ import annotations

from collections.abc import Iterable

from .lanes import NO_SUBNORMALS

__all__ = ["SIGNATURE", "VECTORS", "counters", "loop", "splat", "when"]

# Of a kernel, see `strips`. The stack is aligned to vectors: what is spilled must not straddle two cache lines.
VECTORS = f'alignstack(64) "prefer-vector-width"="512" {NO_SUBNORMALS}'
SIGNATURE = f"""define internal void @strip(ptr %context, ptr %X, ptr %G, ptr %Y, ptr %P, i64 %distance, ptr %S, i64 %count,
                            i64 %stride, i64 %live, i64 %rows, i64 %pitch) alwaysinline {VECTORS} """


def counters(names: Iterable[str]) -> str:
    """Room for them, at the start of a function."""
    return "".join(f"\n  %{i}.place = alloca i64" for i in names)


def splat(name: str, kind: str, lanes: int, number: str) -> str:
    """The number in every lane of a vector, under this name."""
    vector = f"<{lanes} x {kind}>"
    return f"""
  {name}.one = insertelement {vector} poison, {kind} {number}, i32 0
  {name} = shufflevector {vector} {name}.one, {vector} poison, <{lanes} x i32> zeroinitializer"""


def loop(i: str, low: str, high: str, step: str, body: str) -> str:
    """The body for %i from low to below high."""
    return f"""
  store i64 {low}, ptr %{i}.place
  br label %{i}.test
{i}.test:
  %{i} = load i64, ptr %{i}.place
  %{i}.more = icmp slt i64 %{i}, {high}
  br i1 %{i}.more, label %{i}.body, label %{i}.done
{i}.body:{body}
  %{i}.next = add i64 %{i}, {step}
  store i64 %{i}.next, ptr %{i}.place
  br label %{i}.test
{i}.done:"""


def when(name: str, condition: str, body: str, otherwise: str = "") -> str:
    """The body where the condition holds; the name is for its labels."""
    return f"""
  br i1 {condition}, label %{name}.yes, label %{name}.no
{name}.yes:{body}
  br label %{name}.done
{name}.no:{otherwise}
  br label %{name}.done
{name}.done:"""
