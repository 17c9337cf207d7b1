"""How soon each method of search reaches the best of so many random candidates on a task.

    python benchmarks/search.py --task digits --studies 10 --trials 200      # resumable: what is stored is not run again
    python benchmarks/search.py --methods "random,better,better without surrogate" --task digits
    python benchmarks/search.py --task fashion-mnist --studies 4 --trials 200 --methods random
    python benchmarks/search.py --task fashion-mnist --studies 4 --trials 100 --methods evolution,pangaea,better
    python benchmarks/search.py --first 20 --methods random,better           # seeds 20 to 29, on which no setting was chosen
    python benchmarks/search.py --table                                      # write the stored results into README.md

A study of each method has the same seed, so the same initial weights and batches. The bar of a seed is the best validation loss of
its longest random study; a method needs so many trials until one is as good, pruned and discarded ones counted. Every method trains
each candidate for the task's full number of epochs (the published PANGAEA takes half) and is scored by validation loss.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import report
import torch
from optuna.trial import TrialState

from actune.discovery import search
from actune.discovery.proposers.settings import Method, find_method
from actune.discovery.study.counting import finished

STORED = report.RESULTS / "search.jsonl"
METHODS = "random,evolution,pangaea,better"
GROUP = 10  # seeds of a table: README.md says what was chosen on which


def chosen(name: str) -> Method:
    """A row of METHODS, or "better without surrogate, pruning"; full epochs for each candidate."""
    base, _, parts = name.partition(" without ")
    found = find_method(base).without(p.strip() for p in parts.split("+") if p.strip())
    return dataclasses.replace(found, budget=dataclasses.replace(found.budget, epochs=1.0))


def run(task: str, name: str, seed: int, trials: int, storage: Path | None) -> dict[str, Any]:
    """One study: the validation loss of each trial, None for what was pruned, discarded or diverged."""
    study = search(task, trials=trials, method=chosen(name), seed=seed, storage=storage, study=f"{task}, {name}, {seed}")
    done = finished(study.get_trials())  # what an interruption left was run again, and counts once
    losses = [t.user_attrs["validation_loss"] if t.state == TrialState.COMPLETE else None for t in done]
    seconds = sum(t.duration.total_seconds() for t in done if t.duration is not None)
    best = min((x, i) for i, x in enumerate(losses) if x is not None)[1]
    return {"losses": losses, "seconds": seconds, "best": done[best].user_attrs["activation:activation"]}


def needed(losses: Sequence[float | None], bar: float) -> float:
    """The number of trials until one is as good as the bar; infinite if none is."""
    return next((i for i, x in enumerate(losses, 1) if x is not None and x <= bar), math.inf)


def told(values: Sequence[float], write: Callable[[float], str]) -> str:
    """The median, and the shortest interval of order statistics that holds it with 95 % or more; of too few values, all of them."""
    x, n = sorted(values), len(values)
    middle = statistics.median(x)
    missed, k = 2 / 2**n, 0  # by the interval from x[k] to x[n - 1 - k]: twice the chance that so few are below the median
    if missed > 0.05:
        return f"{write(middle)} ({', '.join(map(write, x))})"
    while missed + 2 * math.comb(n, k + 1) / 2**n <= 0.05:
        k += 1
        missed += 2 * math.comb(n, k) / 2**n
    return f"{write(middle)} ({write(x[k])} to {write(x[n - 1 - k])})"


Study = dict[str, Any]


def longest(rows: Sequence[Study]) -> dict[tuple[str, int], Study]:
    """The longest stored study of each method and seed, of equally long ones the latest."""
    return {(r["settings"]["method"], r["settings"]["seed"]): r for r in sorted(rows, key=lambda r: r["settings"]["trials"])}


def lowest(study: Study) -> float:
    return min(x for x in study["losses"] if x is not None)


def table(rows: Sequence[Study]) -> str:
    """What each method needed on one task, in Markdown."""
    studies = longest(rows)
    bars = {seed: lowest(r) for (name, seed), r in studies.items() if name == "random"}
    head = ("method", "studies, trials each", "trials needed, median (95 % interval; of few studies, all)", "reached", "best loss")
    lines = []
    for name in dict.fromkeys([*METHODS.split(","), *(name for name, _ in studies)]):
        found = {seed: r for (n, seed), r in studies.items() if n == name and seed in bars}
        if found:
            lines.append(_line(name, found, bars))
    return report.markdown_table(head, lines)


def _line(name: str, found: dict[int, Study], bars: dict[int, float]) -> tuple[str, ...]:
    count = [needed(r["losses"], bars[seed]) for seed, r in found.items()]
    best = [lowest(r) for r in found.values()]
    lengths = " or ".join(map(str, sorted({len(r["losses"]) for r in found.values()})))
    return (
        f"{name} (by definition)" if name == "random" else name,
        f"{len(found)}, {lengths}",
        told(count, lambda n: f"{n:g}" if math.isfinite(n) else "never"),
        f"{sum(map(math.isfinite, count))} of {len(count)}",
        told(best, lambda loss: f"{loss:.4f}"),
    )


def sources(rows: Sequence[Study]) -> list[str]:
    """The commands that make these studies, one for those of the same length, with versions."""
    lengths: dict[int, list[Study]] = {}
    for r in longest(rows).values():
        lengths.setdefault(r["settings"]["trials"], []).append(r)
    return list(dict.fromkeys(report.source_line(r | {"command": _command(same)}) for same in lengths.values() for r in same))


def _command(rows: Sequence[Study]) -> str:
    names = ",".join(dict.fromkeys(r["settings"]["method"] for r in rows))
    seeds, of = [r["settings"]["seed"] for r in rows], rows[0]["settings"]
    first = f" --first {min(seeds)}" if min(seeds) else ""
    studies = f"--studies {1 + max(seeds) - min(seeds)}{first}"
    return f"python benchmarks/search.py --task {of['task']} {studies} --trials {of['trials']} --methods {names}"


def write() -> None:
    groups: dict[tuple[str, int], list[Study]] = {}
    for r in report.read_results(STORED):
        groups.setdefault((r["settings"]["task"], r["settings"]["seed"] // GROUP), []).append(r)
    texts = []
    for (task, _), rows in sorted(groups.items()):
        seeds = [r["settings"]["seed"] for r in rows]
        texts += [f"`{task}`, seeds {min(seeds)} to {max(seeds)}:", table(rows), *sources(rows)]
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
    known = [r["settings"] for r in report.read_results(STORED)] if STORED.exists() else []
    for seed in range(options.first, options.first + options.studies):
        for name in names:
            settings = {"task": options.task, "method": name, "seed": seed, "trials": options.trials}
            if settings in known:
                continue
            found = run(options.task, name, seed, options.trials, options.storage)
            report.append_result(STORED, report.provenance(**settings) | found)
            print(f"{name}, seed {seed}: best loss {lowest(found):.4f} ({found['best']}), {found['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
