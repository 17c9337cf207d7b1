"""One worker: it runs trials of a study one after the other and records who ran each, and how it failed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial

from ...experiments.training.loop import one_thread
from ..study.attributes import ERROR_MESSAGE, INTERRUPTED, WORKER
from ..study.counting import this_worker
from ..study.storage.patience import SearchError
from .requeueing import is_mine_or_gone, quiet_optuna, requeue, was_taken
from .tally import Tally, TrialProgress

__all__ = ["Objective", "RecordedObjective", "ending_error", "run_here", "run_trials"]


Objective = Callable[[Trial], float | Sequence[float]]


@dataclass
class RecordedObjective:
    """The objective, which also records in the trial who runs it and how it failed.

    number   the trial that it runs, or ran last
    end      the error that ended the whole search in the middle of it
    """

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
            trial.set_user_attr(ERROR_MESSAGE, f"{type(error).__name__}: {error}")
            raise


def _checked(value: Any, count: int) -> float | Sequence[float]:
    values = value if isinstance(value, Sequence) else [value]
    if any(v is None or math.isnan(v) for v in values):
        raise ValueError(f"the objective must return a number, got {value}")
    if len(values) != count:
        raise ValueError(f"the objective returned {len(values)} values, the study has {count} objectives; "
                         "return as many, or give study=optuna.create_study(directions=[…])")  # fmt: skip
    return value


def run_trials(study: optuna.Study, objective: Objective, may_begin: Callable[[], bool], worker: str | None = None) -> None:
    """Run trials as long as `may_begin()`, which is asked before each; a trial that raises is marked failed and the next begins."""
    guard = RecordedObjective(objective, worker or this_worker())

    def next_or_stop(study: optuna.Study, _: FrozenTrial) -> None:
        if guard.end is not None:
            raise guard.end
        if not may_begin():
            study.stop()

    with quiet_optuna(), one_thread():
        while may_begin():
            try:
                study.optimize(guard, catch=(Exception,), callbacks=[next_or_stop])
                return
            except Exception as error:
                if (end := guard.end or ending_error(error)) is not None:
                    raise end from None
                if not was_taken(study, guard.number):
                    raise
            except KeyboardInterrupt:
                requeue(study, guard.number)
                raise


def ending_error(error: BaseException | None) -> SearchError | None:
    """The SearchError that an error comes from, if one does: Optuna raises its own errors after its storage has failed."""
    while error is not None and not isinstance(error, SearchError):
        error = error.__context__
    return error


def run_here(study: optuna.Study, objective: Objective, trials: int, progress: TrialProgress | None) -> None:
    """Run trials in this process until the study has the asked number of finished ones."""
    requeue(study, gone=is_mine_or_gone)
    tally = Tally(study, trials, progress)

    def may_begin() -> bool:
        missing, elsewhere = tally.look()
        while 0 < missing <= elsewhere:
            time.sleep(0.5)
            requeue(study)
            missing, elsewhere = tally.look()
        return missing > 0

    run_trials(study, objective, may_begin)
