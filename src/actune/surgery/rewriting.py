"""Methods in which calls of activation functions have become calls of modules, and the classes that have them.

    def forward(self, x):                    def forward(self, x):
        return F.gelu(self.conv(x))    ──►       return self.act(self.conv(x))

A class with rewritten methods is a subclass of the old one with its name. It is made from a description, plain data, so that a
pickled model finds it again.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import inspect
import types
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from torch import nn

from .source import MethodNode, Position, SourceError, compile_method, end_of, last_name, method_source

__all__ = [
    "Form",
    "MethodEdit",
    "Spot",
    "class_edits",
    "input_of",
    "layers",
    "method_named",
    "original_class",
    "original_code",
    "rewritten_class",
    "unwrapped",
]

# What a call looks like: function f(x), method x.f(), helper h(x) of one argument, module self.f(x).
Form = Literal["function", "method", "helper", "module"]


class Spot(NamedTuple):
    """One call: where it ends, counted from the first line of its method, its form, and the attribute that is called instead."""

    line: int
    column: int
    form: Form
    name: str


class MethodEdit(NamedTuple):
    """The calls that change in a method, with a digest of its source."""

    method: str
    digest: str
    spots: tuple[Spot, ...]


def class_edits(cls: type, spots: dict[str, list[Spot]]) -> tuple[MethodEdit, ...]:
    """The description of a class with these calls of its methods changed, on top of those that are changed already."""
    there = {edit.method: edit.spots for edit in vars(cls).get("_actune_edits", ())}
    base = original_class(cls)
    every = {name: tuple(sorted({*there.get(name, ()), *spots.get(name, ())})) for name in sorted({*there, *spots})}
    return tuple(
        MethodEdit(name, _digest(method_source(unwrapped(_attribute(base, name), name))), found) for name, found in every.items()
    )


def original_class(cls: type) -> type:
    """The class as its author wrote it."""
    return cls.__mro__[1] if "_actune_edits" in vars(cls) else cls


@functools.lru_cache(maxsize=4096)
def rewritten_class(cls: type, edits: tuple[MethodEdit, ...]) -> type:
    """The subclass of a class, with its name, whose methods are rewritten; raises SourceError where that cannot be done."""
    body: dict[str, Any] = {edit.method: _rewritten(cls, edit) for edit in edits}
    body |= {
        "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__, "_actune_edits": edits,
        "__reduce_ex__": _reduce,
    }  # fmt: skip
    return type(cls)(cls.__name__, (cls,), body)


def _reduce(module: nn.Module, protocol: int) -> tuple[Any, ...]:
    return _blank, (original_class(type(module)), type(module)._actune_edits), module.__getstate__()  # type: ignore[attr-defined]


def _blank(cls: type, edits: tuple[MethodEdit, ...]) -> Any:
    """An object without contents, which unpickling fills."""
    made: Any = rewritten_class(cls, edits)
    return made.__new__(made)


# -- a method and its decorators ------------------------------------------------------------------------------------------


def method_named(cls: type, code: types.CodeType) -> str:
    """The attribute of a class that runs this code when it is called; raises SourceError if none does."""
    for name in dict.fromkeys(name for base in cls.__mro__ for name in vars(base)):
        found = inspect.getattr_static(cls, name)
        if isinstance(found, types.FunctionType) and code in {f.__code__ for f in layers(found)}:
            return name
    raise SourceError(
        f"{code.co_qualname} is not what {cls.__name__} runs by that name; it is reached through super() or otherwise"
    )


def unwrapped(function: types.FunctionType, name: str) -> types.CodeType:
    """The code of the method of this name under its decorators: the innermost that has the name."""
    codes = [f.__code__ for f in layers(function)]
    named = [code for code in codes if code.co_name == name]
    inner: Any = inspect.unwrap(function)
    if named:
        return named[-1]
    return inner.__code__ if getattr(inner, "__code__", None) in codes else codes[0]


def _attribute(cls: type, name: str) -> types.FunctionType:
    found = inspect.getattr_static(cls, name, None)
    if not isinstance(found, types.FunctionType):
        raise SourceError(f"{cls.__name__} has no method {name!r}")
    return found


def layers(function: types.FunctionType, seen: tuple[types.FunctionType, ...] = ()) -> Iterator[types.FunctionType]:
    """A function, and those in the closures of its decorators."""
    if function not in seen:
        yield function
        for inner in _contents(function):
            if isinstance(inner, types.FunctionType):
                yield from layers(inner, (*seen, function))


def _contents(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a variable that has no value yet
            yield None


def _around(function: types.FunctionType, code: types.CodeType, new: types.CodeType) -> types.FunctionType:
    """The function with its decorators, of which each is copied, and the code of the innermost changed."""
    if function.__code__ is code:
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        return _copied(function, new, tuple(cells[name] for name in new.co_freevars))
    closure = tuple(
        types.CellType(_around(value, code, new)) if isinstance(value, types.FunctionType) and _runs(value, code) else cell
        for value, cell in zip(_contents(function), function.__closure__ or (), strict=True)
    )
    return _copied(function, function.__code__, closure)


def _runs(function: types.FunctionType, code: types.CodeType) -> bool:
    return any(f.__code__ is code for f in layers(function))


def _copied(function: types.FunctionType, code: types.CodeType, closure: tuple[types.CellType, ...]) -> types.FunctionType:
    made = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__, made.__annotations__ = function.__kwdefaults__, function.__annotations__
    made.__qualname__, made.__module__, made.__doc__ = function.__qualname__, function.__module__, function.__doc__
    made.__dict__.update(function.__dict__)
    return made


def _digest(node: MethodNode) -> str:
    return hashlib.sha256(ast.unparse(node).encode()).hexdigest()[:16]


# -- the calls ------------------------------------------------------------------------------------------------------------


_ORIGINALS: dict[types.CodeType, types.CodeType] = {}


def original_code(code: types.CodeType) -> types.CodeType:
    """The code of a method as its author wrote it."""
    return _ORIGINALS.get(code, code)


def _rewritten(cls: type, edit: MethodEdit) -> types.FunctionType:
    function = _attribute(cls, edit.method)
    code = unwrapped(function, edit.method)
    node = method_source(code)
    if _digest(node) != edit.digest:
        raise SourceError(f"{code.co_qualname} has another source than when its activation functions were swapped")
    rewriter = _Rewriter({Position(s.line + code.co_firstlineno, s.column): s for s in edit.spots}, node)
    made = ast.fix_missing_locations(rewriter.visit(copy.deepcopy(node)))
    if rewriter.left:
        raise SourceError(f"{len(rewriter.left)} calls of {code.co_qualname} are not in its source")
    new = compile_method(made, code)
    _ORIGINALS[new] = code
    return _around(function, code, new)


class _Rewriter(ast.NodeTransformer):
    """Changes the calls that end at these positions.

    A call that works in place gives its input a new value: F.relu(x, inplace=True) becomes x = self.act(x).
    """

    def __init__(self, spots: dict[Position, Spot], method: MethodNode):
        arguments = [*method.args.posonlyargs, *method.args.args]
        if not arguments:
            raise SourceError("the method has no first argument, through which its modules could be reached")
        self.me, self.spots, self.left, self.depth = arguments[0].arg, spots, set(spots), 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._enter(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._enter(node)

    def _enter(self, node: Any) -> ast.AST:
        before = len(self.left)
        self.depth += 1
        made = self.generic_visit(node)
        self.depth -= 1
        if self.depth and len(self.left) < before and self.me in {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}:
            raise SourceError(f"an inner function has an argument {self.me!r} of its own")
        return made

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_meant = isinstance(node.value, ast.Call) and end_of(node.value) in self.spots
        made = self.generic_visit(node)
        if not is_meant or not isinstance(made, ast.Expr):
            return made
        call = made.value.value if isinstance(made.value, ast.NamedExpr) else made.value
        assert isinstance(call, ast.Call)
        target = copy.deepcopy(call.args[0])
        if not isinstance(target, ast.Name | ast.Attribute | ast.Subscript) or self.depth > 1:
            raise SourceError("it works in place on what has no name")
        target.ctx = ast.Store()
        return ast.copy_location(ast.Assign([target], call), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        spot = self.spots.get(end_of(node))
        made = self.generic_visit(node)
        if spot is None:
            return made
        assert isinstance(made, ast.Call)
        self.left.discard(end_of(node))
        given = input_of(made, spot.form)
        module = ast.Attribute(ast.Name(self.me, ast.Load()), spot.name, ast.Load())
        call = ast.Call(module, [given], [])
        works_in_place = spot.form != "module" and _works_in_place(made)
        if works_in_place and isinstance(given, ast.Name) and self.depth == 1:
            return ast.copy_location(ast.NamedExpr(ast.Name(given.id, ast.Store()), call), node)
        return ast.copy_location(call, node)

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._scope(node)

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp  # type: ignore[assignment]

    def _scope(self, node: ast.AST) -> ast.AST:
        self.depth += 1  # names bound inside are not those outside
        made = self.generic_visit(node)
        self.depth -= 1
        return made


def input_of(call: ast.Call, form: Form) -> ast.expr:
    """The input of an activation function in the source; raises SourceError where it cannot be told."""
    if form == "method" and isinstance(call.func, ast.Attribute):
        return call.func.value
    named = [k.value for k in call.keywords if k.arg in ("input", "x", "self")]
    found = [*call.args[:1], *named]
    if not found or isinstance(found[0], ast.Starred) or (form == "helper" and len(call.args) + len(call.keywords) != 1):
        raise SourceError("which of its arguments is the input cannot be told")
    return found[0]


def _works_in_place(call: ast.Call) -> bool:
    name = last_name(call.func)
    said = next((k.value for k in call.keywords if k.arg == "inplace"), ast.Constant(False))
    return (name.endswith("_") and not name.startswith("_")) or not (isinstance(said, ast.Constant) and not said.value)
