"""The kernel column: every primitive of the table as vector code.

A function here is `(K, *arguments) -> value` over a `Lanes` namespace K of kernels/cpu/lanes.py, of float32 or float64 numbers.
Where the processor picks one of 32 numbers from registers in one instruction (float32 with AVX-512), functions that level off are
polynomials in 32 pieces; elsewhere they are made of exp and a division. Errors are about one unit in the last place: see
KERNEL_ERRORS.

The polynomials were fitted by Remez exchange in 60 digits to the least relative error. Coefficients were rounded one by one from
the lowest on, and the rest was fitted again after each.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

__all__ = ["COEFFICIENTS", "KERNELS", "KERNEL_ERRORS", "PARTNERS", "POWERS", "Partner"]

# The largest error in units in the last place over the whole range, as measured and rounded up: float32 and float64 with AVX-512,
# then without. Functions missing here are correctly rounded (an error of one half). Kernels know no subnormal numbers (see
# kernels/cpu/subnormal.py).
KERNEL_ERRORS: dict[str, tuple[float, float, float, float]] = {
    "exp": (0.6, 0.6, 1.05, 1.0),
    "expm1": (1.05, 1.05, 1.55, 2.1),
    "log": (0.9, 0.75, 0.9, 0.75),
    "log1p": (1.0, 0.75, 1.0, 0.75),
    "sigmoid": (1.05, 0.8, 1.2, 0.95),
    "log_sigmoid": (1.2, 1.95, 2.05, 1.95),
    "softplus": (1.2, 1.65, 2.05, 1.65),
    "sin": (0.85, 0.75, 0.85, 0.75),
    "cos": (0.85, 0.8, 0.85, 0.8),
    "sinc": (2.0, 1.65, 2.0, 1.65),
    "sinh": (0.8, 0.7, 1.05, 1.0),
    "cosh": (0.95, 0.95, 1.05, 1.0),
    "tanh": (1.0, 0.8, 1.0, 0.85),
    "asinh": (1.0, 1.0, 1.25, 1.0),
    "atan": (1.15, 2.25, 1.35, 2.25),
    "erf": (1.05, 1.1, 1.4, 1.1),
    "erfc": (1.7, 1.75, 2.05, 1.75),
    "i0e": (1.4, 3.55, 3.05, 3.6),
    "i1e": (2.0, 3.55, 3.2, 3.9),
    "softsign": (1.55, 1.45, 1.55, 1.45),
    "pow": (0.6, 0.65, 0.6, 1.05),
    "hypot": (1.05, 0.85, 1.05, 0.85),
}


# -- exponentials --------------------------------------------------------------------------------------------------------

# exp(r) = 1 + r + r^2 p(r): on [-ln(2)/64, ln(2)/64], of float64 [-ln(2)/32, ln(2)/32]; and on [-ln(2)/2, ln(2)/2]
_EXP = (
    (0.50000405, 0.16666764),
    (0.5000000000000004, 0.16666666666666677, 0.04166666666056603, 0.00833333333228275, 0.0013889112818045047,
     0.00019841570544729993),
)  # fmt: skip
_EXP_LONG = (
    (0.5, 0.16666515, 0.041666586, 0.008369328, 0.0013921035),
    (0.5000000000000013, 0.166666666666667, 0.041666666666515015, 0.008333333333307111, 0.0013888888947143152,
     0.000198412699176304, 2.480148979166634e-05, 2.7557216031379404e-06, 2.763133955154119e-07, 2.5117959184606583e-08),
)  # fmt: skip


def _two(number: Decimal, single: bool) -> tuple[float, float]:
    """A number as the sum of two, each rounded to float32 or float64."""
    head = float(number)
    head = struct.unpack("f", struct.pack("f", head))[0] if single else head
    return head, float(number - Decimal(head))


# 2^(j/32) and 2^(j/16), each in two parts; likewise ln(2)
_POWERS = tuple(tuple(zip(*(_two(Decimal(2) ** (Decimal(j) / n), n == 32) for j in range(n)), strict=True)) for n in (32, 16))
_LN2 = tuple(_two(Decimal(2).ln(), single) for single in (True, False))
_LOG2E = 1 / math.log(2)


def _within(K: Any, a: Any, low: float, high: float) -> Any:
    """a, limited to [low, high]; nan stays nan."""
    return K.most(low, K.least(high, a))


def _split(K: Any, a: Any, more: Any = None, near: Any = None) -> tuple[Any, Any, Any]:
    """(power, rest, k) with exp(a + more) = 2^floor(k) (power + rest), where rest is the smaller, |a| < 1000 and `more` is tiny.

    Where `near` holds, |a| < ln(2)/2 must too, and then k = 0 and power = 1.
    """
    steps = K.choose(32, 16)
    steps = steps if K.quick(steps) else 1
    shift = 1.5 * 2.0 ** K.choose(23, 52) / steps  # so large that the last bit of what is added to it is 1/steps
    # a log2(e) = k + r log2(e), where k is a multiple of 1/steps: the sum is rounded to one, and its last bits are the index of
    # 2^(k mod 1) in the table. ln(2) in two parts makes r exact to more digits than one number has (Cody and Waite).
    n = K.fma(a, _LOG2E, shift)
    n = n if near is None else K.where(near, shift, n)
    high, low = K.choose(*_LN2)
    k = n - shift
    r = K.fma(k, -low, K.fma(k, -high, a))
    r = r if more is None else r + more
    s = K.fma(r * r, K.estrin(r, K.choose(*(_EXP_LONG if near is not None or steps == 1 else _EXP))), r)
    if steps == 1:
        return K.const(1.0), s, k
    heads, tails = (K.pick(part, K.bits(n)) for part in K.choose(*_POWERS))
    return heads, K.fma(heads, s, tails), k


def exp(K: Any, a: Any) -> Any:
    power, rest, k = _split(K, _within(K, a, K.choose(-106.0, -750.0), K.choose(91.0, 713.0)))
    return K.ldexp(power + rest, k)


def expm1(K: Any, a: Any) -> Any:
    size = K.abs(a)
    power, rest, k = _split(K, a, near=size < 0.34)
    y = (K.ldexp(power, k) - 1.0) + K.ldexp(rest, k)
    return K.copysign(K.rarely(~(size < K.choose(88.0, 709.0)), lambda K, a: exp(K, a) - 1.0, y, a), a)


def _decay(K: Any, a: Any) -> tuple[Any, Any, Any]:
    """exp(-|a|), and the two numbers that it is the rounded sum of, the smaller one second; these may underflow before it does."""
    power, rest, k = _split(K, K.most(K.choose(-106.0, -750.0), -K.abs(a)))
    return K.ldexp(power + rest, k), K.ldexp(power, k), K.ldexp(rest, k)


# -- functions in pieces -------------------------------------------------------------------------------------------------


@functools.cache
def _pieces(f: Callable[[Any], Any], width: float, count: int, slope: float) -> tuple[tuple[float, ...], ...]:
    """Columns of 32 numbers each: centres near 0, width, 2 width, ...; f there; coefficients of (f(centre + t) - f(centre))/t.

    A centre is chosen where f is nearly a float32 number (Gal 1986). If f is odd, the first centre is zero, and there the slope is
    subtracted. The polynomials interpolate at an even number of Chebyshev points.
    """
    wanted = np.arange(32)[:, None] * width
    tried = (wanted + np.arange(-128, 129) * (width / 2**13)).astype(np.float32).astype(np.float64)
    centre = tried[np.arange(32), np.argmin(np.abs(f(tried).astype(np.float32) - f(tried)), 1)]
    centre[0] = centre[0] if f(np.zeros(1)) else 0.0
    points = np.cos((np.arange(count) + 0.5) * np.pi / count) * (0.5 + 2**-5)
    t = points * width
    rise = (f(centre[:, None] + t) - f(centre)[:, None]) / t
    rise[0] -= slope
    rise[abs(f(wanted[:, 0] - width / 2) - 1) < 2**-25] = 0.0  # and the last have reached 1
    coefficients = np.linalg.solve(np.vander(points, increasing=True), rise.T).T / width ** np.arange(count)
    return tuple(tuple(column) for column in np.column_stack([centre, f(centre), coefficients]).T.tolist())


def _piecewise(K: Any, f: Callable[[Any], Any], size: Any, width: float, slope: float = 0.0, count: int = 6) -> Any:
    """f(size) for size in [0, 31.49 width]; where f is odd, `slope` is close to that at zero."""
    shift = 1.5 * 2.0**23
    n = K.fma(size, 1 / width, shift)
    centre, value, *higher = (K.pick(column, K.bits(n)) for column in _pieces(f, width, count, slope))
    t = size - centre
    value = K.where(n == shift, t * slope, value) if slope else value
    return K.fma(t, K.estrin(t, higher), value)


def _sigmoid_below(a: Any) -> Any:
    return 1 / (1 + np.exp(a))


def _softplus_below(a: Any) -> Any:
    return np.log1p(np.exp(-a))


_erf = np.vectorize(math.erf)
_erfc = np.vectorize(math.erfc)


def _erfcx_from_4(a: Any) -> Any:
    """exp(b^2) erfc(b) with b = 4 + a."""
    return np.exp(np.square(4 + a)) * _erfc(4 + a)


def _bessel_0(a: Any) -> Any:
    """exp(-|a|) I0(a) for |a| < 9, by its series."""
    return np.exp(-a) * sum((a / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(40))


def _bessel_1(a: Any) -> Any:
    """exp(-|a|) I1(a) for |a| < 9, by its series."""
    return np.exp(-a) * sum((a / 2) ** (2 * k + 1) / (math.factorial(k) * math.factorial(k + 1)) for k in range(40))


# -- sigmoid and softplus ------------------------------------------------------------------------------------------------


def _level(K: Any, f: Callable[[Any], Any], size: Any) -> Any:
    """f(size) for a function that approaches exp(-size)."""
    return K.rarely(size > 17.5, lambda K, a: exp(K, -a), _piecewise(K, f, K.least(17.7, size), 0.5625), size)


def _logistic(K: Any, a: Any) -> Any:
    """sigmoid(-|a|)."""
    if K.quick(32):
        return _level(K, _sigmoid_below, K.abs(a))
    # e/(1 + e), corrected once: `lost` is what the rounded sum 1 + e lost, `rest` what the rounded e lost.
    e, power, rest = _decay(K, a)
    total = 1.0 + e
    lost = ((1.0 - total) + power) + rest
    y = e / total
    return K.fma(K.fma(-y, lost, K.fma(-y, total, power) + rest), 1.0 - y, y)


def sigmoid(K: Any, a: Any) -> Any:
    below = _logistic(K, a)
    return K.where(a < 0.0, below, 1.0 - below)


# log(1 + e) = e + e^2 p(e) on [0, 1]
_LOG1P_EXP = (
    (-0.4999993, 0.33330464, -0.24958083, 0.19692984, -0.15349324, 0.106720775, -0.057599455, 0.020179821, -0.003315065),
    (-0.4999999999999946, 0.33333333333235254, -0.24999999993682714, 0.19999999791357329, -0.16666662497245252,
     0.1428565886846776, -0.12499479310626067, 0.11107503968322605, -0.09981005147813561, 0.0901311756923494,
     -0.08081105967794912, 0.07035294901754452, -0.05749740051392406, 0.04229335417172293, -0.02673635114795355,
     0.013832185507201814, -0.005539233635584886, 0.0015941531317798865, -0.00029136751226779915, 2.528540686727886e-05),
)  # fmt: skip


def _soft(K: Any, a: Any) -> Any:
    """softplus(-|a|)."""
    if K.quick(32):
        return _level(K, _softplus_below, K.abs(a))
    e, power, rest = _decay(K, a)
    return K.where(e < 2.0**-60, e, power + K.fma(e * e, K.estrin(e, K.choose(*_LOG1P_EXP)), rest))


def softplus(K: Any, a: Any) -> Any:
    return K.most(0.0, a) + _soft(K, a)


def log_sigmoid(K: Any, a: Any) -> Any:
    return K.least(0.0, a) - _soft(K, a)


# -- logarithms ----------------------------------------------------------------------------------------------------------

# log(1 + f) = f + f^2 p(f) on [sqrt(1/2) - 1, sqrt(2) - 1]; float64: 2 artanh(s) = 2s + s^3 p(s^2) with s = f/(2 + f)
_LOG = (
    (-0.49999988, 0.33333337, -0.2500164, 0.20001201, -0.16606694, 0.14196108, -0.13280231, 0.12825292, -0.07426133),
    (0.6666666666666734, 0.39999999999416636, 0.2857142874202961, 0.22222198604852728, 0.1818356286318567,
     0.15314084555447002, 0.14795635584635222),
)  # fmt: skip


def _log_parts(K: Any, f: Any, k: Any, more: Any = 0.0) -> Any:
    """k ln(2) + log(1 + f + more), for a tiny `more`."""
    high, low = K.choose(*_LN2)
    low = K.fma(k, low, more)
    if K.double:
        s = f / (2.0 + f)
        half, z = 0.5 * f * f, s * s
        return K.fma(k, high, f - (half - K.fma(s, half + z * K.estrin(z, _LOG[1]), low)))
    return K.fma(k, high, f + K.fma(f * f, K.estrin(f, _LOG[0]), low))


def log(K: Any, a: Any) -> Any:
    m, k = K.split(a)
    return K.rarely(~((a > 0.0) & (a < math.inf)), _log_seldom, _log_parts(K, m - 1.0, k), a)


def _log_seldom(K: Any, a: Any) -> Any:
    """The logarithm of zeros, negative numbers, infinity and nan."""
    return K.where(a > 0.0, a, K.where(a == 0.0, -math.inf, math.nan))


def _log_sum(K: Any, u: Any, rest: Any, more: Any = 0.0) -> Any:
    """log(u + rest) + more ln(2)."""
    m, k = K.split(u)
    rest = K.ldexp(rest, -k)
    f = (m - 1.0) + rest
    return _log_parts(K, f, k + more, rest - (f - (m - 1.0)))


def log1p(K: Any, a: Any) -> Any:
    u = 1.0 + a
    y = _log_sum(K, u, a - (u - 1.0))
    return K.copysign(K.rarely(~((a > -1.0) & (a < math.inf)), lambda K, a: log(K, 1.0 + a), y, a), a)


# -- powers --------------------------------------------------------------------------------------------------------------


POWERS = (0.5, 1.0, 2.0, 3.0, -1.0)  # exponents that are computed without a logarithm


def pow(K: Any, a: Any, b: Any) -> Any:
    if b.number in POWERS:
        return _pow_known(K, a, b.number)
    y = _pow_size(K, K.abs(a), b)
    plain = (a > 0.0) & (a < math.inf) & (K.abs(b) < math.inf)
    return K.rarely(~plain, _pow_seldom, y, a, b, y)


def _pow_known(K: Any, a: Any, b: float) -> Any:
    if b == 0.5:
        return K.where(a == -math.inf, math.inf, K.sqrt(a) + 0.0)
    if b == -1.0:
        return 1.0 / a
    square = a * a
    return {1.0: a, 2.0: square, 3.0: square * a}[b]


# float32, in float64: log2(m) = s p(s^2) with s = (m - 1)/(m + 1), 2^f = p(f) on [-1/2, 1/2]
_LOG_2 = (2.8853900817900833, 0.9617966733461919, 0.5770835840003659, 0.41167277707981564, 0.34072906983725965)
_EXP_2 = (1.0000000005543885, 0.6931472057701998, 0.240226468892118, 0.05550328707559162, 0.00961848897267147,
     0.0013399958773626557, 0.0001534585172713203)  # fmt: skip
# float64: 2 artanh(s) = 2s + s^3 (2/3 + s^2 p(s^2))
_ARTANH = (0.40000000000002256, 0.28571428570099666, 0.22222222519898083, 0.18181784369902576, 0.15386757181047955,
     0.13256821633450666, 0.13196290021292267)  # fmt: skip


def _pow_size(K: Any, a: Any, b: Any) -> Any:
    """a^b for a positive a and a finite b."""
    m, k = K.split(a)
    if K.double:
        return _pow_double(K, m, k, b)
    W, m = K.wide, K.widen(m)
    s = (m - 1.0) / (m + 1.0)
    power = K.widen(b) * W.fma(s, W.estrin(s * s, _LOG_2), K.widen(k))
    power = _within(W, power, -200.0, 200.0)
    n = W.round(power)
    return K.ldexp(K.narrow(W.estrin(power - n, _EXP_2)), K.narrow(n))


def _pow_double(K: Any, m: Any, k: Any, b: Any) -> Any:
    """(m 2^k)^b, with the logarithm as the sum of two numbers: b would magnify what one alone has lost.

    Each `x_lost` is what the rounded x beside it lacks, so that x + x_lost has nearly twice the digits.
    """
    f, under = m - 1.0, m + 1.0
    s = f / under
    lost = (K.fma(-s, under, f) - s * (f - (under - 2.0))) / under  # s + lost = f/(2 + f), likewise below
    z = s * s
    z_lost = K.fma(s, s, -z) + 2.0 * s * lost
    thirds, more = _two(Decimal(2) / 3, False)
    v = z * K.estrin(z, _ARTANH)
    w = thirds + v
    w_lost = (v - (w - thirds)) + more
    g = z * s
    g_lost = K.fma(z, s, -g) + (z_lost * s + z * lost)
    h = g * w
    h_lost = K.fma(g, w, -h) + (g * w_lost + g_lost * w)
    t = 2.0 * s + h
    t_lost = (h - (t - 2.0 * s)) + (2.0 * lost + h_lost)
    high, low = _LN2[1]
    p = k * high
    u = p + t
    u_lost = (t - (u - p)) + (K.fma(k, high, -p) + k * low + t_lost)
    y = b * u
    y_lost = K.fma(b, u, -y) + b * u_lost
    power, rest, k = _split(K, _within(K, y, -750.0, 713.0), K.where(K.abs(y) < 800.0, y_lost, 0.0))
    return K.ldexp(power + rest, k)


def _pow_seldom(K: Any, a: Any, b: Any, y: Any) -> Any:
    """a^b for any two numbers (IEEE 754-2019, 9.2.1), given y = |a|^b where a and b are ordinary."""
    size, half = K.abs(a), b * 0.5
    whole = K.floor(b) == b
    odd = whole & (K.floor(half) != half) & (K.abs(b) < math.inf)
    grows = ((size > 1.0) & (b > 0.0)) | ((size < 1.0) & (b < 0.0))
    end = (size == 0.0) | (size == math.inf) | (K.abs(b) == math.inf)
    y = K.where(end, K.where(grows, math.inf, 0.0), y)
    y = K.where((size == 1.0) & ~K.isnan(b), 1.0, y)
    y = K.where(odd, K.copysign(y, a), y)
    y = K.where((a < 0.0) & (a > -math.inf) & ~whole, math.nan, y)
    y = K.where(K.isnan(a) | K.isnan(b), a + b, y)
    return K.where((b == 0.0) | (a == 1.0), 1.0, y)


def hypot(K: Any, a: Any, b: Any) -> Any:
    # Squares of very large numbers overflow and those of very small ones vanish, so both are scaled by a power of two and back.
    x, y = K.abs(a), K.abs(b)
    large, small = K.most(x, y), K.least(x, y)
    high, low, by = K.choose((2.0**60, 2.0**-40, 2.0**80), (2.0**500, 2.0**-450, 2.0**600))
    down, up = large > high, large < low
    scale = K.where(down, 1 / by, K.where(up, by, 1.0))
    back = K.where(down, by, K.where(up, 1 / by, 1.0))
    large, small = large * scale, small * scale
    found = K.sqrt(K.fma(large, large, small * small)) * back
    found = K.where(K.isnan(x + y), x + y, found)
    return K.where((x == math.inf) | (y == math.inf), math.inf, found)


# -- trigonometric and hyperbolic ----------------------------------------------------------------------------------------

# sin(r) = r + r^3 p(r^2), cos(r) = 1 - r^2/2 + r^4 q(r^2) on [-pi/4, pi/4]
_SIN = (
    (-0.16666667, 0.00833338, -0.00019853498, 2.8372476e-06),
    (-0.16666666666666666, 0.008333333333333038, -0.0001984126984095601, 2.755731906976361e-06, -2.5052069668788165e-08,
     1.6054138018145594e-10, -7.380378665195913e-13),
)  # fmt: skip
_COS = (
    (0.041666646, -0.0013887301, 2.4430672e-05),
    (0.0416666666666666, -0.0013888888888874444, 2.4801587289638326e-05, -2.755731438815073e-07, 2.0875727158717916e-09,
     -1.1359807824179417e-11),
)  # fmt: skip
# pi/2 in three parts, and the bits of 2/pi, 24 per number
_HALF_PI = (
    (1.57079637050628662109375, -4.37113882867379115e-8, -1.71512489032489e-15),
    (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33),
)
_TWO_OVER_PI = (
    0xA2F983,
    0x6E4E44,
    0x1529FC,
    0x2757D1,
    0xF534DD,
    0xC0DB62,
    0x95993C,
    0x439041,
    0xFE5163,
    0xABDEBB,
    0xC561B7,
    0x246E3A,
    0x424DD2,
    0xE00649,
    0x2EEA09,
    0xD1921C,
    0xFE1DEB,
    0x1CB129,
    0xA73EE8,
    0x8235F5,
    0x2EBB44,
    0x84E99C,
    0x7026B4,
    0x5F7E41,
    0x3991D6,
    0x398353,
    0x39F49C,
    0x845F8B,
    0xBDF928,
    0x3B1FF8,
    0x97FFDE,
    0x05980F,
    0xEF2F11,
    0x8B5A0A,
    0x6D1F6D,
    0x367ECF,
    0x27CB09,
    0xB74F46,
    0x3F669E,
    0x5FEA2D,
    0x7527BA,
    0xC7EBE5,
    0xF17B3D,
    0x0739F7,
    0x8A5292,
    0xEA6BFB,
    0x5FB11F,
    0x8D5D08,
    0x560330,
    0x46FC7B,
    0x6BABF0,
    0xCFBC20,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
    0x000000,
)


def _turned(K: Any, r: Any, rest: Any, quadrant: Any) -> Any:
    """sin(r + rest + quadrant pi/2), |r| <= pi/4, rest tiny, quadrant an integer."""
    z = r * r
    sine = r + K.fma(r * z, K.polynomial(z, K.choose(*_SIN)), rest)
    half = 0.5 * z
    most = 1.0 - half
    cosine = most + (((1.0 - most) - half) + K.fma(z * z, K.polynomial(z, K.choose(*_COS)), -(r * rest)))
    y = K.where((quadrant & 1) == 0, sine, cosine)
    return K.where((quadrant & 2) == 0, y, -y)


def _reduced(K: Any, a: Any) -> tuple[Any, Any, Any]:
    """(r, rest, quadrant) with a = r + rest + quadrant pi/2, for |a| up to 2^17, in float64 up to 2^20 (Cody and Waite)."""
    shift = 1.5 * 2.0 ** K.choose(23, 52)
    n = K.fma(a, 2 / math.pi, shift)
    k, (first, second, third) = n - shift, K.choose(*_HALF_PI)
    near = K.fma(k, -first, a)  # exact
    step = k * second
    r = near - step
    return r, ((near - r) - step) - K.fma(k, third, K.fma(k, second, -step)), K.bits(n)


def _reduced_far(K: Any, a: Any) -> tuple[Any, Any, Any]:
    """(r, rest, quadrant) as `_reduced` gives them, for any finite float64 |a| > 1 (Payne and Hanek, 1983).

    The product a 2/pi needs only the bits of 2/pi near the binary point: bits far above it give whole turns, which change nothing,
    and bits far below it are too small to matter. Nine numbers of 24 bits, from the exponent of a on, are enough.
    """
    exponent = ((K.bits(a) >> 52) & 2047) - 1023
    start = K.most(0.0, K.floor((K.from_int(exponent) - 55.0) * (1 / 24)))
    a = K.ldexp(a, start * -24.0)
    head = K.from_bits(K.bits(a) & -(2**27))
    total, rest, index = K.const(0.0), K.const(0.0), K.to_int(start)
    for i in range(9):
        digits = K.pick([d * 2.0**-24 for d in _TWO_OVER_PI], index + i) * 2.0 ** (-24 * i)
        for part in (head * digits, (a - head) * digits):  # exact
            part = K.fma(-4.0, K.round(part * 0.25), part)
            new = total + part
            back = new - total
            total, rest = new, rest + ((total - (new - back)) + (part - back))
    n = K.round(total + rest)
    turn = (total - n) + rest
    lost = ((total - n) - turn) + rest
    first, second, _ = _HALF_PI[1]
    r = turn * first
    return r, K.fma(turn, first, -r) + K.fma(turn, second, lost * first), K.to_int(n)


def _far(quarters: int) -> Callable[..., Any]:
    """The function sin(a + quarters pi/2) for any finite a."""

    def turned(K: Any, a: Any) -> Any:
        W = K.wide
        r, rest, quadrant = _reduced_far(W, K.widen(a))
        return K.narrow(_turned(W, r, rest, quadrant + quarters))

    return turned


def sin(K: Any, a: Any) -> Any:
    y = K.where(a == 0.0, a, _turned(K, *_reduced(K, a)))
    return K.rarely(K.abs(a) > K.choose(2.0**17, 2.0**20), _far(0), y, a)


def cos(K: Any, a: Any) -> Any:
    r, rest, quadrant = _reduced(K, a)
    return K.rarely(K.abs(a) > K.choose(2.0**17, 2.0**20), _far(1), _turned(K, r, rest, quadrant + 1), a)


# sin(pi r)/pi = r + r^3 p(r^2), cos(pi r)/pi = 1/pi + r^2 q(r^2) on [-1/4, 1/4]
_SIN_PI = (
    (-1.644934, 0.8117414, -0.19071533, 0.025640652),
    (-1.6449340668482264, 0.8117424252833526, -0.19075182412194228, 0.02614784780836543, -0.0023460807102681554,
     0.00014842253547582638, -6.913426282571208e-06),
)  # fmt: skip
_COS_PI = (
    (-1.5707964, 1.2919317, -0.42509392, 0.07473982),
    (-1.5707963267948966, 1.291928195012487, -0.4250273399787902, 0.07490806611487309, -0.008214586902785268,
     0.0006141687404791501, -3.296959492718786e-05),
)  # fmt: skip
_ONE_OVER_PI = tuple(_two(1 / Decimal("3.14159265358979323846264338327950288"), single) for single in (True, False))


def sinc(K: Any, a: Any) -> Any:
    n = K.round(a * 2.0)
    r = K.fma(n, -0.5, a)
    z, i = r * r, K.to_int(n)
    high, low = K.choose(*_ONE_OVER_PI)
    sine = K.fma(r * z, K.polynomial(z, K.choose(*_SIN_PI)), r)
    cosine = high + K.fma(z, K.polynomial(z, K.choose(*_COS_PI)), low)
    y = K.where((i & 1) == 0, sine, cosine)
    y = K.where(a == 0.0, 1.0, K.where((i & 2) == 0, y, -y) / a)
    size = K.abs(a)
    return K.rarely(size >= K.choose(2.0**23, 2.0**52), lambda K, a: a * 0.0, y, size)


# sinh(a) = a + a^3 p(a^2) on [0, 1]
_SINH = (
    (0.16666667, 0.008333311, 0.00019842635, 2.783925e-06),
    (0.16666666666666666, 0.00833333333333357, 0.00019841269841066564, 2.755731930710171e-06, 2.5052090201802152e-08,
     1.6061231283831337e-10, 7.510642244087969e-13, 6.275758813660839e-15),
)  # fmt: skip


def _halves(K: Any, a: Any) -> tuple[Any, Any, Any]:
    """(grown, rest, shrunk): exp(|a|)/2 as the sum of the first two numbers, and exp(-|a|)/2."""
    power, rest, k = _split(K, K.least(K.choose(91.0, 713.0), K.abs(a)))
    head = power + rest
    grown = K.ldexp(head, k - 1.0)
    return grown, K.ldexp(rest - (head - power), k - 1.0), 0.25 / grown


def sinh(K: Any, a: Any) -> Any:
    z, size = a * a, K.abs(a)
    grown, rest, shrunk = _halves(K, a)
    small = K.fma(size * z, K.polynomial(z, K.choose(*_SINH)), size)
    return K.copysign(K.where(size < 1.0, small, grown + (rest - shrunk)), a)


def cosh(K: Any, a: Any) -> Any:
    grown, rest, shrunk = _halves(K, a)
    return grown + (rest + shrunk)


# tanh(a) = a + a^3 p(a^2) on [0, 0.5625]
_TANH = (
    (-0.33333313, 0.13332434, -0.053835616, 0.021000782, -0.0061714794),
    (-0.3333333333333328, 0.13333333333323638, -0.05396825396197609, 0.021869488333627084, -0.008863231730416766,
     0.0035920831029046824, -0.0014554846528565155, 0.0005882025658565862, -0.00023276057477130554, 8.241971858885396e-05,
     -1.8937618974944825e-05),
)  # fmt: skip


def tanh(K: Any, a: Any) -> Any:
    size = K.abs(a)
    if K.quick(32):
        return K.copysign(_piecewise(K, np.tanh, K.least(9.3, size), 0.296, 1.0), a)
    z = a * a
    small = K.fma(size * z, K.estrin(z, K.choose(*_TANH)), size)
    return K.copysign(K.where(size < 0.5625, small, K.fma(-2.0, _logistic(K, 2.0 * a), 1.0)), a)


def asinh(K: Any, a: Any) -> Any:
    size = K.abs(a)
    if K.quick(32):
        y = _piecewise(K, np.arcsinh, K.least(9.4, size), 0.3, 1.0)
        return K.copysign(K.rarely(~(size < 9.3), _asinh_above, y, size), a)
    return K.copysign(_asinh_above(K, size), a)


def _asinh_above(K: Any, a: Any) -> Any:
    """asinh(a) for a >= 0: log(1 + w) with w = a + a^2/(1 + sqrt(1 + a^2)), or log(2a) where that is the same."""
    large = a > K.choose(2.0**14, 2.0**30)
    z = a * a
    g = z / (1.0 + K.sqrt(z + 1.0))
    w = a + g
    u = 1.0 + w
    rest = (w - (u - 1.0)) + ((a - w) + g)
    y = _log_sum(K, K.where(large, a, u), K.where(large, 0.0, rest), K.where(large, 1.0, 0.0))
    return K.where(a < math.inf, y, a)


# atan(a) = a + a^3 p(a^2) on [0, 1]
_ATAN = (
    (-0.33333167, 0.19994147, -0.14214283, 0.1067921, -0.07581114, 0.043559495, -0.016584668, 0.002975427),
    (-0.33333333333331994, 0.19999999999774748, -0.14285714272350886, 0.11111110705415943, -0.09090901655636988,
     0.07692217293060624, -0.06665891984643704, 0.058774741226590155, -0.052398849425491355, 0.04675886025150737,
     -0.0409704201679654, 0.03414480369780595, -0.025930065138936646, 0.017083340296556594, -0.009264721431302475,
     0.0039000879237176605, -0.0011806492300496419, 0.0002268296235860505, -2.0661751447531987e-05),
)  # fmt: skip


def atan(K: Any, a: Any) -> Any:
    size = K.abs(a)
    far = size > 1.0
    t = K.where(far, 1.0 / size, size)
    high, low, _ = K.choose(*_HALF_PI)
    if K.quick(32):
        near = _piecewise(K, np.arctan, t, 1 / 31, 1.0, 4)
        return K.copysign(K.where(far, high - (near - low), near), a)
    z = t * t
    p = z * t * K.estrin(z, K.choose(*_ATAN))
    return K.copysign(K.where(far, high - (t + (p - low)), t + p), a)


# -- special functions ---------------------------------------------------------------------------------------------------

# erf(a) = a + a p(a^2) on [0, 1]
_ERF = (
    (0.12837917, -0.37612626, 0.11283579, -0.026853347, 0.005187162, -0.0007997853, 7.806903e-05),
    (0.1283791670955126, -0.3761263890318417, 0.11283791670978406, -0.02686617065023918, 0.005223977683747456,
     -0.000854833098924573, 0.00012055506288968878, -1.493072827680849e-05, 1.6563976288427343e-06,
     -1.776864037313981e-07, 2.784695879996172e-08, -9.045535958228257e-09, 2.820830556216087e-09,
     -4.2641518300906593e-10),
)  # fmt: skip
# (1 + 2a) exp(a^2) erfc(a) = 1 + p(q) with q = (a - c)/(a + c) on [0, inf), c = 3 and 4 (Shepherd and Laframboise, 1981)
_ERFCX = (
    (0.25300807, -0.13562107, -0.04756229, 0.12964414, -0.11927371, 0.06831644, -0.023770282, 0.0024994106, 0.0018880141,
     -0.00072674727, -0.00010404372, 7.741696e-05, 3.8330486e-06),
    (0.2329951186255525, -0.1396211168405625, 0.015379652102619637, 0.06809705425468969, -0.10103906603630218,
     0.0937328349984603, -0.06633036581215647, 0.03716751553561109, -0.016197734060094834, 0.00503196999523657,
     -0.0007577732596842543, -0.00019925678855511918, 0.00015062148389821184, -2.4398902932937067e-05,
     -1.1221272447629754e-05, 5.7091151371861095e-06, 2.9195020223575787e-07, -8.247854003610071e-07,
     7.749419274157097e-08, 1.0996462542917048e-07, -2.057678461794625e-08, -1.4625728260302293e-08,
     3.175750290068285e-09, 1.759724429497385e-09, -2.6698935159826915e-10, -1.3254923729412197e-10),
)  # fmt: skip


def _erfc_above(K: Any, a: Any) -> Any:
    """erfc(|a|)."""
    size = K.abs(a)
    if K.quick(32):
        y = K.where(size > 10.2, 0.0, _piecewise(K, _erfc, K.least(3.93, size), 0.125))
        return K.rarely(~((size < 3.93) | (size > 10.2)), _erfc_far, y, size)
    return _erfc_any(K, size)


def _erfc_far(K: Any, a: Any) -> Any:
    """erfc(a) for a in [3.93, 10.2]: exp(-a^2) times exp(a^2) erfc(a), in pieces."""
    a = K.least(10.2, a)
    power, rest, k = _split(K, -(a * a), K.fma(-a, a, a * a))
    factor = _piecewise(K, _erfcx_from_4, a - 4.0, 0.203125, count=4)
    return K.ldexp(K.fma(power, factor, rest * factor), k)


def _erfc_any(K: Any, a: Any) -> Any:
    """erfc(a) for a >= 0: exp(-a^2) times a smooth factor, (1 + p(q))/(1 + 2a)."""
    a, c = K.least(K.choose(10.2, 27.5), a), K.choose(3.0, 4.0)
    power, rest, k = _split(K, -(a * a), K.fma(-a, a, a * a))
    # The rounding errors of q, of 1 + 2a and of a^2 are each computed with a fused multiply-add, and added in at the end.
    part = 1.0 / (a + c)
    q = (a - c) * part
    q = K.fma(part, K.fma(-q, a, K.fma(q + 1.0, -c, a)), q)
    under = K.fma(2.0, a, 1.0)
    factor = 1.0 / under
    lost = K.fma(2.0, a, 1.0 - under)
    more = factor * (K.fma(-factor, under, 1.0) + K.fma(-factor, lost, K.estrin(q, K.choose(*_ERFCX))))
    return K.ldexp(K.fma(power, factor, K.fma(power, more, rest * (factor + more))), k)


def erfc(K: Any, a: Any) -> Any:
    y = _erfc_above(K, a)
    return K.where(a < 0.0, 2.0 - y, y)


def erf(K: Any, a: Any) -> Any:
    size = K.abs(a)
    if K.quick(32):
        return K.copysign(_piecewise(K, _erf, K.least(4.04, size), 0.1286, 1.0), a)
    z = a * a
    small = K.fma(size, K.estrin(z, K.choose(*_ERF)), size)
    return K.copysign(K.where(size < 1.0, small, 1.0 - _erfc_above(K, a)), a)


# I0(a) = 1 + a^2 p(z) and I1(a)/a = 1/2 + a^2 p(z) for a <= b, where float32: b = 8, z = a^2; float64: b = 16, z = (a/b)^2
_I0 = (
    (0.25, 0.015625, 0.00043402778, 6.7816823e-06, 6.781718e-08, 4.7091697e-10, 2.4046676e-12, 9.3226725e-15,
     3.0298282e-17, 5.5753725e-20, 2.6090382e-22),
    (0.25, 3.9999999999999996, 28.44444444444454, 113.77777777777031, 291.27111111141795, 517.815308634389,
     676.3301991655641, 676.330197659315, 534.3843660274877, 342.005919406372, 180.8960376294102, 80.39701785351724,
     30.44956618758512, 9.935510895530786, 2.8381590113889597, 0.6938746591959712, 0.16927877308282888,
     0.02172647764831847, 0.010237359490123272, -0.0007502058969816811, 0.00043869519714050077),
)  # fmt: skip
_I1 = (
    (0.0625, 0.0026041667, 5.425343e-05, 6.781771e-07, 5.650527e-09, 3.3689346e-11, 1.4845651e-13, 5.574141e-16,
     1.0049109e-18, 6.1574424e-21),
    (0.0625, 0.6666666666666666, 3.555555555555562, 11.377777777777345, 24.272592592608024, 36.98680775980333,
     42.2706374450888, 37.5738998962943, 26.719218117437578, 15.54572457406693, 7.537331034831425, 3.0922049694171094,
     1.0874556855369877, 0.3312376150717899, 0.08861446628234823, 0.020494329712783164, 0.004630765361066715,
     0.000614559446430057, 0.00023841566853488873, -1.3487962385657102e-05, 9.46808329351171e-06),
)  # fmt: skip
# exp(-a) I(a) sqrt(2 pi a) = 1 + u p(u) with u = b/a, for a >= b
_I0_FAR = (
    (0.015624921, 0.0011000804, 0.00013437613, 5.0503473e-05, -2.2115288e-05, 1.7089445e-05),
    (0.007812500000000066, 0.0002746582031202668, 1.7881393549346913e-05, 1.7113038258207491e-06, 2.1659649339399992e-07,
     3.408744778620862e-08, 6.506644791840842e-09, 1.4230354872414927e-09, -6.517727445959343e-11, 1.2475382503241887e-09,
     -1.6237500490340397e-09, 1.4230214618815454e-09, -6.75558997381555e-10, 1.4706851980034333e-10),
)  # fmt: skip
_I1_FAR = (
    (-0.04687491, -0.0018326866, -0.00019050954, -6.118552e-05, 2.4137189e-05, -1.932819e-05),
    (-0.023437500000000066, -0.0004577636718703438, -2.5033950918399703e-05, -2.200248258494545e-06,
     -2.647260690668916e-07, -4.029769416783412e-08, -7.470615364624802e-09, -1.6911403304203023e-09,
     1.9194788988242287e-10, -1.507873741843017e-09, 1.8755776391524497e-09, -1.5951297358189012e-09,
     7.438991989983807e-10, -1.598623138378587e-10),
)  # fmt: skip


_ONE_OVER_TWO_PI = tuple(_two(Decimal("0.159154943091895335768883763372514"), single) for single in (True, False))  # 1/(2 pi)


def _bessel(K: Any, a: Any, order: int) -> Any:
    """exp(-|a|) I(|a|), where I is the modified Bessel function I0 or I1: a series up to b, an asymptotic form beyond."""
    size, b = K.abs(a), K.choose(8.0, 16.0)
    far, (high, low) = K.choose(*(_I0_FAR, _I1_FAR)[order]), K.choose(*_ONE_OVER_TWO_PI)
    scale = K.choose(2.0**20, 2.0**50)  # so that nothing is subnormal
    root = K.sqrt(scale * scale * high / size) * (1 / scale)
    large = K.fma(root, K.fma(b / size, K.estrin(b / size, far), 0.5 * low / high), root)
    if K.quick(32):
        f = (_bessel_0, _bessel_1)[order]
        return K.where(size < b, _piecewise(K, f, K.least(b, size), 0.2578125, 0.5 * order), large)
    t = size * K.choose(1.0, 1 / 16)
    z = t * t
    _, power, rest = _decay(K, a)
    series = K.fma(z * K.choose(1.0, 256.0), K.polynomial(z, K.choose(*(_I0, _I1)[order])), (1.0, 0.5)[order])
    lost = K.fma(t, t, -z) * K.choose(0.5, 128.0) / (1.0 + size)  # what z has lost, times the slope of log I, about 1/(2 + 2a)
    small = (size if order else 1.0) * (series * (power + K.fma(power, lost, rest)))
    return K.where(size < b, small, large)


def i0e(K: Any, a: Any) -> Any:
    return _bessel(K, a, 0)


def i1e(K: Any, a: Any) -> Any:
    y = _bessel(K, a, 1)
    return K.where((a < 0.0) & (a > -math.inf), -y, y)  # of -inf torch gives 0, not -0


# -- functions beside their slopes ---------------------------------------------------------------------------------------

# Where a formula has a function and its slope, as kernels of derivatives have, both are made of one exponential. Elsewhere than
# with tables in registers (see `_level`) the functions above are made of it anyway.


def _fall(K: Any, a: Any) -> Any:
    """exp(-|a|)."""
    power, rest, k = _split(K, K.most(K.choose(-106.0, -750.0), -K.abs(a)))
    return K.ldexp(power + rest, k)


def _sigmoid_slope(K: Any, a: Any) -> Any:
    below = _logistic(K, a)
    return below * (1.0 - below)


def _sigmoid_beside_softplus(K: Any, a: Any) -> Any:
    if not K.quick(32):
        return sigmoid(K, a)
    e = _fall(K, a)
    return K.where(a < 0.0, e, 1.0) / (1.0 + e)


def _sigmoid_slope_beside_softplus(K: Any, a: Any) -> Any:
    if not K.quick(32):
        return _sigmoid_slope(K, a)
    e = _fall(K, a)
    below = e / (1.0 + e)
    return K.fma(-below, below, below)


def _soft_beside_sigmoid(K: Any, a: Any) -> Any:
    """softplus(-|a|)."""
    if not K.quick(32):
        return _soft(K, a)
    e = _fall(K, a)
    return K.fma(e * e, K.estrin(e, _LOG1P_EXP[0]), e)


def _softplus_beside_sigmoid(K: Any, a: Any) -> Any:
    return K.most(0.0, a) + _soft_beside_sigmoid(K, a)


def _log_sigmoid_beside_sigmoid(K: Any, a: Any) -> Any:
    return K.least(0.0, a) - _soft_beside_sigmoid(K, a)


def _tanh_parts(K: Any, a: Any) -> tuple[Any, Any, Any]:
    """e = exp(-|a|), e - 1, and 1/(1 + e)."""
    down = -K.abs(a)
    power, rest, k = _split(K, K.most(-106.0, down), near=down > -0.34)
    less = (K.ldexp(power, k) - 1.0) + K.ldexp(rest, k)
    return K.ldexp(power + rest, k), less, 1.0 / (2.0 + less)


def _tanh_beside_slope(K: Any, a: Any) -> Any:
    """tanh(a/2)."""
    if not K.quick(32):
        return tanh(K, 0.5 * a)
    _, less, inverse = _tanh_parts(K, a)
    total, y = 2.0 + less, less * inverse
    lost = (2.0 - total) + less
    off = K.fma(-y, lost, K.fma(-y, total, less))
    return K.copysign(K.fma(off, inverse, y), a)  # (1 - e)/(1 + e), corrected once, with the sign


def _sigmoid_slope_beside_tanh(K: Any, a: Any) -> Any:
    """sigmoid(a) sigmoid(-a), beside tanh(a/2)."""
    if not K.quick(32):
        return _sigmoid_slope(K, a)
    e, _, inverse = _tanh_parts(K, a)
    below = e * inverse
    return K.fma(-below, below, below)


def _erfcx(a: Any) -> Any:
    """exp(a^2) erfc(a)."""
    return np.exp(np.square(a)) * _erfc(a)


def _bell_parts(K: Any, a: Any) -> tuple[Any, Any, Any, Any]:
    """(power, rest, k) of `_split` with exp(-a^2), and |a|, limited to 10.2: beyond, both this and erfc are zero."""
    size = K.least(10.2, K.abs(a))
    return *_split(K, -(size * size), K.fma(-size, size, size * size)), size


def _bell_beside_erfc(K: Any, a: Any) -> Any:
    """exp(-a^2)."""
    if not K.quick(32):
        return exp(K, -(a * a))
    power, rest, k, _ = _bell_parts(K, a)
    return K.ldexp(power + rest, k)


def _erfc_above_beside_bell(K: Any, a: Any) -> Any:
    """erfc(|a|)."""
    if not K.quick(32):
        return _erfc_above(K, a)
    power, rest, k, size = _bell_parts(K, a)
    factor = _piecewise(K, _erfcx, size, 0.325)
    return K.ldexp(K.fma(power, factor, rest * factor), k)


@dataclass(frozen=True)
class Partner:
    """A function as it is computed beside another one.

    meaning   its formula
    error     the largest in units in the last place, of float32 with AVX-512; otherwise it is computed by the primitives' kernels
    """

    kernel: Callable[..., Any]
    meaning: str
    error: float


# By the names that kernels/cpu/partners.py gives them.
PARTNERS: dict[str, Partner] = {
    "sigmoid slope": Partner(_sigmoid_slope, "sigmoid(a)*sigmoid(-a)", 1.9),
    "sigmoid beside softplus": Partner(_sigmoid_beside_softplus, "sigmoid(a)", 2.15),
    "sigmoid slope beside softplus": Partner(_sigmoid_slope_beside_softplus, "sigmoid(a)*sigmoid(-a)", 3.1),
    "softplus beside sigmoid": Partner(_softplus_beside_sigmoid, "softplus(a)", 1.55),
    "log_sigmoid beside sigmoid": Partner(_log_sigmoid_beside_sigmoid, "log_sigmoid(a)", 1.55),
    "tanh beside slope": Partner(_tanh_beside_slope, "tanh(0.5*a)", 2.7),
    "sigmoid slope beside tanh": Partner(_sigmoid_slope_beside_tanh, "sigmoid(a)*sigmoid(-a)", 3.6),
    "bell beside erfc": Partner(_bell_beside_erfc, "exp(-square(a))", 0.55),
    "erfc of size": Partner(_erfc_above, "erfc(abs(a))", KERNEL_ERRORS["erfc"][0]),
    "erfc of size beside bell": Partner(_erfc_above_beside_bell, "erfc(abs(a))", 1.5),
}


# -- rectifiers and choices ----------------------------------------------------------------------------------------------


def sign(K: Any, a: Any) -> Any:
    return K.where(a > 0.0, 1.0, K.where(a < 0.0, -1.0, 0.0))


def relu(K: Any, a: Any) -> Any:
    return K.most(0.0, a)


def softsign(K: Any, a: Any) -> Any:
    return a / (1.0 + K.abs(a))


def largest(K: Any, a: Any, b: Any) -> Any:
    if b.number:
        return K.most(b, a)
    return K.where(a <= b, b, a) if b.number is not None else K.where(K.isnan(a), a, K.most(a, b))  # of 0 and -0 the second


def smallest(K: Any, a: Any, b: Any) -> Any:
    if b.number:
        return K.least(b, a)
    return K.where(a >= b, b, a) if b.number is not None else K.where(K.isnan(a), a, K.least(a, b))


def clip(K: Any, a: Any, b: Any, c: Any) -> Any:
    return smallest(K, largest(K, a, b), c)


# The polynomials in float64 of what a language may lack, lowest coefficient first; the comments where they stand say of what.
COEFFICIENTS = {
    "erf": _ERF[1], "erfcx": _ERFCX[1], "i0": _I0[1], "i1": _I1[1], "i0_far": _I0_FAR[1], "i1_far": _I1_FAR[1],
}  # fmt: skip

# The kernels by the names under which the table of primitives asks for them.
KERNELS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (
    asinh, atan, clip, cos, cosh, erf, erfc, exp, expm1, hypot, i0e, i1e, largest, log, log1p, log_sigmoid, pow, relu, sigmoid,
    sign, sin, sinc, sinh, smallest, softplus, softsign, tanh,
)}  # fmt: skip
