"""Modules of JavaScript that `export` writes, in a browser: the functions of the library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import parameters

import actune
from actune import Activation
from actune.export.frozen import FrozenFunction
from actune.export.javascript import javascript_source
from actune.kernels.operators import evaluate

X = torch.tensor([-1e4, -87, -9.5, -3.25, -1, -0.6, -1e-4, 1e-4, 0.1, 0.6, 1, 2.5, 7.25, 20, 87, 1e4], dtype=torch.float64)
RUN = """async ([source, calls]) => {
    const found = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    return calls.map(([name, ...given]) => String(found[name](...given))); }"""


def called(browser: Any, source: str, calls: list[tuple[Any, ...]]) -> torch.Tensor:
    """The values of these calls, (name, arguments), of a module's functions."""
    page = browser.new_page()
    found = page.evaluate(RUN, [source, calls])
    page.close()
    return torch.tensor([float(v.replace("Infinity", "inf")) for v in found], dtype=torch.float64)


def test_every_family_at_values_that_it_may_learn(browser: Any) -> None:
    """Within roundings, which the tails of some functions magnify: errors over max(1, |value|, |x slope|)."""
    given = {name: parameters(actune.family(name), torch.float64, 0.6) for name in actune.list_families()}
    frozen = [FrozenFunction(f"f_{name}", actune.family(name).expr.substitute(values)) for name, values in given.items()]
    got = called(browser, javascript_source(frozen), [(f.name, x) for f in frozen for x in X.tolist()]).reshape(len(frozen), -1)
    off = {}
    for f, y in zip(frozen, got, strict=True):
        wanted, slope = (evaluate(e, {"x": X}).expand_as(X) for e in (f.e, f.e.diff()))
        scale = torch.maximum(wanted.abs(), (X * slope).abs()).clamp(min=1)
        off[f.name] = float(torch.where(y == wanted, 0, (y - wanted).abs() / scale).max())
    assert {name: error for name, error in off.items() if not error < 1e-12} == {}


def test_channels_and_functions_of_a_model(browser: Any) -> None:
    """Each channel has numbers of its own; a trained Mittag-Leffler function is written as it is, not baked."""
    channels: dict[str, Any] = {"scope": "channel", "channels": 3}
    swish, gate = Activation("swish", **channels), Activation("ml_tanh", **channels, trainable=True)
    with torch.no_grad():
        for p in (*swish.parameters(), *gate.parameters()):
            p += 0.1 * torch.arange(3)
    exported = actune.export(torch.nn.ModuleDict({"swish": swish, "gate": gate}).double(), to="javascript")
    assert not exported.errors
    calls = [(f"activation_{name}", x, i) for name in ("swish", "gate") for x in X.tolist() for i in range(3)]
    got = called(browser, str(exported), calls).reshape(2, -1, 3)
    for y, act in zip(got, (swish, gate), strict=True):
        torch.testing.assert_close(y, act(X.reshape(-1, 1).expand(-1, 3)).detach(), rtol=1e-12, atol=1e-12)


def test_a_module_has_only_the_helpers_that_it_needs() -> None:
    assert "\nfunction" not in str(actune.export("x*tanh(x)", to="javascript"))
    assert "function erfc" in str(actune.export("gelu", to="javascript"))
    assert "mittag_leffler" not in str(actune.export("gelu", to="javascript"))
    with pytest.raises(ValueError, match="is for to='int8' only"):
        actune.export("gelu", to="javascript", inputs=(-1, 1))
