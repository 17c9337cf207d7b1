"""Write the demo's table into README.md from the stored result: `make readme` (after `make results/digits.jsonl`)."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- demo: written by `make readme` from results/digits.jsonl -->", "<!-- end of demo -->"


def points(estimate: dict[str, float], sign: str = "") -> str:
    """Mean and half of the 95 % interval, in percent."""
    return f"{100 * estimate['mean']:{sign}.1f} ± {50 * (estimate['high'] - estimate['low']):.1f}"


def row(f: dict, baseline: str) -> str:
    """One line of the table."""
    name = f"`{f['name']}`" + (" (baseline)" if f["name"] == baseline else "")
    gain, p = (points(f["difference"], "+"), f"{f['p_corrected']:.2g}") if f["difference"] else ("", "")
    return f"| {name} | {points(f['accuracy'])} | {gain} | {p} |"


def demo(result: dict) -> str:
    """What `make demo` prints, in Markdown."""
    comparison = result["proof"]["comparison"]
    versions = ", ".join(f"{name} {v}" for name, v in comparison["versions"].items())
    lines = [
        START,
        f"`{result['command']}` tries {result['trials']} functions and proves the best on {len(comparison['seeds'])} fresh seeds:",
        "| function | test accuracy % | gain over the baseline | corrected p |\n| --- | --- | --- | --- |\n"
        + "\n".join(row(f, comparison["baseline"]) for f in comparison["functions"]),
        f"> {result['proof']['verdict']}",
        f"({versions})",
        END,
    ]
    return "\n\n".join(lines)


def written() -> str:
    """The README as the stored result makes it."""
    result = json.loads((ROOT / "results/digits.jsonl").read_text().splitlines()[-1])
    block = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    return block.sub(lambda _: demo(result), (ROOT / "README.md").read_text())


if __name__ == "__main__":
    (ROOT / "README.md").write_text(written())
