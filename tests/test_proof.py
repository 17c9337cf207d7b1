"""The proof: leaders of a study, ranked on fresh seeds, compared on seeds fresher still; the test part decides nothing."""

from __future__ import annotations

import optuna
import pytest
from test_experiments import TINY

import actune
from actune.discovery import prove
from actune.discovery.proof import BASELINES, RANKING_SEEDS


@pytest.fixture
def study() -> optuna.Study:
    """Four finished trials; the first is the lucky one of its only seed: it cannot learn."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = optuna.create_study()
    for text, loss in (("1e-9*x", 0.01), ("tanh(x)", 0.2), ("a*sin(x)*1 + 0; a=1", 0.3), ("relu(x)", 0.4)):
        found.enqueue_trial({}, user_attrs={"activation:activation": text})
        found.optimize(lambda trial, loss=loss: (actune.suggest_activation(trial), loss)[1], n_trials=1)
    return found


def test_luck_does_not_win(study: optuna.Study) -> None:
    proof = prove(study, TINY, seeds=3, finalists=2, baselines=["relu", "gelu"])
    assert {str(r.activation) for r in proof.ranking} == {"1e-09*x", "tanh(x)", "a*sin(x); a=1", "relu(x)"}
    assert str(proof.winner) != "1e-09*x" == str(actune.best(study))
    losses = [r.validation_loss for r in proof.ranking]
    assert losses == sorted(losses)
    assert str(proof.winner) == str(proof.ranking[0].activation)
    assert {r.name for r in proof.comparison.rows} == {"relu", "gelu", *(str(r.activation) for r in proof.ranking[:2])}
    assert proof.comparison.baseline == "relu"


def test_seeds_are_fresh(study: optuna.Study) -> None:
    proof = prove(study, TINY, seeds=3, finalists=1, baselines=["relu"])
    assert set(proof.comparison.seeds).isdisjoint(RANKING_SEEDS)
    assert all(o.test_accuracy is None for r in proof.ranking for o in r.outcomes)
    assert all(len(r.outcomes) == len(RANKING_SEEDS) for r in proof.ranking)


def test_progress_and_verdict(study: optuna.Study) -> None:
    seen: list[tuple[int, int]] = []
    proof = prove(study, TINY, seeds=2, finalists=1, baselines=["relu", "gelu"], progress=lambda *news: seen.append(news))
    totals = {total for _, total in seen}
    assert len(totals) == 1
    assert seen[-1][0] == totals.pop()
    assert proof.verdict().startswith(str(proof.winner))
    assert proof.to_json()["winner"] == proof.winner.text
    winner = proof.comparison.row(str(proof.winner)).score.mean
    for row in proof.comparison.rows:
        assert (row.name in proof.verdict().partition("On these seeds")[2]) == (row.score.mean > winner)


def test_the_opponents_are_the_usual_functions_and_the_papers() -> None:
    assert BASELINES[0] == "relu"
    assert {"relu", "gelu", "silu", "gelu_sine"} <= set(BASELINES)
    papers = {actune.family(name).paper for name in BASELINES}
    assert {"arXiv:2409.19239", "arXiv:2109.13210", "arXiv:2402.08244", "arXiv:2006.03179"} <= papers


def test_nothing_better_than_the_baseline_is_said_plainly() -> None:
    found = optuna.create_study()
    found.enqueue_trial({}, user_attrs={"activation:activation": "relu"})
    found.optimize(lambda trial: (actune.suggest_activation(trial), 0.1)[1], n_trials=1)
    proof = prove(found, TINY, seeds=2, baselines=["relu", "tanh"])
    assert proof.verdict().startswith("The search found nothing better than relu.")
    assert proof.to_json()["winner"]
