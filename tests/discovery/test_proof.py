"""The proof: leaders of a study, ranked on fresh seeds, compared on seeds fresher still; the test part decides nothing."""

from __future__ import annotations

import optuna
import pytest
from quadrants import TINY

import actune
from actune.discovery import Ranking, confirm, prove
from actune.discovery.proof import PROOF_BASELINES, RANKING_SEEDS


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
    proof = prove(study, TINY, seeds=3, ranking=Ranking(finalists=2), baselines=["relu", "gelu"])
    assert {str(r.activation) for r in proof.ranking} == {"1e-09*x", "tanh(x)", "a*sin(x); a=1", "relu(x)"}
    assert str(proof.winner) != "1e-09*x" == str(actune.leaders(study)[0])
    losses = [r.validation_loss for r in proof.ranking]
    assert losses == sorted(losses)
    assert str(proof.winner) == str(proof.ranking[0].activation)
    assert {r.name for r in proof.comparison.rows} == {"relu", "gelu", *(str(r.activation) for r in proof.ranking[:2])}
    assert proof.comparison.baseline == "relu"


def test_a_proof_side_by_side_is_the_same_but_for_rounding(study: optuna.Study) -> None:
    alone, found = (prove(study, TINY, seeds=3, baselines=["relu", "gelu"], together=n) for n in (1, 8))
    assert str(found.winner) == str(alone.winner)
    assert [r.validation_loss for r in found.ranking] == pytest.approx([r.validation_loss for r in alone.ranking], rel=1e-4)
    assert found.comparison.row("gelu").score.mean == pytest.approx(alone.comparison.row("gelu").score.mean)


def test_the_best_is_the_one_that_was_confirmed(study: optuna.Study) -> None:
    assert str(actune.best(study)) == "1e-09*x"
    ranked = confirm(study, TINY, ranking=Ranking(leaders=3, runs=2))
    assert [len(r.outcomes) for r in ranked] == [2, 2, 2]
    assert actune.best(study).text == ranked[0].activation.text != "1e-09*x"
    stored = study.user_attrs["actune:ranking"]
    assert [leader["losses"] for leader in stored["leaders"]] == [[o.validation_loss for o in r.outcomes] for r in ranked]
    study.tell(study.ask(), 7.0)  # one more trial: nobody knows whether the ranking still holds
    assert str(actune.best(study)) == "1e-09*x"


def test_without_confirmation_the_order_of_the_study_holds(study: optuna.Study) -> None:
    assert confirm(study, TINY, ranking=Ranking(leaders=0)) == ()
    proof = prove(study, TINY, seeds=2, ranking=Ranking(leaders=0, finalists=1), baselines=["relu"])
    assert (str(proof.winner), proof.ranking) == ("1e-09*x", ())


def test_a_leader_that_diverges_on_a_fresh_seed_is_written_as_none() -> None:
    found = optuna.create_study()
    for text in ("sinh(sinh(100*x))", "tanh(x)"):
        found.enqueue_trial({}, user_attrs={"activation:activation": text})
        found.optimize(lambda trial: (actune.suggest_activation(trial), 0.1)[1], n_trials=1)
    proof = prove(found, TINY, seeds=2, ranking=Ranking(leaders=2, runs=1, finalists=1), baselines=["relu"])
    assert proof.to_json()["ranking"][1] == {"formula": "sinh(sinh(100*x))", "validation_loss": None}
    assert found.user_attrs["actune:ranking"]["leaders"][1]["losses"] == [None]
    assert str(proof.winner) == "tanh(x)"


def test_a_ranking_may_train_longer(study: optuna.Study) -> None:
    (ranked,) = confirm(study, TINY, ranking=Ranking(leaders=1, runs=1, epochs=2.0))
    assert len(ranked.outcomes[0].history) == 2 * TINY.recipe.epochs


def test_seeds_are_fresh(study: optuna.Study) -> None:
    proof = prove(study, TINY, seeds=3, ranking=Ranking(finalists=1), baselines=["relu"])
    assert set(proof.comparison.seeds).isdisjoint(RANKING_SEEDS)
    assert all(o.test_accuracy is None for r in proof.ranking for o in r.outcomes)
    assert all(len(r.outcomes) == len(RANKING_SEEDS) for r in proof.ranking)


def test_progress_and_verdict(study: optuna.Study) -> None:
    seen: list[tuple[int, int]] = []
    usual, alone = ["relu", "gelu"], Ranking(finalists=1)
    proof = prove(study, TINY, seeds=2, ranking=alone, baselines=usual, progress=lambda *news: seen.append(news))
    totals = {total for _, total in seen}
    assert len(totals) == 1
    assert seen[-1][0] == totals.pop()
    assert proof.verdict().startswith(str(proof.winner))
    assert proof.to_json()["winner"] == proof.winner.text
    winner = proof.comparison.row(str(proof.winner)).score.mean
    for row in proof.comparison.rows:
        assert (row.name in proof.verdict().partition("On these seeds")[2]) == (row.score.mean > winner)


def test_the_opponents_are_the_usual_functions_and_the_papers() -> None:
    assert PROOF_BASELINES[0] == "relu"
    assert {"relu", "gelu", "silu", "gelu_sine"} <= set(PROOF_BASELINES)
    papers = {actune.family(name).paper for name in PROOF_BASELINES}
    assert {"arXiv:2409.19239", "arXiv:2109.13210", "arXiv:2402.08244", "arXiv:2006.03179"} <= papers


def test_nothing_better_than_the_baseline_is_said_plainly() -> None:
    found = optuna.create_study()
    found.enqueue_trial({}, user_attrs={"activation:activation": "relu"})
    found.optimize(lambda trial: (actune.suggest_activation(trial), 0.1)[1], n_trials=1)
    proof = prove(found, TINY, seeds=2, baselines=["relu", "tanh"])
    assert proof.verdict().startswith("The search found nothing better than relu.")
    assert proof.to_json()["winner"]
