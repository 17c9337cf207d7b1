"""Tables for the terminal: comparisons, the catalogue, one family, data sets, the card of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from rich.text import Text

from ..catalogue.registry import Family, Param
from ..messages import shorten

if TYPE_CHECKING:
    from ..experiments.comparison import Comparison, Row
    from ..experiments.measures import Measure
    from ..experiments.stats import Estimate
    from ..inspection.cards import ModelCard, ValueSummary
    from ..inspection.inputs import InputSummary

__all__ = [
    "card_table",
    "comparison_table",
    "data_table",
    "families_table",
    "family_table",
    "signed_bounds",
    "stated_facts",
]

SHORT, LONG = 48, 300  # characters of a formula in a list, and of a derivative


def comparison_table(comparison: Comparison) -> Table:
    """A table with one row per function, the best first; functions that beat the baseline are bold, the baseline is marked."""
    n = len(comparison.seeds)
    table = Table(
        title=f"{comparison.task}: test {comparison.measure.name} over {n} seed{'s'[: n > 1]}",
        caption=f"± 95 % t-interval; gain over {comparison.baseline} paired by seed; p by paired t-test with Holm's correction",
    )
    table.add_column("function", overflow="fold", min_width=16, max_width=48)
    for title in (comparison.measure.name + comparison.measure.unit, "gain", "p", "val. loss"):
        table.add_column(title, justify="right", no_wrap=True)
    if any(r.diverged for r in comparison.rows):
        table.add_column("diverged", justify="right", no_wrap=True)
    for row in comparison.rows:
        cells = _cells(row, row.name == comparison.baseline, comparison.measure)
        style = "bold" if row.better else "dim" if row.diverged else ""
        table.add_row(*(Text(c) for c in cells[: len(table.columns)]), style=style)
    return table


def _cells(row: Row, base: bool, m: Measure) -> list[str]:
    gain = row.difference
    return [
        f"{row.name} (baseline)" if base else row.name,
        _estimate(row.score, m, ""),
        "" if gain is None else _estimate(gain, m, "+"),
        "" if gain is None else _p(row.p_corrected),
        f"{row.validation_loss:.3f}",
        f"{row.diverged} of {len(row.outcomes)}" if row.diverged else "",
    ]


def _estimate(e: Estimate, m: Measure, sign: str) -> str:
    """An estimate in the units of the measure, with half the width of its interval (t-intervals are symmetric)."""
    mean = f"{m.scale * e.mean:{sign}.{m.digits}f}"
    return mean if math.isnan(e.low) else f"{mean} ± {m.scale / 2 * (e.high - e.low):.{m.digits}f}"


def _p(p: float) -> str:
    return "–" if math.isnan(p) else "<1e-9" if p < 1e-9 else f"{p:.2g}"


def families_table(families: Iterable[Family]) -> Table:
    """A table with one row per family: its formula (where that is long, its summary) with initial parameters, and its source."""
    table = Table(caption="after the semicolon the initial values, fixed ones in brackets; * known at second hand only")
    table.add_column("name", no_wrap=True)
    table.add_column("function", overflow="fold")
    table.add_column("source", overflow="fold", max_width=20)
    for f in families:
        formula = str(f.expr)
        function = Text(formula) if len(formula) <= SHORT else Text(f.summary.partition("\n")[0].rstrip("."), "italic")
        if f.params:
            function.append("; " + ", ".join(_parameter(name, p) for name, p in f.params.items()), "dim not italic")
        table.add_row(Text(f.name, "bold"), function, Text(f.paper + ("*" if f.reported else "")))
    return table


def family_table(family: Family) -> Table:
    """A table of all that is known of one family, a line each."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _details(family):
        if value:
            table.add_row(Text(name), Text(value))
    return table


def _details(f: Family) -> list[tuple[str, str]]:
    derivative = str(f.expr.diff("x").simplify())
    return [
        ("name", ", ".join((f.name, *f.aliases))),
        ("summary", f.summary),
        ("formula", str(f.expr)),
        ("derivative", derivative if len(derivative) <= LONG else f"{derivative[: LONG - 1]}…"),
        ("LaTeX", f.latex()),
        ("parameters", "\n".join(_parameter(name, p) + _range(p.constraint) for name, p in f.params.items())),
        ("source", f.paper + (" (known at second hand only)" if f.reported else "")),
        ("facts", ", ".join(stated_facts(f))),
        ("notes", f.notes),
    ]


def _range(constraint: Any) -> str:
    """The bounds of a parameter in signs, such as ≥ 0; empty where it may be any real number."""
    signs = [f"{sign} {bound:g}" for sign, bound in signed_bounds(constraint)]
    return f"   ({', '.join(signs)})" if signs else ""


def signed_bounds(constraint: Any) -> Iterator[tuple[str, float]]:
    """The lower and the upper bound of a parameter, where it has them, each after its sign: > or ≥, < or ≤."""
    for name, strict, loose in (("lower_bound", ">", "≥"), ("upper_bound", "<", "≤")):
        bound = getattr(constraint, name, None)
        if bound is not None:
            yield loose if bool(constraint.check(torch.tensor(float(bound)))) else strict, float(bound)


def stated_facts(f: Family) -> list[str]:
    """What the catalogue claims of a family at its initial values, a few words each; nothing for a formula that was typed in."""
    low, high = f.bounds
    claims = (("odd", f.odd), ("even", f.even), ("monotone", f.monotone), ("jumps", not f.continuous))
    facts = [word for word, holds in claims if holds]
    if low is not None:
        facts.append(f"at least {low:g}")
    if high is not None:
        facts.append(f"at most {high:g}")
    if f.kinks:
        facts.append("kinks at " + ", ".join(f"{k:g}" for k in f.kinks))
    return facts


def _parameter(name: str, p: Param) -> str:
    value = f"({', '.join(f'{v:.3g}' for v in p.init)})" if isinstance(p.init, tuple) else f"{p.init:.4g}"
    return f"{name}={value}" if p.trainable else f"[{name}={value}]"


def data_table(records: Iterable[Mapping[str, Any]], title: str) -> Table:
    """A table with one row per data set, of records with name, missing, download and source."""
    table = Table(title=title, caption="`actune data NAME` downloads a data set")
    for heading in ("data set", "there", "download"):
        table.add_column(heading, no_wrap=True)
    table.add_column("comes from", overflow="fold")
    for record in records:
        there, download = ("no" if record["missing"] else "yes"), ("yes" if record["download"] else "by hand")
        table.add_row(*map(Text, (record["name"], there, download, record["source"])))
    return table


def card_table(card: ModelCard) -> Table:
    """A table with one row per activation function of a model, in the order in which the model calls them."""
    ran = card.batches > 0
    caption = Text("learned: the median (lowest … highest), [fixed]")
    if ran:
        caption.append(
            "\nsaturated: the share of inputs where the slope is below 0.01\ndead: the share of units that nowhere have a slope"
        )
    title = f"activation functions of {_printable(card.model)}" + f", on {card.batches} batch{'es'[: 2 * (card.batches > 1)]}" * ran
    table = Table(title=Text(title), caption=caption)
    for heading, width in (("place", 12), ("function", 18), ("learned", 0)):
        table.add_column(heading, overflow="fold", min_width=width)
    for heading in ("inputs", "saturated", "dead") if ran else ():
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in card.activations:
        place = Text(_printable(", ".join(name or "(model)" for name in entry.names)))
        is_call = entry.scope is None and "(" not in entry.function
        place.append(f"\n{_printable(entry.source)}" if is_call else "", "dim")
        function = Text(_printable(entry.function), "bold")
        function.append(" (a gate)" if entry.gate else "", "not bold dim")
        learned = "\n".join(f"{_printable(name)} {_values(v)}" for name, v in entry.parameters.items())
        table.add_row(place, function, Text(learned), *(map(Text, _seen(entry.inputs)) if ran else ()))
    return table


def _printable(text: str) -> str:
    """The text of a file that may be anybody's, without what a terminal takes for a command."""
    return shorten(text, 1000)


def _values(v: ValueSummary) -> str:
    shown = _shown(v.median) if v.low == v.high else f"{_shown(v.median)} ({_shown(v.low)} … {_shown(v.high)})"
    return shown if v.learns else f"[{shown}]"


def _shown(number: float | None) -> str:
    return "nan" if number is None else f"{number:.4g}"


def _seen(inputs: InputSummary | None) -> tuple[str, str, str]:
    if inputs is None:
        return "never called", "", ""
    wild = f"\n{inputs.infinite} infinite or nan" if inputs.infinite else ""
    saturated = "" if inputs.saturated is None else f"{inputs.saturated:.1%}"
    return f"{_shown(inputs.low)} … {_shown(inputs.high)}{wild}", saturated, f"{inputs.dead:.1%}"
