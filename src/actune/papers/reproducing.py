"""Carrying out experiments: what is missing is queued in a study, and the search's workers run it, here or on a cluster.

So a run has what a trial has: it survives the death of its worker, is never begun twice, and any number of machines may share a
storage. Each finished run is a line of the results, written by the process that called `reproduce`.

    planned ──► in the results already ──► nothing to do
       │
       ├──► in the study, finished by a process that was killed before it wrote ──► written now
       └──► queued as a trial with its names and its key ──► run ──► written
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages._heartbeat import is_heartbeat_enabled
from optuna.trial import FrozenTrial, Trial, TrialState

from ..discovery.searching import search
from ..discovery.study.attributes import ERROR_MESSAGE
from ..discovery.study.counting import finished, is_left, superseded
from ..discovery.study.storage.opening import open_storage
from ..discovery.workers.execution import Workers, as_workers
from ..discovery.workers.requeueing import quiet_optuna
from ..results import append_result, read_results
from .declaration import Experiment, Paper
from .runs import Run, absence, perform, planned_runs, run_key, select_experiments

__all__ = ["DEFAULT_RESULTS", "Reproduction", "read_runs", "reproduce", "runs_file"]

DEFAULT_RESULTS = Path("results/reproduction")
RUN, KEY, RESULT = "run", "key", "result"  # a trial's user attributes: names, key, and the finished line
RunProgress = Callable[[int, int, str], None]  # (runs done, runs in all, the last one)


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` did.

    done     the number of runs whose results are there now, and of them new ones
    failed   runs that raised, with the message
    absent   experiments that cannot be run here, or parts of them, with the reason
    """

    done: int
    new: int
    failed: dict[str, str]
    absent: dict[str, str]


def reproduce(
    selection: str | None = None,
    *,
    scale: str = "laptop",
    seeds: int | None = None,
    workers: int | Workers | None = None,
    storage: str | Path | None = None,
    results: str | Path = DEFAULT_RESULTS,
    command: str = "actune.papers.reproduce",
    progress: RunProgress | None = None,
) -> Reproduction:
    """Carry out the missing runs of experiments, and store each as a line of `results`; stopped and called again, it goes on.

    selection  "PAPER", "PAPER/EXPERIMENT", or None: all
    scale      "smoke" (drawn data, decides nothing), "laptop" or "full"
    seeds      runs of each function on each part (default: as declared)
    workers    as `search` takes them: processes, or Workers(…) for a GPU or a Ray cluster
    storage    where runs in progress are kept, as `search` takes it; default: a file in `results`. Commands with equal selection,
               scale and seeds share the work on one storage; others know of each other by the finished lines only

    Experiments, and parts of them, whose data is not here are left out, with the reason in the answer. A run that raises is
    reported, and run again by the next call; ten in a row raise SearchError, as in `search`.
    """
    where, folder = as_workers(workers), Path(results)
    where.check(for_task=False, is_open=False)
    storage = folder / "runs.db" if storage is None else storage
    absent: dict[str, str] = {}
    runs = list(_possible(select_experiments(selection), scale, seeds, absent))
    keys = {run_key(run): run for run in runs}
    there = {line["key"] for line in read_runs(folder)} & keys.keys()
    before = len(there)
    writer = _Writer(folder, keys, there, progress)
    writer.tell("")
    failed: dict[str, str] = {}
    if len(there) < len(keys):
        folder.mkdir(parents=True, exist_ok=True)
        name = " ".join(["reproduce", selection or "all", scale, *([] if seeds is None else [str(seeds)])])
        with quiet_optuna():
            opened = open_storage(storage, where.heartbeat, where.grace)
            study = optuna.create_study(study_name=name, storage=opened, load_if_exists=True)
            _queue(study, keys, there, writer)
        objective = RunObjective(where.device, storage, command)
        # Once, unless another command queues runs meanwhile: they count too, so that ours are not all finished by then.
        while _is_left_to_do(study, keys, writer):
            search(
                objective, trials=_count(study), workers=where, storage=storage, study=name,
                progress=lambda _, trial: writer.write(trial),
            )  # fmt: skip
        failed = _failures(study, keys, there)
    return Reproduction(len(there), len(there) - before, failed, absent)


def _possible(chosen: Iterable[tuple[Paper, Experiment]], scale: str, seeds: int | None, absent: dict[str, str]) -> Iterable[Run]:
    """The runs of these experiments whose data is here; what is left out is written into `absent`, with the reason."""
    for paper, experiment in chosen:
        name, runs = f"{paper.name}/{experiment.name}", list(planned_runs(paper, experiment, scale, seeds))
        if not runs:
            absent[name] = f"it has no scale {scale!r}"
            continue
        reasons = {part: absence(experiment, scale, part) for part in experiment.scales[scale].parts}
        missing = {part: reason for part, reason in reasons.items() if reason is not None}
        if len(missing) == len(reasons):
            absent[name] = next(iter(missing.values()))
        else:
            absent.update({f"{name} {part}": reason for part, reason in missing.items()})
        yield from (run for run in runs if run.part not in missing)


@dataclass(frozen=True)
class RunObjective:
    """Carries out the run that a trial names. Module-level data, so that workers anywhere can be sent it."""

    device: str
    storage: str | Path
    command: str

    def __call__(self, trial: Trial) -> float:
        attributes = trial.user_attrs
        if RUN not in attributes:
            raise optuna.TrialPruned("nothing was left to run")
        run = Run(**attributes[RUN])
        if run_key(run) != attributes[KEY]:
            raise optuna.TrialPruned("the experiment is declared otherwise now")
        if _was_queued_before(trial, attributes[KEY]):
            raise optuna.TrialPruned("another command has queued this run before")
        result = perform(run, device=self.device, storage=self.storage, command=self.command)
        trial.set_user_attr(RESULT, result)
        return float(result["scores"].get("seconds", 0.0))


def _was_queued_before(trial: Trial, key: str) -> bool:
    """Whether two commands queued the same run at the same moment: the lower number is the one that runs."""
    trials = trial.study.get_trials(deepcopy=False)
    gone = superseded(trials)
    before = [t for t in trials if t.number < trial.number and t.user_attrs.get(KEY) == key and t.number not in gone]
    return any(t.state == TrialState.COMPLETE or not t.state.is_finished() or is_left(t) for t in before)


def _is_left_to_do(study: optuna.Study, keys: dict[str, Run], writer: _Writer) -> bool:
    """Write what is finished; whether more is to come.

    In this order: what another command finishes between the two looks is written here, and would be missed the other way round.
    """
    found = _is_unfinished(study, keys.keys() - writer.there)
    writer.write_finished(study)
    return found


def _queue(study: optuna.Study, keys: dict[str, Run], there: set[str], writer: _Writer) -> None:
    """Write what the study has finished already; queue what it does not have."""
    writer.write_finished(study)
    known = {t.user_attrs.get(KEY) for t in _unfinished(study)}
    for key, run in keys.items():
        if key not in there and key not in known:
            study.enqueue_trial({}, user_attrs={RUN: asdict(run), KEY: key})


def _count(study: optuna.Study) -> int:
    """The finished trials that the study is to have: those that it has, and one for each that waits, runs or is to be run again."""
    return len(finished(study.get_trials(deepcopy=False))) + len(_unfinished(study))


def _is_unfinished(study: optuna.Study, missing: Collection[str]) -> bool:
    """Whether one of the missing runs, by its key, waits, runs or is to be run again.

    In a journal, which has no signs of life, nobody can tell whether what others run will ever end: that is not waited for.
    """
    is_waited_for = is_heartbeat_enabled(study._storage)
    unfinished = [t for t in _unfinished(study) if is_waited_for or t.state != TrialState.RUNNING]
    return any(t.user_attrs.get(KEY) in missing for t in unfinished)


def _unfinished(study: optuna.Study) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    gone = superseded(trials)
    return [t for t in trials if not t.state.is_finished() or (is_left(t) and t.number not in gone)]


@dataclass
class _Writer:
    """Writes the lines of finished runs, each once."""

    folder: Path
    keys: dict[str, Run]
    there: set[str]
    progress: RunProgress | None

    def write(self, trial: FrozenTrial) -> None:
        line = trial.user_attrs.get(RESULT)
        if line is None or line["key"] in self.there or line["key"] not in self.keys:
            return
        append_result(runs_file(self.folder, line["paper"]), line, once="key")  # another command may have written it
        self.there.add(line["key"])
        self.tell(str(self.keys[line["key"]]))

    def write_finished(self, study: optuna.Study) -> None:
        """Write every run that the study has finished."""
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            self.write(trial)

    def tell(self, note: str) -> None:
        if self.progress is not None:
            self.progress(len(self.there), len(self.keys), note)


def _failures(study: optuna.Study, keys: dict[str, Run], there: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for t in study.get_trials(deepcopy=False):
        key = t.user_attrs.get(KEY)
        if t.state == TrialState.FAIL and key in keys and key not in there:
            found[str(keys[key])] = t.user_attrs.get(ERROR_MESSAGE, "its worker died again and again")
    return found


# -- results --------------------------------------------------------------------------------------------------------------


def runs_file(folder: Path, paper: str) -> Path:
    """The file that has the runs of a paper."""
    return folder / f"{paper}.jsonl"


def read_runs(folder: str | Path = DEFAULT_RESULTS) -> list[dict[str, Any]]:
    """All stored runs."""
    return [line for path in sorted(Path(folder).glob("*.jsonl")) for line in read_results(path)]
