"""Pictures of activation functions as SVG that stands in the page, so that it takes the page's colours.

The curves are those of `actune show --plot`: they are read from its figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from actune import Family
from actune.show.plots import family_figure

__all__ = ["Panel", "panels", "picture", "sparkline"]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 250, 34, 22, 22  # of a panel, and what its numbers take
STRIDE = 10  # every so many points of the figure are drawn
BOLD = 2.5  # lines of the figure that are wider show the initial values


@dataclass(frozen=True)
class Line:
    """A curve: its legend, its points (nan where the pen is lifted), and whether it shows the initial values."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    bold: bool


@dataclass(frozen=True)
class Panel:
    """Curves over the same axes, with the limits of y."""

    title: str
    lines: tuple[Line, ...]
    low: float
    high: float


def panels(f: Family) -> list[tuple[Panel, Panel]]:
    """Value and slope of a family: a pair for each parameter that its plot varies."""
    found = [_panel(axes, title) for axes, title in zip(family_figure(f).axes, _titles(), strict=False)]
    return list(zip(found[::2], found[1::2], strict=True))


def _titles() -> Iterator[str]:
    while True:
        yield from ("value", "slope")


def _panel(axes: Any, title: str) -> Panel:
    drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]  # the others are the axes through 0
    lines = tuple(
        Line(str(line.get_label()), line.get_xdata()[::STRIDE], _kept(line.get_ydata()), line.get_linewidth() > BOLD)
        for line in drawn
    )
    return Panel(title, lines, *axes.get_ylim())


def _kept(y: Any) -> list[float]:
    """Every so many values; nan where one that is left out between is nan."""
    return [math.nan if any(map(math.isnan, y[i + 1 : i + STRIDE])) else float(y[i]) for i in range(0, len(y), STRIDE)]


def picture(pair: tuple[Panel, Panel]) -> str:
    """Value and slope side by side, with the legend."""
    lines = pair[0].lines
    told = ", ".join(f"<b>{escape(i.label.removesuffix(' (initial)'))}</b>" if i.bold else escape(i.label) for i in lines)
    legend = f"{told}: from blue to orange, the initial value in bold" if len(lines) > 1 else ""
    caption = f"<figcaption>{legend}</figcaption>" if legend else ""
    return f'<figure class="curves">{_svg(pair[0])}{_svg(pair[1])}{caption}</figure>'


def sparkline(panel: Panel) -> str:
    """The curve of the initial values alone, small."""
    line = next((i for i in panel.lines if i.bold), panel.lines[0])
    height = panel.high - panel.low
    path = _path(line, lambda v: 60 * (v + 5) / 10, lambda v: 30 * (panel.high - v) / height, 5)
    zero = 30 * panel.high / height
    return (
        f'<svg class="spark" viewBox="0 0 60 30" aria-hidden="true"><path class="axis" d="M0 {zero:.1f}H60M30 0V30"/>'
        f'<path class="curve" d="{path}"/></svg>'
    )


def _svg(panel: Panel) -> str:
    right, floor = WIDTH - 6, HEIGHT - BOTTOM

    def across(v: float) -> float:
        return LEFT + (right - LEFT) * (v + 5) / 10

    def down(v: float) -> float:
        return TOP + (floor - TOP) * (panel.high - v) / (panel.high - panel.low)

    upright = "".join(_tick(f"M{across(v):.1f} {TOP}V{floor}", across(v), floor + 15, "middle", v) for v in (-4, -2, 0, 2, 4))
    level = "".join(_tick(f"M{LEFT} {down(v):.1f}H{right}", LEFT - 5, down(v) + 4, "end", v) for v in _ticks(panel.low, panel.high))
    zero = f"M{across(0):.1f} {TOP}V{floor}" + (f"M{LEFT} {down(0):.1f}H{right}" if panel.low < 0 < panel.high else "")
    place = f'x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{floor - TOP}"'  # an inner picture clips what leaves it
    last = max(1, len(panel.lines) - 1)
    drawn = sorted(enumerate(panel.lines), key=lambda item: item[1].bold)  # the bold line above the others
    curves = "".join(
        f'<path class="{"curve bold" if line.bold else "curve"}" style="--share:{100 * i / last:.0f}%" '
        f'd="{_path(line, across, down, 1)}"/>'
        for i, line in drawn
    )
    return (
        f'<svg class="panel" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{panel.title} for x from -5 to 5">'
        f'{upright}{level}<path class="axis" d="{zero}"/>'
        f'<svg {place} viewBox="{LEFT} {TOP} {right - LEFT} {floor - TOP}">{curves}</svg>'
        f'<text class="title" x="{LEFT}" y="13">{panel.title}</text></svg>'
    )


def _tick(line: str, x: float, y: float, anchor: str, v: float) -> str:
    """A line of the grid with its number."""
    return f'<path class="grid" d="{line}"/><text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_number(v)}</text>'


def _path(line: Line, across: Any, down: Any, stride: int) -> str:
    """The curve as moves and lines of a path."""
    parts, drawing = [], False
    for a, b in zip(line.x[::stride], line.y[::stride], strict=True):
        if math.isnan(b):
            drawing = False
            continue
        parts.append(f"{'L' if drawing else 'M'}{across(a):.1f} {min(max(down(b), -999), 999):.1f}")
        drawing = True
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers between the limits."""
    step = next(s for p in range(-3, 4) for s in (10.0**p, 2 * 10.0**p, 5 * 10.0**p) if (high - low) / s <= 7)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _number(v: float) -> str:
    return f"{v:.3g}".replace("-", "−")
