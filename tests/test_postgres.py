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
from optuna.trial import TrialState
from postgres import Server, new_server
from test_fleet import KEY, QUICK, ask, command, meeting, quick, slow, whole

from actune.discovery import SearchError, search, suggest_activation
from actune.discovery.fleet import superseded
from actune.discovery.storage import open_storage

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


def test_two_commands_and_a_killed_worker(server):
    study = optuna.create_study(study_name="two", storage=open_storage(server.url, 10, 30))
    study.set_user_attr("actune:seed", 0)
    other = command(f"t.meeting, trials=12, workers=1, storage={server.url!r}, study='two'")
    killed = []

    def progress(study, trial):
        for t in study.get_trials(states=(TrialState.RUNNING,)):
            pid = int(t.user_attrs["actune:worker"].rpartition(":")[2])
            if pid != other.pid and not killed:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.2)  # what it has sent arrives
                running = study.get_trials()[t.number].state == TrialState.RUNNING
                os.kill(pid, signal.SIGKILL if running else signal.SIGCONT)
                killed.extend([t.number] if running else [])

    search(meeting, trials=12, workers=2, storage=server.url, study="two", progress=progress)
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


def test_a_silent_worker_of_another_machine_is_run_again(server):
    other = optuna.create_study(study_name="silent", storage=open_storage(server.url, 1, 1, worker="elsewhere:1"))
    text = suggest_activation(ask(other), settings=QUICK).text
    time.sleep(2.5)
    study = search(quick, trials=3, storage=server.url, study="silent", heartbeat=1, grace=1)
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


def test_a_server_that_stays_away_ends_the_search_which_can_go_on(server):
    code = f"t.slow, trials=8, storage={server.url!r}, study='gone', progress=lambda s, t: print(t.number, flush=True)"
    process = command(code, "storage.PATIENCE = 2")
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
