"""A formula that ONNX has an operator for, as that one operator: what torch's exporter of ONNX records in place of the formula.

Runtimes have these operators for float32; a formula in float64 stays a formula.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ..catalogue.registry import FAMILIES, Family, OnnxOperator
from ..language.expr import Expr, symbol
from .operators import evaluate, needs_float64
from .request import Subject

__all__ = ["by_onnx_operator", "is_recorded_for_onnx"]


def is_recorded_for_onnx() -> bool:
    """Whether what is computed now is recorded by torch's exporter (dynamo=True) for a file in ONNX."""
    return torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export() and torch._C._get_tracing_state() is None


def by_onnx_operator(subject: Subject, shapes: Sequence[tuple[int, ...]], x: Tensor, tensors: Sequence[Tensor]) -> Tensor | None:
    """The value by operators that ONNX has for families; None where it has none for this formula, dtype or these parameters.

    The whole formula becomes one operator, or parts of it that are functions of x alone: gelu(x) in `gelu(x) + 0.1*sin(x)`.
    """
    if x.dtype == torch.float64:
        return None
    family = _families().get(subject.e.expand())
    if family is None:
        return _by_parts(subject, shapes, x, tensors)
    names = [name for names, _ in subject.sources for name in names]
    for operator in family.onnx:
        numbers = {a: _number(subject, tensors[names.index(p)], names.index(p)) for a, p in operator.learned.items()}
        if None not in numbers.values():
            symbols = subject.symbols(x, tensors, shapes) if operator.input else {}
            inputs = [symbols[operator.input].float()] if operator.input else []
            return _recorded(operator, {**operator.fixed, **numbers}, [x.float(), *inputs]).to(x.dtype)
    return None


def _by_parts(subject: Subject, shapes: Sequence[tuple[int, ...]], x: Tensor, tensors: Sequence[Tensor]) -> Tensor | None:
    """The value of a formula with the largest parts that are families at their initial values by their operators; None without."""
    known = _functions()
    found = {f"onnx_{i}": n for i, n in enumerate(subject.e.expand().nodes()) if n in known}
    if not found or needs_float64(subject.e):
        return None
    names = {n: symbol(name) for name, n in found.items()}
    e = subject.e.expand().fold(lambda n: n, lambda n, *args: names[n] if n in names else Expr(n.op, args))
    parts = {name: _recorded(*known[n], [x.float()]) for name, n in found.items() if name in e.symbols()}
    values = {name: value.float() for name, value in subject.symbols(x, tensors, shapes).items()}
    return evaluate(e, {"x": x.float(), **parts, **values}).to(x.dtype)


def _functions() -> dict[Expr, tuple[OnnxOperator, dict[str, object]]]:
    """Functions of x alone that an operator with these attributes computes: families at their initial values."""
    found: dict[Expr, tuple[OnnxOperator, dict[str, object]]] = {}
    for f in FAMILIES.values():
        for operator in f.onnx[:1]:
            if not operator.input:
                numbers = {attribute: f.params[name].init for attribute, name in operator.learned.items()}
                found.setdefault(f.at_initial().expand(), (operator, {**operator.fixed, **numbers}))
    return found


def _families() -> dict[Expr, Family]:
    """The families with operators of ONNX by their formulas."""
    return {f.expr.expand(): f for f in FAMILIES.values() if f.onnx}


def _recorded(operator: OnnxOperator, attributes: dict[str, object], inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    y: Tensor = torch.onnx.ops.symbolic(operator.name, inputs, attributes, dtype=x.dtype, shape=x.shape)  # type: ignore[arg-type]
    return y


def _number(subject: Subject, stored: Tensor, i: int) -> float | None:
    """The value of a parameter that is one number for all elements, else None."""
    real = _with_values(stored)
    if real is None or real.numel() != 1:
        return None
    with _disable_current_modes(), torch.no_grad():  # what is done here is no part of the graph
        return float(subject.sources[i][1].value(real.detach()))


def _with_values(stored: Tensor) -> Tensor | None:
    """The parameter that the exporter's tensor stands for; None for what is computed from parameters, as by weight norm.

    The exporter runs a module with tensors that have a shape and no values, and keeps in its converter which one is whose.
    """
    mode = getattr(stored, "fake_mode", None)
    if mode is None:
        return None
    converter = mode.fake_tensor_converter.meta_converter
    known = converter.describer.lookup_tensor
    return next((real for real in known if converter.tensor_memo.get(known[real]) is stored), None)
