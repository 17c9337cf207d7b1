"""One pass forward and one back, by the kernels as they are interpreted, as they are compiled, or by torch's operators."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import actune
from actune.kernels import dispatch, operators
from actune.kernels.cpu import tiers
from actune.kernels.cpu.steps import has_kernels
from actune.kernels.cpu.strips import Strip
from actune.language.expr import Expr

MAKERS = {"interpreted": tiers.interpret_strip, "compiled": tiers.compile_strip}
KERNELS = tuple(MAKERS)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Parts of x alone, of parameters alone, and of both; the slopes in a and b are not 0 where x is.
E = actune.parse("(a*b + 1)*x*tanh(b*x) - a^2")
# (outer, channels, inner)
EXTENTS = [(1, 1, n) for n in (1, 2, 15, 16, 17, 33, 4095, 4096, 4099, 70001)] + [
    (2, 3, 1), (3, 16, 1), (5, 17, 1), (16, 31, 1), (17, 33, 1), (40, 100, 1), (3, 1, 17), (4, 3, 5), (2, 17, 4097),
    (9, 3, 68), (17, 2, 95), (8, 1, 196), (3, 2, 64),  # rows that share vectors for their ends
]  # fmt: skip
_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@functools.cache
def families() -> list[str]:
    """Those that have kernels: all without a Mittag-Leffler function."""
    return [n for n in actune.list_families() if has_kernels(operators.ordered((actune.family(n).expr,))[1])]


def forced(how: str) -> Any:
    """While it lasts, every kernel is of one sort; gives the mock that counts them."""
    dispatch._suiting.cache_clear()  # a way that has settled on a kernel asks for no other
    return mock.patch.object(tiers, "kernel_for", side_effect=lambda *key: MAKERS[how](*key[:-1]))


def passes(how: str, e: Expr, x: Tensor, p: Mapping[str, Tensor], g: Tensor) -> list[Tensor]:
    """[y, dx, the gradient of each parameter] by "interpreted" or "compiled" kernels, or by "operators"."""
    if how == "operators":
        return _through_autograd(operators.activate_in_torch, e, x, p, g)
    with forced(how) as used:
        found = _through_autograd(dispatch.activate, e, x, p, g)
    assert used.call_count == 2 * bool(x.numel()), "no kernel ran"
    return found


def _through_autograd(function: Any, e: Expr, x: Tensor, p: Mapping[str, Tensor], g: Tensor) -> list[Tensor]:
    inputs = [t.detach().requires_grad_() for t in (x, *p.values())]
    y = function(e, inputs[0], dict(zip(p, inputs[1:], strict=True)))
    slopes = torch.autograd.grad(y, inputs, g, allow_unused=True, materialize_grads=True)
    return [y.detach(), *slopes]


def strip(how: str, dtype: torch.dtype, columns: bool, backward: bool) -> Strip:
    """The kernel of E, or of its slopes."""
    slopes = (E.diff("x"), E.diff("a"), E.diff("b"))
    found: Strip = MAKERS[how](slopes if backward else (E,), ("a", "b"), dtype, columns, backward)
    return found


def bits(t: Tensor) -> Tensor:
    """The bits as integers; every nan counts as the same."""
    return torch.where(t.isnan(), torch.full_like(t, torch.nan), t).contiguous().view(_INTEGER[t.element_size()])


def same(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    """Whether two passes gave the same bits, nan = nan."""
    return all(s.dtype == t.dtype and torch.equal(bits(s), bits(t)) for s, t in zip(a, b, strict=True))
