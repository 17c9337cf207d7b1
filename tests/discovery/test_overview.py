"""What a study tells of its search as plain data: whatever the study is, and however far it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from quadrants import TINY

import actune
from actune.discovery import Ranking, function_cost, prove
from actune.discovery.study.overview import study_overview
from actune.discovery.study.storage.opening import existing_study, open_storage

KEY = "activation:activation"


def study_of(*texts_and_values: tuple[str, Any], direction: str = "minimize") -> optuna.Study:
    """A study of complete trials."""
    study = optuna.create_study(direction=direction)
    for text, value in texts_and_values:
        study.add_trial(create_trial(value=value, user_attrs={KEY: text}))
    return study


def plain(study: optuna.Study) -> dict[str, Any]:
    """The overview, after JSON: equal to itself, with no number that JSON does not have."""
    found = study_overview(study)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_the_winner_its_cost_and_its_curve() -> None:
    found = plain(study_of(("relu", 0.3), ("x*sigmoid(b*x); b=2", 0.2), ("x*sigmoid(b*x); b=2", 0.25), ("tanh(x)", 0.4)))
    winner = found["winners"]["activation"]
    assert (winner["text"], winner["trial"], winner["values"], winner["initial"]) == ("x*sigmoid(b*x); b=2", 1, [0.2], {"b": 2.0})
    assert winner["cost"] == function_cost("x*sigmoid(b*x); b=2")
    middle = len(found["x"]) // 2
    assert (found["x"][middle], winner["curve"][middle], winner["slope"][middle]) == (0.0, 0.0, 0.5)
    relu = found["baselines"][0]
    assert (relu["name"], relu["curve"][0], relu["curve"][-1], relu["slope"][-1]) == ("relu", 0.0, 5.0, 1.0)
    assert [leader["text"] for leader in found["leaders"]["activation"]] == ["x*sigmoid(b*x); b=2", "relu", "tanh(x)"]
    assert found["record"]["best"] == winner["text"]


def test_the_front_has_what_nothing_is_cheaper_and_better_than() -> None:
    found = plain(study_of(("tanh(x)", 0.3), ("x", 0.9), ("sin(tanh(x)) + erf(x)", 0.2), ("sin(tanh(x)) + 2*erf(x)", 0.25)))
    costs = found["trials"]["cost"]
    assert costs[1] < costs[0] < costs[2] <= costs[3]
    assert found["front"] == [1, 0, 2]


def test_a_larger_value_may_be_the_better_one() -> None:
    found = plain(study_of(("tanh(x)", 0.3), ("x", 0.9), ("sin(tanh(x)) + erf(x)", 0.2), direction="maximize"))
    assert found["objectives"] == [{"name": "value", "direction": "maximize"}]
    assert (found["winners"]["activation"]["text"], found["front"]) == ("x", [1])
    assert found["bred"]["activation"][0]["best"] == 0.9


def test_endings_and_their_reasons() -> None:
    study = study_of(("relu", 0.3))
    study.set_user_attr("actune:budget", {"floor": 0.2})
    ends: list[tuple[str, TrialState, dict[str, Any], dict[str, Any]]] = [
        ("an earlier trial had trained the same", TrialState.COMPLETE, {"actune:answered": 0}, {"value": 0.3}),
        ("the objective returned an infinite value", TrialState.COMPLETE, {}, {"value": float("inf")}),
        ("the training diverged", TrialState.PRUNED, {"actune:diverged": True, "validation_accuracy": 0.1}, {}),
        ("validation accuracy below 0.2", TrialState.PRUNED, {"validation_accuracy": 0.1}, {}),
        ("behind the others after 1 epoch", TrialState.PRUNED, {}, {"intermediate_values": {1: 2.5}}),
        ("by the objective", TrialState.PRUNED, {}, {}),
        ("RuntimeError: no memory", TrialState.FAIL, {"actune:error": "RuntimeError: no memory"}, {}),
        ("interrupted, or its worker died", TrialState.FAIL, {"actune:worker": "vm:1"}, {}),
    ]
    for _, state, attributes, others in ends:
        study.add_trial(create_trial(state=state, user_attrs={KEY: "tanh(x)"} | attributes, **others))
    study.ask()
    study.enqueue_trial({})
    found = plain(study)
    trials = found["trials"]
    assert trials["why"] == ["", *(why for why, *_ in ends), "", ""]
    kinds = ["complete", "answered", "failed", "pruned", "pruned", "pruned", "pruned", "failed", "left", "running", "waiting"]
    assert trials["ending"] == kinds
    assert trials["values"][:3] == [[0.3], [0.3], None]
    assert trials["reported"][5] == 2.5
    assert found["errors"] == [{"message": "RuntimeError: no memory", "count": 1}]
    assert sum(e["count"] for e in found["endings"]) == found["begun"] == 11
    assert found["finished"] == 8


def test_the_ancestors_of_the_winner() -> None:
    study = optuna.create_study()
    parents: list[list[int]] = [[], [], [0, 1], [2], [2, 99], [4, 3]]
    for n, of in enumerate(parents):
        origin = {"trial": n, "proposer": "evolution" if of else "random", "kind": "insert", "parents": of, "fingerprint": str(n)}
        study.add_trial(create_trial(value=1.0 - n / 10, user_attrs={KEY: f"{n + 1}*tanh(x)", f"{KEY}:origin": origin}))
    found = plain(study)
    rows = [(a["number"], a["generation"], a["parents"]) for a in found["winners"]["activation"]["ancestors"]]
    assert rows == [(5, 0, [4, 3]), (3, 1, [2]), (4, 1, [2]), (2, 2, [0, 1]), (0, 3, []), (1, 3, [])]
    assert found["winners"]["activation"]["ancestors"][0]["proposer"] == "evolution"
    bred = {row["proposer"]: row for row in found["bred"]["activation"]}
    assert (bred["random"]["trials"], bred["evolution"]["trials"], bred["evolution"]["leaders"]) == (2, 4, 1)
    assert bred["random"]["median"] == pytest.approx(0.95)


def test_a_circle_of_parents_ends() -> None:
    study = optuna.create_study()
    for n in (0, 1):
        origin = {"proposer": "mine", "kind": "mine", "parents": [1 - n], "fingerprint": str(n)}
        study.add_trial(create_trial(value=float(n), user_attrs={KEY: f"{n + 2}*x", f"{KEY}:origin": origin}))
    assert [a["number"] for a in plain(study)["winners"]["activation"]["ancestors"]] == [0, 1]


def test_what_parameters_learned_is_of_the_best_that_kept_it() -> None:
    study = study_of(("relu", 0.1), ("a*tanh(x); a=1", 0.2))
    study.add_trial(create_trial(value=0.3, user_attrs={KEY: "a*erf(x); a=1", "actune:course": {"1.a": [[1.0, 0.9, 1.1]]}}))
    course = plain(study)["winners"]["activation"]["course"]
    assert course == {"trial": 2, "text": "a*erf(x); a=1", "parameters": {"1.a": [[1.0, 0.9, 1.1]]}}
    assert plain(study_of(("relu", 0.1)))["winners"]["activation"]["course"] is None


def test_several_objectives_and_several_activations() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    for n, (first, second) in enumerate([("relu", "tanh"), ("gelu", "tanh"), ("silu", "erf(x)")]):
        attributes = {"activation:hidden": first, "activation:out": second}
        study.add_trial(create_trial(values=[0.3 - n / 10, 5.0 - n], user_attrs=attributes))
    found = plain(study)
    assert [o["name"] for o in found["objectives"]] == ["value 1", "value 2"]
    assert {name: w["text"] for name, w in found["winners"].items()} == {"hidden": "silu", "out": "erf(x)"}
    assert found["trials"]["cost"][0] == function_cost("relu") + function_cost("tanh")
    assert set(found["record"]["front"]) == {"hidden", "out"}


def test_a_cost_that_is_an_objective_is_not_priced_again() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.set_user_attr("actune:budget", {"objectives": ["loss", "cost"]})
    study.set_user_attr("actune:task", "digits")
    study.add_trial(create_trial(values=[0.3, 12345.0], user_attrs={KEY: "relu", "validation_loss": 0.3}))
    found = plain(study)
    assert [o["name"] for o in found["objectives"]] == ["validation loss", "cost"]
    assert found["trials"]["cost"] == [12345]


def test_a_study_without_a_complete_trial_says_why() -> None:
    assert plain(optuna.create_study())["missing"] == "let it finish some first"
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={KEY: "relu", "actune:error": "OSError: the disk is full"}))
    found = plain(study)
    assert found["missing"] == "the last one failed with OSError: the disk is full"
    assert (found["record"], found["winners"], found["leaders"], found["front"]) == (None, {}, {}, [])
    assert found["bred"]["activation"][0]["endings"] == {"failed": 1}


def test_the_study_keeps_its_proof() -> None:
    study = study_of(("tanh(x)", 0.2), ("relu(x)", 0.4))
    proof = prove(study, TINY, seeds=3, ranking=Ranking(leaders=2, runs=1, finalists=1), baselines=["relu", "gelu"])
    found = plain(study)["proof"]
    assert found["verdict"] == proof.verdict()
    assert (found["name"], found["current"], found["measure"]["unit"]) == (str(proof.winner), True, " %")
    whole = proof.to_json()["comparison"]["functions"]
    for row, known in zip(found["comparison"]["functions"], whole, strict=True):
        assert row["scores"] == [o["test_scores"]["accuracy"] for o in known["outcomes"]]
        assert {k: v for k, v in row.items() if k != "scores"} == {k: v for k, v in known.items() if k != "outcomes"}
    study.add_trial(create_trial(value=0.9, user_attrs={KEY: "x"}))
    assert not plain(study)["proof"]["current"]


def test_the_method_is_known_by_its_settings() -> None:
    study = actune.search(TINY, trials=3, method="pangaea", without=["confirmation"])
    assert plain(study)["provenance"]["method"] == "pangaea"
    assert plain(actune.search(TINY, trials=3, without=["surrogate"]))["provenance"]["method"] is None


def test_a_storage_is_read_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file; name the one"):
        existing_study(str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "some.db"
    for name in ("one", "two"):
        optuna.create_study(study_name=name, storage=open_storage(path, 10, 30))
    assert existing_study(str(path), "two").study_name == "two"
    with pytest.raises(ValueError, match="several studies; choose one: --study 'one' or 'two'"):
        existing_study(str(path))
    with pytest.raises(ValueError, match="no study is called 'tow'; did you mean 'two'"):
        existing_study(str(path), "tow")
