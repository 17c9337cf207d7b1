"""Write the tables of the README and of docs/ from the stored results: `make readme`, which first measures what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from actune import papers, results
from actune.bench import report
from actune.show.reproduction import verdict_table

ROOT = Path(__file__).resolve().parents[2]
WAYS = {"actune": "actune", "torch.compile": "torch.compile", "eager": "torch operators", "torch": "torch's own"}
OTHERS = "other packages"


def points(estimate: dict[str, float], sign: str = "") -> str:
    """Mean and half of the 95 % interval, in percent."""
    return f"{100 * estimate['mean']:{sign}.1f} ± {50 * (estimate['high'] - estimate['low']):.1f}"


def row(f: dict, baseline: str) -> tuple[str, ...]:
    """One line of the table."""
    name = f"`{f['name']}`" + (" (baseline)" if f["name"] == baseline else "")
    gain, p = (points(f["difference"], "+"), f"{f['p_corrected']:.2g}") if f["difference"] else ("", "")
    return name, points(f["accuracy"]), gain, p


def demo(result: dict) -> str:
    """What `make demo` prints, in Markdown."""
    comparison = result["proof"]["comparison"]
    versions = ", ".join(f"{name} {v}" for name, v in comparison["versions"].items())
    lines = [
        f"`{result['command']}` tries {result['trials']} functions and proves the best on {len(comparison['seeds'])} fresh seeds:",
        results.markdown_table(
            ("function", "test accuracy %", "gain over the baseline", "corrected p"),
            [row(f, comparison["baseline"]) for f in comparison["functions"]],
        ),
        f"> {quoted(result['proof']['verdict'])}",
        f"({versions})",
    ]
    return "\n\n".join(lines)


def speed(result: dict) -> str:
    """What `actune bench` measured: a row a function, medians only."""
    places: dict[str, dict[str, list[dict]]] = {}
    for record in result["records"]:
        places.setdefault(report.tensors_in_words(record), {}).setdefault(record["function"], []).append(record)
    header = ("function", *WAYS.values(), OTHERS, "bytes kept: actune, torch operators", "first calls: actune, torch.compile")
    lines = ["Time over that of `F.gelu`: forward; forward + backward with the gradients of `x` and of the parameters."]
    for place, functions in places.items():
        lines += [f"{place}:", results.markdown_table(header, [speed_row(name, records) for name, records in functions.items()])]
    lines += [
        "Medians of interleaved rounds; the quartiles are in `results/bench.jsonl` and in the picture above. Bytes: for each "
        "element. First calls: one forward and one forward + backward with empty caches, compilation included; the next process "
        "reads what was compiled from a cache folder.",
        *(f"{package}: not installed." for package in result["absent"]),
        results.source_line(result),
    ]
    return "\n\n".join(lines)


def speed_row(name: str, records: list[dict]) -> tuple[str, ...]:
    """The cells of one function."""
    ways = {r["by"]: r for r in records if "failed" not in r}
    cells = [times(ways[by]) if by in ways else "" for by in WAYS]
    others = ", ".join(f"{times(r)} ({by})" for by, r in ways.items() if by not in WAYS)
    bytes_kept = ", ".join(f"{ways[by]['kept']:.3g}" for by in ("actune", "eager") if by in ways)
    first = ", ".join(report.duration(sum(ways[by]["first"].values())) for by in ("actune", "torch.compile") if by in ways)
    return (f"`{name}`", *cells, others, bytes_kept, first)


def times(record: dict) -> str:
    """Forward; forward and backward."""
    return "; ".join(f"{record['ratios'][kind]['median']:.2f}" for kind in ("forward", "training"))


def quoted(text: str) -> str:
    """The text with its stars as stars: those of formulas."""
    return text.replace("*", r"\*")


def verdict(result: dict) -> str:
    """What the search found, in the sentence that it ends with."""
    return f"> {quoted(result['proof']['verdict'])}"


FEW = ("mish", "prelu", "apalu", "sau", "rational")  # functions of the README's table, at
SIZE = 1_000_000


def short_speed(result: dict) -> str:
    """Five functions at one size, a line each, and on what processor."""
    found: dict[str, dict[str, dict]] = {}
    for r in result["records"]:
        if r["function"] in FEW and r["size"] == SIZE and "failed" not in r:
            found.setdefault(r["function"], {})[r["by"]] = r["ratios"]["training"]["median"]
    ways = {"actune": "actune", "torch": "torch's own", "torch.compile": "torch.compile"}
    rows = [(f"`{name}`", *(f"{by[w]:.2f}" if w in by else "" for w in ways)) for name, by in found.items()]
    return results.markdown_table((f"one core of {result['machine']['cpu']}", *ways.values()), rows)


def reproduction() -> str:
    """How many claims of each paper hold, from the stored runs."""
    return verdict_table(papers.weigh(papers.read_runs(ROOT / "results/reproduction")))


def stored(name: str) -> dict[str, Any]:
    """The last result in a file of results/."""
    return results.read_results(ROOT / f"results/{name}.jsonl")[-1]


# page -> its blocks, each written from stored results
PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "demo": lambda: verdict(stored("digits")),
        "speed": lambda: short_speed(stored("bench")),
        "reproduction": reproduction,
    },
    "docs/performance.md": {"speed": lambda: speed(stored("bench"))},
    "docs/tutorial.md": {"demo": lambda: demo(stored("digits"))},
}


def written(page: str) -> str:
    """The text of a page as the stored results make it."""
    text = (ROOT / page).read_text()
    for name, block in PAGES[page].items():
        text = results.write_block(text, name, block())
    return text


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(written(page))
