"""The explorer: one page on which every function of the catalogue, and any formula, can be seen, moved and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..catalogue.files import function_of_record
from ..catalogue.registry import Family, family, list_families, resolve
from ..show.tables import signed_bounds, stated_facts
from .formula import formula_scripts
from .page import asset, html_page

if TYPE_CHECKING:
    from ..inspection.cards import ActivationCard, ModelCard, ValueSummary

__all__ = ["explorer_page"]

_STYLES = ("uplot.css", "page.css", "explorer.css")
_SCRIPTS = ("uplot.js", "dom.js", "plots.js")
_PARTS = ("numbers", "catalogue", "functions", "links", "measures", "signal", "motion", "finder", "sliders", "movements", "chips",
          "entry", "readout", "picture", "about", "study", "code", "explorer")  # fmt: skip


def explorer_page(card: ModelCard | None = None) -> str:
    """The explorer as one page of HTML, which needs no network.

    card  of a trained model, as `actune.card` makes it: the page offers its places with what they have learned and what they see
    """
    data = {
        "version": version("actune"),
        "families": [_family(f) for f in map(family, list_families())],
        "model": None if card is None else _model(card),
    }
    styles = [asset(name) for name in _STYLES]
    scripts = [*map(asset, _SCRIPTS), *formula_scripts(), *(asset(f"{part}.js") for part in _PARTS)]
    return html_page("actune explorer", asset("explorer.html"), styles=styles, scripts=scripts, data=data)


def _family(f: Family) -> dict[str, Any]:
    """All that the page says of a family; its formula as text, which the page reads when it is first shown."""
    return {
        "name": f.name,
        "aliases": list(f.aliases),
        "summary": f.summary,
        "paper": f.paper,
        "reported": f.reported,
        "formula": str(f.expr),
        "initial_form": None if f.initial_form is None else str(f.initial_form),
        "parameters": _parameters(f),
        "facts": stated_facts(f),
        "kinks": list(f.kinks),
        "sweep": f.sweep and [f.sweep[0], list(f.sweep[1])],
        "notes": f.notes,
    }


def _parameters(f: Family) -> list[dict[str, Any]]:
    """A row per symbol of the formula; the entries of a vector one by one."""
    initial = dict(f.initial())
    return [
        {
            "symbol": symbol,
            "initial": initial[symbol],
            "bounds": list(signed_bounds(p.constraint)),
            "trainable": p.trainable,
            "entry": isinstance(p.init, tuple),
        }
        for name, p in f.params.items()
        for symbol in p.symbols(name)
    ]


def _model(card: ModelCard) -> dict[str, Any]:
    return {"name": card.model, "batches": card.batches, "places": [_place(entry) for entry in card.activations]}


def _place(entry: ActivationCard) -> dict[str, Any]:
    """A place of a model: its function, None where the card has no formula for it, its learned values, and what it saw."""
    f = _function(entry)
    return {
        "name": ", ".join(name or "(model)" for name in entry.names) or entry.source,
        "says": entry.function,
        "gate": entry.gate,
        "function": None if f is None else _family(f),
        "learned": {} if f is None else _learned(f, entry.parameters),
        "inputs": None if entry.inputs is None else asdict(entry.inputs),
    }


def _function(entry: ActivationCard) -> Family | None:
    if entry.record is not None:
        return function_of_record(entry.record, "the function of a card")
    return None if entry.formula is None else resolve(entry.formula)


def _learned(f: Family, values: Mapping[str, ValueSummary]) -> dict[str, Any]:
    """What a place has learned, by symbol: the summary, and a value per unit where the card lists them.

    The card of a vector lists entry by entry, for each all units.
    """
    found: dict[str, Any] = {}
    for name, p in f.params.items():
        v = values.get(name)
        if v is None:
            continue
        symbols = p.symbols(name)
        if len(symbols) == 1:
            found[symbols[0]] = {"low": v.low, "median": v.median, "high": v.high, "values": list(v.values)}
        elif v.values:
            units = len(v.values) // len(symbols)
            for i, symbol in enumerate(symbols):
                found[symbol] = _spread(v.values[i * units : (i + 1) * units])
    return found


def _spread(values: tuple[float | None, ...]) -> dict[str, Any]:
    """The summary of the values of one entry; None stands for one that is infinite or nan."""
    finite = sorted(v for v in values if v is not None)
    low, median, high = (finite[0], finite[(len(finite) - 1) // 2], finite[-1]) if finite else (None, None, None)
    return {"low": low, "median": median, "high": high, "values": list(values)}
