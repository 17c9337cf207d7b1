"""One run of an experiment: its key, by which it is known for ever, and what it gives."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..experiments.identity import recipe
from ..experiments.tasks import Task
from ..experiments.training.networks import network_builder
from ..messages import suggestion
from ..results import provenance
from .declaration import SCALES, Experiment, Paper, activation_choice, choice_text
from .declared import PAPERS

__all__ = ["Run", "absence", "list_experiments", "perform", "planned_runs", "run_key", "select_experiments", "selected_papers"]


@dataclass(frozen=True)
class Run:
    """One cell of an experiment's table, by names and a seed: plain data that any process can carry out."""

    paper: str
    experiment: str
    scale: str
    part: str
    function: str
    seed: int

    @property
    def declared(self) -> Experiment:
        return PAPERS[self.paper].experiment(self.experiment)

    @property
    def task(self) -> Task:
        return self.declared.scales[self.scale].parts[self.part]

    @property
    def procedure(self) -> partial[dict[str, Any]]:
        """What the run does, with what its scale tells besides."""
        return partial(self.declared.procedure, **self.declared.scales[self.scale].arguments)

    def __str__(self) -> str:
        where = f"{self.paper}/{self.experiment}" + (f" {self.part}" if self.part else "")
        return f"{where}: {self.function}, seed {self.seed}"


def list_experiments() -> list[str]:
    """The names of all experiments, PAPER/EXPERIMENT, in the order of their declaration."""
    return [f"{paper.name}/{e.name}" for paper in PAPERS.values() for e in paper.experiments]


def select_experiments(selection: str | None) -> list[tuple[Paper, Experiment]]:
    """The experiments that are meant: all (None), those of a PAPER, or one PAPER/EXPERIMENT."""
    if selection is None:
        return [(paper, e) for paper in PAPERS.values() for e in paper.experiments]
    name, _, experiment = selection.partition("/")
    if name not in PAPERS:
        raise ValueError(f"unknown paper {name!r}{suggestion(name, PAPERS)} (known: {', '.join(PAPERS)})")
    paper = PAPERS[name]
    return [(paper, e) for e in ([paper.experiment(experiment)] if experiment else paper.experiments)]


def selected_papers(selection: str | None) -> list[Paper]:
    """The papers that are meant, each with the chosen experiments only."""
    chosen: dict[str, tuple[Experiment, ...]] = {}
    for paper, experiment in select_experiments(selection):
        chosen[paper.name] = (*chosen.get(paper.name, ()), experiment)
    return [replace(PAPERS[name], experiments=experiments) for name, experiments in chosen.items()]


def planned_runs(paper: Paper, experiment: Experiment, scale: str, seeds: int | None = None) -> Iterator[Run]:
    """All runs of an experiment at a scale, seed by seed, so that what is finished can be compared; none without this scale."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}{suggestion(scale, SCALES)} (known: {', '.join(SCALES)})")
    if scale not in experiment.scales:
        return
    for seed in experiment.seeds(scale, seeds):
        for part in experiment.scales[scale].parts:
            for function in experiment.functions:
                yield Run(paper.name, experiment.name, scale, part, function, seed)


@functools.lru_cache(maxsize=8192)
def run_key(run: Run) -> str:
    """A digest of what a run depends on: its names, task, recipe, function, procedure and seed.

    When one of them changes, old results no longer count: the table never shows a number of another experiment.
    """
    declared, task, procedure = run.declared, run.task, run.procedure
    arguments = {k: _words(v) for k, v in procedure.keywords.items()}
    what = {
        "run": asdict(run), "task": recipe(task), "choice": choice_text(declared.functions[run.function]),
        "procedure": procedure.func.__qualname__, "arguments": arguments, "measures": [m.name for m in task.measured],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: choice_text(v) for k, v in value.items()}
    return value


def perform(run: Run, *, device: str, storage: str | Path | None, command: str) -> dict[str, Any]:
    """Carry out a run; its result is a line of plain data, with the key and what it depends on besides."""
    declared, key = run.declared, run_key(run)
    place = None if storage is None else (storage, f"{run.paper}/{run.experiment} {run.scale} {run.function} {run.seed} {key}")
    choice = declared.functions[run.function]
    found = run.procedure(task=run.task, choice=choice, seed=run.seed, device=device, place=place)
    line = {"key": key} | asdict(run) | {"choice": choice_text(choice)} | found
    return line | provenance(command, {"device": device}, ("actune", "torch"))


def absence(experiment: Experiment, scale: str, part: str) -> str | None:
    """Why a part of an experiment cannot be run here, in a line: data or weights that are missing; None if nothing is."""
    task = experiment.scales[scale].parts[part]
    try:
        task.split(experiment.first_seed)
        network_builder(task, activation_choice(experiment.functions[experiment.baseline], task.scope))()
    except FileNotFoundError as error:
        return str(error)
    return None
