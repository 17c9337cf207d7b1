"""Workers on one study: what counts as a finished trial, who may begin one, and what becomes of a dead worker's trial.

Every worker is a process with an Optuna study of its own on the common storage. The process that called `search` decides which of
its workers may begin a trial, so that exactly the asked number is finished, replaces workers that die and has their trials run
again. Others may do the same on the same storage: what their workers run is taken into account.
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import random
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.storages._heartbeat import is_heartbeat_enabled
from optuna.trial import FrozenTrial, Trial, TrialState

from ...experiments.training.loop import one_thread
from ..study.storage import PATIENCE, RERUNS, WORKER, SearchError, me, open_storage, requeue_as

__all__ = [
    "Guard",
    "Job",
    "SearchError",
    "Tally",
    "finished",
    "mine_or_gone",
    "open_storage",
    "requeue",
    "run_here",
    "run_workers",
    "search_error",
    "superseded",
    "was_taken",
]

ERROR, INTERRUPTED = "actune:error", "actune:interrupted"  # attributes of a trial
FAILURES = 10  # in a row stop the search

Objective = Callable[[Trial], float | Sequence[float]]
Progress = Callable[[optuna.Study, FrozenTrial], None]


# -- what counts -----------------------------------------------------------------------------------------------------------


def superseded(trials: Iterable[FrozenTrial]) -> set[int]:
    """The numbers of the trials that were queued once more after their worker died."""
    return {number for t in trials for number in t.system_attrs.get("retry_history", ())}


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: complete, pruned, or failed by their own fault, not by a dead worker's or an interruption."""
    again = superseded(trials)
    return [t for t in trials if t.state.is_finished() and t.number not in again and not _to_be_run_again(t)]


def _to_be_run_again(t: FrozenTrial) -> bool:
    """Whether a failed trial was interrupted, or died with its worker, and whoever noted that came no further."""
    if t.state != TrialState.FAIL or ERROR in t.user_attrs:
        return False
    return _interrupted(t) or (WORKER in t.user_attrs and len(t.system_attrs.get("retry_history", ())) < RERUNS)


def _interrupted(t: FrozenTrial) -> bool:
    return t.user_attrs.get(INTERRUPTED) == t.number  # of a trial that was run again it has the old number


def _is_me(name: str) -> bool:
    return name == me()


@dataclass
class Tally:
    """How far a search is; tells of finished trials and of the end of all hope.

    own   whether a worker, by its name, is one of this search
    """

    study: optuna.Study
    trials: int
    progress: Progress | None = None
    own: Callable[[str], bool] = _is_me
    _before: set[int] = field(init=False)
    _shown: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._before = {t.number for t in finished(self.study.get_trials(deepcopy=False))}
        self._shown = set(self._before)

    def look(self) -> tuple[int, int]:
        """How many trials are not finished, and how many of other searches run; SearchError where this one's last all failed."""
        trials = self.study.get_trials(deepcopy=False)
        done = finished(trials)
        for t in done:
            if self.progress is not None and t.number not in self._shown:
                self.progress(self.study, t)
            self._shown.add(t.number)
        last = [t for t in done if t.number not in self._before][-FAILURES:]
        if len(last) == FAILURES and all(t.state == TrialState.FAIL for t in last):
            message = last[-1].user_attrs.get(ERROR, "its worker died, as did those that ran it again")
            raise SearchError(f"{FAILURES} trials in a row failed, the last one (number {last[-1].number}) with {message}")
        return self.trials - len(done), self._elsewhere(trials)

    def _elsewhere(self, trials: Sequence[FrozenTrial]) -> int:
        """How many the workers of other searches run. Of a storage without heartbeats that cannot be told."""
        if not is_heartbeat_enabled(self.study._storage):
            return 0
        names = [t.user_attrs[WORKER] for t in trials if t.state == TrialState.RUNNING and WORKER in t.user_attrs]
        return sum(not self.own(name) for name in names)


# -- one worker ------------------------------------------------------------------------------------------------------------


@dataclass
class Guard:
    """The objective, with a record of who runs it and how it failed. Keeps the number of the trial that it runs, and what ended
    the search in the middle of it."""

    objective: Objective
    worker: str
    number: int | None = None
    end: SearchError | None = None

    def __call__(self, trial: Trial) -> float | Sequence[float]:
        self.number = trial.number
        if trial.user_attrs.get(WORKER) != self.worker:  # a storage that is not ours
            trial.set_user_attr(WORKER, self.worker)
        try:
            return _checked(self.objective(trial), len(trial.study.directions))
        except optuna.TrialPruned:
            raise
        except SearchError as error:
            self.end = error
            raise
        except KeyboardInterrupt:
            trial.set_user_attr(INTERRUPTED, trial.number)
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
            raise


def _checked(value: Any, count: int) -> float | Sequence[float]:
    values = value if isinstance(value, Sequence) else [value]
    if any(v is None or math.isnan(v) for v in values):
        raise ValueError(f"the objective must return a number, got {value}")
    if len(values) != count:
        raise ValueError(f"the objective returned {len(values)} values, the study has {count} objectives; "
                         "return as many, or give study=optuna.create_study(directions=[…])")  # fmt: skip
    return value


def work(study: optuna.Study, objective: Objective, may_begin: Callable[[], bool], worker: str | None = None) -> None:
    """Run trials as long as `may_begin()`, which is asked before each; a trial that raises is marked failed and the next begins."""
    guard = Guard(objective, worker or me())

    def next_or_stop(study: optuna.Study, _: FrozenTrial) -> None:
        if guard.end is not None:
            raise guard.end
        if not may_begin():
            study.stop()

    with quiet(), one_thread():
        while may_begin():
            try:
                study.optimize(guard, catch=(Exception,), callbacks=[next_or_stop])
                return
            except Exception as error:
                if (end := guard.end or search_error(error)) is not None:
                    raise end from None
                if not was_taken(study, guard.number):
                    raise
            except KeyboardInterrupt:
                requeue(study, guard.number)
                raise


def search_error(error: BaseException | None) -> SearchError | None:
    """The end of the search of which an error comes: Optuna fails in its own ways where its storage does."""
    while error is not None and not isinstance(error, SearchError):
        error = error.__context__
    return error


def was_taken(study: optuna.Study, number: int | None) -> bool:
    """Whether others took this worker for dead (its machine slept) and run its trial again: then its result has no place."""
    trials = study.get_trials(deepcopy=False)
    return number is not None and trials[number].state == TrialState.FAIL and ERROR not in trials[number].user_attrs


def _gone(worker: str) -> bool:
    """Whether this worker ran on this machine and does so no more; False where that cannot be told: heartbeats will."""
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def mine_or_gone(worker: str) -> bool:
    """Whether this worker has ended, or is this process, of which an earlier search may have left a trial."""
    return _is_me(worker) or _gone(worker)


def requeue(study: optuna.Study, own: int | None = None, gone: Callable[[str], bool] = _gone) -> None:
    """Queue once more what dead workers had begun and what was interrupted.

    own   a trial that this process has left
    gone  tells by its name whether a worker is dead; default: it was a process of this machine that has ended
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    for t in study.get_trials(states=(TrialState.RUNNING,)):
        if t.number == own or gone(t.user_attrs.get(WORKER, "")):
            try:
                study.tell(t.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):
                continue  # another process was faster
            requeue_as()(study, t)
    if any(t.number != own for t in _left(study)):
        time.sleep(random.uniform(0.5, 3))  # another process may be about to queue it
    for t in _left(study):
        requeue_as(None if _interrupted(t) else RERUNS)(study, copy.deepcopy(t))  # Optuna changes it, before it is written


def _left(study: optuna.Study) -> list[FrozenTrial]:
    """Failed trials to be run again that nobody has queued."""
    trials = study.get_trials(deepcopy=False)
    again = superseded(trials)
    return [t for t in trials if _to_be_run_again(t) and t.number not in again]


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
    requeue(study, gone=mine_or_gone)
    tally = Tally(study, trials, progress)

    def may_begin() -> bool:
        missing, elsewhere = tally.look()
        while 0 < missing <= elsewhere:
            time.sleep(0.5)
            requeue(study)
            missing, elsewhere = tally.look()
        return missing > 0

    work(study, objective, may_begin)


# -- many workers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What a worker process needs to take part."""

    storage: str
    study: str
    objective: Objective
    heartbeat: int
    grace: int


def load(job: Job) -> optuna.Study:
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
            study = load(job)
        work(study, job.objective, may_begin)
        if begin:  # not sent home: the objective itself stopped the study
            line.send("stopped")
    except (EOFError, BrokenPipeError):
        return
    except SearchError as error:
        line.send(str(error))
    except Exception as error:
        line.send(f"{type(error).__name__}: {error}")


def run_workers(job: Job, study: optuna.Study, trials: int, workers: int, progress: Progress | None) -> None:
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
            crew += [_start(job) for _ in range(to_start)]
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
            w.process.join()
            requeue(study)
            if w.state == "starting":
                stillborn += 1
                _stop_after_stillborn(stillborn, w.process.exitcode or 0)
    return stillborn


def _stop_after_stillborn(count: int, code: int) -> None:
    """Give up when workers die before their first word; later where somebody kills them, who may cease to."""
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
