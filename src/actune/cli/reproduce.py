"""`actune reproduce`: the experiments of papers, carried out, and their claims beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import Device, Json, bar, command, out, print_json

if TYPE_CHECKING:
    from ..papers import Reproduction

__all__ = ["reproduce_command"]

DOCUMENT = Path("docs/reproduction.md")


def reproduce_command(
    selection: Annotated[str | None, typer.Argument(metavar="[PAPER[/EXPERIMENT]]", help="What to run (default: all).")] = None,
    scale: Annotated[str, typer.Option(help="smoke (seconds, drawn data), laptop (real data), full (the paper's).")] = "laptop",
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each function (default: as the experiment says).")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, one thread each; with --ray tasks at a time.")] = None,
    device: Device = "cpu",
    ray: Annotated[str | None, typer.Option(help="Run on this Ray cluster: its address, or local.")] = None,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="With --ray: the share of a GPU of each run.")] = 0.0,
    storage: Annotated[
        str | None, typer.Option(help="Where runs in progress are kept, as in search (default: a file in RESULTS).")
    ] = None,
    results: Annotated[Path, typer.Option(help="The folder of finished runs.")] = Path("results/reproduction"),
    table: Annotated[
        bool, typer.Option("--table", help="Run nothing: show claims beside measurements, write docs/reproduction.md.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Run nothing: show the experiments.")] = False,
    as_json: Json = False,
) -> None:
    """Carry out the experiments of papers; stopped and started again, it goes on. --table shows what came of them."""
    from .. import papers

    if listed:
        _show_experiments(selection, as_json)
        return
    if table:
        _show_claims(selection, results, as_json)
        return
    where = papers.Workers(count=workers, device=device, ray=ray, gpus_per_worker=gpus_per_worker)
    with bar("reproducing", as_json) as advance:
        done = papers.reproduce(
            selection,
            scale=scale,
            seeds=seeds,
            workers=where,
            storage=storage,
            results=results,
            command=command(),
            progress=advance,
        )
    _show_runs(done, results, as_json)
    if done.failed:
        raise typer.Exit(1)


def _show_experiments(selection: str | None, as_json: bool) -> None:
    from ..show.reproduction import count_runs, experiments_table

    if as_json:
        print_json(count_runs(selection))
    else:
        out.print(experiments_table(selection))


def _show_claims(selection: str | None, results: Path, as_json: bool) -> None:
    """Show claims beside measurements; those of all papers are also written into the document."""
    from .. import papers
    from ..show.reproduction import findings_table, write_document

    lines = papers.read_runs(results)
    findings = papers.weigh(lines, papers.selected_papers(selection))
    if as_json:
        print_json({"command": command(), "claims": [f.to_json() for f in findings]})
        return
    out.print(findings_table(findings))
    if selection is None:
        write_document(DOCUMENT, findings, lines)
        out.print(f"Written: {DOCUMENT}", highlight=False)


def _show_runs(done: Reproduction, results: Path, as_json: bool) -> None:
    if as_json:
        print_json({"command": command(), "done": done.done, "new": done.new, "failed": done.failed, "absent": done.absent})
        return
    for name, reason in done.absent.items():
        out.print(f"not run: {name}: {reason}", highlight=False, markup=False)
    for name, reason in done.failed.items():
        out.print(f"failed: {name}: {reason}", highlight=False, markup=False)
    out.print(f"{done.done} runs are there, {done.new} of them new, in {results}. Next:  actune reproduce --table", highlight=False)
