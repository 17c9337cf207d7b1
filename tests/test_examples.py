"""The scripts in examples/ do what they say, run as a reader runs them; the arguments only shorten what is trained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def printed(folder: Path, name: str, *arguments: str) -> str:
    """What an example prints, run in this folder; a warning or anything else on the error stream is a failure."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=folder, env=ONE_THREAD, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def number(pattern: str, text: str) -> float:
    """The number that the group of the pattern finds."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def test_every_example_is_tested_and_fits_a_page() -> None:
    lengths = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    own = Path(__file__).read_text()
    assert [name for name in lengths if f'"{name}"' not in own] == []
    assert {name: lines for name, lines in lengths.items() if lines > 66} == {}


def test_a_network_that_obeys_an_equation_finds_its_solution(tmp_path: Path) -> None:
    """The error against the exact solution, after a part of the steps; the parameters of the functions have moved."""
    lines = printed(tmp_path, "pinn", "--steps", "200", "--activations", "swish", "sin(a*x); a=1").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert number(r"largest error (\S+);", line) < 5e-3
        learned = re.findall(r"= (\d+\.\d+)", line)
        assert len(learned) == 2
        assert "1.000" not in learned


def test_a_search_beside_a_learning_rate_improves_on_the_first_trial(tmp_path: Path) -> None:
    table, best = printed(tmp_path, "optuna_objective", "--trials", "16").split("\n\n")
    rows = table.splitlines()[1:]
    losses = [float(row.split()[0]) for row in rows]
    assert rows[-1].endswith("0.0100  relu")
    assert len(losses) == 6
    assert losses[:5] == sorted(losses[:5])
    assert losses[0] < losses[-1]
    assert best.startswith(f"actune.best(study) is {rows[0].split(maxsplit=2)[2]}:")


def test_a_task_of_ones_own_is_searched_and_proved(tmp_path: Path) -> None:
    text = printed(tmp_path, "custom_task", "--trials", "3", "--seeds", "2")
    rows = re.findall(r"^(.+): (\d+\.\d) %", text, flags=re.MULTILINE)
    assert {"relu", "gelu", "apalu"} < {name for name, _ in rows}
    assert all(float(accuracy) > 60 for _, accuracy in rows)  # a third by chance
    assert "over 2 seeds" in text


def test_a_transformer_is_swapped_trained_saved_and_loaded(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'actune[huggingface]'")
    text = printed(tmp_path, "transformer", "--steps", "25")
    assert "replaced 2 activation functions" in text
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)", text)]
    assert losses[-1] < losses[0] - 1
    assert "= 1.000" not in text  # what was learned
    assert number(r"its logits differ by (\S+)", text) == 0


def test_a_file_in_onnx_answers_like_the_network(tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'actune[export]'")
    text = printed(tmp_path, "onnx_export", "--steps", "60")
    assert (tmp_path / "digits.onnx").exists()
    in_torch, in_onnx = number(r"in torch: (\S+)%", text), number(r"in onnxruntime: (\S+)%", text)
    assert in_torch == in_onnx > 80
    assert number(r"largest difference between the two: (\S+)", text) < 1e-4
