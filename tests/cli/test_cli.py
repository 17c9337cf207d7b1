"""The command line: what it prints, what it refuses, in one line and with exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import run

import actune
from actune.cli import app


@pytest.fixture
def actune_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    return lambda *arguments: run(capsys, monkeypatch, *arguments)


def test_list_has_every_family(actune_command) -> None:
    code, out, _ = actune_command("list", "--json")
    assert code == 0
    assert [f["name"] for f in json.loads(out)] == actune.list_families()
    code, out, _ = actune_command("list", "zorro")
    assert code == 0
    assert "zorro_tanh" in out
    assert "gelu_sine" not in out


@pytest.mark.parametrize("name", ["silu", "x*sigmoid(b*x); b=2", "rational", "-x", "ReLU"])
def test_show(actune_command, name: str) -> None:
    code, out, _ = actune_command("show", name)
    assert code == 0
    assert "derivative" in out
    code, out, _ = actune_command("show", name, "--json")
    shown = json.loads(out)
    assert code == 0
    assert actune.parse(shown["formula"]) is actune.resolve(name).expr
    assert shown["latex"]
    assert (shown["facts"] is None) == (name not in ("silu", "rational", "ReLU"))


def test_show_draws(actune_command, tmp_path: Path) -> None:
    path = tmp_path / "new" / "apalu.png"
    code, out, _ = actune_command("show", "apalu", "--plot", str(path))
    assert code == 0
    assert str(path) in out.replace("\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "swsh"], "unknown activation function 'swsh'; did you mean 'swish'?"),
        (["show", "x*sigmoid(b*x)"], "no initial value for b; give one (b=1.0)"),
        (["show", "x*("], "cannot read the formula at character 4"),
        (["show", "relu", "--plot", "a.jpg"], "--plot must name a .png file, got 'a.jpg'"),
        (["shw"], "No such command 'shw'"),
        (["list", "--nothing"], "No such option: --nothing"),
        (["list", "nothing at all"], "no activation function has 'nothing at all'"),
        (["search", "digit"], "unknown task 'digit'; did you mean 'digits'"),
        (["search", "digits", "--trials", "0"], "Invalid value for '--trials'"),
        (["search", "digits", "--plot", "a.txt"], "--plot must name a .png file"),
        (["search", "digits", "--output", "a.txt"], "--output must name a .json file"),
        (["show", "no_such.json"], "cannot read the function in 'no_such.json': No such file"),
        (["search", "digits", "--method", "pangea"], "unknown method of search 'pangea'; did you mean 'pangaea'?"),
        (["search", "digits", "--without", "prunning"], "unknown part of a search 'prunning'; did you mean 'pruning'?"),
        (["search", "digits", "--objectives", "loss,cots"], "unknown objective 'cots'; did you mean 'cost'?"),
        (["search", "digits", "--proposer", "no_such:thing"], "proposer='no_such:thing' cannot be imported"),
        (["search", "digits", "--proposer", "math:tan=much"], "--proposer has the weight 'much'; write a number"),
        (["search", "digits", "--scope", "pixel"], "--scope must be layer, channel or neuron, got 'pixel'"),
        (["search", "math:tan", "--scope", "layer"], "--scope layer is for tasks; an objective of your own"),
        (["search", "math:pi"], "task='math:pi' is no function; write it as mymodule:objective"),
        (["search", "digits", "--together", "2", "--workers", "2"], "together=2 is for one worker"),
        (["compare", "digits"], "Missing argument"),
        (["compare", "digits", "rleu"], "did you mean 'relu'?"),
        (["compare", "digits", "relu", "--seeds", "x"], "Invalid value for '--seeds'"),
        (["compare", "digits", "relu", "--device", "nowhere"], "device='nowhere' cannot be used here"),
        (["search", "digits", "--device", "nowhere"], "device='nowhere' cannot be used here"),
        (["explore", "-o", "explorer.htm"], "--output must name a .html file, got 'explorer.htm'"),
        (["explore", "--model", "no_such.json"], "cannot read the card in 'no_such.json': No such file"),
        (["search", "digits", "--storage", __file__], "file is not a database"),
        (["search", "digits", "--storage", "nothing://a/b"], "storage='nothing://a/b' cannot be opened"),
        (["search", "digits", "--storage", ""], "storage='' is empty"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(actune_command, arguments: list[str], message: str) -> None:
    code, out, errors = actune_command(*arguments)
    assert code == 2
    assert out == ""
    assert message in errors
    assert errors.startswith("actune: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [("mine_that_fails:objective",), ("digits", "--proposer", "mine_that_fails:propose")])
def test_a_users_module_that_fails_is_one_line(actune_command, arguments: tuple[str, ...], tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mine_that_fails.py").write_text("import math\n\nmath.sqrt(-1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, _, errors = actune_command("search", *arguments)
    assert code == 2
    assert f"importing 'mine_that_fails' failed at {tmp_path / 'mine_that_fails.py'}:3 with ValueError: " in errors
    assert errors.count("\n") == 1


def test_explore_writes_or_opens_a_page(actune_command, tmp_path: Path, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or len(opened) == 1)
    code, out, _ = actune_command("explore")
    assert code == 0
    (address,) = opened
    assert address.startswith("file://")
    assert address.removeprefix("file://") in out
    text = Path(address.removeprefix("file://")).read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "ml_tanh" in text
    assert "no browser was found" in actune_command("explore")[1]
    actune.card(torch.nn.Sequential(actune.Activation("swish"))).save(tmp_path / "card.json")
    code, out, _ = actune_command("explore", "-o", str(tmp_path / "new" / "a.html"), "--model", str(tmp_path / "card.json"))
    assert (code, len(opened)) == (0, 2)
    assert '"model":{"name":"Sequential"' in (tmp_path / "new" / "a.html").read_text(encoding="utf-8")


def test_the_record_of_a_command_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    from actune.cli.terminal import command

    for text in ("postgresql://me:secret@host/db", "--storage=postgresql+psycopg://me:sec%40ret@host:5432/db"):
        monkeypatch.setattr(sys, "argv", ["actune", "search", "digits", "--storage", text, "a formula; b=1"])
        assert "sec" not in command().replace("search", "")
        assert "me:***@host" in command()
    monkeypatch.setattr(sys, "argv", ["actune", "show", "x*sigmoid(b*x); b=1"])
    assert command() == "actune show 'x*sigmoid(b*x); b=1'"


def test_every_command_has_an_example(actune_command) -> None:
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        code, out, _ = actune_command(name, "--help")
        assert code == 0
        assert f"actune {name}" in out, name


def test_without_arguments_it_helps(actune_command) -> None:
    _, out, errors = actune_command()
    assert "actune search digits" in out
    assert errors == ""


def test_compare(actune_command, tmp_path: Path) -> None:
    code, out, _ = actune_command("compare", "digits", "apalu", "--seeds", "2", "--json", "--plot", str(tmp_path / "a.png"))
    compared = json.loads(out)
    assert code == 0
    assert {f["name"] for f in compared["functions"]} == {"relu", "apalu"}
    assert all(len(f["outcomes"]) == 2 for f in compared["functions"])
    assert (tmp_path / "a.png").exists()


def test_search_proves_goes_on_and_draws(actune_command, tmp_path: Path) -> None:
    storage, plot, best = (str(tmp_path / name) for name in ("study.db", "winner.png", "best.json"))
    code, out, _ = actune_command("search", "digits", "--trials", "2", "--storage", storage, "--no-proof")
    assert code == 0
    assert "2 trials" in out
    code, out, _ = actune_command(
        "search", "digits", "--trials", "3", "--storage", storage, "--seeds", "2", "--plot", plot, "--output", best, "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert found["trials"] == 3
    assert actune.resolve(found["best"])
    assert found["proof"]["verdict"]
    assert actune.resolve(found["proof"]["winner"])
    assert Path(plot).exists()
    assert str(actune.load(best)) == str(actune.resolve(found["proof"]["winner"]))
    facts = json.loads(Path(best).read_text())["facts"]
    assert facts["search"]["trials"] == 3
    assert facts["versions"]["actune"] == actune.__version__


def test_a_function_in_a_file(actune_command, tmp_path: Path) -> None:
    path = str(tmp_path / "best.json")
    actune.save(path, "x*tanh(c*x); c=0.75")
    code, out, _ = actune_command("show", path, "--json")
    assert code == 0
    assert json.loads(out)["text"] == "x*tanh(c*x); c=0.75"
    code, out, _ = actune_command("compare", "digits", path, "--seeds", "2", "--json")
    assert code == 0
    assert "x*tanh(c*x); c=0.75" in out


def test_search_with_a_proposer_and_two_objectives(actune_command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_ideas.py").write_text("def propose(history, rng):\n    return f'{1 + rng.random()}*tanh(x)'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    common = ("search", "digits", "--trials", "3", "--no-proof", "--method", "random", "--proposer", "my_ideas:propose=99")
    code, out, _ = actune_command(*common, "--objectives", "loss, cost", "--json")
    found = json.loads(out)
    assert code == 0
    assert all("tanh" in text for text in found["leaders"])
    assert found["front"][0]["values"][0] == found["validation_loss"]
    code, out, _ = actune_command(*common, "--objectives", "loss,cost")
    assert code == 0
    assert "the front" in out


def test_search_with_an_objective_of_ones_own(actune_command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_training.py").write_text(
        "import actune\n"
        "def one(trial):\n    return float(len(actune.suggest_activation(trial).text))\n"
        "def two(trial):\n    return float(sum(len(actune.suggest_activation(trial, n).text) for n in ('stem', 'body')))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, _ = actune_command("search", "my_training:one", "--trials", "4", "--method", "random", "--direction", "maximize")
    assert code == 0
    assert "4 trials; the best value " in out
    common = ("search", "my_training:two", "--trials", "4", "--output", "best.json", "--plot", "best.png")
    code, out, _ = actune_command(*common, "--json")
    found = json.loads(out)
    assert code == 0
    assert {name: len(texts) for name, texts in found["leaders"].items()} == {"body": 4, "stem": 4}
    assert found["value"] == float(sum(map(len, (actune.load(f"best.{n}.json").text for n in ("stem", "body")))))
    assert Path("best.png").exists()
    code, out, _ = actune_command(*common)
    assert code == 0
    assert "\nstem:\n  " in out
    assert "function: best.body.json" in out


def test_search_with_a_scope_a_course_and_tensorboard(actune_command, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    runs, storage = str(tmp_path / "runs"), f"{tmp_path}/s.db"
    common = ("search", "digits", "--trials", "2", "--no-proof", "--storage", storage)
    code, _, _ = actune_command(*common, "--scope", "layer", "--course", "--tensorboard", runs)
    assert code == 0
    assert list(Path(runs).iterdir())
    code, _, errors = actune_command(*common)
    assert code == 2
    assert "was begun with scope='layer', now 'channel'" in errors


def test_the_command_is_installed_or_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "actune", "list", "gelu", "--json"], capture_output=True, text=True, check=True)
    assert "gelu" in {f["name"] for f in json.loads(done.stdout)}
