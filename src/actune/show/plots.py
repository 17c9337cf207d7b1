"""Plots of activation functions and their derivatives, written to a file without a window or global state."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..catalogue.registry import FAMILIES, Family, Param, resolve
from ..kernels.curves import curve_values
from ..messages import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SPAN", "broken", "family_figure", "functions_figure", "limits", "plot_family", "plot_functions"]

SPAN, POINTS = (-5.0, 5.0), 1000  # points on each side of 0
WINNER = "#D55E00"  # with BASELINES the palette of Okabe and Ito, which colour-blind readers can tell apart
THIN_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
BOLD = {"color": WINNER, "linewidth": 3.0, "linestyle": "-"}
DASHES = ("-", "--", "-.", ":")  # and a dash pattern each, so that a grey print can be read too
SHADES, LIGHTEST = "viridis", 0.88  # of a sweep: its brightness orders the curves in grey too; yellow is hard to see on white
FACTORS, STEPS = (0.5, 0.75, 1.0, 1.5, 2.0), (-1.0, -0.5, 0.0, 0.5, 1.0)
MAX_ROWS = 3  # parameters that `plot_family` varies
TITLE, LABEL = 118, 44  # characters
LEAP, SUDDEN = 0.01, 20  # a jump is more than this share of the window, and so many times what is usual beside it
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


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
    """Draw a family and its derivative as a parameter moves, the initial value in bold.

    path   the ending chooses the format: .png, .svg, .pdf
    The parameter and its values are the family's own `sweep`; without one, a row for each trainable parameter (three at most),
    at values around its initial one. A family with nothing to vary is one curve.
    """
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
    sweeps = _sweeps(f)
    figure, rows = _figure(max(1, len(sweeps)), 10.0 if not sweeps else 11.2)
    if not sweeps:
        _draw(rows[0], [Curve(f.name, f, BOLD)])
    for row, (name, values) in zip(rows, sweeps.items(), strict=False):
        _draw(row, _sweep(f, name, values))
        row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, reverse=True)  # never over a curve
    _title(figure, _describe_family(f))
    return figure


def _describe_family(f: Family) -> str:
    """The title of a family: its name with its formula and initial values, or with its summary where the formula is too long."""
    declared = FAMILIES.get(f.name)
    if declared is not None and declared is not f:  # the summary is of the declared values
        return f"{f.name}; {_values_of(dict(f.initial()).items() - dict(declared.initial()).items())}"
    text = f"{f.expr}; {_values_of(f.initial())}" if f.params else str(f.expr)
    if f.name == str(f.expr):
        return text
    brief = f.summary.partition("\n")[0].rstrip(".")
    return f"{f.name}: {brief if brief and (len(text) > TITLE or text == f'{f.name}(x)') else text}"


def _values_of(values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name}={v:.4g}" for name, v in values)


def _thin(i: int, f: Family) -> Curve:
    style = {"color": THIN_COLOURS[i % len(THIN_COLOURS)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.3}
    return Curve(f.name, f, style)


def _sweeps(f: Family) -> dict[str, list[float]]:
    """The parameters to vary, and their values in order; the initial one is among them."""
    if f.sweep is not None:
        name, values = f.sweep
        return {name: sorted({*values, dict(f.initial())[name]})}
    trained = {name: p for name, p in f.params.items() if p.trainable and not isinstance(p.init, tuple)}
    return {name: _values_around(p) for name, p in list(trained.items())[:MAX_ROWS]}


def _values_around(p: Param) -> list[float]:
    """Values around the initial one, inside the constraint: factors where zero is a border, steps elsewhere."""
    assert isinstance(p.init, float)
    bordered = p.init > 0 and not bool(p.constraint.check(torch.tensor(-1.0)))
    values = [p.init * k for k in FACTORS] if bordered else [p.init + k * max(abs(p.init), 0.5) for k in STEPS]
    return [v for v in values if bool(p.constraint.check(torch.tensor(v, dtype=torch.float64)))]


def _sweep(f: Family, name: str, values: Sequence[float]) -> list[Curve]:
    """The family at several values of one parameter, from dark to light, the initial one in bold."""
    from matplotlib import colormaps

    shades = colormaps[SHADES]([LIGHTEST * i / max(1, len(values) - 1) for i in range(len(values))])
    curves = []
    for v, shade in zip(values, shades, strict=True):
        bold = v == f.params[name].init
        label = f"{_symbol(name)} = {v:.4g}" + " (initial)" * bold
        curves.append(Curve(label, f.with_initial(**{name: v}), {"color": shade, "linewidth": BOLD["linewidth"] if bold else 1.5}))
    return curves


def _symbol(name: str) -> str:
    """The name of a parameter as printed: β₂ for beta2."""
    stem = name.rstrip("0123456789")
    try:
        letter = unicodedata.lookup(f"GREEK SMALL LETTER {stem.upper()}") if stem.islower() else stem
    except KeyError:
        letter = stem
    return letter + name[len(stem) :].translate(SUBSCRIPTS)


def _figure(rows: int, width: float = 10.0) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.9 + 3.6 * rows), layout="constrained")  # no pyplot: nothing global, no window
    grid = figure.subplots(rows, 2, squeeze=False)
    return figure, [(left, right) for left, right in grid]


def _draw(row: tuple[Axes, Axes], curves: Sequence[Curve]) -> None:
    x = SPAN[1] * torch.arange(-POINTS, POINTS + 1, dtype=torch.float64) / POINTS  # 0 and every integer exactly
    for axes, name, order in zip(row, ("$f(x)$", r"$f\,'(x)$"), (0, 1), strict=True):
        drawn = [curve_values(c.family, x, order) for c in curves]
        low, high = limits(drawn)
        for curve, y in zip(curves, drawn, strict=True):
            y = broken(y, high - low)
            axes.plot(x.numpy(), y.numpy(), label=shorten(curve.label, LABEL), zorder=2 + curve.style["linewidth"], **curve.style)
        axes.set(xlim=SPAN, ylim=(low, high), xlabel="x", title=name)
        axes.axhline(0, color="0.75", linewidth=0.8, zorder=1)
        axes.axvline(0, color="0.75", linewidth=0.8, zorder=1)
        axes.spines[["top", "right"]].set_visible(False)


def broken(y: Tensor, height: float) -> Tensor:
    """Lift the pen at poles and jumps, where the line would be vertical."""
    leaps = y.diff().abs()
    usual = F.pad(leaps, (4, 4), value=torch.nan).unfold(0, 9, 1).nanmedian(dim=1).values
    vertical = (leaps > height) | ((leaps > LEAP * height) & (leaps > SUDDEN * usual))
    return y.masked_fill(F.pad(vertical, (0, 1)), torch.nan)


def limits(drawn: Sequence[Tensor]) -> tuple[float, float]:
    """The limits of a window that shows all of tame functions and the interesting part of those that grow fast."""
    y = torch.cat(list(drawn))
    y = y[y.isfinite()].clamp(-SPAN[1], SPAN[1])
    low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
    margin = 0.06 * max(high - low, 0.5)
    return low - margin, high + margin


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(shorten(text, TITLE), fontsize=11, parse_math=False)


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=10)
    for text in legend.get_texts():
        text.set_parse_math(False)
