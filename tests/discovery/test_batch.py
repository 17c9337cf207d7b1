"""A search whose trials train side by side: the same trials each time, counted, judged, pruned and recorded as one by one."""

from __future__ import annotations

import logging
import math
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from actune.catalogue.registry import resolve
from actune.discovery import Settings, Workers, replay, search
from actune.discovery.proposers.settings import Budget, Method
from actune.discovery.study.counting import finished, superseded
from actune.discovery.workers import together
from actune.experiments import Recipe, task, train
from actune.experiments.models.small import mlp

KEY = "activation:activation"
QUICK = Settings((("evolution", 1.0),), start=6, population=12, sample=4)
TINY = replace(task("digits"), name="tiny", recipe=Recipe(epochs=4), model=partial(mlp, inputs=64, outputs=10, layers=2))
PLAIN = Method(QUICK, Budget(first_rung=0))


def record(study):
    """What must agree between equal studies: all but times and the worker."""
    own = [{k: v for k, v in t.user_attrs.items() if k != "actune:worker"} for t in study.trials]
    return [(t.number, t.state, t.values, t.intermediate_values, attrs) for t, attrs in zip(study.trials, own, strict=True)]


def test_trials_are_those_of_their_formulas_and_exactly_as_many_as_asked(tmp_path):
    seen = []
    study = search(TINY, trials=7, seed=3, method=PLAIN, workers=Workers(together=3), progress=lambda s, t: seen.append(t.number))
    assert seen == list(range(7))
    origins = [t.user_attrs[f"{KEY}:origin"] for t in study.trials]
    assert [origin["seen"] for origin in origins] == [""] * 3 + ["0-2"] * 3 + ["0-5"]
    assert len({origin["fingerprint"] for origin in origins}) == 7
    (seed,) = {train_seed(study)}
    for t in study.trials:
        outcome = train(TINY, resolve(t.user_attrs[KEY]), seed)
        assert t.state == (TrialState.PRUNED if outcome.diverged else TrialState.COMPLETE)
        assert outcome.diverged or t.value == pytest.approx(outcome.validation_loss, rel=1e-3)
    assert replay(study) == {}


def train_seed(study):
    from actune.discovery.study.seeds import number_from, study_seed

    return number_from(study_seed(study), "training") % 2**31


@pytest.mark.parametrize("method", ["better", "random"])
def test_the_same_seed_gives_the_same_study(method, tmp_path):
    first = search(TINY, trials=9, seed=1, method=method, workers=Workers(together=4))
    assert record(search(TINY, trials=9, seed=1, method=method, workers=Workers(together=4), storage=tmp_path / "s.db")) == record(
        first
    )
    assert replay(first) == {}


def test_a_study_goes_on_one_by_one_or_side_by_side():
    study = search(TINY, trials=4, method=PLAIN, workers=Workers(together=4))
    search(TINY, trials=6, method=PLAIN, study=study)
    search(TINY, trials=9, method=PLAIN, study=study, workers=Workers(together=8))
    assert [t.number for t in finished(study.trials)] == list(range(9))


def test_hopeless_trials_are_pruned_and_the_others_go_on():
    hasty = Method(QUICK, Budget(first_rung=0.25, reduction=2, spared=0))
    study = search(TINY, trials=12, method=hasty, workers=Workers(together=6))
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED and "actune:diverged" not in t.user_attrs]
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert pruned
    assert complete
    assert all(max(t.intermediate_values) < 4 and "validation_loss" not in t.user_attrs for t in pruned)
    assert all(set(t.intermediate_values) == {1, 2} and math.isfinite(t.value) for t in complete)


def test_what_is_queued_and_what_diverges_counts():
    study = optuna.create_study()
    for text in ("sinh(sinh(100*x))", "no formula (", "relu"):
        study.enqueue_trial({}, user_attrs={KEY: text})
    search(TINY, trials=4, study=study, workers=Workers(together=4), method=PLAIN)
    assert [t.state.name for t in study.trials] == ["PRUNED", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[0].user_attrs["actune:diverged"] is True
    assert "is no activation function" in study.trials[1].user_attrs["actune:error"]


def test_a_batch_that_fails_is_trained_one_by_one_and_says_so(monkeypatch, caplog):
    def broken(*_, **__):
        raise MemoryError("too much at a time")

    def picky(t, f, seed, **named):
        if str(f) == "tanh":
            raise OSError("not this one")
        return train(t, f, seed, **named)

    monkeypatch.setattr(together, "train_together", broken)
    monkeypatch.setattr(together, "train", picky)
    study = optuna.create_study()
    for text in ("relu", "tanh"):
        study.enqueue_trial({}, user_attrs={KEY: text})
    with caplog.at_level(logging.WARNING):
        search(TINY, trials=3, study=study, workers=Workers(together=3), method=PLAIN)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[1].user_attrs["actune:error"] == "OSError: not this one"
    assert "trials 0, 1, 2 failed together with MemoryError: too much at a time" in caplog.text


def test_an_interrupted_batch_is_run_again(monkeypatch, tmp_path):
    real, calls = together.train_together, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(together, "train_together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(TINY, trials=8, storage=tmp_path / "s.db", method=PLAIN, workers=Workers(together=3))
    study = search(TINY, trials=8, storage=tmp_path / "s.db", method=PLAIN, workers=Workers(together=3))
    assert len(finished(study.trials)) == 8
    assert superseded(study.trials) == {3, 4, 5}
    again = {t.user_attrs[KEY] for t in study.trials[6:9]}
    assert again == {t.user_attrs[KEY] for t in study.trials[3:6]}
    assert replay(study) == {}


def test_every_trial_of_a_batch_gives_signs_of_life(monkeypatch, tmp_path):
    real, alive = together.train_together, []

    def watched(*args, **kwargs):
        alive.append(sum("_record_heartbeat" in t.name for t in threading.enumerate()))
        return real(*args, **kwargs)

    monkeypatch.setattr(together, "train_together", watched)
    search(TINY, trials=4, storage=tmp_path / "s.db", method=PLAIN, workers=Workers(together=3))
    assert alive == [3, 1]
    assert not any("_record_heartbeat" in t.name for t in threading.enumerate())


def test_a_killed_batch_is_run_again(tmp_path):
    code = f"""
import os, signal, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from actune.discovery import Workers, search
from actune.discovery.workers import together
from test_batch import PLAIN, TINY
tell, told = together._tell, []
def killed(study, trial, result):
    told.append(tell(study, trial, result))
    if len(told) == 5: os.kill(os.getpid(), signal.SIGKILL)
together._tell = killed
search(TINY, trials=8, storage={str(tmp_path / "s.db")!r}, method=PLAIN, workers=Workers(together=3))
"""
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    study = search(TINY, trials=8, storage=tmp_path / "s.db", method=PLAIN, workers=Workers(together=3))
    assert len(finished(study.trials)) == 8
    assert superseded(study.trials) == {5}
    assert study.trials[6].user_attrs[KEY] == study.trials[5].user_attrs[KEY]
    assert replay(study) == {}


@pytest.mark.parametrize("others", [{"count": 2}, {"device": "meta"}, {"task": lambda trial: 1.0}])
def test_side_by_side_is_for_one_worker_and_a_task_on_the_cpu(others):
    what = others.get("task", TINY)
    workers = {"together": 2} | {name: v for name, v in others.items() if name != "task"}
    with pytest.raises(ValueError, match="together=2 is for one worker, device='cpu' and a task; leave it out for anything else"):
        search(what, trials=1, workers=Workers(**workers))
    with pytest.raises(ValueError, match="together must be a positive whole number, got 0"):
        search(TINY, trials=1, workers=Workers(together=0))
