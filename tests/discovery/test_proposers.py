"""Proposers: ours mixed by weight, a user's own beside them, and what a broken or hostile one costs: a line in the log."""

from __future__ import annotations

import collections
import dataclasses
import inspect
import logging
import math
import random
import re
import sys
from pathlib import Path

import optuna
import pytest
import scipy.stats
from optuna.trial import TrialState

import actune
from actune.catalogue.registry import FAMILIES, resolve
from actune.discovery import (
    PROPOSERS,
    Draft,
    FinishedTrial,
    History,
    Screening,
    Settings,
    propose,
    replay,
    screen,
    suggest_activation,
)
from actune.discovery.proposers.mixture import find_function

KEY = "activation:activation"
LOSSES = (0.5, 0.9, 0.2, math.inf, 0.7, 0.3, 0.4, 0.8)
TEXTS = ("tanh(x)", "erf(x)", "x*tanh(x)", "exp(x)", "atan(x)", "asinh(x)", "softsign(x)", "x*x")
HISTORY = History(
    FinishedTrial(i, t, loss, screen(resolve(t)).fingerprint) for i, (t, loss) in enumerate(zip(TEXTS, LOSSES, strict=True))
)
OWN = Settings((), start=4)  # and a user's own, of weight 1


def fixed(text):
    return lambda history, rng: text


def plain(proposal):
    """The proposal with its function as text, to be compared."""
    return dataclasses.replace(proposal, function=str(proposal.function))


def mixed(proposers, n=400, **settings):
    """How often each proposer gave the candidate."""
    used = Settings(tuple(proposers.items()), start=4, **settings)
    return collections.Counter(propose(HISTORY, random.Random(seed), used).proposer for seed in range(n))


@pytest.mark.parametrize("name", PROPOSERS)
def test_each_of_ours_gives_new_candidates_and_is_a_pure_function(name):
    settings = Settings(((name, 1.0),), start=4)
    found = [propose(HISTORY, random.Random(seed), settings) for seed in range(12)]
    assert [*map(plain, found)] == [plain(propose(tuple(HISTORY), random.Random(seed), settings)) for seed in range(12)]
    assert len({p.function.text for p in found}) > 6
    for p in found:
        assert p.proposer == name
        assert screen(p.function) == Screening(None, p.fingerprint)
        assert not HISTORY.has_seen(p.fingerprint)


def test_proposers_are_mixed_by_weight():
    counts = mixed({"random": 1.0, "evolution": 3.0, "catalogue": 0.0})
    assert set(counts) == {"random", "evolution"}
    assert scipy.stats.binomtest(counts["random"], 400, 0.25).pvalue > 1e-4


def test_a_family_is_proposed_as_itself_until_all_were_tried():
    settings = Settings((("catalogue", 1.0),))
    assert all(FAMILIES[propose((), random.Random(seed), settings).function.name] for seed in range(10))
    every = History(FinishedTrial(i, name, 1.0, screen(resolve(name)).fingerprint) for i, name in enumerate(FAMILIES))
    assert propose(every, random.Random(0), settings).proposer == "evolution"


def test_the_history_is_what_was_promised():
    seen = []
    propose(HISTORY, random.Random(0), OWN, ["p"], {"mine": lambda history, rng: seen.append((history, rng)) or "sin(x)"})
    ((history, rng),) = seen
    assert list(history) == list(HISTORY)
    assert [past.text for past in history[:2]] == ["tanh(x)", "erf(x)"]
    assert isinstance(rng, random.Random)
    assert [past.number for past in history.latest(3)] == [5, 6, 7]
    with pytest.raises(AttributeError):
        history[0].loss = 0.0


def test_a_users_proposer_joins():
    settings = Settings((("random", 1.0), ("mine", 3.0)), start=4)
    mine = {"mine": lambda history, rng: f"{rng.uniform(1, 2)}*sin(x) + x"}
    counts = collections.Counter(propose(HISTORY, random.Random(seed), settings, (), mine).proposer for seed in range(200))
    assert scipy.stats.binomtest(counts["mine"], 200, 0.75).pvalue > 1e-4
    found = propose(HISTORY, random.Random(0), OWN, (), {"mine": fixed("  sin( x )+b*x;b=2 ")})
    assert (str(found.function), found.proposer, found.kind) == ("sin(x) + b*x; b=2", "mine", "mine")
    found = propose(HISTORY, random.Random(0), OWN, (), {"mine": fixed("ReLU")})
    assert str(found.function) == "relu"
    found = propose(HISTORY, random.Random(0), OWN, (), {"mine": fixed(Draft(resolve("sin(x)"), "crossover", (1, 2)))})
    assert (found.kind, found.parents) == ("crossover", (1, 2))


def test_contributing_says_what_the_table_takes():
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    (arguments,) = re.findall(r"`\(([a-z, ]*)\) -> Draft \| None`", text)
    assert PROPOSERS
    for proposer in PROPOSERS.values():
        assert [*inspect.signature(proposer).parameters] == arguments.split(", ")


def test_a_row_of_the_table_as_contributing_says(monkeypatch):
    def steeper(history, rng, settings, probe):
        return Draft(resolve(f"tanh({len(history) + 1 + rng.random()}*x)"), "steeper") if len(history) < 3 else None

    monkeypatch.setitem(PROPOSERS, "steeper", steeper)
    settings = Settings((("steeper", 1.0),))
    study = actune.search(lambda trial: len(suggest_activation(trial).text), trials=5, settings=settings)
    origins = [t.user_attrs[f"{KEY}:origin"] for t in study.trials]
    assert [o["proposer"] for o in origins] == [*["steeper"] * 3, "evolution", "evolution"]  # another steps in
    assert replay(study) == {}


def raising(error):
    def proposer(history, rng):
        raise error

    return proposer


BROKEN = {
    "raises": (raising(RuntimeError("no\nnetwork")), "RuntimeError: no network"),
    "exits": (raising(SystemExit(3)), "SystemExit: 3"),
    "gives nothing": (fixed(None), "it returned None"),
    "gives a function": (fixed(math.tanh), "got tanh; write 'tanh'"),
    "gives bytes": (fixed(b"tanh(x)"), "got bytes"),
    "a draft of no function": (fixed(Draft(7)), "got int"),
    "code": (fixed("__import__('os').system('touch hacked')"), "cannot read the formula"),
    "a lambda": (fixed("lambda x: x"), "cannot read the formula"),
    "prose": (fixed("Sure! Here is a formula: x*tanh(x)"), "cannot read the formula"),
    "empty": (fixed(""), "cannot read the formula"),
    "unknown": (fixed("swsh(x)"), "unknown function 'swsh'"),
    "no value": (fixed("a*tanh(x)"), "no initial value for a"),
    "huge": (fixed("tanh(x)+" * 100_000 + "x"), "characters"),
    "deep": (fixed("tanh(" * 90 + "x" + ")" * 90), "larger than the space"),
    "wide": (fixed("+".join(["x*tanh(x)"] * 400)), "larger than the space"),
    "infinite": (fixed("exp(exp(x))"), "cannot be trained: not finite"),
    "constant": (fixed("1 + 1"), "cannot be trained: constant"),
    "known": (fixed("2*sigmoid(2*x) - 1"), "was tried before"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_proposer_costs_a_line_and_another_steps_in(what, caplog):
    broken, reason = BROKEN[what]
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs={KEY: "tanh(x)"})
    study.optimize(lambda t: float(bool(suggest_activation(t))), n_trials=1)
    settings = Settings((("broken", 1.0),), start=0)  # nobody else: evolution steps in
    with caplog.at_level(logging.WARNING, "actune"):
        f = suggest_activation(study.ask(), settings=settings, proposers={"broken": broken})
    assert screen(f).reason is None
    (line,) = (r.getMessage() for r in caplog.records if r.name.startswith("actune"))
    assert line.startswith("trial 1: the proposer 'broken' was passed over: ")
    assert reason in line
    assert "\n" not in line
    assert len(line) < 300
    assert study.trials[1].user_attrs[f"{KEY}:origin"]["proposer"] == "evolution"
    assert replay(study) == {}


def test_what_comes_from_outside_is_screened_also_without_screening():
    settings = Settings((("mine", 1.0),), screening=False)
    assert propose(HISTORY, random.Random(0), settings, (), {"mine": fixed("1/x")}).proposer == "evolution"


def test_a_study_with_a_users_proposer_replays():
    """With the function every candidate is derived; without it, its own are only read again."""

    def mine(history, rng):
        if rng.random() < 0.3:
            raise OSError("busy")
        return f"{rng.uniform(1, 2)!r}*sin(x) + x"

    settings = Settings((("evolution", 1.0),), start=3)
    study = optuna.create_study()
    study.optimize(lambda t: float(suggest_activation(t, settings=settings, proposers={"mine": mine}).expr.size()), n_trials=25)
    origins = [t.user_attrs[f"{KEY}:origin"] for t in study.trials]
    assert {o["proposer"] for o in origins} == {"mine", "evolution"}
    assert any("failed" in o for o in origins)
    assert replay(study) == replay(study, {"mine": mine}) == {}
    assert set(replay(study, {"mine": fixed("cos(x)")})) == {f"{t.number}:activation" for t in study.trials
                                                             if t.user_attrs[f"{KEY}:origin"]["proposer"] == "mine"}  # fmt: skip


def test_replay_reads_again_what_it_cannot_derive():
    study = optuna.create_study()
    study.optimize(lambda t: float(bool(suggest_activation(t, settings=OWN, proposers={"mine": fixed("sin(x) + x")}))), n_trials=1)
    study._storage._studies[study._study_id].trials[0].user_attrs[KEY] = "cos(x)"
    assert replay(study) == {"0:activation": "'cos(x)' is not what 'mine' proposed"}


@pytest.mark.parametrize(
    ("settings", "proposers", "message"),
    [
        (Settings((("evolutoin", 1.0),)), {}, "unknown proposer 'evolutoin'; did you mean 'evolution'"),
        (Settings((("mine", 1.0),)), {}, "unknown proposer 'mine'"),
        (Settings(), {"random": fixed("x")}, "'random', which is one of ours"),
        (Settings((("random", -1.0),)), {}, "weight of the proposer 'random' must be"),
        (Settings((("random", math.nan),)), {}, "weight of the proposer 'random' must be"),
        (Settings((("random", 0.0),)), {}, "no proposer has a positive weight"),
        (Settings(()), {}, "no proposer has a positive weight"),
    ],
)
def test_wrong_mixtures(settings, proposers, message):
    with pytest.raises(ValueError, match=message):
        actune.search(lambda t: 0.0, trials=1, settings=settings, proposers=proposers)
    with pytest.raises(ValueError, match=message):
        propose((), random.Random(0), settings, (), proposers)


def test_find_function(tmp_path, monkeypatch):
    (tmp_path / "ideas_of_mine.py").write_text("def propose(history, rng):\n    return 'sin(x)'\n\nnothing = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_function("ideas_of_mine:propose")(HISTORY, random.Random(0)) == "sin(x)"
    for name in ("ideas_of_mine", "ideas_of_mine:", ":propose", "ideas_of_mine:nothing", "ideas_of_mine:other", "no.such:propose"):
        with pytest.raises(ValueError, match="mymodule:propose"):
            find_function(name)
    sys.modules.pop("ideas_of_mine")


FAILING = {
    "x = 1\n1 / 0\n": (2, "ZeroDivisionError: division by zero"),
    "def propose(history, rng)\n    return 1\n": (1, "SyntaxError: expected ':'"),
    "import torch\n\ntorch.nn.Linear(2, None)\n": (3, "TypeError: "),  # raised deep inside of torch
    "\nimport no_such_package\n": (2, "ModuleNotFoundError: No module named 'no_such_package'"),
    "import sys\nsys.exit(0)\n": (2, "SystemExit: 0"),
    "raise ValueError('one\\ntwo')\n": (1, "ValueError: one two"),
}


@pytest.mark.parametrize("argument", ["task", "proposer"])
@pytest.mark.parametrize("source", FAILING)
def test_a_module_that_fails_is_named_with_the_error_and_its_place(source, argument, tmp_path, monkeypatch):
    line, said = FAILING[source]
    (tmp_path / "broken_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("broken_of_mine", None)
    with pytest.raises(ValueError, match=f"{argument}=") as failed:
        find_function("broken_of_mine:propose", argument)
    told = str(failed.value)
    place = f"{tmp_path / 'broken_of_mine.py'}:{line}"
    assert told.startswith(f"{argument}='broken_of_mine:propose': importing 'broken_of_mine' failed at {place} with {said}")
    assert "\n" not in told


def test_a_failed_trial_keeps_its_candidate():
    study = optuna.create_study()
    trial = study.ask()
    suggest_activation(trial, proposers={"mine": fixed("sin(x)")}, settings=OWN)
    study.tell(trial, state=TrialState.FAIL)
    assert study.trials[0].user_attrs[KEY] == "sin(x)"
