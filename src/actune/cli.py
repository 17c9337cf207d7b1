"""The command line: each command calls one function of the library and shows what it returns."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.core import TyperCommand

app = typer.Typer(
    name="actune",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Find, run and ship the activation function that suits a neural network.",
    epilog="Start with:  actune search digits",
)
out, err = Console(), Console(stderr=True)

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended
RESUME = "interrupted; with --storage the same command goes on where it stopped"
FORMULAS = {"ignore_unknown_options": True}  # a formula may begin with a minus

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes, one thread each; the proof of a search takes all cores.")]
Together = Annotated[int, typer.Option(min=1, help="Small networks that train side by side in each process; try 8.")]
Seeds = Annotated[int, typer.Option(min=1, help="Fresh seeds on which each function is trained for the comparison.")]
Device = Annotated[str, typer.Option(help="Where networks are trained: cpu, cuda, …")]


@app.command("list", epilog="Example:  actune list zorro")
def list_(
    pattern: Annotated[str, typer.Argument(help="Only names or papers that contain this text.")] = "",
    as_json: Json = False,
) -> None:
    """List the activation functions of the catalogue."""
    from .family import family, list_families
    from .show.tables import families_table

    found = [
        f
        for f in map(family, list_families())
        if pattern.lower() in f"{f.name} {' '.join(f.aliases)} {f.paper} {f.summary}".lower()
    ]
    if not found:
        raise ValueError(f"no activation function has {pattern!r} in its name or source; `actune list` shows all")
    if as_json:
        _print_json([_record(f) for f in found])
    else:
        out.print(families_table(found))


@app.command(
    context_settings=FORMULAS, epilog="Examples:  actune show ml_tanh --plot tanh.png  |  actune show 'x*sigmoid(b*x); b=1'"
)
def show(
    function: Annotated[str, typer.Argument(help="A name, a formula, or a FILE.json of a search.")],
    plot: Annotated[Path | None, typer.Option(help="Write a picture: function, derivative, parameters varied (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """Show one function: formula, derivative, parameters, source, facts."""
    from .family import resolve
    from .show.tables import family_table

    found = resolve(_read(function))
    if plot is not None:
        from .show.plots import plot_family

        plot_family(_writable(plot), found)
    if as_json:
        _print_json(
            _record(found) | {"derivative": str(found.expr.diff().simplify()), "latex": found.latex(), "plot": plot and str(plot)}
        )
        return
    out.print(family_table(found))
    if plot is not None:
        out.print(f"plot: {plot}", highlight=False)


@app.command(
    context_settings=FORMULAS, epilog="Example:  actune compare digits relu gelu apalu 'tanh(x) + erf(x)' --seeds 10 --workers 2"
)
def compare(
    task: Annotated[str, typer.Argument(help="The task, such as digits.")],
    functions: Annotated[list[str], typer.Argument(help="Names, formulas, or FILE.json of a search.")],
    seeds: Seeds = 10,
    baseline: Annotated[str, typer.Option(help="The function to beat.")] = "relu",
    workers: Workers = 1,
    together: Together = 1,
    device: Device = "cpu",
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the functions (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """Train functions on the same fresh seeds and test each against a baseline."""
    from . import experiments
    from .show.tables import comparison_table

    chosen = [_read(f) for f in functions]
    with _bar("comparing", as_json) as advance:
        result = experiments.compare(task, chosen, seeds=seeds, baseline=baseline, workers=workers, device=device, progress=advance,
                                     together=together)  # fmt: skip
    if plot is not None:
        from .show.plots import plot_functions

        plot_functions(_writable(plot), chosen[0], [baseline, *chosen[1:]])
    if as_json:
        _print_json({"command": _command()} | result.to_json())
        return
    out.print(comparison_table(result))
    out.print(f"\n{result.verdict()}", highlight=False)


@app.command(epilog="Example:  actune search digits --trials 100 --workers 2 --storage digits.db --plot digits.png")
def search(
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
        typer.Option(help="Switch off catalogue, surrogate, fisher, screening, pruning or confirmation; again for more."),
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
    from .discovery.search import search as run
    from .discovery.study import study_seed
    from .show.searches import record, winners

    own = ":" in task
    chosen: Any = task if own else _with_scope(task, scope)
    if own and scope is not None:
        raise ValueError(f"--scope {scope} is for tasks; an objective of your own says Activation(..., scope={scope!r})")
    if own or proposer:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the module is the user's
    if plot is not None:
        _writable(plot)
    if output is not None:
        _writable(output, "--output", (".json",))
    how, proposers = _method(method, without or [], proposer or [])
    with _bar(f"searching {trials} trials", as_json) as advance, _board(tensorboard) as log:

        def progress(s: Any, t: Any) -> None:
            advance(_finished(s), trials, _best(s))
            log(s, t)

        found = run(chosen, trials=trials, workers=workers, storage=storage, study=study, seed=seed, direction=direction,
                    method=how, objectives=tuple(o.strip() for o in objectives.split(",")) if objectives else None,
                    proposers=proposers, course=course, device=device, ray=ray, gpus_per_worker=gpus_per_worker,
                    together=together, progress=progress)  # fmt: skip
    proved = None
    if proof and not own:
        from .discovery.proof import prove

        with _bar("proving on fresh seeds", as_json) as advance:
            # All cores: unlike a search, the comparison gives the same numbers whatever the workers are.
            proved = prove(found, chosen, seeds=seeds, ranking=how.ranking, workers=max(workers or 1, _cores()), device=device,
                           progress=advance, together=together)  # fmt: skip
    best = winners(found, proved)
    if plot is not None:
        from .show.plots import plot_functions

        first, *others = best.values()
        plot_functions(plot, first, [*others, "relu", "gelu", "silu"])
    facts = record(found, task, _command(), proved)
    written = _save(output, best, facts, study_seed(found)) if output is not None else []
    if as_json:
        _print_json(facts | ({"plot": str(plot)} if plot else {}) | ({"output": [*map(str, written)]} if output else {}))
    else:
        _print_search(found, proved, plot, written)


def _with_scope(name: str, scope: Any) -> Any:
    """The task, its parameters per layer, channel or neuron as told."""
    from dataclasses import replace

    from .experiments.tasks import task

    if scope not in (None, "layer", "channel", "neuron"):
        raise ValueError(f"--scope must be layer, channel or neuron, got {scope!r}")
    return task(name) if scope is None else replace(task(name), scope=scope)


@contextmanager
def _board(folder: Path | None) -> Iterator[Any]:
    """What is called after each trial: a TensorBoard in this folder, or nothing."""
    if folder is None:
        yield lambda study, trial: None
        return
    from .show.tensorboard import TensorBoard

    try:
        opened = TensorBoard(folder)
    except ImportError as error:
        raise ValueError(f"--tensorboard {folder}: {error}") from None
    with opened as board:
        yield board


def _save(path: Path, winners: dict[str, Any], record: dict[str, Any], seed: int) -> list[Path]:
    """Write the winner to the file; of several activations each to one of its own, FILE.NAME.json."""
    from .bench.report import facts
    from .saved import save

    files = {name: path if len(winners) == 1 else path.with_suffix(f".{_plain(name)}{path.suffix}") for name in winners}
    for name, file in files.items():
        save(file, winners[name], search=record, **facts(_command(), {"seed": seed}))
    return [*files.values()]


def _plain(name: str) -> str:
    """A name of an activation as a part of a file's."""
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def _method(name: str, without: list[str], proposers: list[str]) -> tuple[Any, dict[str, Any]]:
    """The method with the proposers that are named `module:function` or `module:function=WEIGHT`, and these functions."""
    from dataclasses import replace

    from .discovery.propose import find_function
    from .discovery.settings import method

    how = method(name).without(without)
    named = [(text, _number(weight)) for text, _, weight in (p.partition("=") for p in proposers)]
    mixed = (*how.settings.proposers, *named)
    return replace(how, settings=replace(how.settings, proposers=mixed)), {text: find_function(text) for text, _ in named}


def _number(weight: str) -> float:
    try:
        return float(weight or 1.0)
    except ValueError:
        raise ValueError(f"--proposer has the weight {weight!r}; write a number, as in mymodule:propose=0.5") from None


class _Formulas(TyperCommand):
    """A command with a short option: a formula may begin with a minus, and is no bundle of short options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f" {a}" if a.startswith("-") and not a.startswith("--") and a != "-o" else a for a in args])


@app.command(
    cls=_Formulas,
    epilog="Examples:  actune bench  |  actune bench sau 'x*sigmoid(b*x); b=1' --sizes 1e4,1e6 --scopes layer,channel --plot a.png",
)
def bench(
    functions: Annotated[list[str] | None, typer.Argument(help="Names or formulas; left out, a few that show the range.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every family of the catalogue.")] = False,
    sizes: Annotated[str, typer.Option(help="Numbers of elements: 1e4,1e6,1.6e7.")] = "1e6",
    dtypes: Annotated[str, typer.Option(help="Of float32, bfloat16, float16, float64.")] = "float32",
    scopes: Annotated[str, typer.Option(help="Who shares a parameter, of layer, channel, neuron.")] = "layer",
    threads: Annotated[str, typer.Option(help="Numbers of threads: 1,2.")] = "1",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds; large tensors get fewer.")] = 21,
    eager: Annotated[bool, typer.Option("--eager/--no-eager", help="The same formula in torch operators.")] = True,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="The same formula by torch.compile.")] = True,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Other packages, where they are installed.")] = True,
    train_all: Annotated[bool, typer.Option("--train-all", help="Gradients also of parameters that a family keeps fixed.")] = False,
    device: Annotated[str, typer.Option(help="Where it is measured: cpu, cuda, …")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Of the numbers that functions are applied to.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result as FILE.json, or add it to FILE.jsonl.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the ratios (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast functions are beside GELU: forward, backward, memory, first calls."""
    from .bench import FUNCTIONS, from_text, run
    from .family import list_families

    if everything and functions:
        raise ValueError(f"--all measures every family; leave out {functions[0]!r}, or --all")
    names = list_families() if everything else [f.strip() for f in functions or FUNCTIONS]
    beside = {"torch": True, "eager": eager, "torch.compile": compiled, "peers": peers}
    plan = from_text(
        functions=tuple(names), sizes=sizes, dtypes=dtypes, scopes=scopes, threads=threads, rounds=rounds, train_all=train_all,
        beside=tuple(kind for kind, chosen in beside.items() if chosen), device=device, seed=seed,
    )  # fmt: skip
    if output is not None:
        _writable(output, "--output", (".json", ".jsonl"))
    if plot is not None:
        _writable(plot)
    with _bar("measuring", as_json) as advance:
        result = run(plan, progress=advance, command=_command())
    if output is not None:
        _keep(output, result)
    if plot is not None:
        from .show.speed import plot_speed

        plot_speed(plot, result)
    _print_json(result) if as_json else _print_speed(result, output, plot)


def _print_speed(result: dict[str, Any], *written: Path | None) -> None:
    from .bench.report import notes
    from .show.speed import speed_tables

    for table in speed_tables(result):
        out.print(table, end="\n\n")
    for line in (*notes(result), *(f"written: {path}" for path in written if path is not None)):
        out.print(line, style="dim", highlight=False, markup=False)


def _keep(path: Path, result: dict[str, Any]) -> None:
    """A file of one result, or one line more in a file of results."""
    from .bench.report import append

    if path.suffix == ".jsonl":
        append(path, result)
    else:
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _print_search(study: Any, proved: Any, plot: Path | None, functions: list[Path]) -> None:
    from .show.searches import lines
    from .show.tables import comparison_table

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
    from .discovery.fleet import finished

    return len(finished(study.get_trials(deepcopy=False)))


def _best(study: Any) -> str:
    from .show.searches import best_value

    try:
        return f"best {best_value(study)[1]:.3f}"
    except ValueError:  # nothing complete yet
        return ""


def _record(f: Any) -> dict[str, Any]:
    """A family as plain data; of a formula that was typed in no facts are known."""
    from .family import FAMILIES

    declared = FAMILIES.get(f.name) is f
    facts = {"kinks": list(f.kinks), "bounds": list(f.bounds), "odd": f.odd, "even": f.even, "monotone": f.monotone}
    return {
        "name": f.name, "aliases": list(f.aliases), "formula": str(f.expr), "text": f.text, "paper": f.paper, "summary": f.summary,
        "reported": f.reported, "notes": f.notes, "facts": facts if declared else None,
        "parameters": {
            n: {"initial": p.init, "constraint": str(p.constraint), "trainable": p.trainable} for n, p in f.params.items()
        },
    }  # fmt: skip


def _read(function: str) -> Any:
    """A name or a formula as it is; the function in a file."""
    from .saved import load

    return load(function) if function.lower().endswith(".json") else function


def _command() -> str:
    """What was typed, for the record."""
    return shlex.join(["actune", *sys.argv[1:]])


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def _writable(path: Path, option: str = "--plot", endings: tuple[str, ...] = (".png",)) -> Path:
    """Refuse a file that could not be written before the work, not after it."""
    if path.suffix.lower() not in endings:
        raise ValueError(f"{option} must name a {' or '.join(endings)} file, got {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _bar(title: str, quiet: bool) -> Iterator[Any]:
    """A progress bar on the error stream; yields advance(done, total, note)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    progress = Progress(*columns, console=err, disable=quiet, transient=True)
    bar = progress.add_task(title, total=None, note="")

    def advance(done: int, total: int, note: str = "") -> None:
        progress.start()  # with the first news: what is refused at once leaves no trace of a bar
        progress.update(bar, completed=done, total=total, note=note)

    try:
        yield advance
    finally:
        if progress.live.is_started:
            progress.stop()


def main() -> None:
    """Run the command line; bad input ends with one line on the error stream and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            _fail(RESUME, INTERRUPTED)
        raise
    except typer.TyperException as error:
        _fail(getattr(error, "format_message", error.__str__)())
    except (ValueError, OSError) as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        _fail(RESUME, INTERRUPTED)
    except RuntimeError as error:
        from .discovery.fleet import SearchError

        if not isinstance(error, SearchError):
            raise
        _fail(str(error), 1)


def _fail(message: str, code: int = 2) -> None:
    if message:  # empty where the help was printed instead
        print(f"actune: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
