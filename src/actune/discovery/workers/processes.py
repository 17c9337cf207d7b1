"""Many workers of one study on this machine: who may begin a trial, and who replaces a worker that died.

Every worker is a process with an Optuna study of its own on the common storage. The process that called `search` decides which of
its workers may begin a trial, so that exactly the asked number is finished, replaces workers that die and has their trials run
again. Others may do the same on the same storage: what their workers run is taken into account.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import optuna

from ..study.storage.opening import open_storage
from ..study.storage.patience import PATIENCE, SearchError
from .requeueing import quiet_optuna, requeue
from .tally import FAILURES, Tally, TrialProgress
from .worker import Objective, run_trials

__all__ = ["WorkOrder", "open_study", "run_workers"]


@dataclass(frozen=True)
class WorkOrder:
    """What a worker process needs to take part."""

    storage: str
    study: str
    objective: Objective
    heartbeat: int
    grace: int


def open_study(job: WorkOrder) -> optuna.Study:
    """The study, as a worker opens it: the search has it open, so that what fails now may pass."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return optuna.load_study(study_name=job.study, storage=open_storage(job.storage, job.heartbeat, job.grace))
        except ValueError:
            if time.monotonic() > end:
                raise
            time.sleep(1)


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    line: Connection
    state: str = "starting"  # then "asking" to begin a trial, "busy" with one, in the end "leaving"


def _join_in(job: WorkOrder, line: Connection) -> None:
    """Run a worker process: ask, run a trial, ask again, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one

    begin = True

    def may_begin() -> bool:
        nonlocal begin
        line.send("asking")
        begin = line.recv()
        return begin

    try:
        with quiet_optuna():
            study = open_study(job)
        run_trials(study, job.objective, may_begin)
        if begin:  # not sent home: the objective itself stopped the study
            line.send("stopped")
    except (EOFError, BrokenPipeError):
        return
    except SearchError as error:
        line.send(str(error))
    except Exception as error:
        line.send(f"{type(error).__name__}: {error}")


def run_workers(job: WorkOrder, study: optuna.Study, trials: int, workers: int, progress: TrialProgress | None) -> None:
    """Run trials in worker processes until the study has the asked number of finished ones, and not one more."""
    crew, stillborn = list[_Worker](), 0
    host = socket.gethostname()
    tally = Tally(study, trials, progress, own=lambda name: name in {f"{host}:{w.process.pid}" for w in crew})
    try:
        while True:
            stillborn = _listen(crew, study, stillborn)
            missing, elsewhere = tally.look()
            _assign(crew, missing, elsewhere)
            to_start = min(workers, missing) - len(crew)
            if not crew and to_start <= 0:
                return
            crew += [_start_worker(job) for _ in range(to_start)]
            wait([w.line for w in crew] + [w.process.sentinel for w in crew], timeout=1)
            if 0 < missing <= elsewhere:
                requeue(study)  # or wait for ever for what a dead one runs
    except _Stop:
        return
    finally:
        _dismiss(crew)
        requeue(study)


class _Stop(Exception):
    """A worker's objective called `study.stop()`."""


def _start_worker(job: WorkOrder) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_join_in, args=(job, theirs))  # no daemon: an objective may start processes (data loaders)
    with _environment(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE"):
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables for processes that start meanwhile."""
    old = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _listen(crew: list[_Worker], study: optuna.Study, stillborn: int) -> int:
    """Read what the workers report, drop the dead and requeue their trials.

    Returns the number of consecutive workers that died before they reported anything.
    """
    for w in list(crew):
        try:
            while w.line.poll():
                w.state = w.line.recv()
                stillborn = 0
        except (EOFError, ConnectionResetError):
            w.process.join()
        if w.state == "stopped":
            raise _Stop
        if w.state not in ("starting", "asking", "busy", "leaving"):
            raise SearchError(f"a worker failed with {w.state}")
        if not w.process.is_alive():
            crew.remove(w)
            w.process.join()
            requeue(study)
            if w.state == "starting":
                stillborn += 1
                _stop_after_stillborn(stillborn, w.process.exitcode or 0)
    return stillborn


def _stop_after_stillborn(count: int, code: int) -> None:
    """Raise SearchError where workers died before they reported anything: 3 in a row, or `FAILURES` that a signal killed."""
    if code < 0 and count >= FAILURES:
        raise SearchError(f"{count} worker processes in a row were killed at their start (signal {-code}); is memory short?")
    if code >= 0 and count >= 3:
        raise SearchError(
            "the worker processes die at their start (see their messages above); a script that searches with workers "
            "must do so below `if __name__ == '__main__':`, with an objective that can be imported"
        )


def _assign(crew: list[_Worker], missing: int, elsewhere: int) -> None:
    """Let workers begin as long as trials are missing that nobody runs; send the rest home once none is missing."""
    for w in [w for w in crew if w.state == "asking"]:
        begin = missing > elsewhere + sum(w.state == "busy" for w in crew)
        if begin or missing <= 0:
            try:
                w.line.send(begin)
            except BrokenPipeError:
                continue  # it just died; `_listen` will see that
            w.state = "busy" if begin else "leaving"


def _dismiss(crew: Iterable[_Worker]) -> None:
    for w in crew:
        w.process.terminate()
    for w in crew:
        w.process.join()
        w.line.close()
