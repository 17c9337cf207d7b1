"""The catalogue as pages: an overview of all families and a page for each, from the registry and the stored measurements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from curves import Panel, panels, picture, sparkline
from mathml import mathml

from actune import Family, Param, family, results
from actune.show.tables import signed_bounds

__all__ = ["families_pages", "source_link"]

ROOT = Path(__file__).resolve().parents[2]
SIGNS = {">": "above", "≥": "at least", "<": "below", "≤": "at most"}  # in words
BESIDE = "[How time is measured](../benchmarks.md#how-time-is-measured)"


def families_pages(names: list[str]) -> dict[str, str]:
    """The Markdown of each page by its file: the overview first, then a page for each of these families."""
    speeds = measured_speeds()
    drawn = {name: panels(family(name)) for name in names}
    return {
        "catalogue/index.md": overview(drawn, speeds),
        **{f"catalogue/{name}.md": page(family(name), drawn[name], speeds.get(name, {})) for name in names},
    }


def measured_speeds() -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """What `benchmarks/speed.py` measured: by family, then by dtype and scope."""
    stored = results.read_results(ROOT / "results/speed.jsonl")
    return {line["function"]: {(r["dtype"], r["scope"]): r for r in line["records"] if r["by"] == "actune"} for line in stored}


def measured_baking() -> dict[str, list[tuple[str, str, str]]]:
    """What `benchmarks/export.py` measured, by family: value of beta2, form with its error, time in onnxruntime over Mish."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for line in results.read_results(ROOT / "results/export.jsonl"):
        asked = line["settings"]
        found.setdefault(asked["name"], []).append(
            (f"{asked['beta2']:g}", cell(line["form"]), f"{line['over mish']['median']:.2f}")
        )
    return found


def overview(drawn: dict[str, list[tuple[Panel, Panel]]], speeds: dict[str, Any]) -> str:
    """The page of all families."""
    rows = []
    for name, pairs in drawn.items():
        f = family(name)
        time = speeds.get(name, {}).get(("float32", "layer"))
        shown = f"{time['ratios']['training']['median']:.2f}" if time else ""
        link = f"[{name.replace('_', '_<wbr>')}]({name}.md)"  # a long name may break after its underscores
        rows.append((sparkline(pairs[0][0]), link, brief(f), ", ".join(f.params), source_link(f.paper), shown))
    head = ("", "name", "what it is", "parameters", "source", "time")
    return "\n\n".join(
        [
            "---\nhide: [toc]\n---\n\n# The catalogue",
            f"{len(drawn)} families of activation functions. Each is a formula, so each has derivatives to any order, keeps only "
            "its input for backward, and prints as text and LaTeX. `actune list` prints this table in a terminal.",
            f"`time` is forward + backward over that of GELU, where it is stored: 1,000,000 float32 numbers, one thread. {BESIDE}.",
            '<div class="catalogue" markdown>',
            results.markdown_table(head, rows),
            "</div>",
        ]
    )


def brief(f: Family) -> str:
    """The first line of the summary."""
    return cell(f.summary.partition("\n")[0].rstrip("."))


def cell(text: str) -> str:
    """The text for a cell of a table."""
    return re.sub(r"([|*_<>])", lambda m: f"&#{ord(m[1])};", text)


def source_link(paper: str) -> str:
    """The paper with a link, where it has an address."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper)


def page(f: Family, pairs: list[tuple[Panel, Panel]], speed: dict[tuple[str, str], Any]) -> str:
    """The page of one family."""
    return "\n\n".join(part for part in _parts(f, pairs, speed) if part)


def _parts(f: Family, pairs: list[tuple[Panel, Panel]], speed: dict[tuple[str, str], Any]) -> Iterator[str]:
    yield f"# {f.name}"
    yield cell(f.summary)
    yield f'<div class="formula">{mathml(f.expr)}</div>'
    yield from map(picture, pairs)
    yield f"```python\nimport actune\n\nact = actune.Activation({f.name!r})\n```"
    yield "## Facts"
    yield results.markdown_table(("fact", "value"), facts(f))
    if f.params:
        yield "## Parameters"
        yield results.markdown_table(("name", "initial value", "range", "trained"), map(parameter, f.params.items()))
    if f.notes:
        yield f"## Notes\n\n{cell(f.notes)}"
    yield "## As text"
    yield f"The formula as actune reads it, with the limits that keep it finite:\n\n```text\n{f.text}\n```"
    yield f"Its derivative:\n\n```text\n{f.expr.diff('x').simplify()}\n```"
    yield f"In LaTeX:\n\n```latex\n{f.latex()}\n```"
    if speed:
        yield "## Speed"
        yield f"Time over that of `F.gelu`, 1,000,000 numbers, one thread; median (quartiles) of rounds in turns. {BESIDE}."
        yield results.markdown_table(("", "forward", "forward + backward"), [speed_row(k, r) for k, r in speed.items()])
    if baked := measured_baking().get(f.name):
        yield "## Outside of actune"
        yield "Trained, it is [baked](../guides/export.md#functions-that-have-to-be-baked). Time in onnxruntime over that of Mish:"
        yield results.markdown_table(("beta2", "what it becomes", "time"), baked)
    yield "## Error"
    yield (
        "The tests compare values and slopes with mpmath in float64, float32, bfloat16 and float16: within four units of rounding "
        "of what the conditioning of the formula allows."
    )


def facts(f: Family) -> list[tuple[str, str]]:
    """What is known, a row each."""
    low, high = ("none" if b is None else f"{b:g}" for b in f.bounds)
    symmetry = "odd" if f.odd else "even" if f.even else "none"
    source = source_link(f.paper) + (", at second hand only" if f.reported else "")
    return [
        ("source", source),
        *([("also called", ", ".join(f"`{a}`" for a in f.aliases))] if f.aliases else []),
        ("symmetry", symmetry),
        ("never decreasing", "yes" if f.monotone else "no, or not known"),
        ("lowest value", low),
        ("highest value", high),
        ("slope jumps at", numbers(f.kinks)),
        ("higher derivatives jump at", numbers(f.joints)),
        *([] if f.continuous else [("continuous", "no")]),
        *([("torch's own", f"`{_torch_name(f)}`")] if _torch_name(f) else []),
        *([("ONNX operator", ", ".join(f"`{o.name}`" for o in f.onnx))] if f.onnx else []),
    ]


def numbers(points: tuple[float, ...]) -> str:
    return ", ".join(f"{p:g}" for p in points) or "nowhere"


def _torch_name(f: Family) -> str:
    name = getattr(f.reference, "__name__", "")
    return "" if name in ("", "<lambda>") else name


def parameter(item: tuple[str, Param]) -> tuple[str, str, str, str]:
    """The row of a parameter."""
    name, p = item
    initial = ", ".join(f"{v:.4g}" for v in p.init) if isinstance(p.init, tuple) else f"{p.init:.6g}"
    return f"`{name}`", initial, escape(limits(p)), "yes" if p.trainable else "no, unless you say so"


def limits(p: Param) -> str:
    """The numbers that a parameter may be, in words."""
    return " and ".join(f"{SIGNS[sign]} {bound:g}" for sign, bound in signed_bounds(p.constraint)) or "any number"


def speed_row(key: tuple[str, str], record: dict[str, Any]) -> tuple[str, str, str]:
    """The row of one dtype and scope."""
    times = [
        f"{r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in (record["ratios"][k] for k in ("forward", "training"))
    ]
    return f"{key[0]}, parameters per {key[1]}", *times
