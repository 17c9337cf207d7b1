"""Kernels as built-in functions of Python: ctypes takes a microsecond per call, as long as a kernel takes for a small tensor.

CPython calls a built-in function with the object that it is bound to and an array of its arguments. Ours is bound to bytes,

    the kernel's address, units, size of the sums, where the plan ends, the plan, zeros for the sums

and all that it asks of the interpreter is in the stable ABI.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

from . import llvm

__all__ = ["BuiltinCall", "bind_builtin"]

BuiltinCall = Callable[[int, int, int, bytes], bytes]

_WORDS = struct.Struct("=4q")
_FASTCALL = 0x80
_API = ("PyBytes_AsString", "PyLong_AsVoidPtr", "PyErr_Occurred", "PyBytes_FromStringAndSize", "PyEval_SaveThread",
        "PyEval_RestoreThread")  # fmt: skip
_READERS = dict.fromkeys(("x", "g", "y"), "PyLong_AsVoidPtr") | {"numbers": "PyBytes_AsString"}


def bind_builtin(run: Any, plan: bytes, units: int, sums: int) -> BuiltinCall:
    """The function of (addresses of x, g and y, numbers) that calls a kernel (see `strips`) for so many units, which are one group.

    It returns the sums as they are in memory, in float64. Other threads of Python run while the kernel does.
    """
    address = ctypes.cast(run, ctypes.c_void_p).value or 0
    bound = _Bound(_WORDS.pack(address, units, 8 * sums, _WORDS.size + len(plan)) + plan + bytes(8 * sums))
    bound.run = run
    found: BuiltinCall = _new_function(_definition(), bound, None)
    return found


class _Bound(bytes):
    """What a function is bound to, and what must stay in memory for that."""

    run: Any


class _Definition(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


_new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


@functools.cache
def _definition() -> int:
    """The address of what describes the function to CPython; it stays until the process ends, as functions may."""
    library = llvm.compile_assembly(_ASSEMBLY, ("call", "api"))
    addresses = (ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in _API)
    (ctypes.c_void_p * len(_API)).from_address(library.address("api"))[:] = list(addresses)
    definition = _Definition(b"kernel", library.address("call"), _FASTCALL, None)
    for kept in (library, definition):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    return ctypes.addressof(definition)


_WORD_NAMES = ("run", "units", "size", "end")
_ASSEMBLY = f"""
@api = global [{len(_API)} x ptr] zeroinitializer

define ptr @call(ptr %self, ptr %arguments, i64 %count) {{""" + "".join(f"""
  %{name}.at = getelementptr ptr, ptr @api, i64 {i}
  %{name} = load ptr, ptr %{name}.at""" for i, name in enumerate(_API)) + """
  %words = call ptr %PyBytes_AsString(ptr %self)""" + "".join(f"""
  %{name}.at = getelementptr i64, ptr %words, i64 {i}
  %{name}.word = load i64, ptr %{name}.at, align 1""" for i, name in enumerate(_WORD_NAMES)) + f"""
  %run = inttoptr i64 %run.word to ptr
  %plan = getelementptr i64, ptr %words, i64 {len(_WORD_NAMES)}
  %zeros = getelementptr i8, ptr %words, i64 %end.word""" + "".join(f"""
  %{name}.at = getelementptr ptr, ptr %arguments, i64 {i}
  %{name}.object = load ptr, ptr %{name}.at
  %{name} = call ptr %{reader}(ptr %{name}.object)""" for i, (name, reader) in enumerate(_READERS.items())) + """
  %error = call ptr %PyErr_Occurred()
  %wrong = icmp ne ptr %error, null
  br i1 %wrong, label %fail, label %allocate
allocate:
  %found = call ptr %PyBytes_FromStringAndSize(ptr %zeros, i64 %size.word)
  %none = icmp eq ptr %found, null
  br i1 %none, label %fail, label %compute
compute:
  %sums = call ptr %PyBytes_AsString(ptr %found)
  %thread = call ptr %PyEval_SaveThread()
  call void %run(ptr %plan, ptr %x, ptr %g, ptr %y, ptr %numbers, ptr %sums, i64 0, i64 %units.word)
  call void %PyEval_RestoreThread(ptr %thread)
  ret ptr %found
fail:
  ret ptr null
}
"""  # fmt: skip
