"""Workers as Ray tasks, on a real cluster of two nodes on this machine, one of which is killed."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from test_fleet import KEY, QUICK, broken, slow, whole

from actune.discovery import SearchError, Workers, replay, search, suggest_activation
from actune.discovery.study.counting import finished, superseded
from actune.discovery.study.storage.opening import open_storage
from actune.discovery.workers import ray as ray_module
from actune.discovery.workers.ray import Cluster

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'actune[ray]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


GATE = "ACTUNE_TEST_GATE"  # names a file that opens it


def gated(trial: optuna.Trial) -> float:
    """From the fifth trial on it waits until the gate is open: what runs then runs for sure when a node is killed."""
    suggest_activation(trial, settings=QUICK)
    end = time.monotonic() + 120
    while trial.number >= 4 and not Path(os.environ[GATE]).exists() and time.monotonic() < end:
        time.sleep(0.1)
    return slow(trial)


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def deadly(trial: optuna.Trial) -> float:
    suggest_activation(trial, settings=QUICK)
    os._exit(7)


def stopping(trial: optuna.Trial) -> float:
    trial.study.stop()
    return slow(trial)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A cluster of two nodes with a CPU each."""
    here = Path(__file__).parent
    os.environ[GATE] = str(tmp_path_factory.mktemp("gate") / "open")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.second = made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_node_that_is_killed_loses_nothing(nodes, tmp_path):
    watched = optuna.create_study(study_name="s", storage=open_storage(tmp_path / "s.db", 10, 30))
    watched.set_user_attr("actune:seed", 0)
    lost = []

    def kill_when_both_train():
        while len(lost) < 2:
            time.sleep(0.2)
            running = watched.get_trials(states=(TrialState.RUNNING,))
            if len(running) == 2 and all(t.number >= 4 and KEY in t.user_attrs for t in running):
                lost.extend(t.number for t in running)
                training = [int(t.user_attrs["actune:worker"].rpartition(":")[2]) for t in running]
        nodes.remove_node(nodes.second, allow_graceful=False)
        while all(map(alive, training)):  # a worker outlives its node by a moment
            time.sleep(0.1)
        Path(os.environ[GATE]).touch()

    killer = threading.Thread(target=kill_when_both_train, daemon=True)
    killer.start()
    begin = time.monotonic()
    study = search(gated, trials=10, workers=Workers(ray=nodes.address, grace=300), storage=tmp_path / "s.db", study="s")
    assert time.monotonic() - begin < 200  # Ray's retry found what was left, not the heartbeats
    killer.join(timeout=60)
    whole(study, 10)
    assert len(lost) == 2
    (dead,) = superseded(study.trials)
    assert dead in lost
    (again,) = (t for t in study.trials if "failed_trial" in t.system_attrs)
    assert again.user_attrs[KEY] == study.trials[dead].user_attrs[KEY]
    workers = {t.user_attrs["actune:worker"].rpartition(":")[2] for t in study.trials}
    assert len(workers) >= 2


def test_a_task_that_always_raises(nodes, tmp_path):
    with pytest.raises(SearchError, match=r"10 trials in a row failed, .* OSError: no such data"):
        search(broken, trials=50, workers=Workers(1, ray=nodes.address), storage=tmp_path / "s.db", study="s")


def test_a_task_that_kills_its_process(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_module, "RERUNS", 0)
    monkeypatch.setattr(ray_module, "CRASHES", 2)
    with pytest.raises(SearchError, match="2 Ray tasks in a row crashed, the last one with WorkerCrashedError"):
        search(deadly, trials=5, workers=Workers(1, ray=nodes.address), storage=tmp_path / "s.db", study="s")
    study = search(slow, trials=3, workers=Workers(1, ray=nodes.address), storage=tmp_path / "s.db", study="s")
    assert len(finished(study.trials)) == 3
    assert replay(study) == {}


def test_an_objective_may_stop_the_study(nodes, tmp_path):
    study = search(stopping, trials=9, workers=Workers(1, ray=nodes.address), storage=tmp_path / "s.db", study="s")
    assert len(study.trials) == 1


def test_no_room_for_a_worker(nodes, tmp_path):
    with pytest.raises(ValueError, match=r"gpus_per_worker=0.5: the cluster .* and 0 GPUs, no room for one worker"):
        search(slow, trials=2, workers=Workers(ray=nodes.address, gpus_per_worker=0.5), storage=tmp_path / "s.db")


def test_a_file_is_refused_where_other_machines_train():
    others = [{"NodeManagerHostname": "elsewhere", "Alive": True}]
    stub = SimpleNamespace(nodes=lambda: others)
    for file in ("s.db", "sqlite:///s.db"):
        with pytest.raises(ValueError, match=r"is a file of this machine, .* \(elsewhere\); give the URL of a database"):
            ray_module._check_reach(stub, file)
    ray_module._check_reach(stub, "postgresql://host/s")
    ray_module._check_reach(stub, "journal:/shared/s.log")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ray": " "}, "ray=' ' is empty"),
        ({"ray": "local", "gpus_per_worker": -1.0}, "gpus_per_worker must be a number ≥ 0"),
        ({"gpus_per_worker": 0.5}, "gpus_per_worker=0.5 is for Ray"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Workers(**arguments)


def test_a_study_in_memory_is_nothing_for_a_cluster():
    with pytest.raises(ValueError, match="ray='local' needs a storage"):
        search(slow, trials=2, workers=Workers(ray="local"), study=optuna.create_study())


def test_tickets_are_read_from_names():
    assert ray_module._ticket(ray_module._task_name("abc")) == "abc"
    assert ray_module._ticket("host:17") == ""
    assert Cluster("auto", 0.5).gpus == 0.5
