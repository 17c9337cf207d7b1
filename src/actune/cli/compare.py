"""`actune compare`: functions trained on the same seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import Device, Json, Processes, Seeds, Together, bar, command, out, print_json, read_function, writable_path

__all__ = ["compare_command"]


def compare_command(
    task: Annotated[str, typer.Argument(help="The task, such as digits.")],
    functions: Annotated[list[str], typer.Argument(help="Names, formulas, or FILE.json of a search.")],
    seeds: Seeds = 10,
    baseline: Annotated[str, typer.Option(help="The function to beat.")] = "relu",
    workers: Processes = 1,
    together: Together = 1,
    device: Device = "cpu",
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the functions (PNG).")] = None,
    as_json: Json = False,
) -> None:
    """Train functions on the same fresh seeds and test each against a baseline."""
    from .. import experiments
    from ..show.tables import comparison_table

    chosen = [read_function(f) for f in functions]
    with bar("comparing", as_json) as advance:
        result = experiments.compare(task, chosen, seeds=seeds, baseline=baseline, workers=workers, device=device, progress=advance,
                                     together=together)  # fmt: skip
    if plot is not None:
        from ..show.plots import plot_functions

        plot_functions(writable_path(plot), chosen[0], [baseline, *chosen[1:]])
    if as_json:
        print_json({"command": command()} | result.to_json())
        return
    out.print(comparison_table(result))
    out.print(f"\n{result.verdict()}", highlight=False)
