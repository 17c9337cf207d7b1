"""Trials side by side in one process: so many are begun, their networks train in one program, and each is told what it is worth."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import TypeVar, cast

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import Trial, TrialState

from ...catalogue.registry import Family
from ...experiments.training.loop import Outcome, one_thread, train
from ...experiments.training.together import train_together
from ..study.attributes import INTERRUPTED, WORKER
from ..study.counting import this_worker
from ..study.storage.patience import SearchError
from .objective import TaskObjective
from .requeueing import is_mine_or_gone, quiet_optuna, requeue, was_taken
from .tally import Tally, TrialProgress
from .worker import RecordedObjective, ending_error

__all__ = ["run_batches"]

_Result = TypeVar("_Result")
TrialValue = float | Sequence[float]
_LOG = logging.getLogger(__name__)


def run_batches(study: optuna.Study, objective: TaskObjective, trials: int, size: int, progress: TrialProgress | None) -> None:
    """Run `size` trials at a time in this process until the study has the asked number of finished ones, as `run_here` does."""
    requeue(study, gone=is_mine_or_gone)
    tally = Tally(study, trials, progress)
    with quiet_optuna(), one_thread():
        while (seen := tally.look())[0] > 0:
            if _trials_to_run(seen) > 0:
                _run_together(study, objective, size, tally)
            else:
                time.sleep(0.5)
                requeue(study)


def _trials_to_run(seen: tuple[int, int]) -> int:
    """The number of trials that this process may run at the moment, those that it runs already included."""
    missing, elsewhere = seen
    return missing - elsewhere


def _run_together(study: optuna.Study, objective: TaskObjective, size: int, tally: Tally) -> None:
    """Run one batch: all begin, and have signs of life, before the first is trained; others may begin some meanwhile."""
    begun: list[Trial] = []
    try:
        with ExitStack() as life:
            while len(begun) < size and (not begun or _trials_to_run(tally.look()) > len(begun)):
                begun.append(trial := _asked(study))
                life.enter_context(_life(study, trial))
                if trial.user_attrs.get(WORKER) != this_worker():  # a storage that is not ours
                    trial.set_user_attr(WORKER, this_worker())
            for trial, result in zip(begun, _results(objective, begun), strict=True):
                _tell(study, trial, result)
    except KeyboardInterrupt:
        own = {t.number for t in begun}
        for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if t.number in own:
                study._storage.set_trial_user_attr(t._trial_id, INTERRUPTED, t.number)
        requeue(study, gone=is_mine_or_gone)
        raise
    except Exception as error:
        if (end := ending_error(error)) is not None:
            raise end from None
        raise


def _asked(study: optuna.Study) -> Trial:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")  # see `_life`
        return study.ask()


def _life(study: optuna.Study, trial: Trial) -> AbstractContextManager[object]:
    """A context that gives signs of life of this trial, as Optuna does for the one that it runs."""
    return cast(AbstractContextManager[object], get_heartbeat_thread(trial._trial_id, study._storage))


def _results(objective: TaskObjective, trials: Sequence[Trial]) -> list[TrialValue | Exception]:
    """What each trial is worth, or the exception that ended it, in the order of the trials.

    For example, of four trials the first raises while it is suggested, the second is the twin of a finished one and takes its
    values, the third is pruned at a rung, the fourth trains to the end: only the last two are trained, side by side, and the result
    is [error, values, TrialPruned, values]. Where training side by side fails as a whole (too little memory), each of the two is
    trained alone. A failure in one trial never ends another.
    """
    ended: dict[int, TrialValue | Exception] = {}
    functions: dict[int, Family] = {}
    for i, trial in enumerate(trials):
        try:
            functions[i] = objective.suggested(trial)
            known = objective.answered(trial, functions[i])
        except Exception as error:
            ended[i] = error
        else:
            ended |= {} if known is None else {i: known}
    functions = {i: f for i, f in functions.items() if i not in ended}
    numbers, reports = list(functions), [objective.rungs(trials[i]) for i in functions]

    def report(k: int, epoch: int, loss: float) -> bool:
        try:
            if (own := reports[k]) is not None:
                own(epoch, loss)
        except Exception as error:
            ended[numbers[k]] = error
        return numbers[k] in ended

    outcomes: Sequence[Outcome | Exception]
    try:
        outcomes = train_together(
            objective.task, list(functions.values()), [objective.seed] * len(functions), report=report, course=objective.course
        )
    except Exception as error:
        numbered = ", ".join(str(trials[i].number) for i in numbers)
        _LOG.warning(
            "trials %s failed together with %s: %s; each is trained alone, unpruned", numbered, type(error).__name__, error
        )
        outcomes = [_caught(partial(train, objective.task, f, objective.seed, course=objective.course)) for f in functions.values()]
    found: dict[int, TrialValue | Exception] = dict(ended)
    for i, outcome in zip(numbers, outcomes, strict=True):
        if i not in ended:
            worth = partial(objective.judged, trials[i], functions[i])
            found[i] = outcome if isinstance(outcome, Exception) else _caught(partial(worth, outcome))
    return [found[i] for i in range(len(trials))]


def _tell(study: optuna.Study, trial: Trial, result: TrialValue | Exception) -> None:
    """Write the end of a trial into the study."""

    def given(_: Trial) -> TrialValue:
        if isinstance(result, Exception):
            raise result
        return result

    try:
        state, value = None, RecordedObjective(given, this_worker())(trial)
    except SearchError:
        raise
    except Exception as error:
        state, value = TrialState.PRUNED if isinstance(error, optuna.TrialPruned) else TrialState.FAIL, None
    try:
        study.tell(trial, value, state=state)
    except (ValueError, UpdateFinishedTrialError):
        if not was_taken(study, trial.number):
            raise


def _caught(function: Callable[[], _Result]) -> _Result | Exception:
    try:
        return function()
    except Exception as error:
        return error
