"""What a study costs: two workers of a search beside two training loops without a study, on the same candidates in the same run.

    python benchmarks/overhead.py --json results/overhead.jsonl     # --task, --trials, --rounds, --storage
    python benchmarks/overhead.py --table

Each round searches, then trains what was found again, in the same order, in two processes that share nothing but a counter. Time
runs from the first training's start to the last one's end; the start of the processes does not count for either.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import optuna
import report

import actune
from actune.catalogue.registry import resolve
from actune.discovery import suggest_activation
from actune.experiments.tasks import task
from actune.experiments.training.loop import one_thread, train

WORKERS = 2
BAR = 0.95


def objective(trial: optuna.Trial, name: str) -> float:
    """Train a task in full; a candidate that diverges is worth nothing, and took its time."""
    return finite(train(task(name), suggest_activation(trial), 0).validation_loss)


def finite(loss: float) -> float:
    return loss if loss == loss else float("inf")


def searched(name: str, trials: int, storage: str) -> tuple[float, list[str]]:
    """Seconds of a search, and the candidates in the order of their trials."""
    study = actune.search(partial(objective, name=name), trials=trials, workers=WORKERS, storage=storage, study="overhead")
    done = study.get_trials()
    begin, end = min(t.datetime_start for t in done), max(t.datetime_complete for t in done)
    return (end - begin).total_seconds(), [t.user_attrs["activation:activation"] for t in done]


def plain(name: str, candidates: list[str]) -> float:
    """Seconds of two training loops over the same candidates."""
    context = multiprocessing.get_context("spawn")
    counter, ready, spans = context.Value("i", 0), context.Barrier(WORKERS), context.Queue()
    processes = [context.Process(target=loop, args=(name, candidates, counter, ready, spans)) for _ in range(WORKERS)]
    for p in processes:
        p.start()
    found = [spans.get() for _ in processes]
    for p in processes:
        p.join()
    return max(end for _, end in found) - min(begin for begin, _ in found)


def loop(name: str, candidates: list[str], counter: Any, ready: Any, spans: Any) -> None:
    chosen = task(name)
    ready.wait()
    begin = time.time()
    with one_thread():
        while True:
            with counter.get_lock():
                number, counter.value = counter.value, counter.value + 1
            if number >= len(candidates):
                break
            train(chosen, resolve(candidates[number]), 0)
    spans.put((begin, time.time()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="digits")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--storage", choices=("SQLite", "journal"), default="SQLite")
    parser.add_argument("--json", type=Path, default=Path("results/overhead.jsonl"))
    parser.add_argument("--table", action="store_true", help="write what is stored into README.md")
    given = parser.parse_args()
    if given.table:
        stored = report.read_results(given.json)
        report.write_block("overhead", "\n\n".join([table(stored), *map(report.source_line, stored)]))
        return
    rounds = []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            storage = f"{'journal:' if given.storage == 'journal' else ''}{folder}/study"
            seconds, candidates = searched(given.task, given.trials, storage)
        rounds.append({"search": seconds, "plain": plain(given.task, candidates), "trials": len(candidates)})
        print(f"round {number}: {rounds[-1]}, {rounds[-1]['plain'] / seconds:.3f}", flush=True)
    settings = {name: getattr(given, name) for name in ("task", "trials", "rounds", "storage")}
    result = {"task": given.task, "storage": given.storage, "workers": WORKERS, "rounds": rounds}
    report.append_result(given.json, report.provenance(**settings) | result)
    print(table([result]))


def table(results: list[dict[str, Any]]) -> str:
    """The speed of searches over that of plain loops, as a table."""
    head = ("task", "storage", "trials, rounds", f"speed of a search over plain loops: median (all); wanted ≥ {BAR}")
    rows = []
    for r in results:
        ratios = sorted(x["plain"] / x["search"] for x in r["rounds"])
        told = f"{statistics.median(ratios):.3f} ({', '.join(f'{x:.3f}' for x in ratios)})"
        rows.append((r["task"], r["storage"], f"{r['rounds'][0]['trials']}, {len(ratios)}", told))
    return report.markdown_table(head, rows)


if __name__ == "__main__":
    main()
