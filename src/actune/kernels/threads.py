"""Work shared among as many threads as torch may use: sleeping ones of our own, started when they are first needed.

Kernels let other threads of Python run, so threads are enough. A forked child starts its own.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["shared_out"]

_LOCK = threading.Lock()
_pool: tuple[int, ThreadPoolExecutor] | None = None


def shared_out(work: Callable[[int, int], None], units: int, worth: int) -> None:
    """Call work(start, end) for parts that make up all units, in at most `torch.get_num_threads()` threads and at most `worth`."""
    threads = min(torch.get_num_threads(), units, worth) if units > 1 else 1
    if threads <= 1:
        work(0, units)
        return
    ends = [units * (i + 1) // threads for i in range(threads)]
    with _LOCK:  # so that the pool is not exchanged for a larger one before it has the work
        others = _executor(threads - 1)
        waiting = [others.submit(work, start, end) for start, end in itertools.pairwise(ends)]
    try:
        work(0, ends[0])
    finally:  # nobody may write to a tensor that is gone
        done = [future.exception() for future in waiting]
    for error in done:
        if error is not None:
            raise error


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
    _LOCK, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
