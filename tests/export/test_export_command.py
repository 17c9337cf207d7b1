"""`actune export`: what it writes and prints, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run

import actune


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    return lambda *arguments: run(capsys, monkeypatch, "export", *arguments)


def test_without_a_file_the_source_alone_is_printed(command) -> None:
    code, out, err = command("swish; beta=2", "--to", "c")
    assert (code, err) == (0, "")
    assert out == actune.export("swish; beta=2", to="c").text
    assert command("-x", "--to", "python")[1] == actune.export("-x").text


def test_a_file_of_a_search_as_c(command, tmp_path: Path) -> None:
    actune.save(tmp_path / "best.json", "x*sigmoid(b*x); b=1.5")
    code, out, err = command(str(tmp_path / "best.json"), "-o", str(tmp_path / "best.c"))
    assert (code, err) == (0, "")
    assert "best.c: written" in out
    assert "1.5f" in (tmp_path / "best.c").read_text()


def test_a_mittag_leffler_function_as_a_module_of_javascript(command, tmp_path: Path) -> None:
    code, _, err = command("ml_mish; beta2=1.3", "-o", str(tmp_path / "mish.js"))
    assert (code, err) == (0, "")
    text = (tmp_path / "mish.js").read_text()
    assert "export function activation(x) {" in text
    assert "= mittag_leffler_ratio(0, 0, 0, " in text  # not baked
    assert command("ml_mish; beta2=1.3", "--to", "javascript")[1] == text


def test_the_error_of_what_is_baked_is_printed(command) -> None:
    code, out, err = command("ml_mish; beta2=1.3", "--to", "jax")
    assert code == 0
    assert "jnp.tanh" in out
    assert err.startswith("error of the baked function, on float32 numbers of every size: ")
    printed = json.loads(command("ml_mish; beta2=1.3", "--to", "c", "--json")[1])
    assert printed["errors"]["activation"] < 1e-6


def test_onnx(command, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'actune[export]'")
    code, out, _ = command("leaky_relu; negative_slope=0.2", "-o", str(tmp_path / "new" / "a.onnx"))
    assert code == 0
    assert "a.onnx: a program in ONNX with 1 node" in out
    assert (tmp_path / "new" / "a.onnx").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["geluu"], "unknown activation function 'geluu'; did you mean 'gelu'?"),
        (["gelu", "--to", "cc"], "to must be one of python, onnx, c, jax, javascript, int8, got 'cc'; did you mean 'c'?"),
        (["gelu", "--to", "onnx"], "--to onnx needs a file to write; give --output FILE.onnx"),
        (["gelu", "-o", "a.txt"], "--output must name a .py or .onnx or .c or .js file, got 'a.txt'"),
        (["gelu", "--to", "c", "-o", "a.py"], "--output must name a .c file, got 'a.py'"),
        (["ml_tanh; beta2=1.3", "--tolerance", "0"], "tolerance must be a number from 1e-8 to 1, got 0.0; float32 has 6e-8"),
        (["missing.json"], "cannot read the function in 'missing.json'"),
    ],
)
def test_bad_input_is_refused_in_one_line(command, arguments: list[str], message: str) -> None:
    code, _, err = command(*arguments)
    assert code == 2
    assert err.startswith(f"actune: {message}")
    assert err.count("\n") == 1


def test_help_has_an_example(command) -> None:
    assert "actune export best.json -o best.c" in " ".join(command("--help")[1].split())
