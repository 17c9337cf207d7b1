"""Every block of code of the documentation runs, or says on the page why not; a command that does not run is at least read."""

from __future__ import annotations

import linecache
import random
import shlex
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import typer.main
from command_line import run
from documentation import NOT_RUN, PAGES, ROOT, Block, blocks

from actune.cli import app

README_NEEDS = """
import torch

def make_model():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

def train(model, lr):
    loss = model(torch.randn(16, 4)).square().mean()
    loss.backward()
    torch.optim.SGD(model.parameters(), lr).step()
    return loss.item()
"""  # "your training, your loss"

# Numbers that make a page slow, and what a test takes in their place.
SHORTER = {
    "n_trials=200": "n_trials=3",
    "n_trials=30": "n_trials=4",
    "trials=6": "trials=3",
    "trials=10": "trials=3",
    "range(100, 105)": "range(100, 102)",
    "type=int, default=400": "type=int, default=20",
}
# Warnings of torch's exporter and of transformers, which no reader can avoid.
OTHERS = ("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
WITH_CODE = [page for page in PAGES if any(b.is_run for b in blocks(page))]
NEEDED = {"export": ("onnxscript",), "tutorial": ("onnxscript",), "README": ("onnxscript",), "transformers": ("transformers",)}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.filterwarnings(*OTHERS)
@pytest.mark.usefixtures("registries_as_before")
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, in an empty folder; what they are said to print, they print."""
    for package in NEEDED.get(page.stem, ()):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'actune[dev]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACTUNE_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["page.py"])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.manual_seed(0)
    random.seed(0)
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    if page.name == "README.md":
        exec(README_NEEDS, names)
    script = tmp_path / "page.py"
    for block in blocks(page):
        if block.language == "python" and block.is_run:
            text = "\n" * (block.line - 1) + shorter(block.text)
            script.write_text(text)  # `swap` reads the source of classes
            linecache.checkcache(str(script))
            exec(compile(text, str(script), "exec"), names)
            printed = capsys.readouterr().out
        elif block.title == "It prints":
            assert printed == block.text, f"{name_of(page)}:{block.line}"
        elif block.language == "sh" and block.is_run:
            for arguments in commands(block):
                code, _, errors = run(capsys, monkeypatch, *arguments)
                assert code == 0, f"{name_of(page)}:{block.line}: {errors}"


def shorter(text: str) -> str:
    for slow, quick in SHORTER.items():
        text = text.replace(slow, quick)
    return text


def commands(block: Block) -> list[list[str]]:
    """The commands of actune in a block, without their first word; in one that runs there is nothing else."""
    lines = [shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines()]
    ours = [words[1:] for words in lines if words and words[0] == "actune"]
    if block.is_run and len(ours) < sum(map(bool, lines)):
        raise AssertionError(f"only commands of actune can be run:\n{block.text}")
    return ours


def told_commands() -> list[Any]:
    return [
        pytest.param(words, id=f"{name_of(page)}:{block.line}: {' '.join(words)}")
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh" and not block.is_run
        for words in commands(block)
    ]


@pytest.mark.parametrize("words", told_commands())
def test_a_command_that_is_not_run_has_only_options_that_exist(words: list[str]) -> None:
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:])


def test_a_command_with_an_unknown_option_is_found() -> None:
    with pytest.raises(typer.TyperException, match="No such option"):
        test_a_command_that_is_not_run_has_only_options_that_exist(["search", "digits", "--trails", "100"])


def test_a_block_that_is_not_run_says_why() -> None:
    told = [b for page in PAGES for b in blocks(page) if b.title.startswith(NOT_RUN)]
    assert all(len(b.title) > len(NOT_RUN) + 5 for b in told)
    assert {b.language for b in told} == {"sh"}  # every block of Python runs


def test_languages_are_those_that_tests_know() -> None:
    assert {b.language for page in PAGES for b in blocks(page)} <= {"python", "sh", "text"}
