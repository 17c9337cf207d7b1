"""`actune reproduce`: the experiments of papers, carried out, and their claims beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import PAGES, Device, Json, bar, command, out, print_json, writable_path

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
    report: Annotated[
        Path | None, typer.Option(help="Write claims beside measurements to this page (HTML), with --table or after the runs.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Run nothing: show the experiments.")] = False,
    as_json: Json = False,
) -> None:
    """Carry out the experiments of papers; stopped and started again, it goes on. --table shows what came of them."""
    from .. import papers

    if report is not None:
        writable_path(report, "--report", PAGES)
    if listed:
        _show_experiments(selection, as_json)
        return
    if table:
        _write_report(report, selection, results)
        _show_claims(selection, results, report, as_json)
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
    _write_report(report, selection, results)
    _show_runs(done, results, report, as_json)
    if done.failed:
        raise typer.Exit(1)


def _show_experiments(selection: str | None, as_json: bool) -> None:
    from ..show.reproduction import count_runs, experiments_table

    if as_json:
        print_json(count_runs(selection))
    else:
        out.print(experiments_table(selection))


def _write_report(path: Path | None, selection: str | None, results: Path) -> None:
    from .. import papers
    from ..pages.claims import claims_page

    if path is not None:
        found = papers.reproduction_overview(papers.read_runs(results), papers.selected_papers(selection))
        path.write_text(claims_page(found), encoding="utf-8")


def _show_claims(selection: str | None, results: Path, report: Path | None, as_json: bool) -> None:
    """Show claims beside measurements; those of all papers are also written into the document."""
    from .. import papers
    from ..show.reproduction import findings_table, write_document

    lines = papers.read_runs(results)
    chosen = papers.selected_papers(selection)
    findings = papers.weigh(lines, chosen)
    if as_json:
        shown = {"command": command(), "claims": [f.to_json() for f in findings]}
        print_json(shown | papers.reproduction_overview(lines, chosen) | _made(report))
        return
    out.print(findings_table(findings))
    if selection is None:
        write_document(DOCUMENT, findings, lines)
        out.print(f"Written: {DOCUMENT}", highlight=False)
    _tell_report(report)


def _made(report: Path | None) -> dict[str, str]:
    return {} if report is None else {"report": str(report)}


def _tell_report(report: Path | None) -> None:
    if report is not None:
        out.print(f"report: {report}", highlight=False, markup=False)


def _show_runs(done: Reproduction, results: Path, report: Path | None, as_json: bool) -> None:
    if as_json:
        facts = {"command": command(), "done": done.done, "new": done.new, "failed": done.failed, "absent": done.absent}
        print_json(facts | _made(report))
        return
    for name, reason in done.absent.items():
        out.print(f"not run: {name}: {reason}", highlight=False, markup=False)
    for name, reason in done.failed.items():
        out.print(f"failed: {name}: {reason}", highlight=False, markup=False)
    out.print(f"{done.done} runs are there, {done.new} of them new, in {results}. Next:  actune reproduce --table", highlight=False)
    _tell_report(report)
