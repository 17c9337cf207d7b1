"""`actune report`: a study as one page for a browser, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import PAGES, Json, out, print_json, writable_path

__all__ = ["report_command"]


def report_command(
    storage: Annotated[str, typer.Argument(metavar="STUDY", help="File, database URL or journal:FILE of a search.")],
    study: Annotated[str | None, typer.Option(help="Name of the study, where the storage has several.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write (HTML): report.html unless told; with --json none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write all that is known of a search as one page that needs no network; searches that still run can be looked at, too."""
    from ..discovery.study.overview import study_overview
    from ..discovery.study.storage.opening import existing_study
    from ..pages.report import report_page

    path = output or (None if as_json else Path("report.html"))
    if path is not None:
        writable_path(path, "--output", PAGES)
    found = study_overview(existing_study(storage, study), storage)
    if path is not None:
        path.write_text(report_page(found), encoding="utf-8")
    if as_json:
        print_json(found)
    else:
        out.print(f"report: {path}", highlight=False, markup=False)
