"""Trials whose workers died or were interrupted are queued once more; `study/counting.py` shows the life of a trial."""

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
    """Whether a worker of this name is this process."""
    return name == this_worker()


def was_taken(study: optuna.Study, number: int | None) -> bool:
    """Whether others took this worker for dead (its machine slept) and run its trial again, so that its result is not wanted."""
    trials = study.get_trials(deepcopy=False)
    return number is not None and trials[number].state == TrialState.FAIL and ERROR_MESSAGE not in trials[number].user_attrs


def _is_gone(worker: str) -> bool:
    """Whether this worker was a process of this machine that has ended; False for other machines, where heartbeats tell."""
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

    For example, worker A dies in trial 5: heartbeats stop, or A's process is gone, so whoever calls this moves 5 to FAIL and queues
    trial 8 with the same candidate, whose `retry_history` is [5].
    """
    # 1. Trials without signs of life: Optuna moves them to FAIL and queues them, by our callback.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    # 2. Trials of processes that are known to be gone, before their signs of life are missed.
    for t in study.get_trials(states=(TrialState.RUNNING,)):
        if t.number == own or gone(t.user_attrs.get(WORKER, "")):
            try:
                study.tell(t.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):
                continue  # another process was faster
            requeue_as()(study, t)
    # 3. Trials that somebody moved to FAIL, who died before queueing them; whoever lives is left a moment to do it.
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
    """Hold back Optuna's own log lines: we record failures and show progress."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.ERROR))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
