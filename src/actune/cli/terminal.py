"""What commands share: where they print, what they read and write, the bar of their progress."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from ..messages import hidden_password

__all__ = [
    "PAGES",
    "Device",
    "Json",
    "Processes",
    "Seeds",
    "Together",
    "bar",
    "command",
    "err",
    "out",
    "print_json",
    "read_function",
    "writable_path",
]

PAGES = (".html", ".htm")  # endings of files that browsers open
out, err = Console(), Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]
Processes = Annotated[int, typer.Option(min=1, help="Processes, one thread each; the proof of a search takes all cores.")]
Together = Annotated[int, typer.Option(min=1, help="Small networks that train side by side in each process; try 8.")]
Seeds = Annotated[int, typer.Option(min=1, help="Fresh seeds on which each function is trained for the comparison.")]
Device = Annotated[str, typer.Option(help="Where networks are trained: cpu, cuda, …")]


def read_function(function: str) -> Any:
    """The function that is meant: a name or a formula as it is, or what is in a FILE.json."""
    from ..catalogue.files import load

    return load(function) if function.lower().endswith(".json") else function


def command() -> str:
    """The command line as it was typed, for the record, without the passwords of databases."""
    return shlex.join(["actune", *map(hidden_password, sys.argv[1:])])


def print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def writable_path(path: Path, option: str = "--plot", endings: tuple[str, ...] = (".png",)) -> Path:
    """The path, once its folder exists; a wrong ending is refused before the work, not after it."""
    if path.suffix.lower() not in endings:
        raise ValueError(f"{option} must name a {' or '.join(endings)} file, got {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def bar(title: str, quiet: bool) -> Iterator[Any]:
    """A progress bar on the error stream; yields advance(done, total, note)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    # One step may take minutes: the time left follows from the speed of the last hours, not of rich's half a minute.
    progress = Progress(*columns, console=err, disable=quiet, transient=True, speed_estimate_period=4 * 3600)
    bar = progress.add_task(title, total=None, note="")

    def advance(done: int, total: int, note: str = "") -> None:
        progress.start()  # with the first news: what is refused at once leaves no trace of a bar
        progress.update(bar, completed=done, total=total, note=note)

    try:
        yield advance
    finally:
        if progress.live.is_started:
            progress.stop()
