"""Search: what is asked for is checked, the study opened, and the trials given to workers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection

from ..experiments.identity import recipe
from ..experiments.tasks import Task
from ..experiments.tasks import task as find_task
from ..messages import suggestion
from .proposers.history import Proposer
from .proposers.mixture import check_proposers, find_function
from .proposers.settings import Budget, Method, Settings, find_method
from .study.attributes import BUDGET, TASK
from .study.seeds import study_seed, training_seed
from .study.storage.opening import open_storage
from .study.storage.write_ahead import with_write_ahead_log
from .workers.execution import Workers, as_workers, check_counts, run_search
from .workers.objective import OBJECTIVES, OwnObjective, TaskObjective
from .workers.processes import WorkOrder
from .workers.requeueing import quiet_optuna, requeue
from .workers.tally import TrialProgress
from .workers.worker import Objective

__all__ = ["search"]

_LOG = logging.getLogger(__name__)


def search(
    task: str | Task | Objective,
    *,
    trials: int,
    workers: int | Workers | None = None,
    storage: str | Path | BaseStorage | None = None,
    study: str | Study | None = None,
    seed: int | None = None,
    direction: str | None = None,
    method: str | Method = "better",
    without: Iterable[str] = (),
    objectives: tuple[str, ...] | None = None,
    proposers: Mapping[str, Proposer] | None = None,
    settings: Settings | None = None,
    course: bool = False,
    progress: TrialProgress | None = None,
) -> Study:
    """Search the activation function that suits a task, until its study has this number of finished trials.

    task       the name of a task that ships, a Task, or any Optuna objective that calls `suggest_activation`, also by its name,
               "mymodule:objective"
    trials     finished trials that the study is to have in the end, those of earlier calls included: complete, pruned (a training
               that diverged is) and failed ones; not those whose worker died or that were interrupted, which are run again
    workers    processes on this machine (default: one, this), or Workers(…): networks side by side, a GPU, a Ray cluster
    storage    a path (SQLite), a database URL, `journal:PATH`, or (one worker) an Optuna storage; None: nothing is kept but the
               returned study. Searches on one storage and study, on any machine, work together: trials is what all have in the end
    study      its name (default: the task's), to go on with what is in the storage; or (one worker) an Optuna study
    seed       of candidates and trainings, written into the study; default 0, or what the study has
    direction  of a new study: "maximize" for an objective that is better when larger
    method     how a task is searched: a row of `METHODS` ("better", "fisher", "pangaea", "evolution", "random"), or your own
               Method; to an objective, which trains and prunes as it likes, it says only how candidates are bred
    without    parts of the method to switch off, rows of `PARTS`: "catalogue", "surrogate", "fisher", "screening", …
    objectives what a trial of a task is worth, rows of `OBJECTIVES` ("loss", "error", "cost"); several are not pruned
    proposers  your own by name: functions (history, rng) -> text, mixed with the method's
    settings   how candidates are bred, instead of the method's
    course     keep in each trial of a task how the parameters moved over its training, in its user attribute `actune:course`
    progress   called as progress(study, trial) after each finished trial

    The same seed and one worker give the same study: candidates, values and order. A trial that raises is marked failed, with
    the message in its user attribute `actune:error`; ten in a row raise SearchError. Interrupt it and call it again to go on.
    """
    check_counts(trials=trials)
    where, own = as_workers(workers), proposers or {}
    chosen = _chosen(method, without, objectives, settings, own)
    found, title = _task(task)
    where.check(isinstance(found, Task), isinstance(study, Study) or isinstance(storage, BaseStorage))
    _check_task(found, objectives, course, chosen)
    with ExitStack() as stack:
        if temporary := where.are_several and storage is None:
            storage = Path(stack.enter_context(TemporaryDirectory(prefix="actune-", ignore_cleanup_errors=True)), "study.db")
        with quiet_optuna():
            directions = _directions(found, direction, chosen)
            s = study if isinstance(study, Study) else _open(storage, study or title, directions, where)
            _claim(s, title if isinstance(found, Task) else None, direction)
            study_seed(s, seed)
            objective = _objective(s, found, chosen, own, where.device, course)
            requeue(s)
        stack.enter_context(with_write_ahead_log(s))
        run_search(where, WorkOrder(str(storage), s.study_name, objective, where.heartbeat, where.grace), s, trials, progress)
        return _copied(s) if temporary else s


def _check_task(found: Task | Objective, objectives: tuple[str, ...] | None, course: bool, chosen: Method) -> None:
    """Read a task's data, so that a missing file is one error and not one per trial; refuse what an own objective cannot give."""
    if isinstance(found, Task):
        found.split(0)
        return
    if objectives is not None:
        raise ValueError(f"objectives={objectives!r} is for tasks; an objective of your own returns what it likes")
    if course or chosen.fisher:
        what = "course=True" if course else "the method fisher"
        raise ValueError(
            f"{what} is for tasks; an objective of your own says train(…, course=True), suggest_activation(…, probe=…)"
        )


def _directions(found: Task | Objective, direction: str | None, chosen: Method) -> list[str]:
    """The direction of each objective of a new study."""
    if direction not in (None, "minimize", "maximize"):
        raise ValueError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
    if not isinstance(found, Task):
        return [direction or "minimize"]
    if direction == "maximize":
        raise ValueError("direction='maximize' is for an objective of your own: what a task is worth is the better the smaller")
    return ["minimize"] * len(chosen.budget.objectives)


def _chosen(
    method: str | Method,
    without: Iterable[str],
    objectives: tuple[str, ...] | None,
    settings: Settings | None,
    proposers: Mapping[str, Proposer],
) -> Method:
    """The method, changed as the other arguments say; wrong names are refused before the first trial."""
    chosen = find_method(method)
    chosen = (chosen if settings is None else replace(chosen, settings=settings)).without(without)
    budget = chosen.budget if objectives is None else replace(chosen.budget, objectives=tuple(objectives))
    for name in budget.objectives:
        if name not in OBJECTIVES:
            raise ValueError(f"unknown objective {name!r}{suggestion(str(name), OBJECTIVES)} (known: {', '.join(OBJECTIVES)})")
    if not budget.objectives or len(set(budget.objectives)) < len(budget.objectives):
        raise ValueError(f"objectives must be different names, one at least, got {budget.objectives!r}")
    check_proposers(chosen.settings, proposers)
    return replace(chosen, budget=budget)


def _objective(
    study: Study, found: Task | Objective, chosen: Method, proposers: Mapping[str, Proposer], device: str, course: bool
) -> Objective:
    """The function that each trial calls."""
    if not isinstance(found, Task):
        return OwnObjective(found, chosen.settings, proposers)
    budget = chosen.budget
    _check_budget(study, found, budget)
    shortened, seed = found.trained_for(budget.epochs), training_seed(study)
    return TaskObjective(shortened, seed, chosen.settings, budget, dict(proposers), device, chosen.fisher, course)


def _check_budget(study: Study, task: Task, budget: Budget) -> None:
    """Write into a new study how its candidates are trained; refuse to go on otherwise than it was begun."""
    if len(budget.objectives) > 1 and budget.first_rung > 0:
        _LOG.warning("several objectives (%s): nothing is pruned, Optuna has no reports for them", ", ".join(budget.objectives))
    record = budget.to_json() | {"task_epochs" if name == "epochs" else name: v for name, v in recipe(task).items()}
    before = study.user_attrs.get(BUDGET)
    if before is None:
        study.set_user_attr(BUDGET, record)
    elif other := [f"{k}={v!r}, now {record.get(k)!r}" for k, v in before.items() if record.get(k) != v]:
        raise ValueError(f"the study {study.study_name!r} was begun with {', '.join(other)}; "
                         "choose the same method and task, or another study=…")  # fmt: skip
    if len(study.directions) != len(budget.objectives):
        raise ValueError(f"the study {study.study_name!r} has {len(study.directions)} values a trial, "
                         f"objectives={budget.objectives!r} give {len(budget.objectives)}")  # fmt: skip


def _task(what: str | Task | Objective) -> tuple[Task | Objective, str]:
    """The task or the objective, and the name that its study has by default."""
    if isinstance(what, str) and ":" in what:
        return find_function(what, "task", "mymodule:objective"), what
    if isinstance(what, str | Task):
        found = find_task(what)
        return found, found.name
    if not callable(what):
        raise ValueError(f"task must be the name of a task, a Task or an objective (trial -> number), got {what!r}")
    return what, getattr(what, "__qualname__", type(what).__name__)


def _open(storage: str | Path | BaseStorage | None, name: str, directions: list[str], where: Workers) -> Study:
    """The study of this name, or a new one."""
    opened = open_storage(storage, where.heartbeat, where.grace) if isinstance(storage, str | Path) else storage
    towards = [StudyDirection[d.upper()] for d in directions]
    return optuna.create_study(study_name=name, storage=opened, directions=towards, load_if_exists=True)


def _claim(study: Study, title: str | None, direction: str | None) -> None:
    """Write the task into a new study; refuse a study that belongs to another task."""
    owner = study.user_attrs.get(TASK)
    name, has = study.study_name, study.directions[0].name.lower()
    if title is not None and any(d != StudyDirection.MINIMIZE for d in study.directions):
        raise ValueError(f"the study {name!r} maximises, a task is minimised; choose another study=…")
    if direction not in (None, has):
        raise ValueError(f"direction={direction!r}, but the study {name!r} has {has!r}; choose another study=…")
    if owner is None and title is not None:
        study.set_user_attr(TASK, title)
    elif owner != title:
        raise ValueError(f"the study {name!r} belongs to the task {owner!r}, not {title!r}; choose another study=…")


def _copied(study: Study) -> Study:
    """A copy of the study in memory."""
    storage = optuna.storages.InMemoryStorage()
    with quiet_optuna():
        optuna.copy_study(from_study_name=study.study_name, from_storage=study._storage, to_storage=storage)
        return optuna.load_study(study_name=study.study_name, storage=storage)
