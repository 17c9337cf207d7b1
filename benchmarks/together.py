"""Small networks side by side: seconds a network of `train_together`, beside `train` one by one, on the same networks.

    python benchmarks/together.py                       # measure, store in results/together.jsonl, print; --rounds, --networks
    python benchmarks/together.py --table               # write the stored results into README.md

One function with several seeds, as in a comparison, and several random candidates with one seed, as in a search. Every round trains
the same networks in every way, each time in another order; 20 epochs of each task, one thread, whose time on the processor counts,
so that what else runs on the machine does not.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import report
import timing
import torch
from candidates import candidates

from actune.experiments import Outcome, Task, task, train
from actune.experiments.training.together import is_stackable, train_together

STORED = report.RESULTS / "together.jsonl"
TASKS = ("digits", "ood-harmonic")
FUNCTIONS = ("relu", "swish")
SIZES = (1, 4, 8, 16)  # networks in a stack
EPOCHS, SEED = 20, 0
Pair = tuple[Any, int]  # an activation and a seed


def stacks(t: Task, pairs: Sequence[Pair], size: int) -> list[Outcome]:
    """All networks, so many at a time."""
    found: list[Outcome] = []
    for start in range(0, len(pairs), size):
        some = pairs[start : start + size]
        found += train_together(t, [a for a, _ in some], [seed for _, seed in some])
    return found


def measured(t: Task, pairs: Sequence[Pair], rounds: int) -> dict[str, Any]:
    """Seconds a network in each round, by stack size, 0: one by one; and by how much the losses after an epoch differ."""
    ways: dict[int, Callable[[], list[Outcome]]] = {0: lambda: [train(t, a, seed) for a, seed in pairs]}
    ways |= {size: lambda size=size: stacks(t, pairs, size) for size in SIZES if size <= len(pairs)}
    seconds: dict[int, list[float]] = {size: [] for size in ways}
    found: dict[int, list[Outcome]] = {}
    order, rng = list(ways), random.Random(SEED)
    for _ in range(rounds):
        rng.shuffle(order)
        for size in order:
            start = time.process_time()
            found[size] = ways[size]()
            seconds[size].append((time.process_time() - start) / len(pairs))
    first = [[o.history[0] for o in found[size]] for size in (0, max(ways))]
    differences = [abs(b / a - 1) for a, b in zip(*first, strict=True) if a < float("inf")]
    return {"seconds": {str(size): each for size, each in seconds.items()}, "difference": max(differences)}


def measure(rounds: int, networks: int) -> list[dict[str, Any]]:
    drawn = [f for f, _ in zip(candidates(SEED), range(networks), strict=False)]
    whats: dict[str, list[Pair]] = {f"{name}, {networks} seeds": [(name, seed) for seed in range(networks)] for name in FUNCTIONS}
    whats[f"{networks} random candidates, 1 seed"] = [(f, SEED) for f in drawn]
    results = []
    for name in TASKS:
        t = task(name).with_recipe(epochs=EPOCHS)
        assert all(is_stackable(t, a) for pairs in whats.values() for a, _ in pairs)
        stacks(t, whats[f"relu, {networks} seeds"][:1], 1)  # imports
        for what, pairs in whats.items():
            results.append({"task": name, "what": what} | measured(t, pairs, rounds))
            print(row(results[-1]), flush=True)
    return results


def row(result: dict[str, Any]) -> list[str]:
    """How many times as fast as one by one, for each stack size."""
    seconds = result["seconds"]
    alone = sorted(seconds["0"])[len(seconds["0"]) // 2]
    gains = [str(timing.ratio(seconds["0"], seconds[str(size)])) if str(size) in seconds else "" for size in SIZES]
    return [result["task"], result["what"], f"{alone:.2f} s", *gains, f"{result['difference']:.1g}"]


def table(result: dict[str, Any]) -> str:
    header = ["task", "networks", "one by one, a network", *(f"stacks of {size}" for size in SIZES), "largest difference"]
    return report.markdown_table(header, map(row, result["results"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        results = measure(options.rounds, options.networks)
        report.append_result(
            STORED, report.provenance(rounds=options.rounds, seed=SEED, epochs=EPOCHS, threads=1) | {"results": results}
        )
        print(table(report.read_results(STORED)[-1]))
        return
    last = report.read_results(STORED)[-1]
    lines = (
        "How many times as fast as `train` one by one: median (quartiles) of the rounds; and the largest relative difference of a "
        "validation loss after the first epoch.",
        table(last),
        report.source_line(last),
    )
    report.write_block("together", "\n\n".join(lines))


if __name__ == "__main__":
    main()
