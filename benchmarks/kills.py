"""Searches and reproductions whose processes are killed at random moments: is anything lost?

    python benchmarks/kills.py --runs 30 --json results/kills.jsonl     # goes on where it was stopped
    python benchmarks/kills.py --reproduce --runs 1
    python benchmarks/kills.py --table

Each run is a search of 20 trials by 2 or 3 workers. Six times, at random moments, a worker (most often one that has begun to
train) or the command itself gets SIGKILL; the command is then given again. What the command had reported as finished is
compared with the study in the end. From the third on no trial ends before the first kill, or a quick search might see none.

With --reproduce each run is `actune reproduce --scale smoke --workers 2`, all experiments of all papers. Ten times a worker, the
command or both get SIGKILL; in the end each run must be one line of the results and one finished trial of the study.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import optuna
import torch
from optuna.trial import TrialState

import actune
from actune.discovery import Settings, Workers, best, replay, screen, suggest_activation
from actune.discovery.study.counting import finished, superseded
from actune.discovery.study.storage.opening import open_storage
from actune.kernels.operators import evaluate
from actune.papers import read_runs
from actune.papers.runs import planned_runs, run_key, select_experiments

TRIALS, KILLS = 20, 6
KILLED = "killed"  # a file that is there after the first kill
HEAD = ("storage", "runs", "killed workers", "killed commands", "trials run again", "runs with something wrong")
REPRODUCTION = "SQLite, `actune reproduce`"
SETTINGS = Settings(start=6, population=12, sample=4)


def objective(trial: optuna.Trial) -> float:
    """How far the function is from a sine on [-2, 2], after a pause that stands for the training."""
    f = suggest_activation(trial, settings=SETTINGS)
    training = Path(os.environ["KILLS_TRAINING"])
    (training / str(os.getpid())).touch()
    time.sleep(0.3 + 0.6 * Random(trial.number).random())
    while trial.number >= 2 and not (training / KILLED).exists():
        time.sleep(0.05)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    y = evaluate(f.expr, {"x": x, **dict(f.initial())})
    return float((y - torch.sin(x)).square().mean())


def search(storage: str, workers: int, reported: str, trials: int = TRIALS) -> None:
    """The command: search, and write down what is finished."""
    with open(reported, "a") as file:
        actune.search(
            objective, trials=trials, workers=Workers(workers, heartbeat=2, grace=6), storage=storage, study="kills",
            progress=lambda _, t: print(t.number, t.value, file=file, flush=True),
        )  # fmt: skip


def children(pid: int) -> list[int]:
    """Processes that a process has started, without the helpers of multiprocessing."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def run(seed: int, storage: str, folder: Path, trials: int = TRIALS, kills: int = KILLS) -> dict[str, object]:
    """One search with `kills` kills, and what is wrong with its study (nothing, it is hoped)."""
    rng, killed = Random(seed), {"worker": 0, "command": 0}
    workers, reported = rng.choice((2, 3)), folder / "reported.txt"
    code = f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}; import kills\n"
    code += f"if __name__ == '__main__': kills.search({storage!r}, {workers}, {str(reported)!r}, {trials})"
    start, log, training = time.monotonic(), folder / "errors.txt", folder / "training"
    training.mkdir()
    environment = {**os.environ, "KILLS_TRAINING": str(training)}
    while True:
        with log.open("a") as errors:
            command = subprocess.Popen([sys.executable, "-c", code], stderr=errors, stdin=subprocess.DEVNULL, env=environment)
        while command.poll() is None:
            time.sleep(rng.expovariate(1 / 2))
            crew = children(command.pid) if command.poll() is None else []
            if sum(killed.values()) < kills and crew and any(training.iterdir()):
                busy = [pid for pid in crew if (training / str(pid)).exists()]
                whom = "command" if rng.random() < 0.2 else "worker"
                os.kill(command.pid if whom == "command" else rng.choice(busy or crew), signal.SIGKILL)
                killed[whom] += 1
                (training / KILLED).touch()
        if command.wait() == 0:
            break
        if command.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the search ended with {command.returncode}: {log.read_text()[-2000:]}")
    wrong = check(storage, reported, trials)
    return {"seed": seed, "workers": workers, "killed": killed, "seconds": round(time.monotonic() - start, 1), **wrong}


def check(storage: str, reported: Path, trials: int) -> dict[str, object]:
    """How many trials the study has, and what is wrong with it."""
    study = optuna.load_study(study_name="kills", storage=open_storage(storage, 2, 6))
    all_trials, wrong = study.get_trials(), []
    done = finished(all_trials)
    if len(done) != trials:
        wrong.append(f"{len(done)} finished trials, not {trials}")
    origins = [t.user_attrs["activation:activation:origin"]["trial"] for t in done if t.state.name == "COMPLETE"]
    if len(set(origins)) != len(origins):
        wrong.append(f"candidates were finished twice: {sorted(n for n in set(origins) if origins.count(n) > 1)}")
    if left := [t.number for t in all_trials if not t.state.is_finished()]:
        wrong.append(f"unfinished: {left}")
    for number, value in {line.split()[0]: line.split()[1] for line in reported.read_text().splitlines()}.items():
        if str(all_trials[int(number)].value) != value or int(number) not in {t.number for t in done}:
            wrong.append(f"trial {number} was reported with {value}, the study has {all_trials[int(number)].value}")
    if different := replay(study):
        wrong.append(f"replayed differently: {different}")
    if screen(best(study)).fingerprint != study.best_trial.user_attrs["activation:activation:origin"]["fingerprint"]:
        wrong.append("the winner is not the best trial's candidate")
    return {"trials": len(all_trials), "finished": len(done), "run again": len(superseded(all_trials)), "wrong": wrong}


# -- actune reproduce ------------------------------------------------------------------------------------------------------


def reproduce(seed: int, folder: Path, selection: str | None = None, kills: int = 10) -> dict[str, object]:
    """One reproduction with `kills` kills, and what is wrong with its results."""
    rng, killed, start = Random(seed), {"worker": 0, "command": 0}, time.monotonic()
    code = f"import sys; sys.path[:0] = {sys.path!r}; from actune.cli import main\nif __name__ == '__main__': main()"
    arguments = [*([selection] if selection else []), "--scale", "smoke", "--workers", "2", "--results", str(folder)]
    while True:
        with (folder / "errors.txt").open("a") as errors:
            command = subprocess.Popen(
                [sys.executable, "-c", code, "reproduce", *arguments],
                stdout=errors, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        while command.poll() is None and sum(killed.values()) < kills:
            time.sleep(rng.uniform(0, 2))
            busy = [pid for pid in children(command.pid) if pid in running(folder, selection)]
            if command.poll() is None and busy:
                whom = rng.choice(("worker", "command", "both"))
                killed["worker" if whom == "worker" else "command"] += 1
                if whom == "both":
                    os.killpg(command.pid, signal.SIGKILL)
                else:
                    os.kill(rng.choice(busy) if whom == "worker" else command.pid, signal.SIGKILL)
        if command.wait() == 0:
            break
        if command.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the reproduction ended with {command.returncode}: {(folder / 'errors.txt').read_text()[-2000:]}")
    wrong = check_runs(folder, selection)
    return {"seed": seed, "workers": 2, "killed": killed, "seconds": round(time.monotonic() - start, 1), **wrong}


def runs_study(folder: Path, selection: str | None) -> optuna.Study:
    return optuna.load_study(study_name=f"reproduce {selection or 'all'} smoke", storage=open_storage(folder / "runs.db", 10, 30))


def running(folder: Path, selection: str | None) -> set[int]:
    """The processes that are at a run."""
    if not (folder / "runs.db").exists():
        return set()
    try:
        trials = runs_study(folder, selection).get_trials(states=(TrialState.RUNNING,))
    except KeyError:  # the study is not there yet
        return set()
    return {int(t.user_attrs["actune:worker"].rpartition(":")[2]) for t in trials if "actune:worker" in t.user_attrs}


def check_runs(folder: Path, selection: str | None) -> dict[str, object]:
    """How many trials the reproduction's study has, and what is wrong with them and with the lines."""
    trials = runs_study(folder, selection).get_trials()
    keys = {run_key(run) for paper, e in select_experiments(selection) for run in planned_runs(paper, e, "smoke")}
    lines = Counter(line["key"] for line in read_runs(folder))
    done = Counter(t.user_attrs["key"] for t in finished(trials) if t.state == TrialState.COMPLETE)
    wrong = [
        f"{what}: {len(keys - counts.keys())} runs lost, {sum(counts.values()) - len(counts)} twice"
        for what, counts in (("lines", lines), ("trials", done))
        if counts != Counter(keys)
    ]
    return {"trials": len(trials), "finished": len(finished(trials)), "run again": len(superseded(trials)), "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", type=Path, default=Path("results/kills.jsonl"))
    parser.add_argument("--reproduce", action="store_true", help="kill `actune reproduce`, not searches")
    parser.add_argument("--table", action="store_true", help="write what is stored into README.md")
    given = parser.parse_args()
    import report  # here, so that the tests can import this file from anywhere

    stored = report.read_results(given.json)
    if given.table:
        sources = {r["command"]: report.source_line(r) for r in stored}  # the latest of each
        report.write_block("kills", "\n\n".join([report.markdown_table(HEAD, rows(stored)), *sources.values()]))
        return
    known = {r["seed"] for r in stored if (r["storage"] == REPRODUCTION) == given.reproduce}
    for seed in sorted(set(range(given.runs)) - known):
        with tempfile.TemporaryDirectory() as folder:
            if given.reproduce:
                result = {"storage": REPRODUCTION, **reproduce(seed, Path(folder))}
            else:
                kind = "journal" if seed % 3 == 2 else "SQLite"
                storage = f"{'journal:' if kind == 'journal' else ''}{folder}/study.{'log' if kind == 'journal' else 'db'}"
                result = {"storage": kind, **run(seed, storage, Path(folder))}
        print(result, flush=True)
        report.append_result(given.json, report.provenance(seed=seed) | result)


def rows(runs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The stored runs by storage, as they stand below `HEAD`."""
    found = []
    for kind in sorted({r["storage"] for r in runs}):
        of = [r for r in runs if r["storage"] == kind]
        killed = [sum(r["killed"][who] for r in of) for who in ("worker", "command")]
        counts = (len(of), *killed, sum(r["run again"] for r in of), sum(bool(r["wrong"]) for r in of))
        found.append((kind, *map(str, counts)))
    return found


if __name__ == "__main__":
    main()
