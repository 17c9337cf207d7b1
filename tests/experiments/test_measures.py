"""Each measure against an independent definition, by its direction and in its format; tasks name the measures they are about."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
import torch
from quadrants import TINY
from torch import nn

from actune.experiments import MEASURES, compare, train
from actune.experiments.losses import LOSSES

RNG = np.random.RandomState(0)
SCORES, CLASSES = RNG.normal(size=(300, 7)), RNG.randint(0, 7, 300)
CLASSES[CLASSES == 5] = 4  # a class that is predicted and never true
LIKELY = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
NUMBERS, TARGETS = RNG.normal(size=(200, 3)), RNG.normal(size=(200, 3))
ANOMALY = RNG.randint(0, 2, 200)
TIED = np.round(RNG.normal(size=200) + 0.5 * ANOMALY, 1)  # many equal scores


def measured(name: str, outputs: np.ndarray, targets: np.ndarray, loss: float = math.nan) -> float:
    return MEASURES[name].value(torch.from_numpy(outputs), torch.from_numpy(targets), loss)


def test_classes_are_counted_as_by_scikit_learn():
    assert measured("accuracy", SCORES, CLASSES) == sklearn.metrics.accuracy_score(CLASSES, SCORES.argmax(1))
    top = sklearn.metrics.top_k_accuracy_score(CLASSES, SCORES, k=5, labels=range(7))
    assert measured("top-5 accuracy", SCORES, CLASSES) == pytest.approx(top)
    without = SCORES - 100 * np.eye(7)[3]  # a class that is never predicted, and never true below
    for scores, classes in ((SCORES, CLASSES), (SCORES, CLASSES % 2), (without, CLASSES % 3)):
        f1 = sklearn.metrics.f1_score(classes, scores.argmax(1), average="macro")
        assert measured("macro F1", scores, classes) == pytest.approx(f1)
    assert measured("top-5 accuracy", SCORES[:, :3], CLASSES % 3) == 1


def test_likelihoods_are_those_of_scikit_learn():
    nats = sklearn.metrics.log_loss(CLASSES, LIKELY, labels=range(7))
    assert measured("nats per character", SCORES, CLASSES) == pytest.approx(nats)
    assert measured("bits per character", SCORES, CLASSES) == pytest.approx(nats / math.log(2))
    assert measured("perplexity", SCORES, CLASSES) == pytest.approx(math.exp(nats))
    text = SCORES.reshape(30, 10, 7), CLASSES.reshape(30, 10)  # a character at each place
    assert measured("perplexity", *text) == pytest.approx(math.exp(nats))
    assert measured("accuracy", *text) == measured("accuracy", SCORES, CLASSES)


@pytest.mark.parametrize("scores", [TIED, RNG.normal(size=200), np.zeros(200), 5.0 * ANOMALY, -5.0 * ANOMALY])
def test_the_area_under_the_curve_is_that_of_scikit_learn_and_of_all_pairs(scores):
    found = measured("AUROC", scores, ANOMALY)
    assert found == pytest.approx(sklearn.metrics.roc_auc_score(ANOMALY, scores))
    pairs = scores[ANOMALY == 1][:, None] - scores[ANOMALY == 0]
    assert found == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert measured("AUROC", scores[:, None], ANOMALY.astype(float)[:, None]) == found
    assert measured("AUROC", np.stack([np.full(200, 3.0), scores + 3], 1), ANOMALY) == pytest.approx(found)  # scores of two classes


def test_the_area_under_the_curve_without_pairs_and_without_numbers():
    assert math.isnan(measured("AUROC", TIED, np.zeros(200)))
    assert measured("AUROC", np.full(200, math.nan), ANOMALY) == 0.5
    far = np.where(ANOMALY == 1, math.inf, TIED)
    assert measured("AUROC", far, ANOMALY) == 1


def test_errors_are_those_of_scikit_learn():
    assert measured("RMSE", NUMBERS, TARGETS) == pytest.approx(math.sqrt(sklearn.metrics.mean_squared_error(TARGETS, NUMBERS)))
    assert measured("MAE", NUMBERS, TARGETS) == pytest.approx(sklearn.metrics.mean_absolute_error(TARGETS, NUMBERS))
    assert measured("loss", NUMBERS, TARGETS, 0.25) == 0.25


@pytest.mark.parametrize("name", MEASURES)
def test_a_better_network_has_the_better_number(name):
    m = MEASURES[name]
    if m.classes is False:
        targets, good, bad = TARGETS, TARGETS + 0.1, TARGETS + 1
    else:
        targets = ANOMALY
        good, bad = (np.stack([-ANOMALY, ANOMALY], 1) * sign * 4.0 + 0.1 * SCORES[:200, :2] for sign in (1, -1))
        if name == "top-5 accuracy":  # two classes are always among the first five
            targets, good, bad = CLASSES, np.eye(7)[CLASSES], -np.eye(7)[CLASSES]
    a, b = (measured(name, outputs, targets, loss) for outputs, loss in ((good, 0.1), (bad, 0.9)))
    assert m.over(a, b) > 0 > m.over(b, a)
    assert m.over(a, a) == 0
    nothing = np.full_like(good, math.nan)
    broken = measured(name, nothing, targets, math.inf)
    assert not math.isnan(broken)
    assert m.over(a, broken) > 0


def test_measures_are_written_in_their_units():
    written = {name: (m.show(0.5), m.gain.format(m.signed(0.25))) for name, m in MEASURES.items()}
    assert written["macro F1"] == ("50.0 %", "+25.0 points")
    assert written["AUROC"] == ("50.0 %", "+25.0 points")
    assert written["perplexity"] == ("0.50", "a gain of +0.25")
    assert written["RMSE"] == ("0.500", "a gain of +0.250")


def test_every_loss_has_a_measure_for_its_targets():
    assert all(MEASURES[loss.measure].classes in (None, loss.classes) for loss in LOSSES.values())


def test_a_comparison_is_about_the_first_measure_of_its_task():
    t = replace(TINY, measures=("macro F1", "top-5 accuracy"))
    c = compare(t, ["tanh"], seeds=2)
    assert c.measure is MEASURES["macro F1"]
    assert c.verdict().count("macro F1") == 1
    for row in c.rows:
        scores = [o.test_scores for o in row.outcomes]
        assert all(s.keys() == {"macro F1", "top-5 accuracy", "accuracy"} for s in scores)
        assert row.score.mean == pytest.approx(np.mean([s["macro F1"] for s in scores]))
    assert c.to_json()["functions"][0]["macro F1"]["mean"] == c.rows[0].score.mean


def test_where_a_smaller_number_is_better_the_order_turns():
    c = compare(replace(TINY.with_recipe(epochs=10), measures=("perplexity",)), ["tanh"], seeds=2)
    assert c.rows[0].score.mean < c.rows[1].score.mean
    other = next(r for r in c.rows if r.difference is not None)
    assert (other.difference.mean > 0) == (c.rows[0] is other)


def test_scores_are_those_of_the_outputs():
    seen: list[nn.Module] = []
    t = replace(TINY, measures=("macro F1",), model=lambda activation: seen.append(TINY.model(activation)) or seen[-1])
    outcome = train(t, nn.Tanh, 0, test=True)
    for part, scores in ((TINY.split(0).validation, outcome.validation_scores), (TINY.split(0).test, outcome.test_scores)):
        with torch.no_grad():
            predicted = seen[0](part.inputs).argmax(1)
        assert scores["macro F1"] == pytest.approx(sklearn.metrics.f1_score(part.targets, predicted, average="macro"))
        assert scores["accuracy"] == sklearn.metrics.accuracy_score(part.targets, predicted)


def test_a_task_with_a_measure_that_does_not_suit_is_refused():
    with pytest.raises(ValueError, match=r"the task 'tiny' has the measure 'acuracy'; did you mean 'accuracy'\? \(known: "):
        replace(TINY, measures=("acuracy",))
    with pytest.raises(ValueError, match="the measure 'RMSE' of the task 'tiny' is for numbers; the loss 'cross_entropy' is not"):
        replace(TINY, measures=("accuracy", "RMSE"))
