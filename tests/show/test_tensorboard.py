"""Each finished trial is written once, at the step of its number; without TensorBoard one line says what to install."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import optuna
import pytest

import actune
from actune.show.tensorboard import TensorBoard


class Writer:
    """Keeps what it is given."""

    def __init__(self, folder: str):
        self.folder, self.scalars, self.texts, self.flushed, self.closed = folder, [], [], 0, False

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.append((tag, value, step))

    def add_text(self, tag: str, text: str, step: int) -> None:
        self.texts.append((tag, text, step))

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorBoard:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return TensorBoard(tmp_path)


def objective(trial: optuna.Trial) -> float:
    """Losses 5, 3, 4; the trial before the last is pruned, the last fails."""
    actune.suggest_activation(trial, "hidden")
    trial.report(9.0, 0)
    trial.report(8.0, 1)
    if trial.number == 3:
        raise optuna.TrialPruned
    if trial.number == 4:
        raise ValueError("no")
    return [5.0, 3.0, 4.0][trial.number]


def test_every_finished_trial_is_written(board: TensorBoard, tmp_path: Path) -> None:
    with board:
        study = actune.search(objective, trials=5, progress=board)
    writer = board._writer
    assert writer.folder == str(tmp_path)
    written = lambda tag: [(value, step) for t, value, step in writer.scalars if t == tag]  # noqa: E731
    assert written("value") == [(5.0, 0), (3.0, 1), (4.0, 2)]
    assert written("best") == [(5.0, 0), (3.0, 1), (3.0, 2)]
    assert written("epochs") == [(2.0, step) for step in range(5)]
    assert [step for _, step in written("seconds")] == list(range(5))
    states = ["complete"] * 3 + ["pruned", "fail"]
    formulas = [t.user_attrs["activation:hidden"] for t in study.trials]
    assert writer.texts == [("trial", f"{s}, hidden: `{f}`", i) for i, (s, f) in enumerate(zip(states, formulas, strict=True))]
    assert writer.flushed == 5
    assert writer.closed


def test_trained_parameters_are_written(board: TensorBoard) -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs={"activation:activation": "x*sigmoid(b*x); b=1"})
    actune.search("digits", trials=1, study=study, course=True, progress=board)
    tags = {tag: value for tag, value, _ in board._writer.scalars}
    assert tags["parameters/1.b"] == study.trials[0].user_attrs["actune:course"]["1.b"][-1][0]
    assert len([tag for tag in tags if tag.startswith("parameters/")]) == 7


def test_several_objectives_are_written_apart(board: TensorBoard) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.optimize(lambda trial: (1.0, 2.0), n_trials=2, callbacks=[board])
    assert {(tag, value) for tag, value, _ in board._writer.scalars if tag != "seconds"} == {("value/0", 1.0), ("value/1", 2.0)}


def test_without_tensorboard_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"^logging to TensorBoard needs its package .*; pip install 'actune\[tensorboard\]'$"):
        TensorBoard(tmp_path)


def test_tensorboard_is_imported_when_it_is_used_and_not_before() -> None:
    code = "import sys, actune.show.tensorboard; print([m for m in sys.modules if 'tensorboard' in m and 'actune' not in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    reason = "tensorboard is not installed: pip install 'actune[tensorboard]'"
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with TensorBoard(tmp_path) as board:
        actune.search(objective, trials=3, progress=board)
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("best")] == [(0, 5.0), (1, 3.0), (2, 3.0)]
