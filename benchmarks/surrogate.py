"""Whether the Fisher information of the network tells the surrogate more than outputs do, on studies that `search.py` has stored.

    python benchmarks/search.py --task digits --methods random,evolution --studies 6 --storage studies.db
    python benchmarks/surrogate.py studies.db                                # --task, --rounds, --seed
    python benchmarks/surrogate.py --table                                   # write the stored result into README.md

Predicted: from n trials in a row of a study, the losses of its next 16; Spearman's correlation, and the rank among the 16 of the
one that is chosen. Searched: all candidates of one method are a pool, from which 16 at a time are drawn and one is chosen (at
first, and in three draws of ten later, any), until it is among the best 1 % of the pool. Differences are to outputs alone, with
standard errors.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import optuna
import report
import torch
from scipy.stats import rankdata, spearmanr

from actune.catalogue.registry import resolve
from actune.discovery import FinishedTrial, Fisher, Settings
from actune.discovery.proposers.surrogate import predict_ranks
from actune.discovery.study.ledger import finished_trials, objective_signs
from actune.discovery.study.seeds import training_seed
from actune.discovery.study.storage.opening import open_storage
from actune.experiments.tasks import task

STORED = report.RESULTS / "surrogate.jsonl"
SIZES, BATCH, START, EXPLORED = (12, 24, 48, 96), 16, Settings().start, 0.3
Chosen = Callable[[Sequence[FinishedTrial], Sequence[FinishedTrial]], list[float]]


def studies(storage: str, name: str) -> dict[str, list[list[FinishedTrial]]]:
    """The finished trials of each study by method, with what the probe of its task tells."""
    found: dict[str, list[list[FinishedTrial]]] = {}
    opened = open_storage(storage, 10, 30)
    for summary in optuna.get_all_study_summaries(opened):
        if summary.study_name.startswith(f"{name}, "):
            study = optuna.load_study(study_name=summary.study_name, storage=opened)
            assert objective_signs(study) == (1.0,)
            probe = Fisher(task(name), training_seed(study))
            trials = [replace(p, probed=probe(resolve(p.text))) for p in finished_trials(study, "activation:activation", -1)[0]]
            found.setdefault(summary.study_name.split(", ")[1], []).append(trials)
    return found


def by_outputs(past: Sequence[FinishedTrial], new: Sequence[FinishedTrial]) -> list[float]:
    return predict_ranks(past, [p.function for p in new])


def by_both(past: Sequence[FinishedTrial], new: Sequence[FinishedTrial]) -> list[float]:
    known = {resolve(p.text).text: p.probed for p in new}
    return predict_ranks(past, [p.function for p in new], lambda f: known[f.text])


def by_shortlist(past: Sequence[FinishedTrial], new: Sequence[FinishedTrial]) -> list[float]:
    """As a search does it: the best by their outputs, and of these the best by both; all others behind."""
    first = by_outputs(past, new)
    order = sorted(range(len(new)), key=first.__getitem__)[: Settings().shortlist]
    again = by_both(past, [new[i] for i in order])
    return [min(1e3, again[order.index(i)]) - 1e4 if i in order else x for i, x in enumerate(first)]


WAYS: dict[str, Chosen] = {"outputs": by_outputs, "outputs and Fisher": by_both, "a shortlist by both": by_shortlist}


def predicted(way: Chosen, trials: Sequence[Sequence[FinishedTrial]], size: int) -> list[tuple[float, float]]:
    """Correlation and rank of the chosen one, for each window."""
    found = []
    for study in trials:
        for at in range(0, len(study) - size - BATCH + 1, BATCH):
            new = study[at + size : at + size + BATCH]
            guess = [min(x, 1e9) for x in way(study[at : at + size], new)]
            losses = [min(p.loss, 1e9) for p in new]
            found.append((float(spearmanr(guess, losses)[0]), float(rankdata(losses)[guess.index(min(guess))])))
    return found


def searched(way: Chosen, pool: Sequence[FinishedTrial], rng: random.Random, most: int = 150) -> float:
    """The number of trials until one is among the best 1 % of the pool."""
    bar = sorted(p.loss for p in pool)[len(pool) // 100]
    left, seen = list(pool), list[FinishedTrial]()
    while len(seen) < most:
        drawn, guided = rng.sample(left, BATCH), rng.random() >= EXPLORED
        guess = way(seen, drawn) if guided and len(seen) >= START else [0.0] * BATCH
        chosen = drawn[guess.index(min(guess))]
        left.remove(chosen)
        seen.append(chosen)
        if chosen.loss <= bar:
            break
    return float(len(seen))


def measure(found: dict[str, list[list[FinishedTrial]]], rounds: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for method, trials in found.items():
        pool = list({p.text: p for study in trials for p in study}.values())
        for name, way in WAYS.items():
            cases = {size: predicted(way, trials, size) for size in SIZES}
            needed = [searched(way, pool, random.Random(f"{seed}:{i}")) for i in range(rounds)]
            rows.append(
                {"method": method, "studies": len(trials), "pool": len(pool), "way": name, "cases": cases, "needed": needed}
            )
            print(method, name, round(fmean(needed), 1), flush=True)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    head = ("candidates", "chosen by", *(f"from {n}: correlation, rank" for n in SIZES), "trials to the best 1 %")
    lines: list[tuple[str, ...]] = []
    for row in rows:
        base = next(r for r in rows if r["method"] == row["method"] and r["way"] == "outputs")
        cells = [_cell([c[1] for c in row["cases"][str(n)]], [c[1] for c in base["cases"][str(n)]]) for n in SIZES]
        rhos = [fmean(c[0] for c in row["cases"][str(n)]) for n in SIZES]
        found = (f"{r:.2f}, {c}" for r, c in zip(rhos, cells, strict=True))
        name = f"{row['method']} ({row['studies']} × 200)"
        lines.append((name, row["way"], *found, _cell(row["needed"], base["needed"], 1)))
    return report.markdown_table(head, lines)


def _cell(own: Sequence[float], base: Sequence[float], digits: int = 2) -> str:
    gaps = [a - b for a, b in zip(own, base, strict=True)]
    gap = f" ({fmean(gaps):+.{digits}f} ± {stdev(gaps) / math.sqrt(len(gaps)):.{digits}f})" if any(gaps) else ""
    return f"{fmean(own):.{digits}f}{gap}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", nargs="?", help="of studies named TASK, METHOD, SEED, as `search.py` names them")
    parser.add_argument("--task", default="digits")
    parser.add_argument("--rounds", type=int, default=200, help="of the search in a pool")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table:
        last = report.read_results(STORED)[-1]
        count = ", ".join(f"{len(last['rows'][0]['cases'][str(n)])} from {n}" for n in SIZES)
        text = f"`{last['settings']['task']}`; cases of {last['rows'][0]['method']}: {count}; {last['settings']['rounds']} searches"
        report.write_block("surrogate", f"{text}.\n\n{table(last['rows'])}\n\n{report.source_line(last)}")
        return
    found = studies(options.storage, options.task)
    settings = {"task": options.task, "rounds": options.rounds, "seed": options.seed}
    report.append_result(STORED, report.provenance(**settings) | {"rows": measure(found, options.rounds, options.seed)})


if __name__ == "__main__":
    main()
