"""`actune bench`: how fast functions are beside GELU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import Json, bar, command, out, print_json, writable_path

__all__ = ["bench_command"]


def bench_command(
    functions: Annotated[list[str] | None, typer.Argument(help="Names or formulas; left out, a few that show the range.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every family of the catalogue.")] = False,
    sizes: Annotated[str, typer.Option(help="Numbers of elements: 1e4,1e6,1.6e7.")] = "1e6",
    dtypes: Annotated[str, typer.Option(help="Any of float32, bfloat16, float16, float64.")] = "float32",
    scopes: Annotated[str, typer.Option(help="Who shares a parameter, any of layer, channel, neuron.")] = "layer",
    threads: Annotated[str, typer.Option(help="Numbers of threads: 1,2.")] = "1",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds; large tensors get fewer.")] = 21,
    eager: Annotated[bool, typer.Option("--eager/--no-eager", help="The same formula in torch operators.")] = True,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="The same formula by torch.compile.")] = True,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Other packages, where they are installed.")] = True,
    train_all: Annotated[bool, typer.Option("--train-all", help="Gradients also of parameters that a family keeps fixed.")] = False,
    device: Annotated[str, typer.Option(help="Where it is measured: cpu, cuda, …")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the numbers that functions are applied to.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result as FILE.json, or add it to FILE.jsonl.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the ratios (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast functions are beside GELU: forward, backward, memory, first calls."""
    from ..bench import EXAMPLES, from_text, run
    from ..catalogue.registry import list_families

    if everything and functions:
        raise ValueError(f"--all measures every family; leave out {functions[0]!r}, or --all")
    names = list_families() if everything else [f.strip() for f in functions or EXAMPLES]
    beside = {"torch": True, "eager": eager, "torch.compile": compiled, "peers": peers}
    plan = from_text(
        functions=tuple(names), sizes=sizes, dtypes=dtypes, scopes=scopes, threads=threads, rounds=rounds, train_all=train_all,
        beside=tuple(kind for kind, chosen in beside.items() if chosen), device=device, seed=seed,
    )  # fmt: skip
    if output is not None:
        writable_path(output, "--output", (".json", ".jsonl"))
    if plot is not None:
        writable_path(plot)
    with bar("measuring", as_json) as advance:
        result = run(plan, progress=advance, command=command())
    if output is not None:
        _keep(output, result)
    if plot is not None:
        from ..show.speed import plot_speed

        plot_speed(plot, result)
    print_json(result) if as_json else _print_speed(result, output, plot)


def _print_speed(result: dict[str, Any], *written: Path | None) -> None:
    from ..bench.report import notes
    from ..show.speed import speed_tables

    for table in speed_tables(result):
        out.print(table, end="\n\n")
    for line in (*notes(result), *(f"written: {path}" for path in written if path is not None)):
        out.print(line, style="dim", highlight=False, markup=False)


def _keep(path: Path, result: dict[str, Any]) -> None:
    """Write a file of one result, or one more line of a file of results."""
    from ..results import append_result

    if path.suffix == ".jsonl":
        append_result(path, result)
    else:
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
