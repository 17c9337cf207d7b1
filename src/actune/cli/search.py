"""`actune search`: a search, the proof of what it found, and where that is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import PAGES, Device, Json, Seeds, Together, bar, command, out, print_json, writable_path

__all__ = ["search_command"]


_Task = Annotated[str, typer.Argument(help="A task, such as digits, or an Optuna objective of yours, mymodule:objective.")]
_Trials = Annotated[int, typer.Option(min=1, help="Finished trials that the study is to have in the end.")]
_Count = Annotated[
    int | None, typer.Option(min=1, help="Processes, one thread each; with --ray trials at a time. [default: 1; what Ray has]")
]
_Storage = Annotated[
    str | None, typer.Option(help="File (SQLite), database URL or journal:FILE of the study; run again to go on or join.")
]
_Ray = Annotated[str | None, typer.Option(help="Run trials on this Ray cluster: an address, or local.")]
_Share = Annotated[float, typer.Option(min=0, help="With --ray: share of a GPU a trial has, such as 0.5.")]
_Study = Annotated[str | None, typer.Option(help="Name of the study in the storage.")]
_Seed = Annotated[
    int | None, typer.Option(help="Seed of a new study; one worker and the same seed give the same study. [default: 0]")
]
_MethodName = Annotated[str, typer.Option(help="How to search: better, fisher, pangaea, evolution or random.")]
_Parts = Annotated[
    list[str] | None,
    typer.Option(help="Switch off catalogue, surrogate, novelty, fisher, screening, pruning or confirmation; again for more."),
]
_Proposers = Annotated[
    list[str] | None, typer.Option(help="Your own proposer, mymodule:propose, with its weight =W if not 1; again for more.")
]
_Direction = Annotated[
    str | None, typer.Option(help="Direction of a new study of your own objective: minimize or maximize. [default: minimize]")
]
_Scope = Annotated[str | None, typer.Option(help="Parameters per layer, channel or neuron. [default: the task's]")]
_Objectives = Annotated[
    str | None, typer.Option(help="Any of loss, error, cost; several give a Pareto front. [default: the method's]")
]
_Proof = Annotated[bool, typer.Option("--proof/--no-proof", help="Compare the best with the usual functions on fresh seeds.")]
_Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the winner as FILE.json, which show and compare read.")]
_Plot = Annotated[Path | None, typer.Option(help="Write a picture of the winner and the baselines (PNG).")]
_Course = Annotated[bool, typer.Option("--course", help="Keep in each trial how its parameters moved.")]
_Report = Annotated[Path | None, typer.Option(help="Write a report of the whole search to this page (HTML).")]
_TensorBoard = Annotated[Path | None, typer.Option(help="Write each trial to this folder of TensorBoard.")]


def search_command(
    task: _Task,
    trials: _Trials = 100,
    workers: _Count = None,
    storage: _Storage = None,
    ray: _Ray = None,
    gpus_per_worker: _Share = 0.0,
    together: Together = 1,
    study: _Study = None,
    seed: _Seed = None,
    device: Device = "cpu",
    method: _MethodName = "better",
    without: _Parts = None,
    proposer: _Proposers = None,
    direction: _Direction = None,
    scope: _Scope = None,
    objectives: _Objectives = None,
    seeds: Seeds = 10,
    proof: _Proof = True,
    output: _Output = None,
    plot: _Plot = None,
    course: _Course = False,
    tensorboard: _TensorBoard = None,
    report: _Report = None,
    as_json: Json = False,
) -> None:
    """Search the activation function that suits a task, and prove that it helps."""
    from ..discovery.searching import search
    from ..discovery.workers.execution import Workers
    from ..show.searches import winners

    _check_files(plot, output, report)
    chosen = _chosen_task(task, scope, bool(proposer))
    how, proposers = _method(method, without or [], proposer or [])
    where = Workers(workers, together, device, ray, gpus_per_worker)
    names = tuple(o.strip() for o in objectives.split(",")) if objectives else None
    record = partial(_record_command, method=method)
    with _progress(trials, tensorboard, record, as_json) as progress:
        found = search(chosen, trials=trials, workers=where, storage=storage, study=study, seed=seed, direction=direction,
                       method=how, objectives=names, proposers=proposers, course=course, progress=progress)  # fmt: skip
    proved = _proved(found, chosen, seeds, how, where, as_json) if proof and ":" not in task else None
    best = winners(found, proved)
    if plot is not None:
        _plot_winners(plot, best)
    if report is not None:
        _write_report(report, found, storage)
    _show_search(task, found, proved, best, {"plot": plot, "report": report}, output, as_json)


def _check_files(plot: Path | None, output: Path | None, report: Path | None) -> None:
    if plot is not None:
        writable_path(plot)
    if output is not None:
        writable_path(output, "--output", (".json",))
    if report is not None:
        writable_path(report, "--report", PAGES)


def _chosen_task(task: str, scope: str | None, has_proposers: bool) -> Any:
    """The task that is meant, or the name of an objective, whose module is then looked for in this folder too."""
    own = ":" in task
    if own and scope is not None:
        raise ValueError(f"--scope {scope} is for tasks; an objective of your own says Activation(..., scope={scope!r})")
    if own or has_proposers:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the module is the user's
    return task if own else _with_scope(task, scope)


@contextmanager
def _progress(trials: int, tensorboard: Path | None, record: Callable[[Any], None], quiet: bool) -> Iterator[Any]:
    """Show after each trial how far the search is, and write it to TensorBoard where that is asked for.

    The study learns of the command with the first trial, so that the report of a search that was killed can name it.
    """
    is_recorded = False
    with bar(f"searching {trials} trials", quiet) as advance, _board(tensorboard) as log:

        def progress(study: Any, trial: Any) -> None:
            nonlocal is_recorded
            if not is_recorded:
                record(study)
                is_recorded = True
            advance(_finished(study), trials, _best(study))
            log(study, trial)

        yield progress


def _record_command(study: Any, method: str) -> None:
    """Write into the study what was typed: reports show it."""
    from ..discovery.study.attributes import COMMANDS
    from ..results import provenance

    study.set_user_attr(COMMANDS, [*study.user_attrs.get(COMMANDS, ()), provenance(command(), {"method": method})])


def _proved(study: Any, task: Any, seeds: int, how: Any, where: Any, quiet: bool) -> Any:
    from ..discovery.proof import prove

    with bar("proving on fresh seeds", quiet) as advance:
        # All cores: unlike a search, the comparison gives the same numbers whatever the workers are.
        return prove(study, task, seeds=seeds, ranking=how.ranking, workers=max(where.count or 1, _cores()), device=where.device,
                     progress=advance, together=where.together)  # fmt: skip


def _write_report(path: Path, study: Any, storage: str | None) -> None:
    from ..discovery.study.overview import study_overview
    from ..pages.report import report_page

    path.write_text(report_page(study_overview(study, storage)), encoding="utf-8")


def _plot_winners(path: Path, best: dict[str, Any]) -> None:
    from ..show.plots import plot_functions

    first, *others = best.values()
    plot_functions(path, first, [*others, "relu", "gelu", "silu"])


def _show_search(
    task: str, study: Any, proved: Any, best: dict[str, Any], made: dict[str, Path | None], output: Path | None, as_json: bool
) -> None:
    """Write the winners to their files, and print what was found; `made` are files that are there already, by what they are."""
    from ..discovery.study.results import record
    from ..discovery.study.seeds import study_seed

    facts = record(study, task, command(), proved.to_json() if proved else None)
    written = _save(output, best, facts, study_seed(study)) if output is not None else []
    if as_json:
        paths = {what: str(path) for what, path in made.items() if path is not None}
        print_json(facts | paths | ({"output": [*map(str, written)]} if output else {}))
    else:
        _print_search(study, proved, made, written)


def _with_scope(name: str, scope: Any) -> Any:
    """The task of this name, with parameters per layer, channel or neuron where that is given."""
    from dataclasses import replace

    from ..experiments.tasks import task

    if scope not in (None, "layer", "channel", "neuron"):
        raise ValueError(f"--scope must be layer, channel or neuron, got {scope!r}")
    return task(name) if scope is None else replace(task(name), scope=scope)


@contextmanager
def _board(folder: Path | None) -> Iterator[Any]:
    """A function to call after each trial, which writes to a TensorBoard in this folder, or does nothing."""
    if folder is None:
        yield lambda study, trial: None
        return
    from ..show.tensorboard import TensorBoard

    try:
        opened = TensorBoard(folder)
    except ImportError as error:
        raise ValueError(f"--tensorboard {folder}: {error}") from None
    with opened as board:
        yield board


def _save(path: Path, winners: dict[str, Any], record: dict[str, Any], seed: int) -> list[Path]:
    """Write the winner to the file; several activations are written to one file each, FILE.NAME.json."""
    from ..catalogue.files import save
    from ..results import provenance

    files = {name: path if len(winners) == 1 else path.with_suffix(f".{_plain_result(name)}{path.suffix}") for name in winners}
    for name, file in files.items():
        save(file, winners[name], search=record, **provenance(command(), {"seed": seed}))
    return [*files.values()]


def _plain_result(name: str) -> str:
    """A name of an activation as a part of a file's."""
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def _method(name: str, without: list[str], proposers: list[str]) -> tuple[Any, dict[str, Any]]:
    """The method with the proposers that are named `module:function` or `module:function=WEIGHT`, and these functions."""
    from dataclasses import replace

    from ..discovery.proposers.mixture import find_function
    from ..discovery.proposers.settings import find_method

    how = find_method(name).without(without)
    named = [(text, _number(weight)) for text, _, weight in (p.partition("=") for p in proposers)]
    mixed = (*how.settings.proposers, *named)
    return replace(how, settings=replace(how.settings, proposers=mixed)), {text: find_function(text) for text, _ in named}


def _number(weight: str) -> float:
    try:
        return float(weight or 1.0)
    except ValueError:
        raise ValueError(f"--proposer has the weight {weight!r}; write a number, as in mymodule:propose=0.5") from None


def _print_search(study: Any, proved: Any, made: dict[str, Path | None], functions: list[Path]) -> None:
    from ..show.searches import lines
    from ..show.tables import comparison_table

    for line in lines(study):
        out.print(line, highlight=False, markup=False)
    out.print()
    if proved is not None:
        out.print(comparison_table(proved.comparison))
        out.print(f"\n{proved.verdict()}", highlight=False, markup=False)
    for what, path in (*made.items(), *(("function", f) for f in functions)):
        if path is not None:
            out.print(f"{what}: {path}", highlight=False, markup=False)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finished(study: Any) -> int:
    from ..discovery.study.counting import finished

    return len(finished(study.get_trials(deepcopy=False)))


def _best(study: Any) -> str:
    """What is best so far: its value, and the function, or where a network has several only the value."""
    from ..catalogue.registry import resolve
    from ..discovery.study.attributes import activation_key
    from ..discovery.study.ledger import names_in
    from ..discovery.study.results import best_trial, trial_value

    try:
        trial = best_trial(study)
    except ValueError:  # nothing complete yet
        return ""
    value, names = f"best {trial_value(study, trial)[1]:.3f}", names_in(trial)
    return f"{value}  {resolve(trial.user_attrs[activation_key(names[0])]).simplify()}" if len(names) == 1 else value
