"""`actune search`: a search, the proof of what it found, and where that is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import Device, Json, Seeds, Together, bar, command, out, print_json, writable_path

__all__ = ["search_command"]


def search_command(
    task: Annotated[str, typer.Argument(help="A task, such as digits, or an Optuna objective of yours, mymodule:objective.")],
    trials: Annotated[int, typer.Option(min=1, help="Finished trials that the study is to have in the end.")] = 100,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, one thread each; with --ray trials at a time. [default: 1; what Ray has]")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="File (SQLite), database URL or journal:FILE of the study; run again to go on or join.")
    ] = None,
    ray: Annotated[str | None, typer.Option(help="Run trials on this Ray cluster: an address, or local.")] = None,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="With --ray: share of a GPU a trial has, such as 0.5.")] = 0.0,
    together: Together = 1,
    study: Annotated[str | None, typer.Option(help="Name of the study in the storage.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of a new study; one worker and the same seed give the same study. [default: 0]")
    ] = None,
    device: Device = "cpu",
    method: Annotated[str, typer.Option(help="How to search: better, fisher, pangaea, evolution or random.")] = "better",
    without: Annotated[
        list[str] | None,
        typer.Option(help="Switch off catalogue, surrogate, novelty, fisher, screening, pruning or confirmation; again for more."),
    ] = None,
    proposer: Annotated[
        list[str] | None, typer.Option(help="Your own proposer, mymodule:propose, with its weight =W if not 1; again for more.")
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="Of a new study of your own objective: minimize or maximize. [default: minimize]")
    ] = None,
    scope: Annotated[str | None, typer.Option(help="Parameters per layer, channel or neuron. [default: the task's]")] = None,
    objectives: Annotated[
        str | None, typer.Option(help="Of loss, error, cost; several give a Pareto front. [default: the method's]")
    ] = None,
    seeds: Seeds = 10,
    proof: Annotated[
        bool, typer.Option("--proof/--no-proof", help="Compare the best with the usual functions on fresh seeds.")
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the winner as FILE.json, which show and compare read."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the winner and the baselines (PNG).")] = None,
    course: Annotated[bool, typer.Option("--course", help="Keep in each trial how its parameters moved.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Write each trial to this folder of TensorBoard.")] = None,
    as_json: Json = False,
) -> None:
    """Search the activation function that suits a task, and prove that it helps."""
    from ..discovery.searching import search as run
    from ..discovery.study.results import record
    from ..discovery.study.seeds import study_seed
    from ..show.searches import winners

    own = ":" in task
    chosen: Any = task if own else _with_scope(task, scope)
    if own and scope is not None:
        raise ValueError(f"--scope {scope} is for tasks; an objective of your own says Activation(..., scope={scope!r})")
    if own or proposer:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the module is the user's
    if plot is not None:
        writable_path(plot)
    if output is not None:
        writable_path(output, "--output", (".json",))
    how, proposers = _method(method, without or [], proposer or [])
    with bar(f"searching {trials} trials", as_json) as advance, _board(tensorboard) as log:

        def progress(s: Any, t: Any) -> None:
            advance(_finished(s), trials, _best(s))
            log(s, t)

        found = run(chosen, trials=trials, workers=workers, storage=storage, study=study, seed=seed, direction=direction,
                    method=how, objectives=tuple(o.strip() for o in objectives.split(",")) if objectives else None,
                    proposers=proposers, course=course, device=device, ray=ray, gpus_per_worker=gpus_per_worker,
                    together=together, progress=progress)  # fmt: skip
    proved = None
    if proof and not own:
        from ..discovery.proof import prove

        with bar("proving on fresh seeds", as_json) as advance:
            # All cores: unlike a search, the comparison gives the same numbers whatever the workers are.
            proved = prove(found, chosen, seeds=seeds, ranking=how.ranking, workers=max(workers or 1, _cores()), device=device,
                           progress=advance, together=together)  # fmt: skip
    best = winners(found, proved)
    if plot is not None:
        from ..show.plots import plot_functions

        first, *others = best.values()
        plot_functions(plot, first, [*others, "relu", "gelu", "silu"])
    facts = record(found, task, command(), proved.to_json() if proved else None)
    written = _save(output, best, facts, study_seed(found)) if output is not None else []
    if as_json:
        print_json(facts | ({"plot": str(plot)} if plot else {}) | ({"output": [*map(str, written)]} if output else {}))
    else:
        _print_search(found, proved, plot, written)


def _with_scope(name: str, scope: Any) -> Any:
    """The task, its parameters per layer, channel or neuron as told."""
    from dataclasses import replace

    from ..experiments.tasks import task

    if scope not in (None, "layer", "channel", "neuron"):
        raise ValueError(f"--scope must be layer, channel or neuron, got {scope!r}")
    return task(name) if scope is None else replace(task(name), scope=scope)


@contextmanager
def _board(folder: Path | None) -> Iterator[Any]:
    """What is called after each trial: a TensorBoard in this folder, or nothing."""
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
    """Write the winner to the file; of several activations each to one of its own, FILE.NAME.json."""
    from ..catalogue.files import save
    from ..results import provenance

    files = {name: path if len(winners) == 1 else path.with_suffix(f".{_plain(name)}{path.suffix}") for name in winners}
    for name, file in files.items():
        save(file, winners[name], search=record, **provenance(command(), {"seed": seed}))
    return [*files.values()]


def _plain(name: str) -> str:
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


def _print_search(study: Any, proved: Any, plot: Path | None, functions: list[Path]) -> None:
    from ..show.searches import lines
    from ..show.tables import comparison_table

    for line in lines(study):
        out.print(line, highlight=False, markup=False)
    out.print()
    if proved is not None:
        out.print(comparison_table(proved.comparison))
        out.print(f"\n{proved.verdict()}", highlight=False, markup=False)
    for what, path in (("plot", plot), *(("function", f) for f in functions)):
        if path is not None:
            out.print(f"{what}: {path}", highlight=False, markup=False)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finished(study: Any) -> int:
    from ..discovery.study.counting import finished

    return len(finished(study.get_trials(deepcopy=False)))


def _best(study: Any) -> str:
    from ..discovery.study.results import best_value

    try:
        return f"best {best_value(study)[1]:.3f}"
    except ValueError:  # nothing complete yet
        return ""
