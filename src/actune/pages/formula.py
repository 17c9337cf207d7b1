"""The scripts by which formulas live in a page: read, differentiated, evaluated, set as mathematics and written as source."""

from __future__ import annotations

import itertools
import json
import string
from typing import Any

from ..export.c import C_OPERATORS, c_helpers
from ..export.javascript import JS_OPERATORS, javascript_helpers
from ..export.python import torch_helper, torch_term
from ..language.expr import Expr, const, symbol, to_rows
from ..language.ops import ALIASES, OPS, Op
from .page import asset

__all__ = ["formula_scripts"]

_PARTS = ("nodes", "parser", "slopes", "values", "notation", "source")


def formula_scripts() -> tuple[str, ...]:
    """The texts of the scripts that make the global `formulas`, in order; `dom.js` comes before them.

    The first holds the table of functions as it is now, those included that have been declared since actune was imported.
    """
    return (_table_script(), *(asset(f"formula_{part}.js") for part in _PARTS), asset("formula.js"))


def _table_script() -> str:
    """The global `formulaTable`: the table of primitives as data, and the loops that compute them."""
    loops = {name: _loop(OPS[name].arity, text) for name, text in JS_OPERATORS.items()}
    data = {"ops": {name: _row(op) for name, op in OPS.items()}, "aliases": ALIASES}
    listed = ",\n".join(f"{json.dumps(name)}: {loop}" for name, loop in loops.items())
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        '"use strict";\n/* The table of functions, written by actune; loops take arrays with masks of their indices. */\n'
        f"const formulaTable = (() => {{\n{javascript_helpers(loops.values())}\n\nconst loops = {{\n{listed}\n}};\n\n"
        f"return {{ loops, ...{text} }};\n}})();\n"
    )


def _loop(arity: int, text: str) -> str:
    """The loop that writes an operator's values to the array y: of arrays a, b, … whose index is masked by aMask, bMask, …"""
    names = string.ascii_lowercase[:arity]
    body = text.format(*(f"{name}[i & {name}Mask]" for name in names))
    arguments = ", ".join(["y", *(f"{name}, {name}Mask" for name in names)])
    return f"({arguments}) => {{ for (let i = 0; i < y.length; i++) y[i] = {body}; }}"


def _row(op: Op) -> dict[str, Any]:
    """What the scripts know of a function; columns that say nothing are left out."""
    if op.definition is not None:
        return {"arity": op.arity, "binds": op.binds, "boolean": False, "definition": to_rows(op.definition), "show": op.show}
    row = {
        "arity": op.arity, "binds": op.binds, "infix": op.infix, "boolean": op.boolean, "slope": op.slope, "show": op.show,
        "c": C_OPERATORS[op.name].replace("F(", "(") if op.name in C_OPERATORS else None, "cHelpers": c_helpers({op.name}) or None,
    }  # fmt: skip
    if op.arity and not op.float64:
        row |= {"python": _python_forms(op), "pythonHelper": torch_helper(op.name)}
    return {"grad": op.grad, **{name: value for name, value in row.items() if value is not None}}


def _python_forms(op: Op) -> list[str]:
    """The source over torch by which arguments are numbers: that of where(x > 0, 1, x) is at 0b010; one if they all agree."""
    found = []
    for numbers in itertools.product((False, True), repeat=op.arity):
        arguments = tuple(const(1) if is_number else symbol("x") for is_number in numbers)
        found.append(torch_term(Expr(op.name, arguments), [f"{{{i}}}" for i in range(op.arity)]).replace("v_x", "x"))
    return found[:1] if len(set(found)) == 1 else found
