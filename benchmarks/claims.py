"""Does a discovered function beat the usual ones? A search, its leaders on fresh seeds, and the winner on seeds fresher still.

    python benchmarks/claims.py --task ood-harmonic --together 8 --storage claims.db      # goes on where it was stopped
    python benchmarks/claims.py --task cifar10 --trials 40 --share 0.2 --leaders 3 --seeds 5 --rivals relu,silu,gelu
    python benchmarks/claims.py --table                                                   # write the stored results into README.md

The search sees validation data on one seed, the ranking on five others; the comparison has test data and seeds that neither used.
It is paired by seed, each rival against the winner, corrected by Holm's method: the claim holds if the winner is better than all.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

import report

from actune.discovery import Workers, best, confirm, search
from actune.discovery.proposers.settings import find_method
from actune.experiments.comparison import Comparison, compare
from actune.experiments.stats import LEVEL

STORED = report.RESULTS / "claims.jsonl"
RIVALS = "relu,gelu,gelu_sine,gelu_sinc"


def run(options: argparse.Namespace) -> dict[str, Any]:
    """A search and what its winner is worth."""
    better = find_method("better")
    better = dataclasses.replace(better, budget=dataclasses.replace(better.budget, epochs=options.share))
    ranking = dataclasses.replace(better.ranking, leaders=options.leaders, runs=options.runs)
    name = f"{options.task}, {options.share:g} of the epochs, seed {options.seed}"
    study = search(options.task, trials=options.trials, workers=Workers(options.workers, together=options.together), method=better,
                   seed=options.seed, storage=options.storage, study=name,
                   progress=lambda s, t: print(t.number, t.value, flush=True))  # fmt: skip
    confirm(study, options.task, ranking=ranking, workers=options.workers, together=options.together)
    winner = best(study)
    print(f"the winner: {winner}", flush=True)
    rivals = options.rivals.split(",")
    compared = compare(options.task, rivals, baseline=winner, seeds=options.seeds, workers=options.workers,
                       together=options.together)  # fmt: skip
    return {"winner": winner.text, "name": compared.baseline, "study trials": len(study.trials), **facts(compared)}


def facts(compared: Comparison) -> dict[str, Any]:
    """The comparison as plain data, of each training what was tested."""
    told = compared.to_json()
    for function in told["functions"]:
        function["outcomes"] = [{k: o[k] for k in ("test_loss", "test_scores", "diverged")} for o in function["outcomes"]]
    return {"comparison": told}


def line(row: dict[str, Any]) -> tuple[str, ...]:
    """A task's line: the winner, what it beats, and by how much, with intervals and corrected p."""
    told, settings = row["comparison"], row["settings"]
    own = next(f for f in told["functions"] if f["name"] == row["name"])
    measure, cells, holds = told["measure"], [], True
    for f in told["functions"]:
        if f is own:
            continue
        worse = f["difference"]["mean"] < 0 and f["p_corrected"] is not None and f["p_corrected"] < LEVEL
        holds &= worse
        d = f["difference"]
        interval = f"{-d['high']:+.3g} to {-d['low']:+.3g}"
        cells.append(f"{f['name']} {f[measure]['mean']:.4g}: {-d['mean']:+.3g} ({interval}), p = {f['p_corrected']:.2g}")
    says = "better than all" if holds else "not better than all"
    own_worth = f"{measure} {own[measure]['mean']:.4g}"
    where = (settings["task"], str(settings["trials"]))
    return (*where, f"`{row['name']}`", own_worth, "<br>".join(cells), str(len(told["seeds"])), says)


def write() -> None:
    latest = {r["settings"]["task"]: r for r in report.read_results(STORED)}
    gains = "each rival, the winner's gain over it (95 % interval)"
    head = ("task", "trials", "winner", "on the test part", gains, "seeds", "it is")
    sources = dict.fromkeys(report.source_line(r) for r in latest.values())
    report.write_block("claims", "\n\n".join([report.markdown_table(head, map(line, latest.values())), *sources]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="ood-harmonic")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--share", type=float, default=1.0, help="of the task's epochs, for each trial of the search")
    parser.add_argument("--leaders", type=int, default=10, help="so many are trained again on fresh seeds, in full")
    parser.add_argument("--runs", type=int, default=5, help="trainings of each of them")
    parser.add_argument("--seeds", type=int, default=20, help="of the comparison")
    parser.add_argument("--rivals", default=RIVALS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="more than one: the candidates depend on who is faster")
    parser.add_argument("--together", type=int, default=1, help="perceptrons that train side by side")
    parser.add_argument("--storage", type=Path, help="a file for the study: then a search that was interrupted goes on")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        write()
        return
    names = ("task", "trials", "share", "leaders", "runs", "seeds", "rivals", "seed", "workers", "together")
    settings = {name: getattr(options, name) for name in names}
    if settings in [r["settings"] for r in report.read_results(STORED)]:
        print("stored already")
        return
    report.append_result(STORED, report.provenance(**settings) | run(options))


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
