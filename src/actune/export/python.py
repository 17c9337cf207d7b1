"""A formula as Python source of torch operators, which autograd differentiates: as a user of torch would write it.

The source needs torch and nothing else. The benchmarks compare actune with it. Each formula becomes a function with its own code
object, because torch.compile compiles at most eight variants of one code object and runs the ninth uncompiled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..language.expr import Expr
from ..language.ops import OPS
from .frozen import FrozenFunction
from .lines import statements

__all__ = ["has_torch_form", "python_source", "source", "torch_function", "torch_helper", "torch_term"]

_BOUNDS = {"max": "min", "min": "max"}  # torch.maximum takes no number; clamp does, by the other name


def has_torch_form(e: Expr) -> bool:
    """Whether torch has an operator for every part of the formula. It has none for the Mittag-Leffler function."""
    return not any(not n.is_leaf and OPS[n.op].float64 for n in e.expand().nodes())


def torch_function(e: Expr, names: Sequence[str]) -> Callable[..., Tensor]:
    """The formula as a function of these arguments, from the text that `source` writes."""
    space: dict[str, Any] = {"torch": torch, "F": F, "Tensor": Tensor}
    exec(compile(_helpers(e) + source(e, names), "<eager formula>", "exec"), space)
    found: Callable[..., Tensor] = space["activation"]
    return found


def source(e: Expr, names: Sequence[str], name: str = "activation", first: Sequence[str] = ()) -> str:
    """The formula as a function in Python: one operator per line, each common part once; numbers stay numbers.

    first   lines before those of the formula
    """

    def leaf(n: Expr) -> str:
        return f"v_{n.args[0]}" if n.op == "symbol" else f"({n.args[0]!r})" if n.args[0] < 0 else repr(n.args[0])

    done, result = statements(e, leaf, torch_term)
    lines = [f"    t{i} = {text}" for i, (_, text) in enumerate(done)]
    is_number = not done and not result.startswith("v_")
    head = f"def {name}({', '.join(f'v_{argument}' for argument in names)}):"
    return "\n".join([head, *first, *lines, f"    return {f'torch.full_like(v_x, {result})' if is_number else result}"]) + "\n"


def python_source(functions: Sequence[FrozenFunction]) -> str:
    """A module of Python with these functions of a tensor; half precision is computed in float32 and rounded once."""
    head = '"""Activation functions over torch operators, written by actune."""\n\nimport torch\nimport torch.nn.functional as F\n'
    helpers = dict.fromkeys(text for f in functions for text in _helpers(f.e).split("\n\n\n") if text)
    tensor = "from torch import Tensor\n" * bool(helpers)
    return "\n\n".join([head + tensor, *(text.rstrip() + "\n" for text in helpers), *map(_documented, functions)])


def _documented(f: FrozenFunction) -> str:
    """One function of x with its constants, in the dtype of x."""
    inner = source(f.e, ("x", *f.arrays), f"_{f.name}")
    given = "".join(f", torch.tensor({list(values)!r}, dtype=x.dtype, device=x.device).reshape({f.shape_text('x.ndim')})"
                    for values in f.arrays.values())  # fmt: skip
    like = "" if "x" in f.e.symbols() else ".expand_as(v_x)"
    return (
        f"{inner}\n\ndef {f.name}(v_x):\n"
        f'    """{f.title}."""\n'
        f"    x = v_x.to(torch.promote_types(v_x.dtype, torch.float32))\n"
        f"    return _{f.name}(x{given}).to(v_x.dtype){like}\n"
    )


def torch_term(n: Expr, terms: Sequence[str]) -> str:
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
    return f"{_spelled(n.op)}({', '.join(given)})"


def _spelled(op: str) -> str:
    """The function of torch behind an operator as source names it: torch's own, or a helper that is written beside it."""
    function = OPS[op].torch
    assert function is not None
    name = function.__name__
    places = {"torch": torch, "torch.special": torch.special, "F": F}
    return next((f"{text}.{name}" for text, place in places.items() if getattr(place, name, None) is function), name)


def torch_helper(op: str) -> str | None:
    """The source of the function over torch that stands for an operator which torch lacks or has with fewer digits."""
    function = OPS[op].torch
    return None if function is None or not OPS[op].arity or "." in _spelled(op) else inspect.getsource(function)


def _helpers(e: Expr) -> str:
    """The source of the functions that a formula needs and torch lacks."""
    found = map(torch_helper, dict.fromkeys(n.op for n in e.expand().nodes() if not n.is_leaf))
    return "".join(text + "\n\n" for text in found if text is not None)


def _number_arguments(op: str, numbers: Sequence[bool]) -> tuple[int, ...]:
    """The arguments that may stay numbers for torch's function; where() needs one with a dtype, so not both of its numbers."""
    both = all(numbers[1:])
    return {"where": (2,) if both else (1, 2), "clip": (1, 2) if both else ()}.get(op, ())
