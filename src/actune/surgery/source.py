"""The source of methods: read, checked against the code that runs, and compiled again.

Nothing is executed here. A method is found in its file by the line of its code; it counts only if it compiles to that very code, so
a file that was edited since it was imported is noticed.
"""

from __future__ import annotations
import __future__

import ast
import functools
import linecache
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "MethodNode",
    "Position",
    "SourceError",
    "compile_method",
    "end_of",
    "is_inside",
    "lambda_source",
    "last_name",
    "method_source",
    "own_attribute",
    "position_of",
    "text_place",
]

MethodNode = ast.FunctionDef | ast.AsyncFunctionDef


class SourceError(ValueError):
    """Why the source of some code cannot be used, in a few words."""


class Position(NamedTuple):
    """Where a call ends in its file: the line, and the column in bytes. No two calls end at one place."""

    line: int
    column: int


def position_of(frame: types.FrameType) -> Position | None:
    """Where the call ends that a frame is executing; None if the code does not know (python -X no_debug_ranges)."""
    _, line, _, column = _positions(frame.f_code)[frame.f_lasti // 2]
    return None if line is None or column is None else Position(line, column)


@functools.lru_cache(maxsize=4096)
def _positions(code: types.CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    return list(code.co_positions())


def text_place(code: types.CodeType, line: int | None = None) -> str:
    """Where some code stands, for a reader: "Encoder.forward, modeling.py:612"."""
    return f"{code.co_qualname}, {Path(code.co_filename).name}:{line or code.co_firstlineno}"


@functools.lru_cache(maxsize=1024)
def method_source(code: types.CodeType) -> MethodNode:
    """The definition that compiles to this code, without decorators, annotations and defaults; not to be changed.

    Raises SourceError where there is no source, or another one than the code was made from.
    """
    found = [node for node in _definitions(_file(code)) if _first_line(node) == code.co_firstlineno and node.name == code.co_name]
    if not found:
        raise SourceError(f"{code.co_qualname} is not in its source, which was changed since it was imported")
    bare = _bare(found[0])
    if not _is_same(compile_method(bare, code), code):
        raise SourceError(f"the source of {code.co_qualname} was changed since it was imported")
    return bare


def lambda_source(code: types.CodeType, inside: Position) -> ast.Lambda:
    """The lambda around this place; raises SourceError where there is no source or no such lambda."""
    for node in ast.walk(_file(code)):
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno and _contains(node, inside):
            return node
    raise SourceError("a lambda is not in its source, which was changed since it was imported")


def _contains(node: ast.expr, place: Position) -> bool:
    return (node.lineno, node.col_offset) <= place <= end_of(node)


def _file(code: types.CodeType) -> ast.Module:
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)
    if not lines:
        raise SourceError(f"there is no source of {code.co_qualname}")
    return _parsed("".join(lines), code.co_filename)


@functools.lru_cache(maxsize=64)
def _parsed(text: str, name: str) -> ast.Module:
    try:
        return ast.parse(text, name)
    except SyntaxError:
        raise SourceError(f"the source in {name} was changed since it was imported") from None


def _definitions(tree: ast.AST) -> Iterator[MethodNode]:
    return (node for node in ast.walk(tree) if isinstance(node, MethodNode))


def _first_line(node: MethodNode) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _bare(node: MethodNode) -> MethodNode:
    """The definition without what is evaluated when it is executed, which the function has already: it is copied over."""
    nothing = ast.Constant(None)
    given = node.args
    arguments = [[ast.arg(a.arg) for a in some] for some in (given.posonlyargs, given.args, given.kwonlyargs)]
    rest = [ast.arg(a.arg) if a else None for a in (given.vararg, given.kwarg)]
    args = ast.arguments(
        arguments[0], arguments[1], rest[0], arguments[2], [d and nothing for d in given.kw_defaults], rest[1],
        [nothing for _ in given.defaults],
    )  # fmt: skip
    made = type(node)(name=node.name, args=args, body=node.body, decorator_list=[], returns=None, type_comment=None)
    return ast.fix_missing_locations(ast.copy_location(made, node))


def compile_method(node: MethodNode, like: types.CodeType) -> types.CodeType:
    """Code of a definition as of the method with the code `like`: names of a class are mangled, outer variables are free."""
    # def factory(outer variables): class NAME: def method(…). The code of the method is then a constant in the constants.
    names = like.co_qualname.split(".")
    owner = names[-2] if len(names) > 1 and names[-2] != "<locals>" else None
    outer = [name for name in like.co_freevars if name != "__class__"]
    inside: Any = node
    if owner is not None:
        inside = ast.ClassDef(name=owner, bases=[], keywords=[], body=[node], decorator_list=[])
    factory = ast.FunctionDef(
        name="factory", args=ast.arguments([], [ast.arg(name) for name in outer], None, [], [], None, []), body=[inside],
        decorator_list=[], returns=None,
    )  # fmt: skip
    if sys.version_info >= (3, 12):
        for made in (node, inside, factory):
            made.type_params = getattr(made, "type_params", [])
    # Python compiles calls of an imported module's functions otherwise than calls of methods.
    imports = [ast.Import([ast.alias("_", name)]) for name in sorted(_imported(_file(like)))]
    module = ast.fix_missing_locations(ast.Module(body=[*imports, factory], type_ignores=[]))
    code = compile(module, like.co_filename, "exec", flags=like.co_flags & _FUTURE, dont_inherit=True)
    path = ["factory", *([owner] if owner is not None else []), node.name]
    for name in path:
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    return code


_FUTURE = functools.reduce(lambda flags, name: flags | getattr(__future__, name).compiler_flag, __future__.all_feature_names, 0)


def _imported(tree: ast.AST) -> set[str]:
    """The names that import statements outside of functions and classes bind."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(a.asname or a.name).partition(".")[0] for a in node.names if a.name != "*"}
        elif not isinstance(node, MethodNode | ast.ClassDef | ast.Lambda | ast.expr):
            names |= _imported(node)
    return names


def _is_same(a: types.CodeType, b: types.CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand."""
    names = ("co_code", "co_names", "co_varnames", "co_cellvars", "co_argcount", "co_exceptiontable")
    if any(getattr(a, name) != getattr(b, name) for name in names) or set(a.co_freevars) != set(b.co_freevars):
        return False
    return len(a.co_consts) == len(b.co_consts) and all(map(_is_same_constant, a.co_consts, b.co_consts))


def _is_same_constant(a: object, b: object) -> bool:
    if isinstance(a, types.CodeType) and isinstance(b, types.CodeType):
        return _is_same(a, b)
    return type(a) is type(b) and (a == b or repr(a) == repr(b))


def is_inside(inner: types.CodeType, outer: types.CodeType) -> bool:
    """Whether some code is of a function or a comprehension that stands in other code."""
    return any(c is inner or is_inside(inner, c) for c in outer.co_consts if isinstance(c, types.CodeType))


# -- calls ----------------------------------------------------------------------------------------------------------------


def end_of(node: ast.expr) -> Position:
    """Where an expression ends."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return Position(node.end_lineno, node.end_col_offset)


def last_name(node: ast.expr) -> str:
    """The last part of a dotted name: "relu" of F.relu; "" of what is no name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def own_attribute(node: ast.expr, method: MethodNode) -> str | None:
    """KEY where this is self.KEY in a method, else None."""
    me = [*method.args.posonlyargs, *method.args.args][0].arg
    is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == me
    return node.attr if is_own and isinstance(node, ast.Attribute) else None
