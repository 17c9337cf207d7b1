"""Compiled functions as built-in functions of Python: ctypes takes a microsecond per call, as long as a kernel for a small tensor.

CPython calls a built-in function with the object that it is bound to and an array of its arguments. Ours are bound to bytes, which
begin with whole numbers, and all that they ask of the interpreter is in the stable ABI.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import llvm

__all__ = ["BuiltinCall", "bind_builtin", "builtin_assembly"]

BuiltinCall = Callable[..., bytes]

_FASTCALL = 0x80
_API = ("PyBytes_AsString", "PyLong_AsVoidPtr", "PyErr_Occurred", "PyBytes_FromStringAndSize", "PyEval_SaveThread",
       "PyEval_RestoreThread")  # fmt: skip


def bind_builtin(assembly: str, numbers: Sequence[int], rest: bytes = b"", kept: object = None) -> Any:
    """The function "call" of the assembly, bound to these numbers and what comes behind them.

    kept   what must stay in memory for as long as the function does
    """
    bound = _Bound(struct.pack(f"={len(numbers)}q", *numbers) + rest)
    bound.kept = kept
    return _new_function(_definition(assembly), bound, None)


class _Bound(bytes):
    """What a function is bound to."""

    kept: object


class _Definition(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


@functools.cache
def _definition(assembly: str) -> int:
    """The address of what describes the function to CPython; it stays until the process ends, as functions may."""
    library = llvm.compile_assembly(assembly, ("call", "api"))
    addresses = (ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in _API)
    (ctypes.c_void_p * len(_API)).from_address(library.address("api"))[:] = list(addresses)
    definition = _Definition(b"kernel", library.address("call"), _FASTCALL, None)
    for kept in (library, definition):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    return ctypes.addressof(definition)


# -- in LLVM assembly ----------------------------------------------------------------------------------------------------


def builtin_assembly(names: Sequence[str], readers: Mapping[str, str], room: str, body: str, outside: str = "") -> str:
    """The module of a built-in function.

    names    of the numbers that it is bound to, which lie at %words
    readers  of its first arguments: their names, each with the function of `_API` that reads it
    room     for variables
    body     what comes then; it returns an object, or goes to fail after an error
    """
    return f"""
@api = global [{len(_API)} x ptr] zeroinitializer
{outside}
define ptr @call(ptr %self, ptr %arguments, i64 %count) {{{room}{_members("ptr", _API, "@api")}
  %words = call ptr %PyBytes_AsString(ptr %self){_members("i64", names, "%words")}{_read(readers)}
  %error = call ptr %PyErr_Occurred()
  %wrong = icmp ne ptr %error, null
  br i1 %wrong, label %fail, label %begin
begin:{body}
fail:
  ret ptr null
}}
"""


def _members(kind: str, names: Sequence[str], place: str) -> str:
    """Load what lies one after the other at this place."""
    return "".join(f"""
  %{name}.at = getelementptr {kind}, ptr {place}, i64 {i}
  %{name} = load {kind}, ptr %{name}.at, align 1""" for i, name in enumerate(names))  # fmt: skip


def _read(readers: Mapping[str, str]) -> str:
    return "".join(f"""
  %{name}.at = getelementptr ptr, ptr %arguments, i64 {i}
  %{name}.object = load ptr, ptr %{name}.at
  %{name} = call ptr %{reader}(ptr %{name}.object)""" for i, (name, reader) in enumerate(readers.items()))  # fmt: skip
