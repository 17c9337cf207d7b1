"""Runs are carried out once, whatever happens: deleted lines, torn lines, commands side by side, kills."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import declared_paper as little
import optuna
import pytest
from optuna.trial import TrialState

from actune.discovery.study.storage.opening import open_storage
from actune.discovery.study.storage.patience import SearchError
from actune.discovery.workers.requeueing import quiet_optuna
from actune.papers import PAPERS, Experiment, Reproduction, Scale, procedures, read_runs, reproduce, reproducing
from actune.papers.runs import planned_runs, run_key

CALLS: list[tuple[str, str, int]] = []


def counted(task: Any, choice: Any, seed: int, device: str, place: Any) -> dict[str, Any]:
    """The procedure of the little paper, which writes down that it was called."""
    CALLS.append((task.name, choice, seed))
    time.sleep(0.01)
    return little.measured(task, choice, seed, device, place)


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that makes the little paper known, with these experiments."""

    def declare(*experiments: Experiment) -> None:
        monkeypatch.setitem(PAPERS, "little", little.paper(*experiments))
        run_key.cache_clear()

    CALLS.clear()
    yield declare
    run_key.cache_clear()


@pytest.fixture
def again(declare: Callable[..., None], tmp_path: Path) -> Callable[..., Reproduction]:
    """The command, on the smoke scale of the little paper."""
    declare(little.experiment(procedure=counted))
    return lambda **changes: reproduce(**{"selection": "little", "scale": "smoke", "results": tmp_path} | changes)


def stored(folder: Path) -> list[str]:
    return (folder / "little.jsonl").read_text().splitlines()


def test_lines_are_written_once(again, tmp_path: Path) -> None:
    news: list[tuple[int, int, str]] = []
    assert again(progress=lambda *n: news.append(n)) == Reproduction(4, 4, {}, {})
    assert news == [(0, 4, "")] + [(i, 4, f"little/one {p}: {f}, seed 2000") for i, (p, f) in
                                   enumerate([("a", "relu"), ("a", "gelu"), ("b", "relu"), ("b", "gelu")], 1)]  # fmt: skip
    before = stored(tmp_path)
    line = json.loads(before[0])
    assert line["scores"] == {"loss": 1.0, "seconds": 0.1}
    assert {"key", "part", "seed", "command", "versions", "machine", "date"} <= line.keys()
    assert again() == Reproduction(4, 0, {}, {})
    assert stored(tmp_path) == before
    assert len(CALLS) == 4
    assert again(scale="laptop") == Reproduction(8, 8, {}, {})
    assert again(seeds=2) == Reproduction(8, 4, {}, {})
    assert max(Counter(line["key"] for line in read_runs(tmp_path)).values()) == 1


def test_a_deleted_line_is_written_again_and_not_run_again(again, tmp_path: Path) -> None:
    again()
    before = stored(tmp_path)
    (tmp_path / "little.jsonl").write_text("\n".join([before[0], *before[2:], ""]))
    assert again() == Reproduction(4, 1, {}, {})
    assert sorted(stored(tmp_path)) == sorted(before)
    assert len(CALLS) == 4


def test_what_is_kept_nowhere_is_run_again(again, tmp_path: Path) -> None:
    again()
    (tmp_path / "runs.db").unlink()
    (tmp_path / "little.jsonl").write_text("\n".join([*stored(tmp_path)[1:], ""]))
    assert again() == Reproduction(4, 1, {}, {})
    assert CALLS[4:] == CALLS[:1]
    (tmp_path / "runs.db").unlink()
    assert again().new == 0  # finished lines need no storage


def test_a_torn_line_is_repaired(again, tmp_path: Path) -> None:
    again()
    path = tmp_path / "little.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert len(read_runs(tmp_path)) == 3
    assert again() == Reproduction(4, 1, {}, {})
    assert path.read_bytes() == whole
    assert len(CALLS) == 4


def test_a_run_that_raises(again, declare, tmp_path: Path) -> None:
    with_tanh = {"relu": "relu", "tanh": "tanh", "gelu": "gelu"}
    declare(little.experiment(procedure=counted, functions=with_tanh))
    failed = {f"little/one {p}: tanh, seed 2000": "ArithmeticError: tanh is broken" for p in "ab"}
    assert again() == Reproduction(4, 4, failed, {})
    assert len(CALLS) == 6
    assert again() == Reproduction(4, 0, failed, {})  # the next command tries them again
    assert len(CALLS) == 8
    declare(little.experiment(procedure=counted, functions={**with_tanh, "tanh": "silu"}))  # mended
    assert again() == Reproduction(6, 2, {}, {})


def test_a_search_that_ends_is_one_failed_run(again, declare, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*arguments: Any, **options: Any) -> Any:
        raise SearchError("10 trials in a row failed")

    monkeypatch.setattr(procedures, "search", ended)
    searching = partial(procedures.search_and_train, methods={"gelu": "better"}, trials=10)
    declare(little.experiment(procedure=searching))
    done = again()
    assert done.failed == {
        f"little/one {p}: gelu, seed 2000": "RuntimeError: the search ended: 10 trials in a row failed" for p in "ab"
    }
    assert done.new == 2  # the others were trained all the same


def test_a_run_whose_workers_died_again_and_again_is_run_by_the_next_command(again, tmp_path: Path) -> None:
    """As it stands in a study after so many deaths: failed, without a message, and queued by nobody."""
    run = next(planned_runs(PAPERS["little"], PAPERS["little"].experiments[0], "smoke"))
    attributes = {"run": asdict(run), "key": run_key(run), "actune:worker": "elsewhere:1"}
    with quiet_optuna():
        study = optuna.create_study(study_name="reproduce little smoke", storage=open_storage(tmp_path / "runs.db", 10, 30))
    retried = {"retry_history": [90, 91, 92]}
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attributes, system_attrs=retried))
    assert again() == Reproduction(4, 4, {}, {})


def test_experiments_without_their_data(again, declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(
        little.experiment("absent", scales=little.scales({"a": little.part("a", little.absent)})),
        little.experiment("large", scales={"full": Scale(little.TWO_PARTS)}),
        little.experiment(procedure=counted),
    )
    left_out = {"little/absent": "ACTUNE_DATA is not set", "little/large": "it has no scale 'smoke'"}
    assert again() == Reproduction(4, 4, {}, left_out)
    half = {"a": little.part("a"), "b": little.part("b", little.absent)}
    declare(little.experiment("half", procedure=counted, scales=little.scales(half)))
    assert again() == Reproduction(2, 2, {}, {"little/half b": "ACTUNE_DATA is not set"})
    monkeypatch.delenv("ACTUNE_DATA", raising=False)
    found = reproduce("apalu/differnet-mvtec", scale="full", results=tmp_path)
    assert (found.done, found.new, found.failed) == (0, 0, {})
    assert "ACTUNE_DATA is not set" in found.absent["apalu/differnet-mvtec"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"selection": "zoro"}, r"^unknown paper 'zoro'; did you mean 'zorro'\? \(known: .*\)$"),
        ({"selection": "zorro/dept"}, r"^the paper 'zorro' has no experiment 'dept'; did you mean 'depth'\? \(it has .*\)$"),
        ({"scale": "labtop"}, r"^unknown scale 'labtop'; did you mean 'laptop'\? \(known: smoke, laptop, full\)$"),
    ],
)
def test_unknown_names(again, tmp_path: Path, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        again(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_declaration_that_changed_leaves_its_queue_behind(again, declare, tmp_path: Path) -> None:
    """Runs of an older declaration wait in the study: they are passed over, and those of the new one are run."""
    again()
    with quiet_optuna():
        study = optuna.load_study(study_name="reproduce little smoke", storage=open_storage(tmp_path / "runs.db", 10, 30))
        study.enqueue_trial({}, user_attrs={"run": study.trials[0].user_attrs["run"], "key": "of another declaration"})
    declare(little.experiment(procedure=counted, first_seed=2001))
    assert again() == Reproduction(4, 4, {}, {})
    assert CALLS[4:] == [(task, f, 2001) for task, f, _ in CALLS[:4]]


def queue_first(folder: Path, times: int) -> optuna.Study:
    """A study in which another command has queued the first run of the little paper."""
    run = next(planned_runs(PAPERS["little"], PAPERS["little"].experiments[0], "smoke"))
    with quiet_optuna():
        study = optuna.create_study(study_name="reproduce little smoke", storage=open_storage(folder / "runs.db", 10, 30))
    for _ in range(times):
        study.enqueue_trial({}, user_attrs={"run": asdict(run), "key": run_key(run)})
    return study


def test_what_another_command_has_queued_is_not_queued_again(again, tmp_path: Path) -> None:
    study = queue_first(tmp_path, times=1)
    assert again() == Reproduction(4, 4, {}, {})
    assert len(study.get_trials()) == len(CALLS) == 4


def test_what_two_commands_have_queued_at_the_same_moment_runs_once(again, tmp_path: Path) -> None:
    study = queue_first(tmp_path, times=2)
    assert again() == Reproduction(4, 4, {}, {})
    assert len(CALLS) == 4
    assert [t.state for t in study.get_trials()].count(TrialState.PRUNED) == 1


def test_trials_of_others_do_not_count_for_ours(again, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command queues after we have counted: its trials end first, and the study has as many as we asked for."""
    counts = iter([1, 2])
    count = reproducing._count
    monkeypatch.setattr(reproducing, "_count", lambda study: next(counts, 0) or count(study))
    assert again() == Reproduction(4, 4, {}, {})


def reproduce_little(folder: str) -> None:
    """The command, in a process of its own, which first waits for the other."""
    PAPERS["little"] = little.paper(little.experiment(procedure=counted))
    Path(folder, f"{os.getpid()}.ready").touch()
    while len(list(Path(folder).glob("*.ready"))) < 2:
        time.sleep(0.01)
    found = reproduce("little", scale="smoke", seeds=8, results=folder)
    print(json.dumps([found.done, found.failed, [list(call) for call in CALLS]]))


def test_commands_at_the_same_time_share_the_work(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_reproducing as t\n"
    code += f"t.reproduce_little({str(tmp_path)!r})"
    commands = [subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE) for _ in range(2)]
    found = [json.loads(c.communicate(timeout=120)[0]) for c in commands]
    assert [f[:2] for f in found] == [[32, {}]] * 2
    calls = [tuple(call) for f in found for call in f[2]]
    assert len(calls) == len(set(calls)) == 32
    assert all(f[2] for f in found)
    assert len(stored(tmp_path)) == 32


# -- the command, killed ---------------------------------------------------------------------------------------------------


def test_killed_at_random_moments_it_loses_nothing(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("kills", Path(__file__).parents[2] / "benchmarks" / "kills.py")
    assert spec is not None
    assert spec.loader is not None
    kills = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kills)
    result = kills.reproduce(random.randrange(10**6), tmp_path, "sau/smoothness", kills=2)
    assert result["wrong"] == [], result
    assert sum(result["killed"].values()) > 0
    (tmp_path / "sau.jsonl").write_text("".join(line + "\n" for line in (tmp_path / "sau.jsonl").read_text().splitlines()[1:]))
    assert kills.check_runs(tmp_path, "sau/smoothness")["wrong"] == ["lines: 1 runs lost, 0 twice"]
