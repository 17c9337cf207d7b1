"""What our own statements write Optuna reads, what Optuna writes they read, and there are few of them."""

import math
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from actune.discovery import Settings, search, suggest_activation
from actune.discovery.study.storage import reading
from actune.discovery.study.storage.opening import is_pruned_at, open_storage, set_final_attributes
from actune.discovery.study.storage.write_ahead import is_on_local_disk

RANGES = {"z": FloatDistribution(0, 1), "a": CategoricalDistribution(["b", "c"]), "m": IntDistribution(0, 9)}


def asked(study: optuna.Study) -> optuna.Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # heartbeats are for optimize
        return study.ask(RANGES)


def fill(storage: optuna.storages.BaseStorage) -> optuna.Study:
    """A study with trials of all kinds, beside another one."""
    optuna.create_study(study_name="other", storage=storage).enqueue_trial({"x": 0.5})
    study = optuna.create_study(study_name="s", storage=storage, directions=["minimize", "maximize"])
    ended, pruned, failed, running = (asked(study) for _ in range(4))
    for key, value in (("text", "é"), ("b", 2), ("text", {"again": [1, None]})):
        ended.set_user_attr(key, value)
    for value in (0.5, [1.5]):
        storage.set_trial_system_attr(running._trial_id, "s", value)
    for step, value in ((10, 0.1), (9, math.nan), (2, -math.inf), (3, math.inf), (10, 0.25)):
        storage.set_trial_intermediate_value(pruned._trial_id, step, value)
    storage.set_trial_state_values(pruned._trial_id, TrialState.PRUNED, [0.25, 1.0])
    study.tell(ended, [math.inf, -0.1])
    study.tell(failed, state=TrialState.FAIL)
    study.enqueue_trial({"z": 0.25}, user_attrs={"activation:activation": "gelu"})
    return study


def told(t: FrozenTrial) -> str:
    """All of a trial; the records of a kind in one order, and nan equal to nan."""
    return repr({k: sorted(v.items()) if isinstance(v, dict) and k != "_params" else v for k, v in vars(t).items()})


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is not in UTC, as the database's may be."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("ours_writes", [True, False])
def test_trials_are_those_that_optuna_reads_and_writes(tmp_path, in_tokyo, ours_writes):
    ours, theirs = open_storage(tmp_path / "s.db", 10, 30), RDBStorage(f"sqlite:///{tmp_path}/s.db")
    study = fill(ours if ours_writes else theirs)._study_id
    found = [told(t) for t in ours.get_all_trials(study)]
    assert len(found) == 5
    assert found == [told(t) for t in theirs.get_all_trials(study)]
    assert found == [told(ours.get_trial(t._trial_id)) for t in theirs.get_all_trials(study)]
    waiting = [t.number for t in ours.get_all_trials(study, states=(TrialState.WAITING,))]
    assert waiting == [4]


@pytest.mark.parametrize("many", [1, 2, 150])
def test_the_new_trials_of_a_study_are_read(tmp_path, monkeypatch, many):
    """And those that had not finished, however many these are."""
    monkeypatch.setattr(reading, "_MANY", many)
    storage = open_storage(tmp_path / "s.db", 10, 30)
    study = fill(storage)._study_id
    all_of_them = storage.get_all_trials(study)
    ids = [t._trial_id for t in all_of_them]
    for after, others in (
        (ids[-1], set()),
        (ids[2], {ids[0]}),
        (ids[2], {*ids}),
        (ids[-1], {ids[0], ids[3]}),
        (ids[-1], {*ids}),
        (-1, set()),
    ):
        found = [told(t) for t in storage._get_trials(study, None, others, after)]
        assert found == [told(t) for t in all_of_them if t._trial_id > after or t._trial_id in others]


def test_what_is_not_there_or_has_finished_cannot_be_written(tmp_path):
    storage = open_storage(tmp_path / "s.db", 10, 30)
    study = fill(storage)
    before = [told(t) for t in study.get_trials()]
    writes = {
        "set_trial_user_attr": ("key", 1),
        "set_trial_system_attr": ("key", 1),
        "set_trial_intermediate_value": (1, 1.0),
        "set_trial_state_values": (TrialState.COMPLETE, [1.0, 1.0]),
    }
    for name, arguments in writes.items():
        with pytest.raises(UpdateFinishedTrialError, match="Trial#0 has already finished"):
            getattr(storage, name)(study.trials[0]._trial_id, *arguments)
        with pytest.raises(KeyError):
            getattr(storage, name)(99, *arguments)
    assert [told(t) for t in study.get_trials()] == before
    for call in (lambda: storage.get_trial(99), lambda: storage.get_all_trials(99), lambda: storage.create_new_trial(99)):
        with pytest.raises(KeyError):
            call()


def test_a_new_trial_is_what_the_database_has(tmp_path, in_tokyo):
    """Optuna asks for it at once and is told without a look; later it is looked at."""
    study = optuna.create_study(storage=open_storage(tmp_path / "s.db", 10, 30))
    storage = study._storage
    trial = storage.create_new_trial(study._study_id)
    first = told(storage.get_trial(trial))
    assert first == told(storage.get_trial(trial)) == told(study.get_trials()[0])
    storage.set_trial_user_attr(storage.create_new_trial(study._study_id), "key", 1)
    assert storage.get_trial(trial + 1).user_attrs["key"] == 1


def test_a_trial_takes_few_statements(tmp_path):
    """They were 61, when Optuna's own methods read and wrote."""
    sent, per_trial = Counter[str](), []

    def objective(trial: optuna.Trial) -> float:
        suggest_activation(trial, settings=Settings(start=100))
        return float(trial.number)

    def progress(study: optuna.Study, trial: FrozenTrial) -> None:
        per_trial.append(dict(sent))
        sent.clear()

    study = optuna.create_study(storage=open_storage(tmp_path / "s.db", 10, 30))
    engine = study._storage._backend.engine
    event.listen(engine, "before_cursor_execute", lambda c, cursor, statement, *_: sent.update([statement.split()[0]]))
    search(objective, trials=10, study=study, progress=progress)
    for found in per_trial[1:]:
        assert found == {"BEGIN": 10, "SELECT": 16, "INSERT": 6, "UPDATE": 1, "DELETE": 2}


def test_what_is_written_later_comes_with_the_next_transaction(tmp_path, monkeypatch):
    """And again, where nothing of that was written."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    storage = open_storage(tmp_path / "s.db", 10, 30, patience=5)
    study = optuna.create_study(storage=storage, pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1))
    trial = asked(study)
    failing = iter([True])

    def end(*_: object) -> None:
        if next(failing, False):
            raise sqlalchemy.exc.OperationalError("UPDATE", {}, sqlite3.OperationalError("database or disk is full"))

    assert not is_pruned_at(trial, 0.5, 1)
    assert study.trials[0].intermediate_values == {1: 0.5}
    set_final_attributes(trial, {"one": 1, "two": 2})
    assert (study.trials[0].user_attrs.keys(), trial.user_attrs["one"]) == ({"actune:worker"}, 1)
    event.listen(storage.engine, "commit", end)
    study.tell(trial, 1.0)
    assert study.trials[0].user_attrs.items() >= {"one": 1, "two": 2}.items()
    assert not storage._later


def journal_mode(path: Path) -> str:
    with closing(sqlite3.connect(path)) as file:
        return file.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_file_has_a_write_ahead_log_while_it_is_searched(tmp_path):
    """On a disk of this machine, until the last search on it ends."""
    path, modes = tmp_path / "s.db", []

    def progress(study: optuna.Study, trial: FrozenTrial) -> None:
        modes.append(journal_mode(path))
        if trial.number == 0:
            search(lambda trial: 1.0, trials=2, storage=path, study="s")
            modes.append(journal_mode(path))

    study = search(lambda trial: 1.0, trials=3, storage=path, study="s", progress=progress)
    assert modes == ["wal"] * len(modes)
    assert len(modes) >= 3
    assert (journal_mode(path), [p.name for p in tmp_path.iterdir()]) == ("delete", ["s.db"])
    assert len(study.trials) == 3


def test_a_file_that_may_be_on_another_machine_stays_as_it_is(tmp_path, monkeypatch):
    modes = []
    mounts = "22 1 0:1 / / rw - ext4 disk rw\n23 22 0:2 / {} rw - {} x rw\n"
    monkeypatch.setattr(Path, "read_text", lambda path: mounts.format(tmp_path, "nfs4"))
    assert is_on_local_disk(tmp_path.parent / "s.db")
    search(
        lambda trial: 1.0, trials=1, storage=tmp_path / "s.db", progress=lambda *_: modes.append(journal_mode(tmp_path / "s.db"))
    )
    assert modes == ["delete"]


def test_what_is_committed_outlives_a_killed_search(tmp_path):
    """Though it may be in the log beside the file then."""
    path = tmp_path / "s.db"
    code = f"""if True:
        import os, signal
        from actune.discovery import search
        def kill(study, trial):
            if trial.number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        search(lambda trial: float(trial.number), trials=9, storage={str(path)!r}, study="s", progress=kill)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert {p.name for p in tmp_path.iterdir()} > {"s.db", "s.db-wal"}
    study = optuna.load_study(study_name="s", storage=open_storage(path, 10, 30))
    assert [t.value for t in study.trials] == [0.0, 1.0, 2.0, 3.0]
