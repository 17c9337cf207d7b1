"""What a trial does: a task's training, its answer from the study, and objectives of a user's own."""

import dataclasses
import math
import re
import sys
import threading
import types
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import actune
from actune.catalogue.registry import resolve
from actune.discovery import METHODS, Settings, Workers, best, function_cost, replay, search, suggest_activation
from actune.discovery.study.results import record
from actune.discovery.study.storage.opening import open_storage
from actune.discovery.workers import objective as module
from actune.discovery.workers import together
from actune.discovery.workers.execution import as_workers
from actune.experiments.identity import network
from actune.experiments.models.small import mlp
from actune.experiments.recipe import Recipe
from actune.experiments.tasks import task
from actune.show.searches import lines

TINY = dataclasses.replace(
    task("digits"), name="tiny", recipe=Recipe(epochs=4), model=partial(mlp, inputs=64, outputs=10, width=16, layers=3)
)
KEY = "activation:activation"


def length(trial: optuna.Trial) -> float:
    """Two activations, and as the value the length of their texts."""
    return float(sum(len(suggest_activation(trial, name).text) for name in ("stem", "body")))


# -- a task ----------------------------------------------------------------------------------------------------------------


def queued(*texts: str) -> optuna.Study:
    study = optuna.create_study()
    for text in texts:
        study.enqueue_trial({}, user_attrs={KEY: text})
    return study


def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    real = module.train
    monkeypatch.setattr(module, "train", lambda t, f, *args, **named: seen.append(str(f)) or real(t, f, *args, **named))
    return seen


def test_a_known_function_is_answered_from_the_study(monkeypatch):
    """swish, under a name, as a formula, and as one that simplifies to it."""
    seen = trainings(monkeypatch)
    study = search(TINY, trials=4, study=queued("swish", "x*sigmoid(b*x); b=1", "x*sigmoid(b*x) + 0; b=1", "tanh(x)"))
    assert len(seen) == 2
    assert [t.user_attrs.get("actune:answered") for t in study.trials] == [None, 0, 0, None]
    assert study.trials[1].values == study.trials[0].values
    assert study.trials[2].user_attrs["validation_accuracy"] == study.trials[0].user_attrs["validation_accuracy"]
    assert {t.state for t in study.trials} == {TrialState.COMPLETE}


def test_what_was_published_trains_repeats(monkeypatch):
    seen = trainings(monkeypatch)
    search(TINY, trials=2, method="pangaea", study=queued("tanh(x)", "tanh(x)"))
    assert seen == ["tanh(x)"] * 2


def test_a_function_whose_trial_was_pruned_is_no_answer(monkeypatch):
    seen = trainings(monkeypatch)
    study = queued("exp(exp(exp(x)))", "exp(exp(exp(x)))")  # diverges
    search(TINY, trials=2, study=study)
    assert len(seen) == 2
    assert [t.state for t in study.trials] == [TrialState.PRUNED] * 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a*tanh(x); a=1", "exp(a)*tanh(x); a=0"),  # equal at the start, and in what the parameter does there
        ("a*tanh(x); a=1", "(a*a + 1)/2*tanh(x); a=1"),
        ("apalu", actune.family("apalu").text),  # the text says nothing of the constraints
    ],
)
def test_what_only_begins_alike_is_trained(monkeypatch, one, other):
    seen = trainings(monkeypatch)
    study = search(TINY, trials=2, study=queued(one, other))
    assert len(seen) == 2
    assert all("actune:answered" not in t.user_attrs for t in study.trials)


def test_only_what_was_trained_like_this_is_an_answer():
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(value=0.0, user_attrs={KEY: "tanh(x)"}))
    study.add_trials(search(TINY.with_recipe(epochs=1), trials=1, study=queued("tanh(x)")).trials)
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={KEY: "tanh(x)"})
    search(TINY, trials=4, study=study)
    assert [t.user_attrs.get("actune:answered") for t in study.trials] == [None, None, None, 2]


def test_an_answer_has_a_cost_of_its_own():
    study = optuna.create_study(directions=["minimize"] * 2)
    for text in ("exp(tanh(x)/1)", "exp(tanh(x))"):
        study.enqueue_trial({}, user_attrs={KEY: text})
    search(TINY, trials=2, objectives=("loss", "cost"), study=study)
    assert study.trials[1].user_attrs["actune:answered"] == 0
    assert [t.values[1] for t in study.trials] == [float(function_cost(resolve(t.user_attrs[KEY]))) for t in study.trials]


def test_the_course_of_the_parameters_is_kept(monkeypatch):
    study = search(TINY, trials=1, study=queued("x*sigmoid(b*x); b=1"), course=True)
    course = study.trials[0].user_attrs["actune:course"]
    assert set(course) == {"1.b", "3.b"}
    assert all(len(epochs) == TINY.recipe.epochs for epochs in course.values())
    for mean, least, largest in course["1.b"]:
        assert least <= mean <= largest
    assert course["1.b"][0] != course["1.b"][-1]
    assert "actune:course" not in search(TINY, trials=1, study=queued("x*sigmoid(b*x); b=1")).trials[0].user_attrs


def test_a_study_is_not_continued_with_another_recipe(tmp_path: Path):
    storage = tmp_path / "s.db"
    search(TINY, trials=1, storage=storage)
    for name, value, other in (
        ("scope", "layer", dataclasses.replace(TINY, scope="layer")),
        ("learning_rate", 0.1, TINY.with_recipe(learning_rate=0.1)),
        ("optimizer", "sgd", TINY.with_recipe(optimizer="sgd")),
        ("schedule_options", {"at": [0.5]}, TINY.with_recipe(schedule="steps", schedule_options={"at": (0.5,)})),
        ("fixed", {"gate": "sigmoid"}, dataclasses.replace(TINY, fixed={"gate": "sigmoid"})),
        ("loss", "mse", dataclasses.replace(TINY, loss="mse")),
    ):
        with pytest.raises(ValueError, match=rf"was begun with .*{name}=.*, now {re.escape(repr(value))}; choose the same"):
            search(other, trials=2, storage=storage)
    for other in (
        TINY.with_recipe(epochs=2),
        dataclasses.replace(TINY, model=partial(mlp, inputs=64, outputs=10, width=8, layers=3)),
    ):
        with pytest.raises(ValueError, match=r"was begun with (task_epochs|network)="):
            search(other, trials=2, storage=storage)


def test_a_study_goes_on_after_our_code_has_moved(monkeypatch):
    """The digest of a network has our functions by their names alone, those of others with their modules too."""
    before = network(TINY), network(dataclasses.replace(TINY, model=partial(mlp, inputs=64, outputs=10, width=8, layers=3)))
    assert before[0] != before[1]
    monkeypatch.setitem(sys.modules, "actune.elsewhere", types.SimpleNamespace(mlp=mlp))
    monkeypatch.setattr(mlp, "__module__", "actune.elsewhere")
    assert network(TINY) == before[0]
    own = types.ModuleType("of_mine")
    monkeypatch.setitem(sys.modules, "of_mine", own)
    own.mlp = types.FunctionType(mlp.__code__, mlp.__globals__, "mlp")
    own.mlp.__module__ = "of_mine"
    foreign = network(dataclasses.replace(TINY, model=own.mlp))
    assert foreign is not None
    assert foreign != network(dataclasses.replace(TINY, model=mlp))


def test_a_task_is_minimised():
    with pytest.raises(ValueError, match="maximises, a task is minimised; choose another study="):
        search(TINY, trials=1, study=optuna.create_study(direction="maximize"))
    with pytest.raises(ValueError, match="direction='maximize' is for an objective of your own"):
        search(TINY, trials=1, direction="maximize")


def test_a_probe_of_another_task_with_a_shipped_name_is_not_asked():
    settings = Settings(proposers=(("surrogate", 1.0),), start=3)
    method = dataclasses.replace(METHODS["fisher"], settings=settings)
    assert replay(search(dataclasses.replace(TINY, name="digits"), trials=6, method=method)) == {}


def test_together_stops_at_the_asked_number_beside_others(tmp_path, monkeypatch):
    """Between two trials of a batch another search begins two."""
    study = optuna.create_study(study_name="tiny", storage=open_storage(tmp_path / "s.db", 10, 30))
    other = optuna.load_study(study_name="tiny", storage=open_storage(tmp_path / "s.db", 10, 30, worker="elsewhere:1"))
    theirs: list[optuna.Trial] = []
    asked = together._asked

    def meanwhile(study):
        theirs.extend(asked(other) for _ in range(2 - len(theirs)))
        return asked(study)

    monkeypatch.setattr(together, "_asked", meanwhile)
    threading.Timer(3, lambda: [other.tell(t, 9.0) for t in theirs]).start()
    search(TINY, trials=6, study=study, workers=Workers(together=8))
    assert len(study.trials) == 6


# -- an objective of one's own -----------------------------------------------------------------------------------------------


def test_an_objective_breeds_as_the_search_was_told():
    study = search(length, trials=4, method="pangaea", proposers={"mine": lambda history, rng: f"{1 + len(history)}*tanh(x)"},
                   settings=dataclasses.replace(METHODS["pangaea"].settings, proposers=(("mine", 1.0),)))  # fmt: skip
    assert [t.user_attrs["activation:stem"] for t in study.trials] == [f"{n}*tanh(x)" for n in (1, 2, 3, 4)]
    origin = study.trials[0].user_attrs["activation:body:origin"]
    assert (origin["proposer"], origin["settings"]["screening"]) == ("mine", False)
    assert suggest_activation(study.ask(), "stem").text != "5*tanh(x)"  # after the search, the defaults


def test_what_an_objective_says_itself_comes_first():
    own = Settings(proposers=(("catalogue", 1.0),))
    study = search(lambda t: float(len(suggest_activation(t, settings=own).text)), trials=3, method="random")
    assert {t.user_attrs[f"{KEY}:origin"]["proposer"] for t in study.trials} == {"catalogue"}
    assert replay(study) == {}


def test_an_objective_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "my_named_training.py").write_text(
        "import actune\n\ndef objective(trial):\n    return float(len(actune.suggest_activation(trial).text))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for workers in (1, 2):  # the workers import it by themselves
        storage = tmp_path / f"{workers}.db"
        study = search("my_named_training:objective", trials=6, workers=workers, storage=storage, direction="maximize")
        assert len(study.trials) == 6
        assert study.study_name == "my_named_training:objective"
        assert len(best(study).text) > 0
        assert study.best_value == max(t.value for t in study.trials)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:objective", r"task='no_such_module:objective' cannot be imported .* write it as mymodule:objective"),
        ("math:nothing", r"task='math:nothing' cannot be imported"),
        ("math:pi", r"task='math:pi' is no function; write it as mymodule:objective"),
    ],
)
def test_a_name_that_is_no_objective(name, message):
    with pytest.raises(ValueError, match=message):
        search(name, trials=1)


def test_what_is_for_tasks_is_refused():
    for named in ({"course": True}, {"method": "fisher"}):
        with pytest.raises(ValueError, match="is for tasks; an objective of your own says"):
            search(length, trials=1, **named)
    with pytest.raises(ValueError, match=r"workers cannot be sent what they are to run .*, or say workers=1"):
        search(lambda trial: 0.0, trials=2, workers=2)


def test_a_search_that_found_nothing_says_why():
    def pruned(trial):
        suggest_activation(trial)
        raise optuna.TrialPruned

    study = search(pruned, trials=3)
    for told in (lambda: record(study, "x:y", "", None), lambda: list(lines(study)), lambda: best(study)):
        with pytest.raises(ValueError, match="of its trials are 3 pruned: let the objective call suggest_activation and return"):
            told()


def test_a_value_that_is_infinite_is_no_best():
    def objective(trial):
        suggest_activation(trial, "skip" if trial.number == 1 else "stem")
        trial.set_user_attr("validation_loss", "mine")
        return math.inf if trial.number == 1 else 1.0

    study = search(objective, trials=3, direction="maximize")
    assert record(study, "x:y", "", None)["value"] == 1.0
    assert "skip" not in "".join(lines(study))


def test_objectives_are_for_tasks():
    with pytest.raises(ValueError, match=r"objectives=\('loss',\) is for tasks; an objective of your own returns what it likes"):
        search(length, trials=1, objectives=("loss",))


def test_what_is_known_is_answered_side_by_side_too(monkeypatch):
    study = queued("swish", "x*sigmoid(b*x); b=1", "x*sigmoid(b*x); b=1", "tanh(x)")
    study = search(TINY, trials=4, workers=Workers(together=2), study=study, course=True)
    assert [t.user_attrs.get("actune:answered") for t in study.trials] == [None, None, 0, None]  # the second ran beside the first
    assert study.trials[2].values == study.trials[0].values
    assert study.trials[2].user_attrs["actune:course"] == study.trials[0].user_attrs["actune:course"]
    assert set(study.trials[0].user_attrs["actune:course"]) == {"1.beta", "3.beta"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": 0}, "workers must be a positive whole number, got 0"),
        ({"count": 2.0}, "workers must be a positive whole number, got 2.0"),
        ({"heartbeat": 0}, "heartbeat must be a positive whole number, got 0"),
        ({"grace": True}, "grace must be a positive whole number, got True"),
        ({"together": 2, "device": "cuda"}, "together=2 is for one worker"),
        ({"together": 2, "ray": "local"}, "together=2 is for one worker"),
    ],
)
def test_wrong_workers_are_refused_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message) as error:
        Workers(**wrong)
    assert "\n" not in str(error.value)


def test_a_number_of_workers_is_one_of_processes():
    assert as_workers(3) == Workers(count=3)
    assert as_workers(None) == Workers()
    assert not as_workers(1).are_several
    assert as_workers(2).are_several
    assert Workers(ray="local").are_several
