"""Which trials of a study count, and which are run again.

The life of a trial; Optuna's states in capitals:

    asked by a worker ─────────────────────┐
                                           ▼         ┌─► COMPLETE  the objective returned finite or infinite values
    queued by the user ──► WAITING ──► RUNNING ──────┼─► PRUNED    by the pruner, below the floor, or diverged
                              ▲                      │
                              │                      ├─► FAIL      the objective raised: `actune:error` has its message
                              │                      │
                              └──── requeued ◄───────┴─► FAIL      Ctrl-C (`actune:interrupted`), or the worker died

A worker takes a trial that waits, or makes one, and signs it (`actune:worker`) in the same transaction (`storage/database.py`);
it moves its own trial to COMPLETE, PRUNED or FAIL. A trial whose worker has died is moved to FAIL by whoever notices: another
worker, by missing signs of life, or the process that started the worker (`workers/requeueing.py`). Requeueing makes a new trial
that waits, with the same attributes and so the same candidate; its system attribute `retry_history` lists the numbers of those
that it stands for. They are superseded and do not count. A trial whose workers keep dying is queued `RERUNS` times, then its
failure counts.

For example, with trials 0 COMPLETE, 1 FAIL (its worker died), 2 FAIL with `actune:error` and 3 WAITING with `retry_history` [1],
0 and 2 are finished: 1 is superseded by 3.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterable, Sequence

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from .attributes import ERROR_MESSAGE, INTERRUPTED, WORKER

__all__ = ["RERUNS", "RERUN_NAMES", "finished", "is_left", "requeue_as", "superseded", "this_worker", "was_interrupted"]

RERUNS = 3  # of a trial whose worker died

# What Optuna calls the callback that queues a trial once more, as an argument and as a class; renamed in 4.9.
RERUN_NAMES = (
    ("heartbeat_stale_trial_callback", "RetryHeartbeatStaleTrialCallback")
    if hasattr(optuna.storages, "RetryHeartbeatStaleTrialCallback")
    else ("failed_trial_callback", "RetryFailedTrialCallback")
)


def superseded(trials: Iterable[FrozenTrial]) -> set[int]:
    """The numbers of the trials that were queued once more after their worker died."""
    return {number for t in trials for number in t.system_attrs.get("retry_history", ())}


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: complete, pruned, or failed by their own fault, not by a dead worker's or an interruption."""
    again = superseded(trials)
    return [t for t in trials if t.state.is_finished() and t.number not in again and not is_left(t)]


def is_left(t: FrozenTrial) -> bool:
    """Whether this trial was interrupted, or died with its worker, and is to be queued once more."""
    if t.state != TrialState.FAIL or ERROR_MESSAGE in t.user_attrs:
        return False
    return was_interrupted(t) or (WORKER in t.user_attrs and len(t.system_attrs.get("retry_history", ())) < RERUNS)


def was_interrupted(t: FrozenTrial) -> bool:
    """Whether Ctrl-C ended this trial, and not the one that it was queued again for, whose number the attribute then has."""
    return t.user_attrs.get(INTERRUPTED) == t.number


def this_worker() -> str:
    """The name of this process as a worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


def requeue_as(limit: int | None = RERUNS) -> Callable[[optuna.Study, FrozenTrial], None]:
    """A function that queues a failed trial once more, with its user attributes, so that it trains the same candidate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return getattr(optuna.storages, RERUN_NAMES[1])(max_retry=limit)
