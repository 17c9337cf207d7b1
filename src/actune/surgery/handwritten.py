"""Functions of Python that are activation functions written by hand: def swish(x): return x * torch.sigmoid(x)."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .activations import TORCH_FUNCTIONS
from .source import Position, SourceError, lambda_source, last_name, method_source

__all__ = ["TORCH_FOLDER", "is_handwritten_activation", "why_no_activation"]

TORCH_FOLDER = str(Path(torch.__file__).parent)

# What a function may do that is an activation function as a whole, by the names of torch's functions and methods.
_ALSO_ELEMENTWISE = frozenset({
    "abs", "add", "asinh", "atan", "clamp", "clip", "cos", "cosh", "div", "erf", "exp", "expm1", "full", "log", "log1p",
    "maximum", "minimum", "mul", "neg", "ones", "pow", "reciprocal", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "sub",
    "tensor", "where", "zeros",
})  # fmt: skip


@functools.lru_cache(maxsize=1024)
def is_handwritten_activation(function: Callable[..., Any]) -> bool:
    """Whether a Python function is an activation function written by hand: elementwise, with one of torch's in it."""
    code = function.__code__
    if code.co_filename.startswith(TORCH_FOLDER) or why_no_activation(code, None) is not None:
        return False
    calls = [n for n in ast.walk(method_source(code)) if isinstance(n, ast.Call)]
    return any(last_name(c.func).strip("_") in TORCH_FUNCTIONS for c in calls)


def why_no_activation(code: types.CodeType, inside: Position | None) -> str | None:
    """Why a function is no elementwise function of its one argument; None if it is one."""
    try:
        is_lambda = code.co_name == "<lambda>" and inside is not None
        node = lambda_source(code, inside) if is_lambda and inside is not None else method_source(code)
    except SourceError as error:
        return str(error)
    body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    arguments = node.args.posonlyargs + node.args.args
    if len(arguments) - len(node.args.defaults) != 1 or node.args.vararg or not all(map(_is_elementwise, body)):
        return f"it stands in {code.co_qualname}, which does more than that"
    return None


def _is_elementwise(node: ast.AST) -> bool:
    """Whether a statement or an expression only computes, element by element."""
    if isinstance(node, ast.Call):
        name = last_name(node.func).strip("_")
        if name not in TORCH_FUNCTIONS | _ALSO_ELEMENTWISE:
            return False
        receiver = [node.func.value] if isinstance(node.func, ast.Attribute) and not _is_dotted(node.func.value) else []
        return all(map(_is_elementwise, [*receiver, *node.args, *(k.value for k in node.keywords)]))
    if isinstance(node, ast.Assign):
        return all(isinstance(t, ast.Name) for t in node.targets) and _is_elementwise(node.value)
    if isinstance(node, ast.Return | ast.Expr):
        return node.value is not None and _is_elementwise(node.value)
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, ast.MatMult) and _is_elementwise(node.left) and _is_elementwise(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_elementwise(node.operand)
    return isinstance(node, ast.Name | ast.Constant) or _is_dotted(node)


def _is_dotted(node: ast.AST) -> bool:
    """Whether this is a name such as math.pi."""
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _is_dotted(node.value))
