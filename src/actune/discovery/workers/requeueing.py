"""What becomes of trials whose workers have died or were interrupted: they are queued once more."""

from __future__ import annotations

import copy
import os
import random
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from ..study.attributes import ERROR_MESSAGE, WORKER
from ..study.counting import RERUNS, is_left, requeue_as, superseded, this_worker, was_interrupted

__all__ = ["is_mine_or_gone", "quiet_optuna", "requeue", "was_taken"]


def is_this_process(name: str) -> bool:
    return name == this_worker()


def was_taken(study: optuna.Study, number: int | None) -> bool:
    """Whether others took this worker for dead (its machine slept) and run its trial again: then its result has no place."""
    trials = study.get_trials(deepcopy=False)
    return number is not None and trials[number].state == TrialState.FAIL and ERROR_MESSAGE not in trials[number].user_attrs


def _is_gone(worker: str) -> bool:
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


def is_mine_or_gone(worker: str) -> bool:
    """Whether this worker has ended, or is this process, of which an earlier search may have left a trial."""
    return is_this_process(worker) or _is_gone(worker)


def requeue(study: optuna.Study, own: int | None = None, gone: Callable[[str], bool] = _is_gone) -> None:
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
        requeue_as(None if was_interrupted(t) else RERUNS)(study, copy.deepcopy(t))  # Optuna changes it, before it is written


def _left(study: optuna.Study) -> list[FrozenTrial]:
    """Failed trials to be run again that nobody has queued."""
    trials = study.get_trials(deepcopy=False)
    again = superseded(trials)
    return [t for t in trials if is_left(t) and t.number not in again]


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Failures are recorded and progress is shown by us: Optuna's lines about the same are held back meanwhile."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.ERROR))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
