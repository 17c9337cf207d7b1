"""A formula as Python source of torch operators, which autograd differentiates: as a user of torch would write it.

The benchmarks compare actune with it. Each formula becomes a function with its own code object, because torch.compile compiles at
most eight variants of one code object and runs the ninth uncompiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..language.exact import folded
from ..language.expr import Expr
from ..language.ops import OPS

__all__ = ["has_torch_form", "source", "torch_function"]

_BOUNDS = {"max": "min", "min": "max"}  # torch.maximum takes no number; clamp does, by the other name


def has_torch_form(e: Expr) -> bool:
    """Whether torch has an operator for every part of the formula. It has none for the Mittag-Leffler function."""
    return not any(not n.is_leaf and OPS[n.op].float64 for n in e.expand().nodes())


def torch_function(e: Expr, names: Sequence[str]) -> Callable[..., Tensor]:
    """The formula as a function of these arguments, from the text that `source` writes."""
    space: dict[str, Any] = {"torch": torch} | {f"f_{name}": op.torch for name, op in OPS.items()}
    exec(compile(source(e, names), "<eager formula>", "exec"), space)
    found: Callable[..., Tensor] = space["activation"]
    return found


def source(e: Expr, names: Sequence[str]) -> str:
    """The formula as Python source: one operator per line, each common part once; numbers stay numbers."""
    formula = folded(e.expand().simplify())
    lines: list[str] = []

    def leaf(n: Expr) -> str:
        return f"v_{n.args[0]}" if n.op == "symbol" else f"({n.args[0]!r})" if n.args[0] < 0 else repr(n.args[0])

    def node(n: Expr, *terms: str) -> str:
        lines.append(f"    t{len(lines)} = {_term(n, terms)}")
        return f"t{len(lines) - 1}"

    result = formula.fold(leaf, node)
    head = f"def activation({', '.join(f'v_{name}' for name in names)}):"
    return "\n".join([head, *lines, f"    return {result if formula.op != 'const' else f'torch.full_like(v_x, {result})'}"]) + "\n"


def _term(n: Expr, terms: Sequence[str]) -> str:
    """The call or operator of one node as source; `terms` are its arguments."""
    op, numbers = OPS[n.op], [a.op == "const" for a in n.args]
    if op.infix is not None:
        sign = {"^": "**"}.get(op.infix, op.infix)
        return f"{sign}{terms[0]}" if op.arity == 1 else f"{terms[0]} {sign} {terms[1]}"
    if n.op in _BOUNDS and any(numbers):
        number, other = terms if numbers[0] else terms[::-1]
        return f"torch.clamp({other}, {_BOUNDS[n.op]}={number})"
    taken = _number_arguments(n.op, numbers)
    given = [
        f"torch.tensor({t}, dtype=v_x.dtype, device=v_x.device)" if is_number and i not in taken else t
        for i, (t, is_number) in enumerate(zip(terms, numbers, strict=True))
    ]
    return f"f_{n.op}({', '.join(given)})"


def _number_arguments(op: str, numbers: Sequence[bool]) -> tuple[int, ...]:
    """The arguments that may stay numbers for torch's function; where() needs one with a dtype, so not both of its numbers."""
    both = all(numbers[1:])
    return {"where": (2,) if both else (1, 2), "clip": (1, 2) if both else ()}.get(op, ())
