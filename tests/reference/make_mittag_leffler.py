"""Generates tests/reference/mittag_leffler.csv.gz: E_{α,β}(z) and its derivatives to second order, from mpmath.

    python tests/reference/make_mittag_leffler.py [--random 20000] [--jobs 2]

Each row has α, β, z and then, for each derivative order (i, j, k) in z, α, β, the value and its scale, max(|y|, envelope/10).
The envelope is |y| where the function has no zeros (z > 0; 0 < α ≤ 1, β ≥ α, z < 0), else the amplitude of its oscillation plus
its algebraic tail, or, near 0, the sum of the series' absolute terms. Random rows beyond the first few thousand have E alone.
Three ways: the series with enough digits for its cancellation; for large |z| the asymptotic expansion with its exponential
terms; for tiny α near |z| = 1, where both are too long, the inverse Laplace integral in 60 digits on parabolas far from the pole.
"""

from __future__ import annotations

import argparse
import gzip
import math
import multiprocessing
import random
from pathlib import Path

import mpmath as mp

ORDERS = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 2, 0), (0, 1, 1), (0, 0, 2)]
PATH = Path(__file__).with_name("mittag_leffler.csv.gz")
Row = tuple[float, float, float, int]


def rgamma(x: mp.mpf, orders: int) -> list[mp.mpf]:
    """1/Γ(x) and its first derivatives."""
    if x <= 0 and x == int(x):
        n = int(-x)
        first = (-1) ** n * mp.factorial(n)
        return [mp.mpf(0), first, -2 * first * mp.psi(0, n + 1)][: orders + 1]
    y = mp.rgamma(x)
    if not orders:
        return [y]
    psi = mp.psi(0, x)
    return [y, -psi * y, (psi**2 - mp.psi(1, x)) * y]


def falling(k: int, i: int) -> int:
    """k (k-1) ... (k-i+1), for negative k too."""
    return math.prod(k - m for m in range(i))


def term(k: int, a: mp.mpf, b: mp.mpf, z: mp.mpf, orders: list[tuple[int, int, int]]) -> list[mp.mpf]:
    """The derivatives of z^k / Γ(αk + β)."""
    g = rgamma(a * k + b, 2 if len(orders) > 1 else 0)
    return [falling(k, i) * z ** (k - i) * mp.mpf(k) ** j * g[j + m] if falling(k, i) else mp.mpf(0) for i, j, m in orders]


def series(a: mp.mpf, b: mp.mpf, z: mp.mpf, orders: list[tuple[int, int, int]]) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """Σ z^k / Γ(αk + β) and the sum of the absolute terms."""
    growth = abs(z) ** (1 / a) if z else mp.mpf(0)
    with mp.workdps(50 + int(growth * (0.9 if z < 0 else 0.1))):
        total, size = [mp.mpf(0)] * len(orders), [mp.mpf(0)] * len(orders)
        for k in range(10**6):
            t = term(k, a, b, z, orders)
            total = [x + y for x, y in zip(total, t, strict=True)]
            size = [x + abs(y) for x, y in zip(size, t, strict=True)]
            small = mp.mpf(10) ** (-mp.mp.dps)
            if k > 3 and a * k > growth + 2 and all(abs(y) <= small * (s + small) for y, s in zip(t, size, strict=True)):
                return total, size
        raise ArithmeticError(f"no convergence at {a}, {b}, {z}")


def pole(a: mp.mpf, b: mp.mpf, z: mp.mpf, orders: list[tuple[int, int, int]]) -> list[mp.mpc]:
    """The residue s^{1-β} e^s / α at s = z^{1/α} and its derivatives, by the chain rule on its logarithm."""
    ell = mp.log(mp.mpc(z)) / a
    s = mp.exp(ell)
    q = mp.exp(s + (1 - b) * ell) / a
    g, h = s + 1 - b, s
    dz, da = 1 / (a * z), -ell / a
    first = {"z": g * dz, "a": g * da - 1 / a, "b": -ell}
    second = {
        "zz": h * dz**2 - g * dz / z, "za": h * dz * da - g * dz / a, "zb": -dz,
        "aa": h * da**2 + 2 * g * ell / a**2 + 1 / a**2, "ab": -da, "bb": mp.mpf(0),
    }  # fmt: skip
    out = []
    for i, j, k in orders:
        name = "z" * i + "a" * j + "b" * k
        factor = 1 if not name else first[name] if len(name) == 1 else first[name[0]] * first[name[1]] + second[name]
        out.append(q * factor)
    return out


def tail(a: mp.mpf, b: mp.mpf, z: mp.mpf, orders: list[tuple[int, int, int]]) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """-Σ_{k≥1} z^{-k} / Γ(β - αk), cut at its smallest term, and the absolute size of its first three terms."""
    total, size, last = [mp.mpf(0)] * len(orders), [mp.mpf(0)] * len(orders), mp.inf
    for k in range(1, 2000):
        t = [-y for y in term(-k, a, b, z, orders)]
        bound = mp.gamma(1 + a * k) * abs(z) ** -k  # the term without its sine, which may vanish
        if bound > last:
            break
        total, last = [x + y for x, y in zip(total, t, strict=True)], bound
        if k <= 3:
            size = [x + abs(y) for x, y in zip(size, t, strict=True)]
        if bound < mp.mpf(10) ** -60 * abs(z) ** -3:
            break
    return total, size


def _first_terms(a: mp.mpf, b: mp.mpf, z: mp.mpf, orders: list[tuple[int, int, int]]) -> list[mp.mpf]:
    """The absolute size of the first three terms of the series."""
    return [sum(abs(t) for t in ts) for ts in zip(*(term(k, a, b, z, orders) for k in range(3)), strict=True)]


def integral(a: mp.mpf, b: mp.mpf, z: mp.mpf, orders: list[tuple[int, int, int]]) -> list[mp.mpf]:
    """The inverse Laplace integral, trapezoidal rule in 60 digits on a parabola with the pole far inside or far outside."""
    with mp.workdps(60):
        s0 = abs(z) ** (1 / a) if z > 0 else mp.mpf(0)
        inside = s0 < 6
        mu = mp.mpf(24) if inside else mp.mpf(1) / 4
        h, total = mp.mpf(1) / 100 if not inside else mp.mpf(1) / 60, [mp.mpf(0)] * len(orders)
        for n in range(int(mp.sqrt(1 + 170 / mu) / h) + 1):
            w = mp.mpc(1, (n + mp.mpf(1) / 2) * h)
            s, weight = mu * w * w, mp.exp(mu * w * w) * 2 * mu * w * h / mp.pi
            ell = mp.log(s)
            x = mp.exp(a * ell)
            d, base = 1 / (x - z), weight * mp.exp(-b * ell)
            powers = {(0, 0): x * d, (1, 0): x * d**2, (2, 0): 2 * x * d**3, (0, 1): -z * x * d**2 * ell,
                      (1, 1): -x * (x + z) * d**3 * ell, (0, 2): z * x * (x + z) * d**3 * ell**2}  # fmt: skip
            total = [t + (base * powers[i, j] * (-ell) ** k).real for t, (i, j, k) in zip(total, orders, strict=True)]
        if not inside:
            total = [t + p.real for t, p in zip(total, pole(a, b, z, orders), strict=True)]
        return total


def evaluate(row: Row) -> str:
    """One line of the file."""
    af, bf, zf, count = row
    orders = ORDERS[:count]
    mp.mp.dps = 60
    a, b, z = mp.mpf(af), mp.mpf(bf), mp.mpf(zf)
    if a == 0:
        values, size = _continuation(b, z, orders)
    else:
        growth = math.log(abs(zf)) / af if zf else -math.inf  # log |z|^(1/α)
        large = growth > math.log(80) and (zf > 0 or abs(af - 1) > 0.1 or growth > math.log(760))
        algebraic, rest = tail(a, b, z, orders) if abs(zf) > 1 else ([], _first_terms(a, b, z, orders))
        exponential = pole(a, b, z, orders) if growth > 0 and (zf > 0 or af > 1) else [mp.mpf(0)] * count
        twice = 1 if zf > 0 else 2
        rest = [t + twice * abs(p) for t, p in zip(rest, exponential, strict=True)]
        if large:
            values, size = [t + twice * mp.re(p) for t, p in zip(algebraic, exponential, strict=True)], rest
        elif (3 * math.exp(growth) + 60) / af > 12000:
            values, size = integral(a, b, z, orders), rest
        else:
            values, size = series(a, b, z, orders)
            size = [min(x, y) for x, y in zip(size, rest, strict=True)] if abs(zf) > 1 else size
    free = zf > 0 or (0 < af <= 1 and bf >= af)  # no zeros
    scale = [max(abs(v), s / 10) if n or not free else abs(v) for n, (v, s) in enumerate(zip(values, size, strict=True))]
    text = ",".join(f"{mp.nstr(v, 17)},{mp.nstr(s, 3)}" for v, s in zip(values, scale, strict=True))
    return f"{af!r},{bf!r},{zf!r},{text}"


def _continuation(b: mp.mpf, z: mp.mpf, orders: list[tuple[int, int, int]]) -> tuple[list[mp.mpf], list[mp.mpf]]:
    """1 / (Γ(β)(1-z)); ∂α moves the argument of 1/Γ in each term of Σ z^k / Γ(αk + β)."""
    g, y = rgamma(b, 2), 1 / (1 - z)
    sums = {(0, 0): y, (1, 0): y**2, (2, 0): 2 * y**3, (0, 1): z * y**2, (1, 1): (1 + z) * y**3, (0, 2): z * (1 + z) * y**3}
    values = [sums[i, j] * g[j + k] for i, j, k in orders]
    return values, [abs(v) for v in values]


def rows(count: int, full: int) -> list[Row]:
    """Random rows, then the special lines and their neighbours."""
    rng = random.Random(20260101)

    def argument(low: float = -8, high: float = 6) -> float:
        return float(f"{rng.choice((-1, 1)) * 10 ** rng.uniform(low, high):.6g}")

    out: list[Row] = []
    while len(out) < count:
        a, b, z = round(rng.uniform(0.0005, 2), 3), round(rng.uniform(0, 3), 3), argument()
        if z < 0 or math.log(z) / a < math.log(690):  # else it overflows
            out.append((a, b, z, len(ORDERS) if len(out) < full else 1))
    for a in (0.0, 0.5, 1.0, 1.5, 2.0):
        for b in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
            for shift in (0.0, 0.0, 1e-9, 1e-5, 1e-3, 0.02):
                for z in [argument() for _ in range(3)] + [argument(-1, 2) for _ in range(5)]:
                    x, y = (abs(v + rng.choice((-1, 0, 1)) * shift) for v in (a, b))
                    x, y = (2 - abs(2 - x), 3 - abs(3 - y))
                    if (x == 0 and z < 1) or (x > 0 and (z < 0 or math.log(z) / x < math.log(690))):
                        out.append((x, y, z, len(ORDERS)))
    return out + [(a, b, z, len(ORDERS)) for a, b, z in edges(rng)]


def edges(rng: random.Random) -> list[tuple[float, float, float]]:
    """Where an evaluation may change its method: poles of size about 1, tails from |z|^(1/α) = 3 to 10, corners, extremes."""
    out = []
    for low, high, sign in ((0.3, 3.0, 1), (0.3, 3.0, -1), (3.0, 10.0, -1), (10.0, 100.0, -1)):
        for _ in range(120):
            a, s = rng.choice((rng.uniform(0.02, 1), rng.uniform(1, 2))), rng.uniform(low, high)
            out.append((a, rng.uniform(0, 3), sign * s**a))
    for _ in range(60):  # pole pairs on their way through the parabolas of scale 1 and 2
        a = rng.uniform(1.05, 2)
        out.append((a, rng.uniform(0, 3), -((rng.uniform(0.7, 1.5) / math.cos(math.pi / 2 / a)) ** (2 * a))))
    for at in ((1.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
        for _ in range(60):
            a, b = (abs(v + rng.choice((-1, 1)) * 10 ** rng.uniform(-12, -1)) for v in at)
            out.append((a, b, -(10 ** rng.uniform(-1, 3))))
    for z in (0.0, 1e-300, -1e-300, -1e30):
        out += [(rng.uniform(0.1, 1.9), rng.uniform(0, 3), z) for _ in range(10)]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=20000)
    parser.add_argument("--full", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PATH)
    options = parser.parse_args()
    work = rows(options.random, options.full)
    with multiprocessing.Pool(options.jobs) as pool:
        lines = pool.map(evaluate, work, chunksize=8)
    with options.out.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        file.write(("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
