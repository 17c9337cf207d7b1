"""Tables and pictures of a measurement of speed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..bench.report import HEADER, rows, tensors_in_words
from ..messages import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_speed", "speed_figure", "speed_tables"]

# Okabe and Ito's palette and a marker each, so that colour-blind readers and grey prints can tell them apart.
LOOKS = {"actune": ("#D55E00", "o"), "torch": ("#000000", "s"), "eager": ("#0072B2", "v"), "torch.compile": ("#009E73", "D"),
         "torch-activation": ("#CC79A7", "^"), "rational-activations": ("#E69F00", "P")}  # fmt: skip
PASS_TITLES = {"forward": "forward", "training": "forward + backward"}
NAME_WIDTH, LINE = 26, 0.36  # characters of a function's name; inches of a row
EDGE = "0.75"


def speed_tables(result: dict[str, Any]) -> list[Table]:
    """One table per kind of tensor; what actune computes is bold."""
    found = []
    for title, cells in rows(result):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for i, name in enumerate(HEADER):
            text = i < 2  # the numbers are short and stay on a line; with names that fold they fit in 80 columns
            table.add_column(
                _headings(name), justify="left" if text else "right", no_wrap=not text, overflow="fold", min_width=12 * text
            )
        for row in cells:
            table.add_row(*(Text(cell.replace(" to ", "–")) for cell in row), style="bold" if row[1] == "actune" else "")
        found.append(table)
    return found


def _headings(name: str) -> str:
    """A heading on two lines, with the sign on the first."""
    first, _, rest = name.replace(" +", "\N{NO-BREAK SPACE}+").partition(" ")
    return f"{first}\n{rest}".strip()


def plot_speed(path: str | os.PathLike[str], result: dict[str, Any]) -> None:
    """Draw the ratios to GELU, medians with quartiles; a row of two pictures per kind of tensor.

    path   the ending chooses the format: .png, .svg, .pdf
    """
    speed_figure(result).savefig(path, dpi=150)


def speed_figure(result: dict[str, Any]) -> Figure:
    """The picture of `plot_speed`."""
    from matplotlib.figure import Figure

    by_tensors: dict[str, list[dict[str, Any]]] = {}
    for record in result["records"]:
        if "failed" not in record:
            by_tensors.setdefault(tensors_in_words(record), []).append(record)
    names = [list(dict.fromkeys(r["function"] for r in records)) for records in by_tensors.values()]
    heights = [1.3 + LINE * len(n) for n in names]
    figure = Figure(figsize=(11.0, 0.8 + sum(heights)), layout="constrained")  # no pyplot: nothing global, no window
    grid = figure.subplots(len(by_tensors), 2, squeeze=False, sharex="all", gridspec_kw={"height_ratios": heights})
    for (title, records), functions, row in zip(by_tensors.items(), names, grid, strict=True):
        for axes, kind in zip(row, PASS_TITLES, strict=True):
            _draw_speed(axes, kind, records, functions)
        row[0].set_title(title, loc="left", fontsize=10)
        row[1].set_yticklabels([])
    for axes, kind in zip(grid[-1], PASS_TITLES.values(), strict=True):
        axes.set_xlabel(f"{kind}: time over that of F.gelu")
    handles = {h.get_label(): h for axes in grid.flat for h in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def _draw_speed(axes: Axes, kind: str, records: Sequence[dict[str, Any]], functions: Sequence[str]) -> None:
    """Draw the median of each contender as a marker and its quartiles as a line; GELU is the line at 1."""
    for record in records:
        r, (colour, marker) = record["ratios"][kind], LOOKS[record["by"]]
        y = functions.index(record["function"])
        axes.plot([r["low"], r["high"]], [y, y], color=colour, linewidth=1.5, alpha=0.6, zorder=2)
        axes.plot([r["median"]], [y], marker, color=colour, label=record["by"], linestyle="none", markersize=7,
                  zorder=4 if record["by"] == "actune" else 3)  # fmt: skip
    axes.axvline(1, color=EDGE, linewidth=1.2, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(functions)), [shorten(f, NAME_WIDTH) for f in functions], parse_math=False)
    axes.set_ylim(len(functions) - 0.5, -0.5)
    axes.grid(axis="y", color="0.92", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
