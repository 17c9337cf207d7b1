"""A function and its derivative drawn with characters, for the terminal."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from rich.table import Table
from rich.text import Text

from ..catalogue.registry import Family
from ..kernels.curves import curve_values
from .plots import SPAN, broken, limits

__all__ = ["braille_table", "can_draw"]

WIDEST, NARROWEST, HEIGHT = 48, 24, 11  # of the drawing in a panel, in characters; a character has 2 x 4 dots
NUMBERS, GAP = 7, 3  # for the numbers at the left of a panel, and between two panels


def can_draw(encoding: str | None) -> bool:
    """Whether a stream of this encoding has the characters."""
    try:
        "⣿│└".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def braille_table(family: Family, width: int) -> Table:
    """The function and its derivative, at the initial values of the parameters, over -5 ≤ x ≤ 5.

    width   of the terminal, in characters; side by side where two panels fit, else one below the other
    """
    beside = (width - GAP) // 2 - NUMBERS
    across = min(WIDEST, beside if beside >= NARROWEST else max(1, width - NUMBERS))
    panels = _panel(family, 0, "f(x)", across), _panel(family, 1, "f′(x)", across)
    table = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    for row in [panels] if beside >= NARROWEST else zip(panels):
        table.add_row(*row)
    return table


def _panel(family: Family, order: int, title: str, width: int) -> Text:
    from plotille import Canvas

    x = torch.linspace(*SPAN, 4 * width + 1, dtype=torch.float64)  # two values a dot; 0 is among them
    values = curve_values(family, x, order)
    low, high = limits([values])
    canvas = Canvas(width, HEIGHT, SPAN[0], low, SPAN[1], high)
    points = [*zip(x.tolist(), broken(values, high - low).tolist(), strict=True)]
    for (x0, y0), (x1, y1) in pairwise(points):
        if math.isfinite(y0) and math.isfinite(y1) and low <= min(y0, y1) and max(y0, y1) <= high:
            canvas.line(x0, y0, x1, y1)
    return _framed(title, canvas.plot().split("\n"), low, high)


def _framed(title: str, rows: list[str], low: float, high: float) -> Text:
    """The drawing with its axes: the highest and the lowest value at the left, and 0 where the window has it."""
    zero = round((HEIGHT - 1) * high / (high - low))
    labels = ({zero: "0"} if 0 < zero < HEIGHT - 1 else {}) | {0: f"{high:.2g}", HEIGHT - 1: f"{low:.2g}"}
    indent = " " * (NUMBERS - 1)
    text = Text(f"{indent} {title}\n", "bold", no_wrap=True)
    for i, row in enumerate(rows):
        text.append(f"{labels.get(i, ''):>{NUMBERS - 1}}{'┼' if i in labels else '│'}", "not bold dim").append(
            f"{row}\n", "not bold cyan"
        )
    low_end, high_end = (f"{end:g}" for end in SPAN)
    middle = f"{'0':^{len(rows[0]) + 1 - len(low_end) - len(high_end)}}"
    return text.append(f"{indent}└{'─' * len(rows[0])}\n{indent}{low_end}{middle}{high_end}", "not bold dim")
