"""Candidates from an Optuna study and nothing else: suggest one, search with a task, read the best, replay the whole.

A trial keeps its candidate in the user attribute `activation:NAME`, as text, and how it came about in `activation:NAME:origin`:
the number of the trial whose generator drew it, the kind of step, the parents, the finished trials that were seen ("0-31,33"),
the fingerprints of the trials that ran meanwhile, and its own fingerprint. The study keeps its seed in `actune:seed`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from ..experiments.tasks import Task
from ..experiments.tasks import task as find_task
from ..experiments.training import check_device, train
from ..family import Family, resolve
from .evolution import Past, Proposal, Settings, propose
from .fleet import ERROR, Job, Objective, Progress, open_storage, quiet, requeue, run_here, run_workers, superseded
from .ray import Cluster, run_ray
from .screen import screen
from .space import Space

__all__ = ["best", "leaders", "replay", "search", "suggest_activation"]

SEED, TASK = "actune:seed", "actune:task"  # attributes of a study
_DEFAULT = Settings()


# -- one candidate ---------------------------------------------------------------------------------------------------------


def suggest_activation(trial: BaseTrial, name: str = "activation", *, settings: Settings = _DEFAULT) -> Family:
    """The activation function that this trial is to train: bred from the study's own past, or the one that the trial already has.

    A trial has one, in the user attribute `activation:NAME`, when it is run again, when it was queued with it
    (`study.enqueue_trial({}, user_attrs={"activation:hidden": "x*sigmoid(b*x); b=1"})`), and when it is finished.

    name      tells the functions of one network apart; each evolves by itself, on the value of the whole trial
    settings  how candidates are bred

    The first objective of the study is what evolution improves, in its direction; failed and pruned trials and infinite values
    are worse than all others. The candidate depends on the study's seed (its user attribute `actune:seed`, 0 if never set),
    the trial's number, the name, the trials that are in the study and the families that are declared, and on nothing else.
    """
    key = _key(name)
    given = trial.user_attrs.get(key)
    if given is not None:
        return _given(trial, key, given)
    if not isinstance(trial, Trial):
        raise ValueError(f"{type(trial).__name__} has no study to breed from; "
                         f"give it the function: trial.set_user_attr({key!r}, 'x*sigmoid(x)')")  # fmt: skip
    for _ in range(10):
        proposal = _suggest(trial, name, settings)
        # Another worker may have drawn the same at the same time. Who sees that draws again, now knowing the other.
        if not _has_twin(trial, key, proposal.fingerprint):
            break
    return resolve(proposal.text)


def _key(name: str) -> str:
    if not name or ":" in name:
        raise ValueError(f"the name of an activation must be text without ':', got {name!r}")
    return f"activation:{name}"


def _given(trial: BaseTrial, key: str, text: Any) -> Family:
    try:
        f = resolve(text)
    except ValueError as error:
        raise ValueError(f"the user attribute {key!r} of trial {trial.number} is no activation function: {error}") from None
    if isinstance(trial, Trial) and f"{key}:origin" not in trial.user_attrs:
        trial.set_user_attr(f"{key}:origin", {"kind": "given", "fingerprint": screen(f).fingerprint})
    return f


def _suggest(trial: Trial, name: str, settings: Settings) -> Proposal:
    key = _key(name)
    history, pending = _view(trial.study, key, trial.number)
    proposal = propose(history, _generator(_seed(trial.study), trial.number, name), settings, pending)
    origin = {
        "trial": trial.number,
        "kind": proposal.kind,
        "parents": list(proposal.parents),
        "seen": _ranges(past.number for past in history),
        "pending": pending,
        "fingerprint": proposal.fingerprint,
        **_changed(settings),
    }
    trial.set_user_attr(f"{key}:origin", origin)  # first: a trial that has its text has all
    trial.set_user_attr(key, proposal.text)
    return proposal


def _has_twin(trial: Trial, key: str, fingerprint: str) -> bool:
    others = (t for t in trial.study.get_trials(deepcopy=False) if t.number != trial.number)
    return any(t.user_attrs.get(f"{key}:origin", {}).get("fingerprint") == fingerprint for t in others)


def _seed(study: Study, wanted: int | None = None) -> int:
    """The seed of the study, written at its first use."""
    seed = study.user_attrs.get(SEED)
    if seed is None:
        seed = 0 if wanted is None else wanted
        study.set_user_attr(SEED, seed)
    if wanted is not None and wanted != seed:
        raise ValueError(f"seed={wanted}, but the study {study.study_name!r} was begun with {seed}; leave it out to go on")
    return seed


def _digest(*words: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, words)).encode()).digest()[:8], "big")


def _generator(seed: int, number: int, name: str) -> Random:
    return Random(_digest(seed, number, name))


# -- the past --------------------------------------------------------------------------------------------------------------


def _view(study: Study, key: str, own: int) -> tuple[list[Past], list[str]]:
    """The finished trials with an activation of this name, oldest first, and the fingerprints of the others that have one."""
    trials = study.get_trials(deepcopy=False)
    again = superseded(trials)
    known = [t for t in trials if key in t.user_attrs and t.number != own and t.number not in again]
    sign = _sign(study)
    history = [_past(t, key, sign) for t in known if t.state.is_finished()]
    return history, sorted(_fingerprint(t, key) for t in known if not t.state.is_finished())


def _sign(study: Study) -> float:
    return -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0


def _past(t: FrozenTrial, key: str, sign: float) -> Past:
    return Past(t.number, t.user_attrs[key], _loss(t, sign), _fingerprint(t, key))


def _loss(t: FrozenTrial, sign: float) -> float:
    """Smaller is better; infinite for a trial that failed, diverged or was pruned."""
    loss = sign * t.values[0] if t.state == TrialState.COMPLETE and t.values else math.inf
    return loss if math.isfinite(loss) else math.inf


def _fingerprint(t: FrozenTrial, key: str) -> str:
    origin = t.user_attrs.get(f"{key}:origin")
    if origin is not None:
        return origin["fingerprint"]
    try:  # queued by the user, and not begun
        return screen(resolve(t.user_attrs[key])).fingerprint
    except ValueError:
        return "unreadable"


def _ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in short: "0-31,33"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1][1:] = [n]
        else:
            runs.append([n])
    return ",".join("-".join(map(str, run)) for run in runs)


def _numbers(ranges: str) -> list[int]:
    runs = [[int(n) for n in run.split("-")] for run in ranges.split(",") if run]
    return [n for run in runs for n in range(run[0], run[-1] + 1)]


def _changed(settings: Settings) -> dict[str, Any]:
    """The settings that are not the default, for the record."""

    def differences(value: Any, default: Any) -> dict[str, Any]:
        pairs = ((f.name, getattr(value, f.name), getattr(default, f.name)) for f in dataclasses.fields(value))
        return {name: differences(v, d) if dataclasses.is_dataclass(v) else v for name, v, d in pairs if v != d}

    changed = differences(settings, _DEFAULT)
    return {"settings": changed} if changed else {}


def _settings(origin: dict[str, Any]) -> Settings:
    changed = dict(origin.get("settings", {}))
    space: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in changed.pop("space", {}).items()}
    return Settings(**changed, space=Space(**space))


def replay(study: Study) -> dict[str, str]:
    """Derive every candidate again from the records: {"NUMBER:NAME": text} of those that come out differently, else {}."""
    trials = study.get_trials(deepcopy=False)
    seed, sign = _seed(study), _sign(study)
    different: dict[str, str] = {}
    for t in trials:
        for name in _names(t):
            key = _key(name)
            origin = t.user_attrs.get(f"{key}:origin", {"kind": "given"})
            if origin["kind"] != "given":
                history = [_past(trials[n], key, sign) for n in _numbers(origin["seen"])]
                generator = _generator(seed, origin["trial"], name)
                again = propose(history, generator, _settings(origin), origin["pending"])
                if again.text != t.user_attrs[key]:
                    different[f"{t.number}:{name}"] = again.text
    return different


def _names(t: FrozenTrial) -> list[str]:
    """The names of the trial's activations."""
    return [key.split(":")[1] for key in t.user_attrs if key.startswith("activation:") and key.count(":") == 1]


# -- the result ------------------------------------------------------------------------------------------------------------


def leaders(study: Study, n: int = 10, name: str | None = None) -> list[Family]:
    """The best candidates of the study, at most n, best first, each function once.

    name   which activation, where trials have several
    """
    sign = _sign(study)
    complete = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if math.isfinite(_loss(t, sign))]
    key = _key(name if name is not None else _only_name(complete))
    found: dict[str, str] = {}
    for t in sorted(complete, key=lambda t: (_loss(t, sign), t.number)):
        if key in t.user_attrs:
            found.setdefault(_fingerprint(t, key), t.user_attrs[key])
    if not found:
        errors = [t.user_attrs[ERROR] for t in study.get_trials(deepcopy=False) if ERROR in t.user_attrs]
        reason = f"the last one failed with {errors[-1]}" if errors else "let it finish some first"
        raise ValueError(f"the study {study.study_name!r} has no complete trial with {key!r}; {reason}")
    return [resolve(text).simplify() for text in list(found.values())[:n]]


def _only_name(trials: Sequence[FrozenTrial]) -> str:
    names = sorted({name for t in trials for name in _names(t)})
    if len(names) > 1:
        raise ValueError(f"the trials have several activations; choose one: name={' or '.join(map(repr, names))}")
    return names[0] if names else "activation"


def best(study: Study, name: str | None = None) -> Family:
    """The best candidate of the study, as `Activation` and `swap` accept it."""
    return leaders(study, 1, name)[0]


# -- search ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TaskObjective:
    """Validation loss of a task with the suggested activation; one seed for all candidates, so that luck is the same for all."""

    task: Task
    seed: int
    settings: Settings
    device: str

    def __call__(self, trial: Trial) -> float:
        outcome = train(self.task, suggest_activation(trial, settings=self.settings), self.seed, device=self.device)
        trial.set_user_attr("validation_accuracy", outcome.validation_accuracy)
        if outcome.diverged:
            trial.set_user_attr("actune:diverged", True)
            raise optuna.TrialPruned("the training diverged")
        return outcome.validation_loss


def search(
    task: str | Task | Objective,
    *,
    trials: int,
    workers: int | None = None,
    storage: str | Path | BaseStorage | None = None,
    study: str | Study | None = None,
    seed: int | None = None,
    direction: str | None = None,
    settings: Settings = _DEFAULT,
    device: str = "cpu",
    ray: str | None = None,
    gpus_per_worker: float = 0.0,
    progress: Progress | None = None,
    heartbeat: int = 10,
    grace: int = 30,
) -> Study:
    """Search the activation function that suits a task, until its study has this number of finished trials.

    task       the name of a task that ships, a Task, or any Optuna objective that calls `suggest_activation`
    trials     finished trials that the study is to have in the end, those of earlier calls included: complete, pruned (a training
               that diverged is) and failed ones; not those whose worker died or that were interrupted, which are run again
    workers    processes on this machine (default: one, this), each with one thread; with more than one the objective must be
               importable, and a script must call this below `if __name__ == "__main__":`. With `ray` trials at a time, anywhere
               in the cluster (default: as many as it has room for)
    storage    a path (SQLite), a database URL, `journal:PATH`, or (one worker) an Optuna storage; None: nothing is kept but the
               returned study. Searches on one storage and study, on any machine, work together: trials is what all have in the end
    study      its name (default: the task's), to go on with what is in the storage; or (one worker) an Optuna study
    seed       of candidates and trainings, written into the study; default 0, or what the study has
    direction  of a new study: "maximize" for an objective that is the better the larger
    ray        trials run as tasks of this Ray cluster: its address, or "local" for one of this machine
    gpus_per_worker  with `ray`: a trial's share of GPUs; 0.5 trains two on one (and say device="cuda")
    progress   called as progress(study, trial) after each finished trial
    heartbeat  seconds between signs of life in a database
    grace      seconds without one until a trial is run again

    The same seed and one worker give the same study: candidates, values and order. A trial that raises is marked failed, with
    the message in its user attribute `actune:error`; ten in a row raise SearchError. Interrupt it and call it again to go on.
    """
    _check(trials=trials, workers=1 if workers is None else workers, heartbeat=heartbeat, grace=grace)
    cluster = None if ray is None else Cluster(ray, gpus_per_worker)
    if cluster is None and gpus_per_worker:
        raise ValueError(f"gpus_per_worker={gpus_per_worker} is for Ray; give its address, ray='HOST:PORT', or ray='local'")
    many = cluster is not None or (workers or 1) > 1
    if direction not in (None, "minimize", "maximize"):
        raise ValueError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
    if many and (isinstance(study, Study) or isinstance(storage, BaseStorage)):
        who = f"workers={workers}" if cluster is None else f"ray={ray!r}"
        raise ValueError(f"{who} needs a storage that processes can open by themselves; give a path or a URL")
    if cluster is None:
        check_device(device)  # of Ray's machines they tell
    found, title = _task(task)
    temporary = many and storage is None
    with ExitStack() as stack:
        if temporary:
            storage = Path(stack.enter_context(TemporaryDirectory(prefix="actune-", ignore_cleanup_errors=True)), "study.db")
        with quiet():
            s = study if isinstance(study, Study) else _open(storage, study or title, direction, heartbeat, grace)
            _claim(s, title if found is not None else None, direction)
            training_seed = _digest(_seed(s, seed), "training") % 2**31
            objective = task if found is None else _TaskObjective(found, training_seed, settings, device)
            requeue(s)
        job = Job(str(storage), s.study_name, cast(Objective, objective), heartbeat, grace)
        if cluster is not None:
            run_ray(job, s, trials, workers, progress, cluster)
        elif many:
            run_workers(job, s, trials, workers or 1, progress)
        else:
            run_here(s, job.objective, trials, progress)
        return _copied(s) if temporary else s


def _check(**counts: int) -> None:
    for name, n in counts.items():
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError(f"{name} must be a positive whole number, got {n!r}")


def _task(what: str | Task | Callable[..., Any]) -> tuple[Task | None, str]:
    """The task, or None for an objective, and the name that its study has by default."""
    if isinstance(what, str | Task):
        found = find_task(what)
        return found, found.name
    if not callable(what):
        raise ValueError(f"task must be the name of a task, a Task or an objective (trial -> number), got {what!r}")
    return None, getattr(what, "__qualname__", type(what).__name__)


def _open(storage: str | Path | BaseStorage | None, name: str, direction: str | None, heartbeat: int, grace: int) -> Study:
    opened = open_storage(storage, heartbeat, grace) if isinstance(storage, str | Path) else storage
    towards = StudyDirection[(direction or "minimize").upper()]
    return optuna.create_study(study_name=name, storage=opened, direction=towards, load_if_exists=True)


def _claim(study: Study, title: str | None, direction: str | None) -> None:
    """Note the task in a new study; refuse one that belongs to another."""
    owner = study.user_attrs.get(TASK)
    name, has = study.study_name, study.directions[0].name.lower()
    if direction not in (None, has):
        raise ValueError(f"direction={direction!r}, but the study {name!r} has {has!r}; choose another study=…")
    if owner is None and title is not None:
        study.set_user_attr(TASK, title)
    elif owner != title:
        raise ValueError(f"the study {name!r} belongs to the task {owner!r}, not {title!r}; choose another study=…")


def _copied(study: Study) -> Study:
    """The study in memory."""
    storage = optuna.storages.InMemoryStorage()
    with quiet():
        optuna.copy_study(from_study_name=study.study_name, from_storage=study._storage, to_storage=storage)
        return optuna.load_study(study_name=study.study_name, storage=storage)
