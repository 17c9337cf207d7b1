"""A formula as a user of torch would write it: a plain function of torch operators, differentiated by autograd.

It is what actune is compared with. Each formula becomes a function with a code object of its own, because torch.compile runs
the ninth formula that goes through one code object without compiling it.
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
    """Whether torch has an operator for every part; it has none for the Mittag-Leffler function."""
    return not any(not n.leaf and OPS[n.op].wide for n in e.expand().nodes())


def torch_function(e: Expr, names: Sequence[str]) -> Callable[..., Tensor]:
    """The function of these arguments that `source` writes."""
    space: dict[str, Any] = {"torch": torch} | {f"f_{name}": op.torch for name, op in OPS.items()}
    exec(compile(source(e, names), "<eager formula>", "exec"), space)
    found: Callable[..., Tensor] = space["activation"]
    return found


def source(e: Expr, names: Sequence[str]) -> str:
    """Python source, one operator a line, each common part once; numbers stay numbers."""
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
    op, numbers = OPS[n.op], [a.op == "const" for a in n.args]
    if op.infix is not None:
        sign = {"^": "**"}.get(op.infix, op.infix)
        return f"{sign}{terms[0]}" if op.arity == 1 else f"{terms[0]} {sign} {terms[1]}"
    if n.op in _BOUNDS and any(numbers):
        number, other = terms if numbers[0] else terms[::-1]
        return f"torch.clamp({other}, {_BOUNDS[n.op]}={number})"
    taken = _numbers(n.op, numbers)
    given = [
        f"torch.tensor({t}, dtype=v_x.dtype, device=v_x.device)" if is_number and i not in taken else t
        for i, (t, is_number) in enumerate(zip(terms, numbers, strict=True))
    ]
    return f"f_{n.op}({', '.join(given)})"


def _numbers(op: str, numbers: Sequence[bool]) -> tuple[int, ...]:
    """The arguments for which torch's function takes a number; of two numbers, where() needs one with a dtype."""
    both = all(numbers[1:])
    return {"where": (2,) if both else (1, 2), "clip": (1, 2) if both else ()}.get(op, ())
