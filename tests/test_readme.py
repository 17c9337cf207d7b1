"""What the README says is true: its examples run, and its table is the stored result."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import optuna
import pytest
import torch

import actune
from actune.results import write_block

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_example_runs() -> None:
    names: dict = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    assert set(names["report"].replaced[0].names) == {"1"}
    assert isinstance(names["model"][1], torch.nn.ReLU)


def test_the_study_example_runs() -> None:
    """With a network and a training of two steps in place of the reader's."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def train(model: torch.nn.Module, lr: float) -> float:
        torch.manual_seed(0)
        x = torch.randn(16, 4)
        model(x)
        optimizer = torch.optim.SGD(model.parameters(), lr)
        for _ in range(2):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    make_model = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))  # noqa: E731
    names = {"actune": actune, "make_model": make_model, "train": train}
    exec(compile(BLOCKS[1].replace("n_trials=200", "n_trials=5"), "README.md", "exec"), names)
    assert isinstance(actune.best(names["study"]), actune.Family)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch's exporter
def test_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'actune[export]'")
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), actune.Activation("sau"))
    exec(compile(BLOCKS[2], "README.md", "exec"), {"actune": actune, "torch": torch, "model": model})
    assert {path.name for path in tmp_path.iterdir()} >= {"zorro.c", "model.py", "model.onnx"}


def test_every_python_block_is_tested() -> None:
    assert len(BLOCKS) == 3


def test_the_table_is_the_stored_result() -> None:
    if not (ROOT / "results/digits.jsonl").exists():
        pytest.fail("results/digits.jsonl is missing: run `make readme`")
    spec = importlib.util.spec_from_file_location("readme", ROOT / "docs/readme.py")
    assert spec is not None
    assert spec.loader is not None
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    assert readme.written() == README


def test_claims_about_the_catalogue() -> None:
    assert len(actune.list_families()) > 80
    for paper in ("2409.19239", "2109.13210", "2111.04682", "2402.08244", "2411.13010", "2006.03179"):
        assert any(paper in actune.family(name).paper for name in actune.list_families()), paper


def test_a_document_without_the_block_is_refused() -> None:
    text = "a\n<!-- b: from c -->\nold\n<!-- end of b -->\nd"
    assert write_block(text, "b", "new") == "a\n<!-- b: from c -->\n\nnew\n\n<!-- end of b -->\nd"
    for wrong in ("", text.replace("end of b", "end of x"), text + text):
        with pytest.raises(ValueError, match=r"has [02] blocks 'b'; it needs one, from <!-- b: … --> to <!-- end of b -->"):
            write_block(wrong, "b", "new")
