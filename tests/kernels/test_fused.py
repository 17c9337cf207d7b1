"""Kernels give what the formula gives: every family, every dtype. Their error is in test_families.py, beside the formula's."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import grid, parameters
from passes import DTYPES, families, passes, same
from torch import Tensor

import actune
from actune.kernels.cpu.compiler import compute_dtype

every_family = pytest.mark.parametrize("name", families())
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])


def special(dtype: torch.dtype) -> Tensor:
    """Where functions have limits, poles and signs of zero."""
    info = torch.finfo(dtype)
    least = torch.tensor([1, 3, 1000]).to(torch.int16 if info.bits == 16 else torch.int32 if info.bits == 32 else torch.int64)
    sizes = torch.tensor([0.0, 4 * info.tiny, 1e-5, 0.5, 1.0, 2.0, 30.0, 200.0, 1e4, info.max / 4, info.max, math.inf], dtype=dtype)
    sizes = torch.cat([sizes, least.view(dtype)])
    return torch.cat([sizes, -sizes, torch.tensor([math.nan], dtype=dtype)])


@every_dtype
@every_family
def test_interpreted_and_compiled_are_the_same_bits(name: str, dtype: torch.dtype) -> None:
    """Values, slopes and sums; parameters for all and for each element; also nan, infinite and subnormal."""
    f = actune.family(name)
    x = torch.cat([grid(dtype, f.kinks + f.joints, 600), special(dtype)])
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))][None]
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    values = parameters(f, dtype, 0.3)
    one, each = ({n: torch.full(shape, v, dtype=dtype) for n, v in values.items()} for shape in ((1,), x.shape))
    for p in (one, each) if values else (one,):
        assert same(passes("interpreted", f.expr, x, p, g), passes("compiled", f.expr, x, p, g))


@every_dtype
@every_family
def test_a_value_does_not_depend_on_where_it_stands(name: str, dtype: torch.dtype) -> None:
    """One parameter for all gives what one for each element gives, of which the gradients are added up."""
    f = actune.family(name)
    x = grid(dtype, f.kinks + f.joints, 600)[None]
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    values = parameters(f, dtype, -0.2)
    one, each = ({n: torch.full(shape, v, dtype=wide) for n, v in values.items()} for shape in ((1, 1), x.shape))
    layer, neuron = passes("interpreted", f.expr, x, one, g), passes("interpreted", f.expr, x, each, g)
    assert same(layer[:2], neuron[:2])
    for total, parts in zip(layer[2:], neuron[2:], strict=True):
        exact, bound = parts.double().sum(), (x.numel() / 16 + 2) * torch.finfo(wide).eps / 2 * parts.double().abs().sum()
        assert torch.isfinite(exact)
        assert (total.double() - exact).abs() <= bound


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@every_family
def test_half_precision_is_float32_rounded_once(name: str, dtype: torch.dtype) -> None:
    """To the nearest, halves to the even one: what torch makes of the result in float32."""
    f = actune.family(name)
    x = torch.cat([grid(dtype, f.kinks + f.joints, 300), special(dtype)])
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).to(dtype)
    p = {n: torch.full((1,), v) for n, v in parameters(f, torch.float32, 0.3).items()}
    wide = passes("interpreted", f.expr, x.float(), p, g.float())
    assert same(passes("interpreted", f.expr, x, p, g), [*(t.to(dtype) for t in wide[:2]), *wide[2:]])


@pytest.mark.parametrize("bits", [0x7FFFFFFF, -1, 0x7F800001])
def test_any_nan_stays_nan_in_bfloat16(bits: int) -> None:
    a = torch.tensor([bits], dtype=torch.int32).view(torch.float32)
    y, *_ = passes("interpreted", actune.parse("a*x"), torch.ones(40, dtype=torch.bfloat16), {"a": a}, torch.ones(40).bfloat16())
    assert y.isnan().all()


@every_dtype
@every_family
def test_special_values_are_the_formulas(name: str, dtype: torch.dtype) -> None:
    """nan, infinity, the sign of zero, huge numbers, and subnormal ones, which count as zero: the value and the slope.

    The sign of a slope that is zero counts for nothing: it depends on the order of the chain rule's factors.
    """
    f, info = actune.family(name), torch.finfo(dtype)
    x = special(dtype)[None]
    counted = torch.where(x.abs() < torch.finfo(compute_dtype(dtype)).tiny, 0 * x, x)
    for shift in (0.0, 0.3) if f.params else (0.0,):
        p = {n: torch.full((1, 1), v, dtype=dtype) for n, v in parameters(f, dtype, shift).items()}
        wanted = passes("operators", f.expr, counted, p, torch.ones_like(x))[:2]
        exact = passes("operators", f.expr, counted.double(), {n: v.double() for n, v in p.items()}, torch.ones_like(x).double())
        got = passes("interpreted", f.expr, x, p, torch.ones_like(x))[:2]
        scale = wanted[0].abs() + (x * wanted[1]).abs().nan_to_num(0), wanted[1].abs().clamp(min=1)
        for of, a, b, true, size in zip(("value", "slope"), wanted, got, exact, scale, strict=False):
            assert torch.equal(a.isnan(), b.isnan()), x[a.isnan() != b.isnan()]
            assert torch.equal(a.isinf(), b.isinf()), x[a.isinf() != b.isinf()]
            zero = (true == 0) & (a == 0) & (b == 0) & (of == "value")  # not what underflows
            signs = (a.signbit() != b.signbit()) & (zero | a.isinf())
            if any(n.op == "clip" for n in f.expr.expand().nodes()):  # torch.clamp of -0 and 0: as many elements, so many answers
                signs &= x != 0
            assert not signs.any(), x[signs]
            small = info.tiny * x.abs().double().nan_to_num(1, 1, 1).clamp(min=1)
            far = (a.double() - b.double()).abs() > 8 * info.eps * size.double().nan_to_num(0) + small
            assert not far[a.isfinite()].any(), (x[far], a[far], b[far])
