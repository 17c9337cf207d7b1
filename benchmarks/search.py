"""How soon each method of search reaches the best of so many random candidates on a task.

    python benchmarks/search.py --task digits --studies 10 --trials 200      # resumable: what is stored is not run again
    python benchmarks/search.py --methods "random,better,better without surrogate" --task digits
    python benchmarks/search.py --table                                      # write the stored results into README.md

A study of each method has the same seed, so the same initial weights and batches. The bar of a seed is the best validation loss of
its random study; a method needs so many trials until one is as good, pruned and discarded ones counted. Every method trains each
candidate for the task's full number of epochs (the published PANGAEA takes half) and is scored by validation loss.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
import torch
from optuna.trial import TrialState

from actune.discovery import search
from actune.discovery.settings import Method, method

STORED = report.RESULTS / "search.jsonl"
METHODS = "random,evolution,pangaea,better"


def chosen(name: str) -> Method:
    """A row of METHODS, or "better without surrogate, pruning"; full epochs for each candidate."""
    base, _, parts = name.partition(" without ")
    found = method(base).without(p.strip() for p in parts.split("+") if p.strip())
    return dataclasses.replace(found, budget=dataclasses.replace(found.budget, epochs=1.0))


def run(task: str, name: str, seed: int, trials: int, storage: Path | None) -> dict[str, Any]:
    """One study: the validation loss of each trial, None for what was pruned, discarded or diverged."""
    study = search(task, trials=trials, method=chosen(name), seed=seed, storage=storage, study=f"{task}, {name}, {seed}")
    losses = [t.user_attrs["validation_loss"] if t.state == TrialState.COMPLETE else None for t in study.trials]
    seconds = sum(t.duration.total_seconds() for t in study.trials if t.duration is not None)
    best = min((x, i) for i, x in enumerate(losses) if x is not None)[1]
    return {"losses": losses, "seconds": seconds, "best": study.trials[best].user_attrs["activation:activation"]}


def needed(losses: Sequence[float | None], bar: float) -> float:
    """The number of trials until one is as good as the bar; infinite if none is."""
    return next((i for i, x in enumerate(losses, 1) if x is not None and x <= bar), math.inf)


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the ends of the shortest interval of order statistics that holds it with a probability of 95 % or more."""
    x, n = sorted(values), len(values)
    below = 0.0
    for k in range(n // 2 + 1):  # the interval from x[k] to x[n - 1 - k] misses with twice the chance of so few below
        below += math.comb(n, k) / 2**n
        if 2 * below > 0.05:
            break
    low, high = (x[k - 1], x[n - k]) if k > 0 else (-math.inf, math.inf)
    middle = x[n // 2] if n % 2 else (x[n // 2 - 1] + x[n // 2]) / 2
    return middle, low, high


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The latest stored study of each method and seed of one task, in Markdown."""
    settings = {(r["settings"]["method"], r["settings"]["seed"]): r for r in rows}
    bars = {seed: min(x for x in r["losses"] if x is not None) for (name, seed), r in settings.items() if name == "random"}
    lines = ["| method | studies | trials needed, median (95 % interval) | reached | best loss, median (95 % interval) |",
             "| --- " * 5 + "|"]  # fmt: skip
    for name in dict.fromkeys(name for name, _ in settings):
        found = {seed: r for (n, seed), r in settings.items() if n == name and seed in bars}
        if found:
            lines.append(_line(name, found, bars))
    return "\n".join(lines)


def _line(name: str, found: dict[int, dict[str, Any]], bars: dict[int, float]) -> str:
    count = [needed(r["losses"], bars[seed]) for seed, r in found.items()]
    middle, low, high = median(count)
    best, least, most = median([min(x for x in r["losses"] if x is not None) for r in found.values()])
    reached = f"{sum(map(math.isfinite, count))} of {len(count)}"
    label = f"{name} (by definition)" if name == "random" else name
    trials = f"{_whole(middle)} ({_whole(low)} to {_whole(high)})"
    interval = f" ({least:.4f} to {most:.4f})" if math.isfinite(least) else ""
    return f"| {label} | {len(found)} | {trials} | {reached} | {best:.4f}{interval} |"


def _whole(x: float) -> str:
    return f"{x:g}" if math.isfinite(x) else "never" if x > 0 else "?"


def write() -> None:
    stored = report.read(STORED)
    tasks = dict.fromkeys((r["settings"]["task"], r["settings"]["trials"]) for r in stored)
    texts = []
    for task, trials in tasks:
        rows = [r for r in stored if (r["settings"]["task"], r["settings"]["trials"]) == (task, trials)]
        sources = dict.fromkeys(map(report.source, rows))
        texts.append("\n\n".join([f"`{task}`, {trials} trials a study:", table(rows), *sources]))
    report.write_block("search", "\n\n".join(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--studies", type=int, default=10, help="seeds 0, 1, …")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--methods", default=METHODS, help="separated by commas; parts to switch off by +")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--storage", type=Path, help="a file for the studies themselves: then one that was interrupted goes on")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table:
        write()
        return
    names = [name.strip() for name in options.methods.split(",")]
    for name in names:
        chosen(name)  # a wrong name fails now
    known = [r["settings"] for r in report.read(STORED)] if STORED.exists() else []
    for seed in range(options.first, options.first + options.studies):
        for name in names:
            settings = {"task": options.task, "method": name, "seed": seed, "trials": options.trials}
            if settings in known:
                continue
            found = run(options.task, name, seed, options.trials, options.storage)
            report.append(STORED, report.facts(**settings) | found)
            best = min(x for x in found["losses"] if x is not None)
            print(f"{name}, seed {seed}: best loss {best:.4f} ({found['best']}), {found['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
