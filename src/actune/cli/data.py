"""`actune data`: which data sets are there, where each comes from, and their download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import Json, bar, out, print_json

__all__ = ["data_command"]

MIB = 2**20


def data_command(
    name: Annotated[str, typer.Argument(help="The data set to download; left out, all are listed.")] = "",
    folder: Annotated[Path | None, typer.Option(help="The data folder; left out, the one that ACTUNE_DATA names.")] = None,
    as_json: Json = False,
) -> None:
    """List the data sets of the tasks, or download one."""
    from ..experiments.data.downloads import download
    from ..experiments.data.files import ROOT

    root = folder or (Path(os.environ[ROOT]) if os.environ.get(ROOT) else None)
    if not name:
        _list_data_sets(root, as_json)
        return
    if root is None:
        raise ValueError(f"{ROOT} is not set; let it name the folder for data, or give --folder")
    with bar("MiB", as_json) as advance:
        written = download(name, root, lambda done, total, address: advance(done // MIB, total // MIB, address))
    if as_json:
        print_json({"name": name, "folder": str(root), "written": [str(path) for path in written]})
        return
    for path in written:
        out.print(str(path), highlight=False, soft_wrap=True)
    if not written:
        out.print(f"{name} is in {root} already", highlight=False, soft_wrap=True)


def _list_data_sets(root: Path | None, as_json: bool) -> None:
    from ..experiments.data.downloads import missing_files
    from ..experiments.data.sources import DATA_SETS
    from ..show.tables import data_table

    records: list[dict[str, Any]] = []
    for name, found in DATA_SETS.items():
        missing = list(found.patterns) if root is None else missing_files(name, root)
        records.append({"name": name, "missing": missing, "download": bool(found.published), "source": found.source})
    if as_json:
        print_json({"folder": root and str(root), "data": records})
        return
    out.print(data_table(records, "no data folder: ACTUNE_DATA is not set" if root is None else f"data in {root}"))
