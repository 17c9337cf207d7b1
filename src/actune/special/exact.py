"""The Mittag-Leffler function in mpmath, to as many digits as its current precision has; the fast ones are tested against it.

It is the inverse Laplace integral, by the trapezoidal rule on a parabola s = μ w², w = 1 + iu, with the residue of each pole
weighted by what the rule misses of it. (`contour.py` does the same, but here the step, the parabola and the digits follow from the
precision.) Near 0 it is the series. Sums are of integers with a binary point, and what depends on α and β alone is cached, for
tests evaluate it thousands of times.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import mpmath
from mpmath import libmp, mp

__all__ = ["derivative", "scaled"]

_BLOCK = 40  # digits are rounded up to a multiple, so that nodes are shared
_INFINITE = 1e5  # e to this is infinite, as in `exact.py`
_NEAR_ZERO = 1e-6  # |z| up to which the series is short


def scaled(z: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """(m, t) with E_{a,b}(z) = m e^t; t = z^(1/a) for z > 0 and a > 0, else 0.

    For a ≤ 0 and z < 1 it is the continuation, which is smooth in a and so may be differentiated at a = 0.
    """
    return _scaled(mp.mpf(z), mp.mpf(a), mp.mpf(b), mp.prec)


def derivative(order: tuple[int, int, int], z: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """(m, t) for the derivative of these orders in z, a and b, by differences at a higher precision."""
    t = scaled(z, a, b)[1]
    if not any(order) or not mp.isfinite(z):
        return scaled(z, a, b)

    def held(*at: Any) -> Any:
        m, exponent = scaled(*at)
        return m * mp.exp(exponent - t)

    with mp.extradps(int(mp.log10(1 + t)) * (1 + sum(order)) + 5):
        found = mp.diff(held, (mp.mpf(z), mp.mpf(a), mp.mpf(b)), order)
    return +found, t


@functools.lru_cache(maxsize=20_000)
def _scaled(z: mpmath.mpf, a: mpmath.mpf, b: mpmath.mpf, prec: int) -> tuple[Any, Any]:
    zero = mp.zero
    if mp.isnan(z):
        return z, zero
    if a == 0 or z == 0:
        return (mp.rgamma(b) / (1 - z) if z != 1 else mp.inf), zero
    ell = mp.log(abs(z)) / a
    t = mp.exp(min(ell, mp.mpf(_INFINITE))) if z > 0 and a > 0 else zero
    if abs(z) < _NEAR_ZERO:
        return _power_series(z, a, b) * mp.exp(-t), t
    if a == 1 and z < 0:
        return (z * mp.exp(z) if b == 0 else mp.hyp1f1(1, b, z) * mp.rgamma(b)) if z > -_INFINITE else _tail(z, a, b), zero
    spare = 20 + max(0, int(mp.log10(abs(z)))) + (max(0, int(ell / math.log(10))) if a > 1 and z < 0 else 0)
    # Where the sum cancels, digits are lost: then once more with a higher precision. How many `lost` is known only afterwards.
    for extra in (0, 2 * mp.dps, 8 * mp.dps):
        with mp.workdps(_BLOCK * math.ceil((mp.dps * 1.5 + spare + extra) / _BLOCK)):
            m = _integral(z, a, b, t)
            lost = -mp.log10(abs(m) * max(1, abs(z))) if m else mp.inf
        if z > 0 or lost <= extra + spare:
            break
    return +m, t


def _power_series(z: Any, a: Any, b: Any) -> Any:
    """E_{a,b}(z) by its power series, for z near 0."""
    total, power, k = mp.zero, mp.one, 0
    while k < 4 or abs(power) > mp.eps**2 * abs(total):
        total += power * mp.rgamma(a * k + b)
        power, k = power * z, k + 1
    return total


def _tail(z: Any, a: Any, b: Any) -> Any:
    """E_{a,b}(z) for very large -z, by its first algebraic terms."""
    return -sum(z**-k * mp.rgamma(b - a * k) for k in range(1, 20))


def _integral(z: Any, a: Any, b: Any, t: Any) -> Any:
    """E_{a,b}(z) e^-t: the rule plus the poles."""
    digits, ell = mp.dps, mp.log(abs(z)) / a
    mu = mp.mpf(max(4, digits // 10))
    pair = a > 1 and z < 0
    angle = mp.pi / a if pair else mp.zero
    crossing = mp.exp(min(ell, mp.mpf(100)) / 2) * mp.cos(angle / 2) / mp.sqrt(mu)
    mu = 2 * mu if (t or pair) and 0.8 < crossing < 1.17 else mu
    m = _exact_rule(z, a, b, int(mu), digits) * mp.exp(-t) if t < _INFINITE else mp.zero
    if (t or pair) and ell > -5 + math.log(int(mu)):
        s = mp.mpc(mp.expj(angle)) * mp.exp(min(ell, mp.mpf(_INFINITE)))
        w, rate = mp.sqrt(s / mu), 2 * mp.pi / _contour_step(digits)
        missed = 1 / (1 + mp.exp(rate * (1 - w))) if w.real < 3 else mp.one
        exponent = (1 - b) * mp.mpc(min(ell, mp.mpf(_INFINITE)), angle) + (s if pair else 0)
        if exponent.real > -_INFINITE:
            m += (mp.exp(exponent) / a * missed).real * (2 if pair else 1)
    return m


def _contour_step(digits: int) -> Any:
    """The step h of the rule, whose own error is e^(-2π/h)."""
    return 2 * mp.pi / ((digits + 10) * mp.log(10))


@functools.lru_cache(maxsize=64)
def _contour_nodes(mu: int, digits: int) -> tuple[tuple[Any, Any], ...]:
    """log s and the weight e^s ds/du h/(πi) at the nodes of the upper half."""
    h = _contour_step(digits)
    count = int(mp.sqrt(1 + digits * mp.log(10) / mu) / h) + 1
    us = [(k + mp.mpf(1) / 2) * h for k in range(count)]
    return tuple(
        (2 * mp.log(mp.mpc(1, u)) + mp.log(mu), mp.exp(mu * mp.mpc(1, u) ** 2) * mp.mpc(1, u) * 2 * mu * h / mp.pi) for u in us
    )


def _working_bits(digits: int) -> int:
    """The bits behind the binary point of the integers that are summed."""
    return int(digits * 3.33) + 32


@functools.lru_cache(maxsize=256)
def _exact_powers(a: mpmath.mpf, mu: int, digits: int) -> tuple[tuple[int, int], ...]:
    """s^a at the nodes."""
    return tuple(_fixed_point(mp.exp(a * log), _working_bits(digits)) for log, _ in _contour_nodes(mu, digits))


@functools.lru_cache(maxsize=512)
def _bases(power: mpmath.mpf, mu: int, digits: int) -> tuple[tuple[int, int], ...]:
    """The weight times s^power at the nodes."""
    return tuple(_fixed_point(weight * mp.exp(power * log), _working_bits(digits)) for log, weight in _contour_nodes(mu, digits))


def _fixed_point(v: mpmath.mpc, bits: int) -> tuple[int, int]:
    """The real and imaginary part as integers, with this many bits behind the binary point."""
    return libmp.to_fixed(v.real._mpf_, bits), libmp.to_fixed(v.imag._mpf_, bits)


def _exact_rule(z: Any, a: Any, b: Any, mu: int, digits: int) -> Any:
    """Σ weight s^(a-b) / (s^a - z); for |z| > 1 with both sides of the fraction over z, so that no digits are lost."""
    bits = _working_bits(digits)
    large = abs(z) > 1
    shift = libmp.to_fixed((1 / z if large else z)._mpf_, bits)
    one, total = 1 << bits, 0
    for (re, im), (x, y) in zip(_bases(a - b, mu, digits), _exact_powers(a, mu, digits), strict=True):
        if large:  # s^a / z - 1
            x, y = (x * shift >> bits) - one, y * shift >> bits
        else:
            x -= shift
        total += ((re * x + im * y) << bits) // (x * x + y * y)
    value = mp.mpf(total) / one
    return value / z if large else value
