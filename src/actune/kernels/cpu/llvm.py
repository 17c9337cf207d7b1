"""LLVM assembly to functions of this process: compiled for this processor, kept in a folder of the user's between processes.

A file there is machine code, so it is read only from a folder that nobody else can write to. Its name is the digest of all that
it depends on, the assembly and the compiler and the processor; what the code that writes assembly no longer asks for is never
read again. It is written beside its place and moved there, so that any number of processes may start at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import platform
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["Library", "architecture", "compile_assembly", "cpu_features", "folder", "works"]

_MOST = 2000  # files; the oldest go
_LOCK = threading.RLock()  # a finalizer may compile too


class Library:
    """The functions of one compiled module. The code lives as long as this does."""

    def __init__(self, machine_code: bytes, names: Sequence[str]):
        with _LOCK:
            self._tracker, self._addresses = _linked(machine_code, names)

    def address(self, name: str) -> int:
        return self._addresses[name]

    def function(self, name: str, *kinds: Any, result: Any = None) -> Any:
        """A function of these ctypes. Other threads of Python run while it does."""
        found = ctypes.CFUNCTYPE(result, *kinds)(self.address(name))
        found.library = self  # type: ignore[attr-defined]
        return found


_numbers = itertools.count()


@functools.cache
def _compiler() -> tuple[Any, Any, Any]:
    """The bindings, the linker of this process, and the machine that it compiles for."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()

    def machine() -> Any:  # the linker keeps its own
        target = llvm.Target.from_triple(llvm.get_process_triple())
        return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=_feature_text(), opt=2)

    return llvm, llvm.create_lljit_compiler(machine()), machine()


@functools.cache
def _feature_text() -> str:
    from llvmlite import binding as llvm

    found: str = llvm.get_host_cpu_features().flatten()
    return found


@functools.cache
def cpu_features() -> frozenset[str]:
    """What this processor has, in LLVM's words: "avx512f", "fma"."""
    return frozenset(part[1:] for part in _feature_text().split(",") if part.startswith("+"))


@functools.cache
def works(dtype: torch.dtype) -> bool:
    """Whether kernels run here for this dtype: the processor has what they are made of, and LLVM compiles; tried once."""
    try:
        if not _capable(dtype):
            return False
        answer = compile_assembly("define i64 @answer() {\n  ret i64 42\n}", ("answer",)).function("answer", result=ctypes.c_int64)
        return bool(answer() == 42)
    except Exception as error:  # no llvmlite, or whatever LLVM may raise
        warnings.warn(
            f"LLVM does not work here ({type(error).__name__}: {error}); actune computes every function by torch operators",
            stacklevel=2,
        )
        return False


def _capable(dtype: torch.dtype) -> bool:
    if architecture() == "x86":
        return {"avx2", "fma"} <= cpu_features() and (dtype != torch.float16 or "f16c" in cpu_features())
    return architecture() == "arm"


def architecture() -> str:
    """The family of this processor: "x86", "arm", of 64 bits, or another name."""
    machine = platform.machine().lower()
    return {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}.get(machine, machine)


def compile_assembly(assembly: str, names: Sequence[str]) -> Library:
    """The functions of these names in a module of LLVM assembly: from the folder, or compiled now and put there."""
    place = folder()
    path = place and place / f"{_digest(assembly)}.o"
    code = _read_code(path) if path else None
    if code is not None:
        with contextlib.suppress(OSError):
            os.utime(path)  # type: ignore[arg-type]
        return Library(code, names)
    code = _machine_code(assembly)
    if path:
        _write(path, code)
    return Library(code, names)


def _linked(machine_code: bytes, names: Sequence[str]) -> tuple[Any, dict[str, int]]:
    llvm, jit, _ = _compiler()
    builder = llvm.JITLibraryBuilder().add_object_img(machine_code)
    for name in names:
        builder = builder.export_symbol(name)
    tracker = builder.link(jit, f"actune{next(_numbers)}")
    return tracker, {name: tracker[name] for name in names}


def _machine_code(assembly: str) -> bytes:
    with _LOCK:
        return _emitted(assembly)


# What assembly made of vectors gains from: the function around a kernel takes it in, counters leave memory, loops are turned. All
# of LLVM's passes make code that is no faster, in five times the time.
_PASSES = ("always_inliner", "sroa", "simplify_cfg", "loop_rotate", "instruction_combine", "simplify_cfg")


def _emitted(assembly: str) -> bytes:
    llvm, _, machine = _compiler()
    module = llvm.parse_assembly(assembly)
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    for name in _PASSES:
        getattr(passes, f"add_{name}_pass")()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2)))
    found: bytes = machine.emit_object(module)
    return found


if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that is held, LLVM's among them
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def _digest(assembly: str) -> str:
    return hashlib.sha256("\0".join((assembly, *_PASSES, *_target())).encode()).hexdigest()


@functools.cache
def _target() -> tuple[str, ...]:
    import llvmlite
    from llvmlite import binding as llvm

    return llvmlite.__version__, llvm.get_process_triple(), llvm.get_host_cpu_name(), _feature_text()


# -- the folder ----------------------------------------------------------------------------------------------------------


@functools.cache
def folder() -> Path | None:
    """Where compiled functions are kept: $ACTUNE_CACHE, or the user's cache folder; None where no safe one can be had."""
    base = os.environ.get("ACTUNE_CACHE") or _user_cache()
    try:
        path = Path(base).expanduser() / "kernels"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path if _is_own(path) and os.access(path, os.W_OK | os.X_OK) else None
    except (OSError, RuntimeError):  # nowhere to write, or no home
        return None


def _user_cache() -> str:
    if sys.platform == "win32":
        return os.path.join(os.environ.get("LOCALAPPDATA", "~"), "actune", "Cache")
    if sys.platform == "darwin":
        return "~/Library/Caches/actune"
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "actune")


def _is_own(path: Path) -> bool:
    """Whether nobody else can have put anything there."""
    if sys.platform == "win32":
        return True
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read_code(path: Path) -> bytes | None:
    """What a file holds behind its digest; None if there is no such file, or it is not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if code and hashlib.sha256(code).digest() == digest else None


def _write(path: Path, code: bytes) -> None:
    """Put a file there as a whole or not at all; that it cannot be kept is no error."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise
        _prune(path.parent)


def _prune(place: Path) -> None:
    for path in place.glob("tmp*"):  # of processes that were killed
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()
    files = list(place.glob("*.o"))
    if len(files) > _MOST:
        for path in sorted(files, key=lambda p: p.stat().st_mtime)[: _MOST // 4]:
            path.unlink(missing_ok=True)
