"""The surrogate: what it knows of a function, what it predicts, and that its choice is better than none."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from actune.catalogue.registry import FAMILIES, resolve
from actune.discovery import FinishedTrial, History, Settings, screen
from actune.discovery.proposers.surrogate import are_familiar, draw_promising, output_features, predict_ranks
from actune.kernels.operators import evaluate

QUANTILES = scipy.stats.norm.ppf((np.arange(64) + 0.5) / 64)
# 200 random candidates of `digits`, each with its validation loss there (None: it diverged).
TRAINED = [json.loads(line) for line in (Path(__file__).parent / "trained.jsonl").read_text().splitlines()]


def past(trained):
    return [FinishedTrial(i, t["text"], math.inf if t["loss"] is None else t["loss"], str(i)) for i, t in enumerate(trained)]


def plain(draft):
    """The draft with its function as text, to be compared."""
    return replace(draft, function=str(draft.function))


def test_features_are_values_and_slopes_at_normal_quantiles():
    z = output_features(resolve("a*tanh(b*x); a=2, b=0.5"))
    assert z.shape == (128,)
    assert np.sinh(z[:64].astype(float)) == pytest.approx(2 * np.tanh(QUANTILES / 2), abs=1e-5)
    assert np.sinh(z[64:].astype(float)) == pytest.approx(1 / np.cosh(QUANTILES / 2) ** 2, abs=1e-5)
    assert np.array_equal(output_features(resolve("relu")), output_features(resolve("max(x, 0)")))
    assert output_features(resolve("1/x + 1/(x - x)")) is None
    assert output_features(resolve("1")).shape == (128,)


@pytest.mark.parametrize("spec", [*FAMILIES, "a*tanh(b*x) + apalu(x); a=1, b=1", "x*pi", "a*sin(x); a=2.5"])
def test_features_are_those_of_the_kernels(spec):
    """Node by node as in one program, to the digits of float32."""
    f = resolve(spec)
    x = torch.from_numpy(np.concatenate([QUANTILES - 1e-3, QUANTILES + 1e-3]))
    below, above = np.split(evaluate(f.expr, {"x": x, **dict(f.initial())}).expand(128).numpy(), 2)
    expected = np.arcsinh(np.concatenate([(below + above) / 2, (above - below) / 2e-3]))
    assert output_features(f) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_predictions_rank_what_was_not_seen():
    """Trained on one half of the stored candidates, tested on the other."""
    rng = random.Random(0)
    correlations = []
    for _ in range(5):
        drawn = rng.sample(past(TRAINED), len(TRAINED))
        known, new = drawn[:64], drawn[64:]
        predicted = predict_ranks(known, [p.function for p in new])
        correlations.append(scipy.stats.spearmanr(predicted, [min(p.loss, 1e9) for p in new])[0])
    assert min(correlations) > 0.6


def test_losses_count_by_their_order_alone():
    known = past(TRAINED)[:40]
    texts = [p.function for p in past(TRAINED)[40:60]]
    squashed = [FinishedTrial(p.number, p.text, math.atan(p.loss), p.fingerprint) for p in known]
    assert predict_ranks(known, texts) == predict_ranks(squashed, texts)


def test_what_was_pruned_ranks_behind_by_its_last_report():
    texts = ("x", "sin(5*x)", "exp(x)")
    for second, third in ((2.0, 3.0), (3.0, 2.0), (2.0, math.inf), (math.inf, 2.0)):
        pruned = [FinishedTrial(1, texts[1], math.inf, "1", second), FinishedTrial(2, texts[2], math.inf, "2", third)]
        best, *others = predict_ranks([FinishedTrial(0, texts[0], 9.0, "0"), *pruned], [*map(resolve, texts)])
        assert best < min(others)
        assert (others[0] < others[1]) == (second < third)


def test_what_is_not_finite_is_the_last_and_little_is_known_at_first():
    assert predict_ranks([], [*map(resolve, ("x", "1/(x - x)"))]) == [0.5, math.inf]
    assert predict_ranks(past(TRAINED)[:9], [*map(resolve, ("x", "1/(x - x)"))])[1] == math.inf


def test_the_chosen_child_is_the_best_of_its_batch_in_the_prediction():
    """A good loss for what resembles tanh: batches from the surrogate resemble it more than single draws do."""
    known = [(t["text"], z) for t in TRAINED if (z := output_features(resolve(t["text"]))) is not None]
    history = History(FinishedTrial(i, text, float(np.square(z - output_features(resolve("tanh(x)"))).mean()), str(i))
                      for i, (text, z) in enumerate(known))  # fmt: skip
    mixture = (("surrogate", 1.0), ("random", 1.0))

    def distances(batch):
        settings = Settings(mixture, start=4, batch=batch)
        found = [draft for seed in range(40) if (draft := draw_promising(history, random.Random(seed), settings)) is not None]
        return [np.square(output_features(draft.function) - output_features(resolve("tanh(x)"))).mean() for draft in found]

    assert np.median(distances(16)) < 0.5 * np.median(distances(1))


def test_the_first_choices_are_not_ranked_and_what_was_seen_is_not_chosen():
    settings = Settings((("surrogate", 1.0), ("catalogue", 1.0)), start=1000)
    few = History(past(TRAINED)[:20])
    assert len({draw_promising(few, random.Random(seed), settings).function.text for seed in range(12)}) > 8
    tried = History(FinishedTrial(0, "tanh", 0.1, screen(resolve("tanh")).fingerprint) for _ in range(3))
    assert "tanh" not in {str(draw_promising(tried, random.Random(seed), settings).function) for seed in range(40)}


# -- with a probe ----------------------------------------------------------------------------------------------------------


def told(text):
    """What outputs do not tell: a number for each function that has nothing to do with it."""
    return random.Random(text).uniform(-1, 1)


def probe(f):
    return (told(f.text), 3.0)


SECRET = [
    FinishedTrial(i, t["text"], told(resolve(t["text"]).text), str(i), probed=probe(resolve(t["text"])))
    for i, t in enumerate(TRAINED)
]


def test_what_has_the_outputs_of_a_tried_function_comes_last():
    """`a*tanh(b*x)` begins as `tanh(x)`: the surrogate cannot tell them apart. Without novelty it proposes them."""
    history = History(
        FinishedTrial(i, text, i / 10, text) for i, text in enumerate(("tanh(x)", "a*tanh(x); a=1", "sin(x)", "relu(x)"))
    )
    settings = Settings((("surrogate", 1.0), ("evolution", 1.0)), start=2)
    blind = replace(settings, novelty=0.0)
    chosen = {s: [draw_promising(history, random.Random(seed), s).function for seed in range(20)] for s in (settings, blind)}
    known = {s: sum(are_familiar(history, texts, 0.003)) for s, texts in chosen.items()}
    assert known[settings] == 0 < known[blind]


def test_familiar_is_what_begins_with_the_same_outputs():
    history = History([FinishedTrial(0, "tanh(x)", 0.1, "tanh")])
    texts = [*map(resolve, ("a*tanh(b*x); a=1, b=1", "a*tanh(b*x); a=1, b=1.02", "sin(x)", "x/0"))]
    assert are_familiar(history, texts, 0.003) == [True, False, False, False]
    assert are_familiar(History([]), texts, 0.003) == are_familiar(history, texts, 0.0) == [False] * 4


def test_a_probe_tells_what_outputs_do_not():
    known, new = SECRET[:100], [p for p in SECRET[100:] if output_features(p.function) is not None]
    losses = [p.loss for p in new]
    texts = [p.function for p in new]
    assert scipy.stats.spearmanr(predict_ranks(known, texts, probe), losses)[0] > 0.9
    assert abs(scipy.stats.spearmanr(predict_ranks(known, texts), losses)[0]) < 0.3
    assert predict_ranks(known, texts) == predict_ranks([replace(p, probed=None) for p in known], texts)


def test_what_a_probe_cannot_tell_is_the_last_and_what_it_never_saw_teaches_nothing():
    known, texts = SECRET[:60], [p.function for p in SECRET[60:70]]
    assert predict_ranks(known, texts, lambda f: None) == [math.inf] * 10
    assert predict_ranks(known, texts, lambda f: [math.nan, 3.0]) == [math.inf] * 10
    half = [replace(p, probed=None) if i % 2 else p for i, p in enumerate(known)]
    assert predict_ranks(half, texts, probe) == predict_ranks(half[::2], texts, probe) != predict_ranks(known, texts, probe)
    assert predict_ranks(half, texts, probe, least=31) == [0.5] * 10


@pytest.mark.parametrize(
    ("told_of_it", "message"),
    [
        ((1.0, 2.0, 3.0), "must always give as many numbers; it gave 2 and 3"),
        ("many", "must give numbers, or None, for .*; it gave 'many'"),
        (7.0, "must give numbers, or None, for .*; it gave 7.0"),
    ],
)
def test_wrong_probes(told_of_it, message):
    with pytest.raises(ValueError, match=message):
        predict_ranks(SECRET[:10], [resolve("x")], lambda f: told_of_it)


def test_a_probe_is_asked_of_the_shortlist_alone_and_decides_there():
    """The best by their outputs, in the order of a choice without a probe; it is not asked before there is something to learn."""
    history = History(SECRET[:100])
    for seed in range(8):
        settings = Settings(start=12, shortlist=3)
        asked = []

        def watched(f, asked=asked):
            asked.append(f.text)
            return probe(f)

        chosen = draw_promising(history, random.Random(seed), settings, watched)
        assert len(asked) == 3
        assert chosen.function.text in asked
        assert asked[0] == draw_promising(history, random.Random(seed), settings).function.text
        predicted = predict_ranks(history, [*map(resolve, asked)], probe)
        assert chosen.function.text == asked[predicted.index(min(predicted))]
        for other, past in ((replace(settings, shortlist=0), history), (settings, History(SECRET[:11]))):
            assert plain(draw_promising(past, random.Random(seed), other, watched)) == plain(
                draw_promising(past, random.Random(seed), other)
            )
        assert len(asked) == 3


def test_a_study_that_was_begun_without_a_probe_goes_on_by_outputs_until_it_has_enough():
    began = [replace(p, probed=None) for p in SECRET[:80]]
    settings, few, many = Settings(start=12), History(began + SECRET[80:91]), History(began + SECRET[80:92])
    for seed in range(6):
        asked, not_asked = (draw_promising(few, random.Random(seed), settings, p) for p in (probe, None))
        assert plain(asked) == plain(not_asked)
    assert any(
        plain(draw_promising(many, random.Random(seed), settings, probe))
        != plain(draw_promising(many, random.Random(seed), settings))
        for seed in range(6)
    )
