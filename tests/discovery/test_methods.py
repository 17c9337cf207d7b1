"""Methods of search: the settings of the paper, parts that can be switched off, pruning, the floor, several objectives."""

from __future__ import annotations

import dataclasses
import logging
import math
from functools import partial

import optuna
import pytest
from optuna.trial import TrialState

import actune
from actune.catalogue.registry import FAMILIES, family, resolve
from actune.discovery import (
    METHODS,
    OBJECTIVES,
    PARTS,
    Budget,
    Method,
    SearchError,
    Settings,
    best,
    front,
    function_cost,
    replay,
    search,
)
from actune.discovery.proposers.settings import find_method
from actune.discovery.study.ledger import finished_trials
from actune.discovery.study.seeds import number_from
from actune.discovery.workers import objective
from actune.experiments.models.small import mlp
from actune.experiments.recipe import Recipe
from actune.experiments.tasks import task
from actune.experiments.training.loop import train

KEY = "activation:activation"
TINY = dataclasses.replace(
    task("digits"), name="tiny", recipe=Recipe(epochs=4), model=partial(mlp, inputs=64, outputs=10, layers=2)
)
RANDOM = Settings((("random", 1.0),))


def queued(*texts, directions=("minimize",)):
    study = optuna.create_study(directions=directions)
    for text in texts:
        study.enqueue_trial({}, user_attrs={KEY: text})
    return study


# -- settings --------------------------------------------------------------------------------------------------------------


def test_pangaea_has_the_settings_of_the_paper():
    m = METHODS["pangaea"]
    assert m.settings.proposers == (("evolution", 1.0),)
    assert (m.settings.population, m.settings.sample, m.settings.start, m.settings.mutations) == (64, 16, 64, 1)
    assert (m.settings.screening, m.settings.space.families, m.settings.space.parameters) == (False, 0.0, 3)
    assert (len(m.settings.space.unary), len(m.settings.space.binary)) == (27, 7)
    assert m.budget == Budget(objectives=("error",), epochs=0.5, floor=0.2, first_rung=0)
    assert (m.ranking.leaders, m.ranking.runs, m.ranking.finalists) == (10, 2, 3)
    assert m.ranking.epochs / m.budget.epochs == 2  # leaders are trained twice as long


@pytest.mark.parametrize("name", METHODS)
def test_each_method_searches_and_replays(name):
    m = METHODS[name]
    small = dataclasses.replace(m, settings=dataclasses.replace(m.settings, start=4, population=8, sample=3))
    study, again = (search(TINY, trials=9, method=small, seed=1) for _ in range(2))
    origins = [t.user_attrs[f"{KEY}:origin"] for t in study.trials]
    assert [(t.values, t.user_attrs) for t in study.trials] == [
        (t.values, t.user_attrs | {"actune:worker": study.trials[0].user_attrs["actune:worker"]}) for t in again.trials
    ]
    assert {o["proposer"] for o in origins} <= {n for n, _ in m.settings.proposers}
    assert replay(study) == {}
    if name in ("pangaea", "evolution"):
        assert all(bool(o["parents"]) == (i >= 4) for i, o in enumerate(origins))
    if name == "pangaea":
        assert all(o["kind"] in ("random", "insert", "remove", "change", "regenerate") for o in origins)


def test_pangaea_trains_what_screening_would_reject():
    study = search(TINY, trials=40, method="pangaea")
    assert any(t.state == TrialState.PRUNED for t in study.trials)
    assert all(t.values[0] <= 0.8 for t in study.trials if t.state == TrialState.COMPLETE)
    assert study.best_value == min(1 - t.user_attrs["validation_accuracy"] for t in study.trials)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_switched_off_alone(part):
    on = METHODS["fisher"]  # has them all
    off = on.without([part])
    assert off != on
    assert off == off.without([part])
    changed = [f.name for f in dataclasses.fields(Method) if getattr(off, f.name) != getattr(on, f.name)]
    assert len(changed) == 1


def test_what_is_switched_off_is_off():
    names = dict(METHODS["better"].without(["surrogate", "catalogue"]).settings.proposers)
    assert set(names) == {"evolution", "random"}
    study = search(TINY, trials=25, without=["surrogate", "catalogue", "pruning"])
    origins = [t.user_attrs[f"{KEY}:origin"] for t in study.trials]
    assert {o["proposer"] for o in origins} == {"evolution", "random"}
    assert not any(t.intermediate_values for t in study.trials)
    assert replay(study) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "pangea"}, "unknown method of search 'pangea'; did you mean 'pangaea'"),
        ({"without": ["surogate"]}, "unknown part of a search 'surogate'; did you mean 'surrogate'"),
        ({"objectives": ("lost",)}, "unknown objective 'lost'; did you mean 'loss'"),
        ({"objectives": ()}, "objectives must be different names"),
        ({"objectives": ("loss", "loss")}, "objectives must be different names"),
    ],
)
def test_wrong_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        search(TINY, trials=1, **arguments)


def test_a_study_keeps_how_its_candidates_are_trained():
    study = search(TINY, trials=1)
    with pytest.raises(ValueError, match=r"was begun with first_rung=0.25, now 0; choose"):
        search(TINY, trials=2, study=study, without=["pruning"])
    with pytest.raises(ValueError, match="objectives"):
        search(TINY, trials=2, study=study, method="pangaea")
    assert (
        len(search(TINY, trials=2, study=study, method=find_method("better").without(["surrogate"])).trials) == 2
    )  # bred otherwise


# -- training --------------------------------------------------------------------------------------------------------------


def test_hopeless_trials_are_pruned_at_the_rungs():
    """Eight that learn, then two that do not: these end at the first rung, unless they are spared."""
    texts = [f"tanh({1 + i / 10}*x)" for i in range(8)] + ["1e-6*x", "2e-6*x"]
    ends = {}
    for spared in (8, 10):
        study = queued(*texts)
        search(TINY, trials=10, study=study, method=Method(RANDOM, Budget(spared=spared)))
        ends[spared] = [t.state for t in study.trials]
        assert all(set(t.intermediate_values) <= {1, 2} for t in study.trials)
        assert study.trials[0].intermediate_values[1] > study.trials[0].value
    assert ends[8][:8] == ends[10][:8] == [TrialState.COMPLETE] * 8
    assert ends[8][8:] == [TrialState.PRUNED] * 2
    assert ends[10][8:] == [TrialState.COMPLETE] * 2


def test_nothing_is_pruned_before_the_share_of_epochs_is_over():
    """A quarter of five epochs is two of them, not one."""
    study = search(TINY.with_recipe(epochs=5), trials=1, method=Method(RANDOM, Budget(first_rung=0.25)))
    assert set(study.trials[0].intermediate_values) == {2, 4}


def test_pruned_trials_are_the_worst_but_tell_the_surrogate():
    study = queued(*[f"tanh({1 + i / 10}*x)" for i in range(8)], "1e-6*x")
    search(TINY, trials=9, study=study, method=Method(RANDOM, Budget(spared=8)))
    history, pending = finished_trials(study, KEY, -1)
    assert pending == []
    assert history[8].loss == math.inf > history[8].reported > max(past.loss for past in history[:8])


def test_pruning_is_the_same_with_workers(tmp_path):
    """The pruner is set in every process."""
    study = search(TINY, trials=14, workers=2, storage=tmp_path / "s.db", method=Method(RANDOM, Budget(spared=4)))
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED and "actune:diverged" not in t.user_attrs]
    assert pruned
    assert all(max(t.intermediate_values) in (1, 2) for t in pruned)


def test_below_the_floor_is_discarded_and_counts():
    study = queued("tanh(x)", "1e-6*x")
    search(TINY, trials=2, study=study, method=Method(RANDOM, Budget(floor=0.5, first_rung=0)))
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert study.trials[1].user_attrs["validation_accuracy"] < 0.5


def test_a_candidate_may_have_a_share_of_the_epochs():
    losses = {}
    for share in (0.5, 1.0):
        study = queued("tanh(x)")
        search(TINY, trials=1, study=study, method=Method(RANDOM, Budget(epochs=share, first_rung=0)))
        losses[share] = study.best_value
    seed = number_from(0, "training") % 2**31
    for share, epochs in ((0.5, 2), (1.0, 4)):
        assert losses[share] == train(TINY.with_recipe(epochs=epochs), "tanh(x)", seed).validation_loss


# -- objectives ------------------------------------------------------------------------------------------------------------


def test_several_objectives_give_a_front_and_say_that_nothing_is_pruned(caplog):
    with caplog.at_level(logging.WARNING, "actune"):
        study = search(TINY, trials=20, objectives=("loss", "cost"), seed=2)
    (line,) = {r.getMessage() for r in caplog.records if r.name.startswith("actune")}
    assert line == "several objectives (loss, cost): nothing is pruned, Optuna has no reports for them"
    for t in study.trials:
        if t.state == TrialState.COMPLETE:
            assert t.values == [t.user_attrs["validation_loss"], function_cost(resolve(t.user_attrs[KEY]))]
    found = front(study)
    points = [values for _, values in found]
    assert len(found) > 1
    assert points == sorted(points)
    assert [c for _, c in points] == sorted((c for _, c in points), reverse=True)  # better in one only at the expense of the other
    assert {tuple(t.values) for t in study.best_trials} == set(points)  # Optuna's own front
    assert best(study).text == found[0][0].text
    assert replay(study) == {}


def test_objectives_of_a_trial():
    study = search(TINY, trials=3, objectives=("error",), settings=RANDOM)
    for t in study.trials:
        if t.state == TrialState.COMPLETE:
            assert t.value == 1 - t.user_attrs["validation_accuracy"]
    assert set(OBJECTIVES) == {"loss", "error", "cost"}


def test_a_task_without_classes_has_no_error_and_no_floor(monkeypatch):
    without = lambda *args, **kw: dataclasses.replace(train(*args, **kw), validation_scores={})  # noqa: E731
    monkeypatch.setattr(objective, "train", without)
    with pytest.raises(SearchError, match=r"needs a task with classes, this one has none; say objectives=\('loss',\)"):
        search(TINY, trials=12, objectives=("error",), settings=RANDOM)
    study = search(TINY, trials=2, method=Method(RANDOM, Budget(floor=0.9, first_rung=0)))
    assert study.best_value > 0


def test_cost_counts_instructions_and_needs_no_clock():
    assert (
        function_cost(resolve("x + 1"))
        < function_cost(resolve("relu"))
        < function_cost(resolve("tanh(x)"))
        < function_cost(resolve("tanh(x) + erf(x)"))
    )
    assert function_cost(resolve("tanh(x) + square(tanh(x))")) < function_cost(
        resolve("tanh(x) + square(tanh(2*x))")
    )  # a common part counts once
    frozen = dataclasses.replace(family("swish"), params={"beta": actune.Param(1.0, trainable=False)})
    assert function_cost(frozen) < function_cost(family("swish"))  # no gradient of the parameter
    assert function_cost(resolve("mittag_leffler(x, 0.8, 1)")) > 1000


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_has_a_cost(name):
    assert (function_cost(family(name)) == 0) == (name == "identity")
    assert function_cost(family(name)) < 50_000
