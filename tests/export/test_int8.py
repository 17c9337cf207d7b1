"""Tables of 256 entries: what quantized networks compute, with an error that holds."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run
from torch import nn

import actune
from actune import Activation
from actune.export.frozen import frozen_activation, frozen_family
from actune.export.int8 import int8_table

NAMES = [name for name in actune.list_families() if not name.startswith("ml_")]
needs_c = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler (cc)")


def library(text: str, folder: Path) -> ctypes.CDLL:
    (folder / "table.c").write_text(text)
    options = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *options, str(folder / "table.c"), "-o", str(folder / "table.so")], check=True)
    return ctypes.CDLL(str(folder / "table.so"))


@pytest.mark.parametrize("name", NAMES)
def test_every_family_within_half_a_step_and_within_its_error(name: str) -> None:
    act = Activation(name).double()
    t = int8_table(frozen_family(actune.family(name)), (-6.0, 5.0))
    q = torch.arange(-128, 128)
    made = t.made.scale * (torch.tensor(t.rows[0]).double() - t.made.zero)
    with torch.no_grad():
        wanted = act(t.given.scale * (q - t.given.zero).double())
    assert float((made - wanted).abs().max()) <= 0.501 * t.made.scale
    x = 11 * torch.rand(3000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 6
    rounded = (x / t.given.scale + t.given.zero).round().clamp(-128, 127).long()
    with torch.no_grad():
        found = (made[rounded + 128] - act(x)).abs()
    assert 0.7 * t.error < float(found.max()) <= 1.02 * t.error


def test_zero_is_exact() -> None:
    for low, high in ((-6.0, 5.0), (2.0, 7.0), (-9.0, -1.0), (-1e-3, 300.0)):
        t = int8_table(frozen_family(actune.family("relu")), (low, high))
        assert -128 <= t.given.zero <= 127
        assert t.rows[0][t.given.zero + 128] == t.made.zero
        assert t.given.scale * (127 - t.given.zero) >= max(high, 0.0) - 0.51 * t.given.scale
        assert t.given.scale * (-128 - t.given.zero) <= min(low, 0.0) + 0.51 * t.given.scale


def test_a_trained_mittag_leffler_function_needs_no_baking() -> None:
    act = Activation("ml_tanh", beta2=1.3)
    t = int8_table(frozen_activation(act), (-4.0, 4.0))
    x = torch.linspace(-4, 4, 200)
    with torch.no_grad():
        made = t.made.scale * (
            torch.tensor(t.rows[0])[(x / t.given.scale + t.given.zero).round().clamp(-128, 127).long() + 128] - t.made.zero
        )
        assert float((made - act(x)).abs().max()) <= t.error + 1e-6


@needs_c
def test_c_has_the_entries_of_the_table_also_by_channel(tmp_path: Path) -> None:
    act = Activation("swish", scope="channel", channels=3)
    with torch.no_grad():
        act.beta.copy_(torch.tensor([0.5, 1.0, 4.0]))
    done = actune.export(nn.Sequential(act), tmp_path / "act.c", to="int8", inputs=(-3, 3))
    assert done.text == (tmp_path / "act.c").read_text()
    t = int8_table(frozen_activation(act), (-3.0, 3.0))
    assert len({*t.rows}) == 3
    x = torch.linspace(-3, 3, 500)
    q = (x / t.given.scale + t.given.zero).round().clamp(-128, 127).long() + 128
    with torch.no_grad():
        away = t.made.scale * (torch.tensor(t.rows)[:, q] - t.made.zero) - act(x.expand(3, -1).T).T
    assert t.error == pytest.approx(float(away.abs().max()), rel=0.1)
    function = library(done.text or "", tmp_path).activation_0
    function.argtypes, function.restype = (ctypes.c_int8, ctypes.c_int), ctypes.c_int8
    got = np.array([[function(q, i) for q in range(-128, 128)] for i in range(3)])
    assert (got == np.array(t.rows)).all()
    assert done.errors == {"activation_0": t.relative}


@needs_c
def test_a_model_with_the_ranges_of_its_card(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), Activation("apalu"), nn.Linear(4, 2), Activation("zorro_sigmoid"))
    x = torch.randn(64, 3)
    ranges = actune.card(model, x).ranges()
    assert {*ranges} == {"1", "3"}
    done = actune.export(model, to="int8", inputs=ranges)
    function = library(done.text or "", tmp_path).activation_3
    function.argtypes, function.restype = (ctypes.c_int8,), ctypes.c_int8
    t = int8_table(frozen_activation(model[3]), ranges["3"])  # type: ignore[arg-type]
    assert [function(q) for q in (-128, 0, 127)] == [t.rows[0][0], t.rows[0][128], t.rows[0][255]]
    with pytest.raises(ValueError, match=r"^inputs has no range for '3'; give one for each place"):
        actune.export(model, to="int8", inputs={"1": (-1, 1)})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, r"^to='int8' needs the range of the inputs; give inputs=\(low, high\)"),
        ({"inputs": (1, 1)}, r"^inputs must be the lowest and the highest input, such as \(-8, 8\), got \(1, 1\)$"),
        ({"inputs": (float("nan"), 1)}, "^inputs must be"),
        ({"inputs": "ab"}, "^inputs must be"),
        ({"inputs": 8}, "^inputs must be"),
        ({"inputs": (-1, 1), "to": "c"}, r"^inputs=\(-1, 1\) is for to='int8' only, got to='c'; leave it out$"),
        ({"what": "1/x", "inputs": (0, 1)}, "is not finite everywhere from 0 to 1; choose other inputs$"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        actune.export(**({"what": "silu", "to": "int8"} | arguments))


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out, err = run(capsys, monkeypatch, "export", "silu", "--to", "int8", "--range", "-8,8")
    assert code == 0
    assert out == actune.export("silu", to="int8", inputs=(-8, 8)).text
    assert err.startswith("error of the table, for inputs in the range: 4.4e-02")
    for given in (("--to", "int8"), ("--to", "c", "--range", "-1,1"), ("--range", "-1,1")):
        code, _, err = run(capsys, monkeypatch, "export", "silu", *given)
        assert (code, err) == (2, "actune: --to int8 and --range LOW,HIGH belong together; give both, or none\n")
    code, _, err = run(capsys, monkeypatch, "export", "silu", "--to", "int8", "--range", "8")
    assert (code, err) == (2, "actune: --range must be the lowest and the highest input, such as -8,8, got '8'\n")
