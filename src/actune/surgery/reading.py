"""Calls of activation functions, found by reading the source of a model's classes.

Reading finds what an example does not reach, and says less than a run: `f = F.relu; f(x)`, a function of one's own that an
attribute holds, and a module that is made on the way by a name are seen only when they run.
"""

from __future__ import annotations

import ast
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from .activations import ELEMENTWISE, is_function
from .handwritten import is_handwritten_activation
from .rewriting import Form, layers, original_class, unwrapped
from .source import MethodNode, Position, SourceError, end_of, last_name, method_source, own_attribute

__all__ = ["WrittenCall", "calls_in_source", "held_functions"]


class WrittenCall(NamedTuple):
    """A call of an activation function as it is written: in which method, where it ends, its form and the name of what is called.

    gate   whether what it gives multiplies or weighs something there, or is what the method returns
    """

    code: types.CodeType
    end: Position
    form: Form
    function: str
    gate: bool


_TENSOR_METHODS = frozenset({"relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_"})  # of those without an argument


def calls_in_source(module: nn.Module) -> tuple[WrittenCall, ...]:
    """The calls of activation functions, and of modules that an attribute holds, in `forward` and what it calls of its class."""
    cls: Any = original_class(type(module))
    return _calls_in_source(cls)


@functools.lru_cache(maxsize=1024)
def _calls_in_source(cls: type) -> tuple[WrittenCall, ...]:
    found: list[WrittenCall] = []
    names, waiting = {"forward"}, ["forward"]
    while waiting:
        name = waiting.pop()
        function = inspect.getattr_static(cls, name, None)
        if not isinstance(function, types.FunctionType):
            continue
        code = unwrapped(function, name)
        try:
            method = method_source(code)
        except SourceError:
            continue
        if not [*method.args.posonlyargs, *method.args.args]:
            continue
        known = _globals_of(function, code)
        for call in (n for n in ast.walk(method) if isinstance(n, ast.Call)):
            told = _what_is_called(call, method, known)
            if told is not None:
                found.append(WrittenCall(code, end_of(call), *told, _is_gate(call, method)))
        used = {n.attr for n in ast.walk(method) if isinstance(n, ast.Attribute) and own_attribute(n, method)} - names
        names |= used
        waiting += sorted(used)
    return tuple(found)


def _globals_of(function: types.FunctionType, code: types.CodeType) -> Mapping[str, Any]:
    """What the names in a method stand for: those of its module, and variables of functions around it."""
    found = next(f for f in layers(function) if f.__code__ is code)
    cells = {}
    for name, cell in zip(code.co_freevars, found.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    return {**found.__globals__, **cells}


def _what_is_called(call: ast.Call, method: MethodNode, known: Mapping[str, Any]) -> tuple[Form, str] | None:
    own = own_attribute(call.func, method)
    if own is not None:
        return "module", own
    if isinstance(call.func, ast.Attribute) and call.func.attr in _TENSOR_METHODS and not call.args and not call.keywords:
        return "method", call.func.attr.strip("_")
    if isinstance(call.func, ast.Call):  # nn.ReLU()(x)
        made = _value(call.func.func, known)
        return ("function", made.__name__) if isinstance(made, type) and issubclass(made, ELEMENTWISE) else None
    value = _value(call.func, known)
    if is_function(value) and (getattr(value, "__module__", None) or "torch").startswith("torch"):
        return "function", last_name(call.func).strip("_")
    if isinstance(value, types.FunctionType) and len(call.args) == 1 and not call.keywords and is_handwritten_activation(value):
        return "helper", value.__name__
    return None


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """What a dotted name stands for, as far as modules go; None where that is not known."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        holder = _value(node.value, known)
        return getattr(holder, node.attr, None) if isinstance(holder, types.ModuleType) else None
    return None


def _is_gate(call: ast.Call, method: MethodNode) -> bool:
    """Whether what a call gives multiplies something, directly or under a name, or is returned."""
    parents = {child: node for node in ast.walk(method) for child in ast.iter_child_nodes(node)}
    uses: list[ast.AST] = [call]
    names: set[str] = set()
    while uses:
        above = _around_shapes(uses.pop(), parents)
        if isinstance(above, ast.Return) or (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Mult | ast.MatMult)):
            return True
        if isinstance(above, ast.Assign):
            new = {t.id for t in above.targets if isinstance(t, ast.Name)} - names
            names |= new
            uses += [n for n in ast.walk(method) if isinstance(n, ast.Name) and n.id in new and isinstance(n.ctx, ast.Load)]
    return False


def _around_shapes(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> ast.AST | None:
    """What stands around a value, when it is looked through other shapes of it, z.unsqueeze(1), and through numbers, 1 - z."""
    while (above := parents.get(node)) is not None:
        is_method = isinstance(above, ast.Call) and above.func is node and isinstance(node, ast.Attribute)
        is_item = isinstance(above, ast.Subscript) and above.value is node
        has_number = isinstance(above, ast.BinOp) and isinstance(above.left if above.right is node else above.right, ast.Constant)
        if not (is_method or is_item or has_number or isinstance(above, ast.Attribute | ast.UnaryOp)):
            return above
        node = above
    return None


def held_functions(module: nn.Module) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The attributes of a module that hold one of torch's activation functions: self.activation = F.relu."""
    return ((key, value) for key, value in vars(module).items() if is_function(value))
