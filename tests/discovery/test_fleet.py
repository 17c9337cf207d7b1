"""Nothing is lost: several searches on one study, and storages that fail, are damaged, or go away."""

import functools
import gc
import importlib.util
import itertools
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType

import optuna
import pytest
import sqlalchemy
import torch
from optuna.trial import TrialState

from actune.discovery import SearchError, Settings, best, replay, screen, search, suggest_activation
from actune.discovery.study.counting import finished, requeue_as, superseded
from actune.discovery.study.storage.opening import open_storage
from actune.discovery.study.storage.patience import Patience
from actune.discovery.workers import processes
from actune.discovery.workers.requeueing import requeue
from actune.discovery.workers.tally import Tally
from actune.kernels.operators import evaluate

KEY = "activation:activation"
QUICK = Settings(start=6, population=12, sample=4)
HERE = Path(__file__).parent


def quick(trial: optuna.Trial) -> float:
    """A loss in no time: how far the function is from a sine on [-2, 2]."""
    f = suggest_activation(trial, settings=QUICK)
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    y = evaluate(f.expr, {"x": x, **dict(f.initial())})
    return float((y - torch.sin(x)).square().mean())


def slow(trial: optuna.Trial) -> float:
    time.sleep(0.3)
    return quick(trial)


def meeting(trial: optuna.Trial) -> float:
    """Waits until three workers take part."""
    loss, end = quick(trial), time.monotonic() + 60
    while time.monotonic() < end and len({t.user_attrs.get("actune:worker") for t in trial.study.get_trials(deepcopy=False)}) < 3:
        time.sleep(0.1)
    return loss


def broken(trial: optuna.Trial) -> float:
    suggest_activation(trial, settings=QUICK)
    raise OSError("no such data")


def whole(study: optuna.Study, asked: int, more: int = 0) -> None:
    """All that was asked for (and at most so many more), each candidate finished once, nothing left over, the records true."""
    trials = study.get_trials()
    done = finished(trials)
    assert asked <= len(done) <= asked + more
    assert all(t.state == TrialState.COMPLETE for t in done)
    assert [t.number for t in trials if not t.state.is_finished()] == []
    fingerprints = [t.user_attrs[f"{KEY}:origin"]["fingerprint"] for t in done]
    assert len(set(fingerprints)) == len(done)
    assert replay(study) == {}
    assert screen(best(study)).fingerprint == study.best_trial.user_attrs[f"{KEY}:origin"]["fingerprint"]


def command(arguments: str, before: str = "") -> subprocess.Popen[str]:
    """A process that searches, as a script would."""
    code = f"import sys; sys.path.insert(0, {str(HERE)!r})\nimport test_fleet as t\n"
    code += "from actune.discovery.study.storage import opening, patience\n"
    code += f"if __name__ == '__main__':\n    {before or 'pass'}\n    t.search({arguments})"
    return subprocess.Popen([sys.executable, "-c", code], text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def ask(study: optuna.Study) -> optuna.Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # heartbeats are for optimize
        return study.ask()


def last_seen_long_ago(path: Path) -> None:
    """Every trial's last sign of life: tests that wait for one to age would hang on how long a loaded machine takes to look."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")


def load(path: str) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=open_storage(path, 10, 30))


# -- several searches on one study -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "journal:"])
def test_a_second_command_joins(tmp_path, prefix):
    """Both begin at the same moment, with a storage that does not exist."""
    storage = f"{prefix}{tmp_path}/s"
    commands = [command(f"t.meeting, trials=12, workers={n}, storage={storage!r}, study='s'") for n in (1, 2)]
    assert [p.communicate(timeout=120)[1] for p in commands] == ["", ""]
    study = load(storage)
    whole(study, 12, more=2)
    workers = {t.user_attrs["actune:worker"] for t in study.trials}
    assert f"{os.uname().nodename}:{commands[0].pid}" in workers
    assert len(workers) == 3


def test_trials_of_others_are_waited_for_not_trained_again(tmp_path):
    """The last missing trial runs elsewhere: it ends there, and this search does not begin another."""
    study = optuna.create_study(study_name="s", storage=open_storage(tmp_path / "s.db", 10, 30))
    other = optuna.load_study(study_name="s", storage=open_storage(tmp_path / "s.db", 10, 30, worker="elsewhere:1"))
    trial = ask(other)
    suggest_activation(trial, settings=QUICK)
    threading.Timer(1.0, other.tell, (trial, 1.0)).start()
    search(quick, trials=1, storage=tmp_path / "s.db", study="s")
    assert len(study.get_trials()) == 1


@pytest.mark.parametrize("prefix", ["", "journal:"])
def test_a_trial_is_signed_when_it_begins(tmp_path, prefix):
    storage = open_storage(f"{prefix}{tmp_path}/s", 30, 60, worker="elsewhere:1")
    study = optuna.create_study(storage=storage)
    study.enqueue_trial({}, user_attrs={KEY: "gelu", "actune:worker": "dead:1"})
    assert [ask(study).user_attrs["actune:worker"] for _ in range(2)] == ["elsewhere:1"] * 2
    if not prefix:
        last_seen_long_ago(tmp_path / "s")
        assert len(storage._get_stale_trial_ids(study._study_id)) == 2  # its worker gave no sign of life


def test_a_storage_that_nobody_uses_is_closed(tmp_path):
    storage = open_storage(tmp_path / "s", 1, 1)
    gone = weakref.ref(storage)
    del storage
    gc.collect()
    assert gone() is None


def test_the_first_sign_of_life_is_the_beginning_itself(tmp_path):
    """One transaction less for each trial; the next ones, a heartbeat apart, are written."""
    storage = open_storage(tmp_path / "s", 30, 60)
    study = optuna.create_study(storage=storage)
    number = ask(study)._trial_id
    last_seen_long_ago(tmp_path / "s")
    storage.record_heartbeat(number)
    assert storage._get_stale_trial_ids(study._study_id) == [number]
    storage.record_heartbeat(number)
    assert storage._get_stale_trial_ids(study._study_id) == []


def test_a_failed_trial_that_nobody_queued_is_run_again(tmp_path):
    """Who found it dead was killed before it could."""
    study = optuna.create_study(study_name="s", storage=open_storage(tmp_path / "s.db", 10, 30, worker="elsewhere:1"))
    trial = ask(study)
    text = suggest_activation(trial, settings=QUICK).text
    study.tell(trial, state=TrialState.FAIL)
    assert finished(study.get_trials()) == []
    requeue(study)
    requeue(study)
    assert [t.user_attrs[KEY] for t in study.get_trials(states=(TrialState.WAITING,))] == [text]
    whole(search(quick, trials=3, storage=tmp_path / "s.db", study="s"), 3)


def test_a_failed_trial_whose_queueing_failed_is_queued_later(tmp_path, monkeypatch):
    """Optuna writes into a trial that was run again, before it queues it once more."""
    study = optuna.create_study(study_name="s", storage=open_storage(tmp_path / "s.db", 10, 30, worker="elsewhere:1"))

    def refuse(*_: object) -> None:
        raise OSError("no disk")

    for _ in range(2):
        suggest_activation(trial := ask(study), settings=QUICK)
        study.tell(trial, state=TrialState.FAIL)
        with monkeypatch.context() as broken:
            broken.setattr(study._storage._backend, "_create_new_trial", refuse)
            with pytest.raises(OSError, match="no disk"):
                requeue(study)
        requeue(study)
        assert len(study.get_trials(states=(TrialState.WAITING,))) == 1


def test_threads_on_one_storage_get_a_trial_each(tmp_path):
    study = optuna.create_study(storage=open_storage(tmp_path / "s.db", 10, 30))
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: ask(study).number, range(24)))
    assert sorted(numbers) == list(range(24)) == [t.number for t in study.trials]


def test_a_trial_that_two_find_dead_is_queued_once(tmp_path):
    """Both have seen it run, and then each queues it; what died again is queued again."""
    study = optuna.create_study(study_name="s", storage=open_storage(tmp_path / "s.db", 10, 30))
    for died in (0, 1):
        ask(study)
        study.tell(died, state=TrialState.FAIL)
        requeue_as(None)(load(f"{tmp_path}/s.db"), study.trials[died])
        requeue_as(None)(study, study.trials[died])
        assert [t.number for t in study.get_trials(states=(TrialState.WAITING,))] == [died + 1]
    assert superseded(study.trials) == {0, 1}


def test_a_wrong_number_of_values_is_the_objectives_fault(tmp_path):
    study = search(lambda t: (1.0, 2.0) if t.number else 1.0, trials=2, storage=tmp_path / "s.db", study="s")
    assert (
        study.get_trials()[1].user_attrs["actune:error"].startswith("ValueError: the objective returned 2 values, the study has 1")
    )


def test_a_task_that_always_raises_ends_workers_too(tmp_path):
    with pytest.raises(SearchError, match=r"10 trials in a row failed, .* OSError: no such data"):
        search(broken, trials=50, workers=2, storage=tmp_path / "s.db", study="s")
    assert 10 <= len(load(f"{tmp_path}/s.db").trials) <= 12
    whole(search(quick, trials=16, storage=tmp_path / "s.db", study="s2"), 16)


def test_memory_grows_by_the_study_and_no_more():
    """Bytes per trial: a search in turns with the same objective in plain Optuna, whose study is all that it keeps.

    A process of its own: what the tests before have left behind (threads, full caches) moves the figures by half.
    """
    program = "import test_fleet as t; print(t.growth(t.plainly), t.growth(t.searching), t.growth(t.plainly))"
    done = subprocess.run([sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr
    _, searched, plain = map(float, done.stdout.split())  # the first is what loads modules and fills what is kept once
    assert searched < 1.1 * plain


def growth(run: Callable[[optuna.Study, int], object]) -> float:
    """Bytes per trial that a run keeps from its 30th to its 90th trial, the last formulas' caches aside."""
    tracemalloc.start()
    study, sizes = optuna.create_study(), []
    for trials in (30, 90):
        run(study, trials)
        forget_formulas()
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return (sizes[1] - sizes[0]) / 60


def plainly(study: optuna.Study, trials: int) -> None:
    study.optimize(quick, n_trials=trials - len(study.trials))


def searching(study: optuna.Study, trials: int) -> None:
    search(quick, trials=trials, study=study)


def forget_formulas() -> None:
    """Empty what is kept of the last formulas: how full that is depends on the trials before."""
    for found in gc.get_objects():
        if type(found) is functools._lru_cache_wrapper and str(found.__module__).startswith(FORGETFUL):
            found.cache_clear()


FORGETFUL = ("actune.language", "actune.kernels.operators", "actune.kernels.cpu.steps", "actune.discovery")


# -- processes that die at random ------------------------------------------------------------------------------------------


def kills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kills", HERE.parents[1] / "benchmarks" / "kills.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kills_at_random_moments_lose_nothing(tmp_path):
    result = kills().run(100, f"{tmp_path}/s.db", tmp_path, trials=6, kills=2)
    assert result["wrong"] == []
    assert sum(result["killed"].values()) > 0


def test_workers_that_are_killed_at_their_start_are_no_broken_script():
    for count, code, message in ((10, -9, "signal 9"), (3, 1, "__main__")):
        with pytest.raises(SearchError, match=message):
            processes._stop_after_stillborn(count, code)
        processes._stop_after_stillborn(count - 1, code)


# -- storages that fail ----------------------------------------------------------------------------------------------------

FULL = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({size}, r.RLIM_INFINITY)); opening.PATIENCE = {patience}"
FREED = (  # a second after the first complaint
    "; import logging, threading; free = (r.RLIMIT_FSIZE, (r.RLIM_INFINITY,) * 2); "
    "logging.getLogger(patience.__name__).addFilter(lambda _: threading.Timer(1, r.setrlimit, free).start() or True)"
)
STORES = {"SQLite": ("", 118_800), "journal": ("journal:", 9_000)}  # more than the first trials take, less than 25


@pytest.mark.parametrize("kind", STORES)
def test_a_full_disk_ends_with_one_line_and_the_search_goes_on_later(tmp_path, kind):
    prefix, size = STORES[kind]
    storage = f"{prefix}{tmp_path}/s"
    process = command(f"t.quick, trials=40, storage={storage!r}, study='s'", FULL.format(size=size, patience=1))
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "trying again for 1 seconds" in errors
    assert errors.strip().splitlines()[-1].startswith("actune.discovery.study.storage.patience.SearchError: storage=")
    assert "what is finished is kept" in errors
    before = {t.number: t.value for t in load(storage).trials if t.state == TrialState.COMPLETE}
    assert 0 < len(before) < 40
    study = search(quick, trials=40, storage=storage, study="s")
    whole(study, 40)
    assert {n: study.trials[n].value for n in before} == before


@pytest.mark.parametrize("kind", STORES)
def test_a_search_goes_on_when_the_disk_has_room_again(tmp_path, kind):
    prefix, size = STORES[kind]
    process = command(f"t.quick, trials=30, storage='{prefix}{tmp_path}/s', study='s'", FULL.format(size=size, patience=30) + FREED)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "answers again" in errors
    whole(load(f"{prefix}{tmp_path}/s"), 30)


def test_a_damaged_file_is_named_with_what_can_be_done(tmp_path):
    path = tmp_path / "s.db"
    search(quick, trials=8, storage=path, study="s")
    sound = path.read_bytes()
    damage = {"torn": sound[: len(sound) // 2], "overwritten": sound[:4096] + bytes(len(sound) - 4096), "no database": bytes(9999)}
    for kind, content in damage.items():
        path.write_bytes(content)
        with pytest.raises(
            (ValueError, SearchError), match=r"storage='.*s\.db' .*the file is damaged: .*sqlite3 .* \.recover"
        ) as e:
            search(quick, trials=12, storage=path, study="s")
        assert "\n" not in str(e.value), kind
        assert path.read_bytes() == content, kind
    path.write_bytes(sound)
    whole(search(quick, trials=12, storage=path, study="s"), 12)


def test_a_torn_line_of_a_journal_is_cut_off(tmp_path):
    path = tmp_path / "s.log"
    search(quick, trials=5, storage=f"journal:{path}", study="s", seed=1)
    sound = path.read_bytes()
    for torn in (b'{"op_code":4,"worker_id":"torn', b'{"op_code":5, "x":"' + b"y" * 10_000):
        path.write_bytes(sound + torn)
        whole(search(quick, trials=9, storage=f"journal:{path}", study="s"), 9)
        assert torn not in path.read_bytes()
        assert path.read_bytes().startswith(sound)


def test_a_damaged_line_of_a_journal_is_named(tmp_path):
    path = tmp_path / "s.log"
    search(quick, trials=5, storage=f"journal:{path}", study="s")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:20], b"\x00\xff garbage\n", *lines[20:]]))
    with pytest.raises(SearchError, match=r"damaged in line 21; .*head -n 20 '.*s\.log' > "):
        search(quick, trials=9, storage=f"journal:{path}", study="s")
    path.write_bytes(b"".join(lines[:20]))
    whole(search(quick, trials=9, storage=f"journal:{path}", study="s"), 9)


@pytest.mark.parametrize("where", ["", " ", "journal:"])
def test_an_empty_storage_is_refused(where):
    with pytest.raises(ValueError, match="is empty; give the path"):
        search(quick, trials=1, storage=where)


def test_a_refused_database_does_not_tell_its_password():
    with pytest.raises(ValueError, match=r"storage='.*user:\*\*\*@.*cannot be opened") as e:
        open_storage("mysql+nodriver://user:secret@nowhere/x", 10, 30)
    assert "secret" not in str(e.value)


def at_each_moment(
    folder: Path,
    fault: Callable[[optuna.storages.BaseStorage, int], list[int]],
    least: int,
    step: int = 1,
    prepare: Callable[[optuna.Study], None] = lambda _: None,
) -> Iterator[optuna.Study]:
    """A new study, to which the fault comes at the next moment, until it no longer comes to one; so many moments at least."""
    for n in itertools.count(step=step):
        storage = open_storage(folder / f"{n}.db", 10, 30, patience=5)
        study = optuna.create_study(study_name="s", storage=storage)
        prepare(study)
        came = fault(storage, n)
        yield study
        if not came:
            break
    assert n >= least


def losing(storage: optuna.storages.BaseStorage, which: int) -> list[int]:
    """Let the answer to one transaction from now on be lost, which is written all the same; gives a list that then has an entry."""
    dialect, commit, count, lost = storage.engine.dialect, storage.engine.dialect.do_commit, itertools.count(), []

    def do_commit(connection):
        commit(connection)
        if next(count) == which:
            lost.append(which)
            raise sqlite3.OperationalError("the answer was lost")

    dialect.do_commit = do_commit
    return lost


def test_a_lost_answer_makes_no_trial_twice(tmp_path, monkeypatch):
    """To each transaction in turn, of a search with a trial to be run again, one that was queued, and new ones."""
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def prepare(study: optuna.Study) -> None:
        suggest_activation(ask(study), settings=QUICK)
        study.enqueue_trial({}, user_attrs={KEY: "gelu"})

    for study in at_each_moment(tmp_path, losing, 31, prepare=prepare):
        search(quick, trials=3, study=study)
        whole(study, 3)
        assert len(study.trials) == 4


def test_a_lost_answer_to_a_failure_ends_nothing(tmp_path, monkeypatch):
    """The trial has failed, in the study too, and the search goes on."""
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 0:
            raise OSError("no such data")
        return quick(trial)

    for study in at_each_moment(tmp_path, losing, 16):
        search(objective, trials=2, study=study)
        assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_patience_with_what_can_be_read_and_not_written_ends(tmp_path, monkeypatch):
    storage = open_storage(tmp_path / "s.db", 10, 30, patience=1)
    study = optuna.create_study(storage=storage)
    trial = ask(study)

    tries = itertools.count()

    def refused(*_: object) -> None:
        assert next(tries) < 20, "without end"
        raise sqlalchemy.exc.OperationalError("UPDATE", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr("actune.discovery.study.storage.database.write_values", refused)
    with pytest.raises(SearchError, match="disk is full"):
        study.tell(trial, 1.0)


def cutting(storage: optuna.storages.BaseStorage, which: int) -> list[int]:
    """Let the connection be cut before one statement from now on; gives a list that then has an entry."""
    dialect, execute, count, cut = storage.engine.dialect, storage.engine.dialect.do_execute, itertools.count(), []

    def do_execute(*arguments):
        if next(count) == which:
            cut.append(which)
            raise sqlite3.OperationalError("the connection was cut")
        execute(*arguments)

    dialect.do_execute = do_execute
    dialect.is_disconnect = lambda error, *_: "was cut" in str(error)
    return cut


def test_a_connection_that_is_cut_costs_nothing(tmp_path, monkeypatch):
    """Before every third statement in turn: SQLAlchemy has other errors then than where only the database's answer is an error."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    for study in at_each_moment(tmp_path, cutting, 31, step=3):
        search(quick, trials=1, study=study)
        whole(study, 1)
        assert len(study.trials) == 1


def test_a_lost_answer_that_is_written_only_afterwards(tmp_path, monkeypatch):
    """A connection is cut in the middle of a commit: it is not there when we look, and is there when we write."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    storage = open_storage(tmp_path / "s.db", 10, 30, patience=5)
    study = optuna.create_study(storage=storage)
    study.enqueue_trial({})
    found, number = storage._in_state, study.trials[0]._trial_id
    for change in ((number, TrialState.RUNNING), (number, TrialState.COMPLETE, [1.0])):
        looks = iter([False, True])
        monkeypatch.setattr(storage, "_in_state", lambda *a: next(looks) and found(*a))  # noqa: B023
        lost = losing(storage, 0)
        assert storage.set_trial_state_values(*change)
        assert (lost, list(looks)) == ([0], [])
    assert study.trials[0].value == 1.0


def test_a_search_that_ends_in_the_middle_of_a_trial(tmp_path):
    """Optuna would take it for a failure of the trial, and go on."""

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 2:
            raise SearchError("the storage is gone")
        return quick(trial)

    with pytest.raises(SearchError, match="the storage is gone"):
        search(objective, trials=5, storage=tmp_path / "s.db", study="s")
    study = load(f"{tmp_path}/s.db")
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 2 + [TrialState.FAIL]
    whole(search(quick, trials=5, storage=tmp_path / "s.db", study="s"), 5)


def test_nobody_is_taken_for_dead_after_an_outage(tmp_path):
    """In which no sign of life could be given."""
    storage = open_storage(tmp_path / "s.db", 30, 600, worker="elsewhere:1")
    study = optuna.create_study(storage=storage)
    number = ask(study)._trial_id
    last_seen_long_ago(tmp_path / "s.db")
    assert storage._get_stale_trial_ids(study._study_id) == [number]
    storage.patience.last = time.monotonic() - 300
    assert storage._get_stale_trial_ids(study._study_id) == []
    storage.patience.last -= 301
    assert storage._get_stale_trial_ids(study._study_id) == [number]


def test_nobody_is_taken_for_dead_while_others_hold_the_lock(tmp_path):
    """Signs of life wait for it; and so does the look at them, which then says that nobody could give one."""
    storage = open_storage(tmp_path / "s.db", 1, 1, worker="elsewhere:1")
    study = optuna.create_study(storage=storage)
    ask(study)
    holder = sqlite3.connect(tmp_path / "s.db", check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(2.5, holder.rollback)
    release.start()
    assert storage._get_stale_trial_ids(study._study_id) == []
    release.join()
    holder.close()


def test_nobody_is_taken_for_dead_by_who_could_not_open_the_storage(tmp_path):
    path = tmp_path / "s.db"
    study = optuna.create_study(study_name="s", storage=open_storage(path, 30, 60, worker="elsewhere:1"))
    number = ask(study)._trial_id
    last_seen_long_ago(path)
    assert open_storage(path, 30, 60)._get_stale_trial_ids(study._study_id) == [number]
    aside = path.rename(tmp_path / "aside")
    path.mkdir()
    with pytest.raises(ValueError, match="cannot be opened"):
        open_storage(path, 30, 60)
    path.rmdir()
    aside.rename(path)
    assert open_storage(path, 30, 60)._get_stale_trial_ids(study._study_id) == []


def test_a_search_that_ends_in_a_trial_that_others_took_for_dead(tmp_path):
    """It ends then and there, and not a trial later."""
    begun = []

    def objective(trial: optuna.Trial) -> float:
        begun.append(trial.number)
        if trial.number > 0:
            return quick(trial)
        trial.study.tell(trial.number, state=TrialState.FAIL)
        raise SearchError("the storage is gone")

    with pytest.raises(SearchError, match="the storage is gone"):
        search(objective, trials=3, storage=tmp_path / "s.db", study="s")
    assert begun == [0]


def test_patience_ends(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    patience = Patience("x", 5)
    clock = iter([0.0, 4.0, 7.0, 11.0, 12.1])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    error = OSError("No space left on device")
    patience.wait(error)
    patience.wait(error)
    assert patience.last == 4.0
    patience.answered()
    patience.wait(error)
    patience.wait(error)
    with pytest.raises(SearchError, match=r"storage='x' fails \(No space left on device\); what is finished is kept"):
        patience.wait(error)


def test_others_are_counted_where_their_death_would_be_noticed(tmp_path):
    for where, count in ((f"{tmp_path}/s.db", 1), (f"journal:{tmp_path}/s.log", 0)):
        study = optuna.create_study(storage=open_storage(where, 10, 30, worker="elsewhere:1"))
        ask(study)
        assert Tally(study, 5).look() == (5, count)
        assert Tally(study, 5, own=lambda name: name == "elsewhere:1").look() == (5, 0)


def test_random_of_the_objective_is_left_alone():
    random.seed(1)
    first = random.random()
    random.seed(1)
    search(quick, trials=1)
    assert random.random() == first


def test_superseded_trials_are_those_in_a_history():
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, system_attrs={"retry_history": [4, 7]}))
    assert superseded(study.trials) == {4, 7}
