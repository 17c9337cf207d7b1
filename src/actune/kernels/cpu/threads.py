"""Work shared among as many threads as torch may use: sleeping ones of our own, started when they are first needed.

Kernels let other threads of Python run, so threads are enough. A forked child starts its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["shared_out", "threads_for"]

_LOCK = threading.RLock()  # a finalizer may compute too
_pool: tuple[int, ThreadPoolExecutor] | None = None


class _Part:
    """A part of some work, done once, by whoever comes first."""

    def __init__(self, work: Callable[[int, int], None], start: int, end: int):
        self._work, self._range = work, (start, end)
        self._free, self._done = threading.Lock(), threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        if self._free.acquire(blocking=False):
            try:
                self._work(*self._range)
            except BaseException as error:  # for the one who waits
                self._error = error
            finally:
                self._done.set()

    def wait(self) -> None:
        self._done.wait()
        if self._error is not None:
            raise self._error


def shared_out(work: Callable[[int, int], None], units: int, worth: int) -> None:
    """Call work(start, end) for parts that make up all units, in at most `torch.get_num_threads()` threads and at most `worth`.

    The caller does what no thread has begun, so it waits only for what is being done; `work` must hold all that it writes to.
    """
    threads = threads_for(units, worth)
    if threads == 1:
        work(0, units)
        return
    parts = [_Part(work, units * i // threads, units * (i + 1) // threads) for i in range(threads)]
    # No thread may start any more when memory is short or the interpreter ends: then the caller does it all.
    with contextlib.suppress(RuntimeError), _LOCK:  # the pool must not be exchanged for a larger one before it has the work
        others = _executor(threads - 1)
        for part in parts[1:]:
            others.submit(part.run)
    for part in parts:
        part.run()
    for part in parts:
        part.wait()


def threads_for(units: int, worth: int) -> int:
    """How many threads so many units of work are shared among, of at most so many that they are worth."""
    return max(1, min(torch.get_num_threads(), units, worth)) if units > 1 else 1


def _executor(threads: int) -> ThreadPoolExecutor:
    """The pool, with at least so many threads."""
    global _pool
    if _pool is None or _pool[0] < threads:
        if _pool is not None:
            _pool[1].shutdown(wait=False)
        _pool = threads, ThreadPoolExecutor(threads, thread_name_prefix="actune")
    return _pool[1]


def _forget() -> None:
    """In a forked child, which has none of the threads."""
    global _LOCK, _pool
    _LOCK, _pool = threading.RLock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
