"""Results as plain data: what they depend on, where they are kept, and their rows as text."""

from __future__ import annotations

from typing import Any

from ..results import markdown_table, source_line
from .timing import WHY_KEPT, WHY_PASSIVE, Ratio

__all__ = ["HEADER", "duration", "markdown", "notes", "rows", "tensors_in_words"]

HEADER = ("function", "computed by", "forward", "forward + backward", "bytes kept", "first calls")


# -- the rows of a measurement -------------------------------------------------------------------------------------------


def rows(result: dict[str, Any], mark: str = "") -> list[tuple[str, list[tuple[str, ...]]]]:
    """The rows of each kind of tensor under its title, a cell per title of HEADER; `mark` goes around a formula."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for record in result["records"]:
        found.setdefault(tensors_in_words(record), []).append(_row(record, mark))
    return list(found.items())


def tensors_in_words(record: dict[str, Any]) -> str:
    """The tensors of a record in words: 1,000,000 float32 elements, scope layer, 1 thread."""
    threads = f"{record['threads']} thread{'s'[: record['threads'] > 1]}" if record["device"] == "cpu" else record["device"]
    return f"{record['elements']:,} {record['dtype']} elements, scope {record['scope']}, {threads}"


def _row(record: dict[str, Any], mark: str) -> tuple[str, ...]:
    names = f"{mark}{record['function']}{mark}", record["by"]
    if "failed" in record:
        return (*names, "not possible", "", "", "")
    ratios = (str(Ratio(**record["ratios"][kind])) for kind in ("forward", "training"))
    return (*names, *ratios, f"{record['kept']:.3g}", duration(sum(record["first"].values())))


def duration(seconds: float) -> str:
    """A time in words: 12 ms, 1.5 s."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def notes(result: dict[str, Any]) -> list[str]:
    """The lines that a reader of the rows must know."""
    settings = result["settings"]
    trained = "all parameters" if settings["train_all"] else "the parameters that the family trains"
    lines = [
        f"Time over that of F.gelu on the same elements: median (quartiles) of at most {settings['rounds']} interleaved rounds. "
        f"Forward: no gradient is wanted; forward + backward: gradients of x and of {trained}.",
        "Bytes kept: for backward, per element. First calls: one forward and one forward + backward, with what is compiled; "
        "the caches were empty, the next process finds them filled and waits less.",
    ]
    if result["starting"]:
        once = ", ".join(f"{by} {duration(s)}" for by, s in result["starting"].items())
        lines.append(f"What a process waits once, whatever it computes, is not counted there: {once}.")
    lines += [f"{why}." for why in (WHY_PASSIVE, WHY_KEPT)]
    failed = dict.fromkeys(f"{r['function']} by {r['by']}: {r['failed']}" for r in result["records"] if "failed" in r)
    return [*lines, *failed] + [f"{package}: not installed (pip install {package})." for package in result["absent"]]


def markdown(result: dict[str, Any]) -> str:
    """A result in Markdown: a table for each kind of tensor, and what it depends on."""
    tables = [f"{title}:\n\n{markdown_table(HEADER, cells)}" for title, cells in rows(result, "`")]
    return "\n\n".join([*tables, *notes(result), source_line(result)])
