"""The surrogate: what it knows of a function, what it predicts, and that its choice is better than none."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from actune.discovery import History, Past, Settings, screen
from actune.discovery.surrogate import features, predict, surrogate
from actune.family import resolve

QUANTILES = scipy.stats.norm.ppf((np.arange(64) + 0.5) / 64)
# 200 random candidates of `digits`, each with its validation loss there (None: it diverged).
TRAINED = [json.loads(line) for line in (Path(__file__).parent / "trained.jsonl").read_text().splitlines()]


def past(trained):
    return [Past(i, t["text"], math.inf if t["loss"] is None else t["loss"], str(i)) for i, t in enumerate(trained)]


def test_features_are_values_and_slopes_at_normal_quantiles():
    z = features("a*tanh(b*x); a=2, b=0.5")
    assert z.shape == (128,)
    assert np.sinh(z[:64].astype(float)) == pytest.approx(2 * np.tanh(QUANTILES / 2), abs=1e-5)
    assert np.sinh(z[64:].astype(float)) == pytest.approx(1 / np.cosh(QUANTILES / 2) ** 2, abs=1e-5)
    assert np.array_equal(features("relu"), features("max(x, 0)"))
    assert features("1/x + 1/(x - x)") is None
    assert features("1").shape == (128,)


def test_predictions_rank_what_was_not_seen():
    """Trained on one half of the stored candidates, tested on the other."""
    rng = random.Random(0)
    correlations = []
    for _ in range(5):
        drawn = rng.sample(past(TRAINED), len(TRAINED))
        known, new = drawn[:64], drawn[64:]
        predicted = predict(known, [p.text for p in new])
        correlations.append(scipy.stats.spearmanr(predicted, [min(p.loss, 1e9) for p in new])[0])
    assert min(correlations) > 0.6


def test_losses_count_by_their_order_alone():
    known = past(TRAINED)[:40]
    texts = [p.text for p in past(TRAINED)[40:60]]
    squashed = [Past(p.number, p.text, math.atan(p.loss), p.fingerprint) for p in known]
    assert predict(known, texts) == predict(squashed, texts)


def test_what_was_pruned_ranks_behind_by_its_last_report():
    texts = ("x", "sin(5*x)", "exp(x)")
    for second, third in ((2.0, 3.0), (3.0, 2.0), (2.0, math.inf), (math.inf, 2.0)):
        pruned = [Past(1, texts[1], math.inf, "1", second), Past(2, texts[2], math.inf, "2", third)]
        best, *others = predict([Past(0, texts[0], 9.0, "0"), *pruned], texts)
        assert best < min(others)
        assert (others[0] < others[1]) == (second < third)


def test_what_is_not_finite_is_the_last_and_little_is_known_at_first():
    assert predict([], ["x", "1/(x - x)"]) == [0.5, math.inf]
    assert predict(past(TRAINED)[:9], ["x", "1/(x - x)"])[1] == math.inf


def test_the_chosen_child_is_the_best_of_its_batch_in_the_prediction():
    """A good loss for what resembles tanh: batches from the surrogate resemble it more than single draws do."""
    history = History(Past(i, t["text"], float(np.square(features(t["text"]) - features("tanh(x)")).mean()), str(i))
                      for i, t in enumerate(TRAINED) if features(t["text"]) is not None)  # fmt: skip
    mixture = (("surrogate", 1.0), ("random", 1.0))

    def distances(batch):
        settings = Settings(mixture, start=4, batch=batch)
        found = [draft for seed in range(40) if (draft := surrogate(history, random.Random(seed), settings)) is not None]
        return [np.square(features(draft.text) - features("tanh(x)")).mean() for draft in found]

    assert np.median(distances(16)) < 0.5 * np.median(distances(1))


def test_the_first_choices_are_not_ranked_and_what_was_seen_is_not_chosen():
    settings = Settings((("surrogate", 1.0), ("catalogue", 1.0)), start=1000)
    few = History(past(TRAINED)[:20])
    assert len({surrogate(few, random.Random(seed), settings).text for seed in range(12)}) > 8
    tried = History(Past(0, "tanh", 0.1, screen(resolve("tanh")).fingerprint) for _ in range(3))
    assert "tanh" not in {surrogate(tried, random.Random(seed), settings).text for seed in range(40)}
