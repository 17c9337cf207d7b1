"""A study in PostgreSQL: a real server, with workers that die and a server that goes away."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from postgres import Server, new_server
from sqlalchemy import event
from test_fleet import KEY, QUICK, ask, command, meeting, quick, slow, whole
from test_storage import fill, told

from actune.discovery import SearchError, Workers, search, suggest_activation
from actune.discovery.study.counting import superseded
from actune.discovery.study.storage.database import sqlalchemy_url
from actune.discovery.study.storage.opening import open_storage

pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'actune[postgres]'")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        made = new_server()
    except OSError as error:
        print(error)
        pytest.skip(str(error))
    yield made
    made.stop()
    shutil.rmtree(made.folder)


def waiting(trial: optuna.Trial) -> float:
    """The fifth trial and those after it end when a worker was killed."""
    loss = meeting(trial)
    while trial.number >= 4 and not os.path.exists(os.environ["ACTUNE_TEST_KILLED"]):
        time.sleep(0.1)
    return loss


def kill_a_worker(study: optuna.Study, spared: int, note: str, killed: list[int]) -> None:
    """Kill one that has a trial which waits for that, and is none of the spared command's."""
    while not killed:
        for t in study.get_trials(states=(TrialState.RUNNING,)):
            pid = int(t.user_attrs["actune:worker"].rpartition(":")[2])
            if t.number >= 4 and pid != spared and not killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(t.number)
                open(note, "w").close()
        time.sleep(0.1)


def test_two_commands_and_a_killed_worker(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ACTUNE_TEST_KILLED", f"{tmp_path}/killed")
    study = optuna.create_study(study_name="two", storage=open_storage(server.url, 10, 30))
    study.set_user_attr("actune:seed", 0)
    before = "import test_postgres as p"
    other = command(f"p.waiting, trials=12, workers=1, storage={server.url!r}, study='two'", before)
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(study, other.pid, f"{tmp_path}/killed", killed))
    killer.start()
    search(waiting, trials=12, workers=2, storage=server.url, study="two")
    killer.join(timeout=60)
    assert other.communicate(timeout=60)[1] == ""
    whole(study, 12, more=2)
    assert superseded(study.trials) == set(killed) != set()
    assert str(other.pid) in {t.user_attrs["actune:worker"].rpartition(":")[2] for t in study.trials}


def test_tables_that_several_make_at_the_same_moment(server):
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: open_storage(server.url.removesuffix("postgres") + "fresh", 10, 30), range(4)))
    assert [s.get_all_studies() for s in found] == [[]] * 4


@pytest.mark.parametrize("ours_writes", [True, False])
def test_trials_on_a_server_are_those_that_optuna_reads_and_writes(server, ours_writes):
    """And threads that ask at once get a trial each, with a number of its own."""
    import psycopg

    url, name = server.url.removesuffix("postgres"), f"read_{ours_writes}".lower()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    ours, theirs = open_storage(url + name, 10, 30), RDBStorage(sqlalchemy_url(url + name))
    study = fill(ours if ours_writes else theirs)._study_id
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ours.create_new_trial(study), range(20)))
    found = [told(t) for t in ours.get_all_trials(study)]
    assert found == [told(t) for t in theirs.get_all_trials(study)]
    assert [t.number for t in ours.get_all_trials(study)] == list(range(25))
    theirs.engine.dispose()


def test_a_silent_worker_of_another_machine_is_run_again(server):
    other = optuna.create_study(study_name="silent", storage=open_storage(server.url, 1, 1, worker="elsewhere:1"))
    text = suggest_activation(ask(other), settings=QUICK).text
    time.sleep(2.5)
    study = search(quick, trials=3, storage=server.url, study="silent", workers=Workers(heartbeat=1, grace=1))
    whole(study, 3)
    assert superseded(study.trials) == {0}
    assert study.trials[1].user_attrs[KEY] == text


def test_a_server_that_goes_away_for_ten_seconds(server, caplog):
    """Immediate shutdown, as in a crash: transactions are cut off; all processes go on when it is back."""
    away = []

    def leave(study, trial):
        if trial.number == 2 and not away:
            server.stop("immediate")
            away.append(threading.Timer(10, server.start))
            away[0].start()

    study = search(slow, trials=12, workers=2, storage=server.url, study="away", progress=leave)
    away[0].join()
    whole(study, 12)
    messages = [r.getMessage() for r in caplog.records]
    assert any("trying again for 60 seconds" in m for m in messages)
    assert any("answers again" in m for m in messages)
    assert not any("secret" in m for m in messages)


def test_a_reading_that_the_server_cancels_is_read_again(server):
    """Optuna tries in another way, in the transaction that has ended with it."""
    storage = open_storage(server.url, 10, 30)
    study = optuna.create_study(study_name="cancelled", storage=storage)
    ask(study)
    slow = iter([True])

    @event.listens_for(storage.engine, "before_cursor_execute", retval=True)
    def wait(connection, cursor, statement, parameters, context, many):
        if "FROM trials" in statement and next(slow, False):
            cursor.execute("SET LOCAL statement_timeout = 10")
            return "SELECT pg_sleep(1)", {}
        return statement, parameters

    assert len(study.get_trials()) == 1
    assert next(slow, None) is None


def test_a_server_that_stays_away_ends_the_search_which_can_go_on(server):
    code = f"t.slow, trials=8, storage={server.url!r}, study='gone', progress=lambda s, t: print(t.number, flush=True)"
    process = command(code, "opening.PATIENCE = 2")
    study = optuna.create_study(study_name="gone", storage=open_storage(server.url, 10, 30))
    while len(study.get_trials(states=(TrialState.COMPLETE,))) < 3:
        time.sleep(0.1)
    before = {t.number: t.value for t in study.trials if t.value is not None}
    server.stop("immediate")
    try:
        errors = process.communicate(timeout=60)[1]
        with pytest.raises(ValueError, match=r"storage='postgresql://postgres:\*\*\*@.*cannot be opened \(.*refused"):
            search(quick, trials=8, storage=server.url, study="gone")
    finally:
        server.start()
    last = errors.strip().splitlines()[-1]
    assert last.startswith(f"{SearchError.__module__}.SearchError: storage='postgresql")
    assert "secret" not in last
    whole(search(quick, trials=8, storage=server.url, study="gone"), 8)
    assert {n: study.trials[n].value for n in before} == before
