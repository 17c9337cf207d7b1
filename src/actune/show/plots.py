"""Plots of activation functions and their derivatives, written to a file without a window or global state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..expr import shorten
from ..family import Family, Param, resolve
from ..kernels.formula import evaluate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["family_figure", "functions_figure", "plot_family", "plot_functions"]

SPAN = (-5.0, 5.0)
WINNER = "#D55E00"  # with BASELINES the palette of Okabe and Ito, which colour-blind readers can tell apart
BASELINES = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
BOLD = {"color": WINNER, "linewidth": 3.0, "linestyle": "-"}
DASHES = ("-", "--", "-.", ":")  # and a dash pattern each, so that a grey print can be read too
FACTORS, STEPS = (0.25, 0.5, 1.0, 2.0, 4.0), (-1.0, -0.5, 0.0, 0.5, 1.0)
MAX_ROWS = 3  # parameters that `plot_family` varies
TITLE, LABEL = 90, 44  # characters


@dataclass(frozen=True)
class Curve:
    """A function to draw: its legend and how its line looks."""

    label: str
    family: Family
    style: dict[str, Any]


def plot_functions(path: str | os.PathLike[str], winner: str | Family, baselines: Sequence[str | Family] = ()) -> None:
    """Draw a function in bold over thin baselines, values at the left and derivatives at the right.

    path   the ending chooses the format: .png, .svg, .pdf
    Learning functions are drawn at their initial values.
    """
    functions_figure(winner, baselines).savefig(path, dpi=150)


def plot_family(path: str | os.PathLike[str], family: str | Family) -> None:
    """Draw a family and its derivative; one row for each trainable parameter (three at most), at several values of it."""
    family_figure(family).savefig(path, dpi=150)


def functions_figure(winner: str | Family, baselines: Sequence[str | Family] = ()) -> Figure:
    """The picture of `plot_functions`."""
    best = resolve(winner)
    curves = [*map(_thin, range(len(baselines)), map(resolve, baselines)), Curve(best.name, best, BOLD)]
    figure, rows = _figure(1)
    _draw(rows[0], curves)
    handles, labels = rows[0][0].get_legend_handles_labels()
    _legend(figure, [handles[-1], *handles[:-1]], [labels[-1], *labels[:-1]])
    _title(figure, best.text)
    return figure


def family_figure(family: str | Family) -> Figure:
    """The picture of `plot_family`."""
    f = resolve(family)
    varied = [name for name, p in f.params.items() if p.trainable and not isinstance(p.init, tuple)][:MAX_ROWS]
    figure, rows = _figure(max(1, len(varied)))
    if not varied:
        _draw(rows[0], [Curve(f.name, f, BOLD)])
    for row, name in zip(rows, varied, strict=False):
        _draw(row, _sweep(f, name))
        row[0].legend(fontsize=9, framealpha=0.9)
    named = f.name != str(f.expr)
    detail = f.text if len(f.text) <= TITLE or not f.summary else f.summary.partition("\n")[0]
    _title(figure, f"{f.name}:  {detail}" if named else f.text)
    return figure


def _thin(i: int, f: Family) -> Curve:
    style = {"color": BASELINES[i % len(BASELINES)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.3}
    return Curve(f.name, f, style)


def _sweep(f: Family, name: str) -> list[Curve]:
    """The family at several values of one parameter, the initial one in bold on top."""
    from matplotlib import colormaps

    values = _values_of(f.params[name])
    shades = colormaps["viridis"]([i / max(1, len(values) - 1) * 0.9 for i in range(len(values))])
    curves = []
    for i, (v, shade) in enumerate(zip(values, shades, strict=True)):
        thin = {"color": shade, "linewidth": 1.4, "linestyle": DASHES[i % len(DASHES)]}
        style = BOLD if v == f.params[name].init else thin
        curves.append(Curve(f"{name} = {v:.3g}", f.with_initial(**{name: v}), style))
    return curves


def _values_of(p: Param) -> list[float]:
    """Values around the initial one, inside the constraint: factors where zero is a border, steps elsewhere."""
    assert isinstance(p.init, float)
    bordered = p.init > 0 and not bool(p.constraint.check(torch.tensor(-1.0)))
    values = [p.init * k for k in FACTORS] if bordered else [p.init + k * max(abs(p.init), 0.5) for k in STEPS]
    return [v for v in values if bool(p.constraint.check(torch.tensor(v, dtype=torch.float64)))]


def _figure(rows: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.9 + 3.6 * rows), layout="constrained")  # no pyplot: nothing global, no window
    grid = figure.subplots(rows, 2, squeeze=False)
    return figure, [(left, right) for left, right in grid]


def _draw(row: tuple[Axes, Axes], curves: Sequence[Curve]) -> None:
    x = torch.linspace(*SPAN, 2001, dtype=torch.float64)
    for axes, name, order in zip(row, ("$f(x)$", r"$f\,'(x)$"), (0, 1), strict=True):
        drawn = [_values(c.family, x, order) for c in curves]
        low, high = _limits(drawn)
        for curve, y in zip(curves, drawn, strict=True):
            y = _broken(y, high - low)
            axes.plot(x.numpy(), y.numpy(), label=shorten(curve.label, LABEL), zorder=2 + curve.style["linewidth"], **curve.style)
        axes.set(xlim=SPAN, ylim=(low, high), xlabel="x", title=name)
        axes.axhline(0, color="0.75", linewidth=0.8, zorder=1)
        axes.axvline(0, color="0.75", linewidth=0.8, zorder=1)
        axes.spines[["top", "right"]].set_visible(False)


def _values(f: Family, x: Tensor, order: int) -> Tensor:
    """The function or its derivative at the initial values of the parameters; what is not finite leaves a gap in the line."""
    y = evaluate(f.expr.diff("x", order) if order else f.expr, {"x": x, **dict(f.initial())}).expand(x.shape)
    return y.where(y.isfinite(), torch.nan)


def _broken(y: Tensor, height: float) -> Tensor:
    """Lift the pen at a pole, where the line would cross the whole window."""
    leaps = torch.cat([y.diff().abs() > height, torch.tensor([False])])
    return y.masked_fill(leaps, torch.nan)


def _limits(drawn: Sequence[Tensor]) -> tuple[float, float]:
    """A window that shows all of tame functions and the interesting part of those that grow fast."""
    y = torch.cat(list(drawn))
    y = y[y.isfinite()].clamp(-SPAN[1], SPAN[1])
    low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
    margin = 0.06 * max(high - low, 0.5)
    return low - margin, high + margin


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(shorten(text, TITLE), fontsize=13, parse_math=False)


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set_parse_math(False)
