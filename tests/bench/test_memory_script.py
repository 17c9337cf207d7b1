"""A training step needs no more memory at its peak than with torch's GELU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

SIZE = 100_000


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    for name in ("memory", "report", "timing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import memory

    return memory


def test_the_peak_is_what_is_there_at_once(script: Any) -> None:
    """Before the last layer goes back: what enters the function, what leaves it, the result, and the gradient that comes back."""
    assert script.peak_bytes(F.gelu, (), SIZE, torch.float32) == pytest.approx(16, abs=0.5)
    assert script.peak_bytes(F.gelu, (), SIZE, torch.bfloat16) == pytest.approx(8, abs=1)
    assert script.peak_bytes(lambda x: x * x.exp(), (), SIZE, torch.float32) == pytest.approx(
        24, abs=0.5
    )  # and exp(x), and a gradient of each factor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["silu", "gelu", "mish", "apalu", "sau", "rational", "ml_swish"])
def test_no_more_than_gelu(name: str, dtype: torch.dtype, script: Any) -> None:
    gelu = script.peak_bytes(F.gelu, (), SIZE, dtype)
    assert script.of_family(name, SIZE, dtype) <= 1.015 * gelu


def test_torchs_operators_need_more(script: Any) -> None:
    assert script.of_family("apalu", SIZE, torch.float32, "eager") > 2 * script.peak_bytes(F.gelu, (), SIZE, torch.float32)
