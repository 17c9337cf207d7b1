"""Workers on one study: the storage that they share, what counts as a finished trial, and what becomes of a dead worker's trial.

Every worker is a process with an Optuna study of its own on the common storage. The process that called `search` decides who
may begin a trial, so that exactly the asked number is finished, replaces workers that die and has their trials run again.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ..experiments.training import one_thread

__all__ = ["Job", "SearchError", "finished", "open_storage", "requeue", "run_here", "run_workers", "superseded"]

ERROR, INTERRUPTED, WORKER = "actune:error", "actune:interrupted", "actune:worker"  # attributes of a trial
FAILURES = 10  # in a row stop the search
RERUNS = 3  # of a trial whose worker died

# What Optuna calls the callback for them, as an argument and as a class; renamed in 4.9.
_RERUN = (
    ("heartbeat_stale_trial_callback", "RetryHeartbeatStaleTrialCallback")
    if hasattr(optuna.storages, "RetryHeartbeatStaleTrialCallback")
    else ("failed_trial_callback", "RetryFailedTrialCallback")
)

Objective = Callable[[Trial], float | Sequence[float]]
Progress = Callable[[optuna.Study, FrozenTrial], None]


class SearchError(RuntimeError):
    """A search that cannot go on; what is finished stays in the study."""


# -- storage ---------------------------------------------------------------------------------------------------------------


def open_storage(where: str | Path, heartbeat: int, grace: int) -> RDBStorage:
    """A SQLite file (a path) or any database (a URL), with heartbeats; a trial without one for `grace` seconds is run again."""
    url = str(where)
    if not url.strip():
        raise ValueError(f"storage={where!r} is empty; give the path of a file or the URL of a database")
    try:
        if "://" not in url:
            Path(url).parent.mkdir(parents=True, exist_ok=True)
            url = f"sqlite:///{Path(url).absolute()}"
        storage = _connect(url, heartbeat, grace)
    except (SQLAlchemyError, ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        remedy = "give the path of a study's file or the URL of a database"
        raise ValueError(f"storage={str(where)!r} cannot be opened ({reason}); {remedy}") from None
    if url.startswith("sqlite") and ":memory:" not in url:
        _serialise(storage)
    return storage


def _connect(url: str, heartbeat: int, grace: int) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
            heartbeat_interval=heartbeat,
            grace_period=grace,
            **{_RERUN[0]: _rerun()},  # type: ignore[arg-type]
        )


def _rerun() -> Callable[[optuna.Study, FrozenTrial], None]:
    """Queue a failed trial once more, with its user attributes, so that it trains the same candidate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return getattr(optuna.storages, _RERUN[1])(max_retry=RERUNS)


def _serialise(storage: RDBStorage) -> None:
    """Let every transaction take the write lock at its start: by default SQLite lets two workers read that a trial waits, and both
    take it."""
    from sqlalchemy import event

    event.listen(storage.engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    storage.engine.dispose()  # connections from before


# -- what counts -----------------------------------------------------------------------------------------------------------


def superseded(trials: Iterable[FrozenTrial]) -> set[int]:
    """The numbers of the trials that were queued once more after their worker died."""
    return {number for t in trials for number in t.system_attrs.get("retry_history", ())}


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: complete, pruned, or failed by their own fault, not by a dead worker's or an interruption."""
    again = superseded(trials)
    return [t for t in trials if t.state.is_finished() and t.number not in again and t.user_attrs.get(INTERRUPTED) != t.number]


def _stop_after_failures(done: Sequence[FrozenTrial], before: set[int]) -> None:
    """Give up when the last trials of this search all failed; those that had failed `before` it began do not count."""
    last = [t for t in done if t.number not in before][-FAILURES:]
    if len(last) == FAILURES and all(t.state == TrialState.FAIL for t in last):
        message = last[-1].user_attrs.get(ERROR, "its worker died, as did those that ran it again")
        raise SearchError(f"{FAILURES} trials in a row failed, the last one (number {last[-1].number}) with {message}")


# -- one worker ------------------------------------------------------------------------------------------------------------


@dataclass
class _Guard:
    """The objective, with a record of who runs it and how it failed. Keeps the number of the trial that it runs."""

    objective: Objective
    number: int | None = None

    def __call__(self, trial: Trial) -> float | Sequence[float]:
        self.number = trial.number
        trial.set_user_attr(WORKER, _me())
        try:
            return _checked(self.objective(trial))
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            trial.set_user_attr(INTERRUPTED, trial.number)
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
            raise


def _checked(value: Any) -> float | Sequence[float]:
    values = value if isinstance(value, Sequence) else [value]
    if any(v is None or math.isnan(v) for v in values):
        raise ValueError(f"the objective must return a number, got {value}")
    return value


def _work(study: optuna.Study, objective: Objective, may_begin: Callable[[], bool], after: Progress | None = None) -> None:
    """Run trials as long as `may_begin()`, which is asked before each; a trial that raises is marked failed and the next begins."""
    guard = _Guard(objective)

    def next_or_stop(study: optuna.Study, trial: FrozenTrial) -> None:
        if after is not None:
            after(study, trial)
        if not may_begin():
            study.stop()

    with quiet(), one_thread():
        while may_begin():
            try:
                study.optimize(guard, catch=(Exception,), callbacks=[next_or_stop])
                return
            except Exception:
                if not _was_taken(study, guard.number):
                    raise
            except KeyboardInterrupt:
                requeue(study, guard.number)
                raise


def _was_taken(study: optuna.Study, number: int | None) -> bool:
    """Whether others took this worker for dead (its machine slept) and run its trial again: then its result has no place."""
    trials = study.get_trials(deepcopy=False)
    return number is not None and trials[number].state == TrialState.FAIL and ERROR not in trials[number].user_attrs


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _gone(worker: str | None) -> bool:
    """Whether this worker ran on this machine and does so no more; False where that cannot be told: heartbeats will."""
    host, _, pid = (worker or "").rpartition(":")
    if host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def requeue(study: optuna.Study, own: int | None = None) -> None:
    """Queue once more what dead workers of this machine had begun and what was interrupted.

    own   a trial that this process has left, also queued once more if it still runs
    """
    for t in study.get_trials(states=(TrialState.RUNNING,)):
        if t.number == own or _gone(t.user_attrs.get(WORKER)):
            try:
                study.tell(t.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):
                continue  # another process was faster
            _rerun()(study, t)
    trials = study.get_trials()
    again = superseded(trials)
    for t in trials:
        if t.state == TrialState.FAIL and t.user_attrs.get(INTERRUPTED) == t.number and t.number not in again:
            _rerun()(study, t)


@contextmanager
def quiet() -> Iterator[None]:
    """Failures are recorded and progress is shown by us: Optuna's lines about the same are held back meanwhile."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.ERROR))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def run_here(study: optuna.Study, objective: Objective, trials: int, progress: Progress | None) -> None:
    """Run trials in this process until the study has the asked number of finished ones."""
    before = {t.number for t in finished(study.get_trials(deepcopy=False))}

    def may_begin() -> bool:
        done = finished(study.get_trials(deepcopy=False))
        _stop_after_failures(done, before)
        return len(done) < trials

    _work(study, objective, may_begin, progress)


# -- many workers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What a worker process needs to take part."""

    storage: str
    study: str
    objective: Objective
    heartbeat: int
    grace: int


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    line: Connection
    state: str = "starting"  # then "asking" to begin a trial, "busy" with one, in the end "leaving"


def _join_in(job: Job, line: Connection) -> None:
    """The main function of a worker process: ask, run a trial, ask again; an end of the line is an end of the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one

    begin = True

    def may_begin() -> bool:
        nonlocal begin
        line.send("asking")
        begin = line.recv()
        return begin

    try:
        with quiet():
            study = optuna.load_study(study_name=job.study, storage=open_storage(job.storage, job.heartbeat, job.grace))
        _work(study, job.objective, may_begin)
        if begin:  # not sent home: the objective itself stopped the study
            line.send("stopped")
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        line.send(f"{type(error).__name__}: {error}")


def run_workers(job: Job, study: optuna.Study, trials: int, workers: int, progress: Progress | None) -> None:
    """Run trials in worker processes until the study has the asked number of finished ones, and not one more."""
    before = {t.number for t in finished(study.get_trials(deepcopy=False))}
    shown, crew, stillborn = set(before), list[_Worker](), 0
    try:
        while True:
            stillborn = _listen(crew, study, stillborn)
            done = finished(study.get_trials(deepcopy=False))
            for t in done:
                if progress is not None and t.number not in shown:
                    progress(study, t)
                shown.add(t.number)
            _stop_after_failures(done, before)
            _assign(crew, trials - len(done))
            missing = min(workers, trials - len(done)) - len(crew)
            if not crew and missing <= 0:
                return
            crew += [_start(job) for _ in range(missing)]
            wait([w.line for w in crew] + [w.process.sentinel for w in crew], timeout=1)
    except _Stop:
        return
    finally:
        _dismiss(crew)
        requeue(study)


class _Stop(Exception):
    """A worker's objective called `study.stop()`."""


def _start(job: Job) -> _Worker:
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
    """Hear what the workers say, drop the dead and queue their trials once more; how many died in a row before their first word."""
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
            stillborn += w.state == "starting"
            w.process.join()
            requeue(study)
    if stillborn >= 3:
        raise SearchError(
            "the worker processes die at their start (see their messages above); a script that searches with workers "
            "must do so below `if __name__ == '__main__':`, with an objective that can be imported"
        )
    return stillborn


def _assign(crew: list[_Worker], missing: int) -> None:
    """Let workers begin as long as trials are missing that nobody runs; send the rest home once none is missing."""
    for w in [w for w in crew if w.state == "asking"]:
        begin = missing > sum(w.state == "busy" for w in crew)
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
