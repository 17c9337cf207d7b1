"""Studies as searches leave them, written without a training."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna

from actune.discovery.proposers.settings import METHODS
from actune.discovery.proposers.space import Space, candidate_family, mutate, parametrise, random_formula
from actune.discovery.study.storage.opening import open_storage

ERRORS = ("RuntimeError: CUDA out of memory", "ValueError: cannot read <img src=x onerror=\"document.title='hit'\">")


def write_study(path: Path, count: int, *, name: str = "digits", seed: int = 0, without: tuple[str, ...] = ()) -> optuna.Study:
    """A study of a task in a new SQLite file; `without` leaves out what some trials have ("course")."""
    study = optuna.create_study(study_name=name, storage=open_storage(path, 10, 30))
    budget = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(METHODS["better"].budget).items()}
    for key, value in {"actune:task": "digits", "actune:seed": 0, "actune:budget": budget | {"batch_size": 64}}.items():
        study.set_user_attr(key, value)
    tables: dict[str, list[tuple[Any, ...]]] = {"trials": [], "values": [], "reports": [], "attributes": []}
    for n, trial in enumerate(_trials(count, random.Random(seed), without)):
        begun = datetime(2026, 11, 1) + timedelta(seconds=3 * n)
        tables["trials"].append((n + 1, n, 1, trial["state"], str(begun), str(begun + timedelta(seconds=2.5))))
        tables["values"] += [(n + 1, 0, trial["value"], "FINITE")] * (trial["state"] == "COMPLETE")
        tables["reports"] += [(n + 1, step, value, "FINITE") for step, value in trial["reports"].items()]
        tables["attributes"] += [(n + 1, key, json.dumps(value)) for key, value in trial["attributes"].items()]
    with sqlite3.connect(path) as file:
        file.executemany("insert into trials values (?, ?, ?, ?, ?, ?)", tables["trials"])
        file.executemany("insert into trial_values (trial_id, objective, value, value_type) values (?, ?, ?, ?)", tables["values"])
        file.executemany("insert into trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
                         "values (?, ?, ?, ?)", tables["reports"])  # fmt: skip
        file.executemany("insert into trial_user_attributes (trial_id, key, value_json) values (?, ?, ?)", tables["attributes"])
    file.close()
    return optuna.load_study(study_name=name, storage=open_storage(path, 10, 30))


def _trials(count: int, rng: random.Random, without: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Trials of a search by evolution, of which the losses fall slowly and some are pruned or fail."""
    space, pool = Space(), []
    for n in range(count):
        if n < 12:
            kind, parents, e = "random", [], random_formula(rng, space)
        else:
            parent = min(rng.sample(range(max(0, len(pool) - 200), len(pool)), min(len(pool), 8)), key=lambda i: pool[i][1])
            kind, e = mutate(pool[parent][0], rng, space)
            parents = [pool[parent][2]]
        f = candidate_family(parametrise(e, rng, space))
        loss = 0.08 + rng.lognormvariate(-1 - min(n, 3000) / 1500, 0.9)
        state = rng.choices(("COMPLETE", "PRUNED", "FAIL"), (0.7, 0.27, 0.03))[0]
        origin = {"trial": n, "proposer": "surrogate" if n % 3 else "evolution", "kind": kind, "parents": parents,
                  "seen": f"0-{n - 1}" if n else "", "pending": [], "fingerprint": f"{n:016x}"}  # fmt: skip
        attributes: dict[str, Any] = {"actune:worker": f"host:{100 + n % 4}", "activation:activation:origin": origin}
        attributes |= {"activation:activation": str(f), "actune:trained": f"{n:016x}"}
        if state == "COMPLETE":
            pool.append((e, loss, n))
            attributes |= {"validation_accuracy": 1 - loss / 4, "validation_loss": loss}
            if f.params and "course" not in without:
                attributes["actune:course"] = {f"{layer}.{p}": _course(rng) for p in f.params for layer in (1, 3, 5)}
        if state == "FAIL":
            attributes["actune:error"] = ERRORS[n % 2]
        yield {"state": state, "value": loss, "reports": {5: loss + 0.3} if state == "PRUNED" else {}, "attributes": attributes}


def _course(rng: random.Random) -> list[list[float]]:
    steps = [round(1 + rng.gauss(0.02, 0.01) * epoch, 4) for epoch in range(20)]
    return [[v, round(v - 0.1, 4), round(v + 0.1, 4)] for v in steps]
