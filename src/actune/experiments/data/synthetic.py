"""Functions to continue: networks are trained inside a range and judged outside it (after Vitvitskyi et al., arXiv 2602.05688).

The seed draws the target functions, eight at a time, one for each output of the network. Those of held-out problems come from a
stream of their own, and where the functions are a finite list, from the half that nothing else sees.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import pi

import numpy as np
import torch
from numpy.random import RandomState

from .parts import Part, Split

__all__ = ["FEYNMAN", "OUTPUTS", "feynman", "harmonic", "polynomial"]

OUTPUTS = 8
SIZES = {"train": 1000, "validation": 1000, "test": 1000}
Target = Callable[[np.ndarray], np.ndarray]  # points (n, dimensions) -> values (n, OUTPUTS)


def _problem(target: Target, rng: RandomState, dimensions: int, low: float, high: float, beyond: float) -> Split:
    """A split whose training points lie in the cube [low, high]ᵈ, and all others around it, within `beyond` of it.

    Targets have mean 0 and deviation 1 over the training points.
    """
    inside = rng.uniform(low, high, (SIZES["train"], dimensions))
    points = [inside, *(_shell(rng, SIZES[part], dimensions, low, high, beyond) for part in ("validation", "test"))]
    values = target(inside)
    mean, spread = values.mean(0), values.std(0)
    scaled = [(2 * (x - low) / (high - low) - 1, (target(x) - mean) / spread) for x in points]  # the range becomes [-1, 1]
    return Split(*(Part(torch.from_numpy(x).float(), torch.from_numpy(y).float()) for x, y in scaled))


def _shell(rng: RandomState, n: int, dimensions: int, low: float, high: float, beyond: float) -> np.ndarray:
    """Uniform draws from the larger cube without those inside the smaller one."""
    drawn = rng.uniform(low - beyond, high + beyond, (20 * n, dimensions))
    return drawn[((drawn < low) | (drawn > high)).any(1)][:n]


def _generator(seed: int, held_out: bool) -> RandomState:
    return RandomState([seed % 2**32, int(held_out)])  # NumPy's legacy generator, whose stream is frozen


@functools.lru_cache(maxsize=32)
def polynomial(seed: int, held_out: bool, *, degree: int = 4) -> Split:
    """Polynomials in two variables with normal coefficients, from the square [-1, 1]² to the ring up to 1.5."""
    rng = _generator(seed, held_out)
    powers = np.array([(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)])
    coefficients = rng.normal(size=(len(powers), OUTPUTS))
    return _problem(lambda x: (x[:, None] ** powers).prod(-1) @ coefficients, rng, 2, -1.0, 1.0, 0.5)


@functools.lru_cache(maxsize=32)
def harmonic(seed: int, held_out: bool, *, waves: int = 3) -> Split:
    """Sums of three sine waves of normal amplitudes in one variable, one to two periods in [-1, 1], continued to 1.5."""
    rng = _generator(seed, held_out)
    frequency, phase = rng.uniform(pi, 2 * pi, (waves, OUTPUTS)), rng.uniform(0, 2 * pi, (waves, OUTPUTS))
    amplitude = rng.normal(size=(waves, OUTPUTS))
    return _problem(lambda x: (amplitude * np.sin(frequency * x[:, :, None] + phase)).sum(1), rng, 1, -1.0, 1.0, 0.5)


@functools.lru_cache(maxsize=32)
def feynman(seed: int, held_out: bool) -> Split:
    """Equations of Feynman's lectures; variables from 1.5 to 3.5, continued to the cube from 1 to 4.

    The seed draws eight equations of `FEYNMAN`, even rows for held-out problems and odd ones for others, and which of the five
    inputs each of their variables is.
    """
    rng = _generator(seed, held_out)
    pool = FEYNMAN[0 if held_out else 1 :: 2]
    chosen = [pool[i] for i in rng.permutation(len(pool))[:OUTPUTS]]
    places = [rng.permutation(VARIABLES)[: equation.__code__.co_argcount] for equation in chosen]
    return _problem(
        lambda x: np.stack([f(*x[:, at].T) for f, at in zip(chosen, places, strict=True)], 1), rng, VARIABLES, 1.5, 3.5, 0.5
    )


VARIABLES = 5
FEYNMAN: tuple[Callable[..., np.ndarray], ...] = (  # with the constants of nature at 1
    lambda t, s: np.exp(-((t / s) ** 2) / 2) / (s * np.sqrt(2 * pi)),  # I.6.2 normal density
    lambda a, b, c, d: np.hypot(b - a, d - c),  # I.8.14 distance of two points
    lambda a, b, c, d: a * b + c * d,  # I.11.19 scalar product, in the plane
    lambda m, n: m * n,  # I.12.1 friction
    lambda a, b, r: a * b / (4 * pi * r**2),  # I.12.2 Coulomb's force
    lambda q, e, v, b, t: q * (e + b * v * np.sin(t)),  # I.12.11 Lorentz's force
    lambda m, u, v, w: m * (u**2 + v**2 + w**2) / 2,  # I.13.4 kinetic energy
    lambda m, n, a, b: m * n * (1 / b - 1 / a),  # I.13.12 energy between two distances
    lambda k, x: k * x**2 / 2,  # I.14.4 energy of a spring
    lambda u, v, c: (u + v) / (1 + u * v / c**2),  # I.16.6 speeds added
    lambda m, r, n, s: (m * r + n * s) / (m + n),  # I.18.4 centre of mass
    lambda r, f, t: r * f * np.sin(t),  # I.18.12 torque
    lambda m, v, w, x: m * (v**2 + w**2) * x**2 / 4,  # I.24.6 energy of a driven oscillator
    lambda m, r, v, t: m * r * v * np.sin(t),  # I.18.14 angular momentum
    lambda q, c: q / c,  # I.25.13 capacitor
    lambda a, b, n: 1 / (1 / a + n / b),  # I.27.6 lens
    lambda a, b, s, t: np.hypot(a - b * np.cos(s - t), b * np.sin(s - t)),  # I.29.16 two waves
    lambda i, n, t: i * (np.sin(n * t / 2) / np.sin(t / 2)) ** 2,  # I.30.3 grating
    lambda q, a, c: q**2 * a**2 / (6 * pi * c**3),  # I.32.5 radiated power
    lambda a, b, t: a + b + 2 * np.sqrt(a * b) * np.cos(t),  # I.37.4 interference
    lambda n, t, v: n * t / v,  # I.39.22 ideal gas
    lambda m, q, v, d: m * q * v / d,  # I.43.16 drift of an ion
    lambda n, t, a, b: n * t * np.log(b / a),  # I.44.4 work of a gas
    lambda c, p, r: np.sqrt(c * p / r),  # I.47.23 speed of sound
    lambda k, a, b, s, d: k * (b - a) * s / d,  # II.2.42 flow of heat
    lambda e, d, k, h: 2 * e * d**2 * k / h,  # III.13.18 speed in a crystal
    lambda p, r, t: p * np.cos(t) / (4 * pi * r**2),  # II.6.11 potential of a dipole
    lambda p, e, t: -p * e * np.cos(t),  # II.15.4 energy of a dipole
    lambda n, m, b, t: n * m * np.tanh(m * b / t),  # II.35.21 magnetisation
    lambda h, w, t: h * w / np.expm1(h * w / t),  # III.4.33 mean energy of an oscillator
    lambda u, k, d: 2 * u * (1 - np.cos(k * d)),  # III.15.12 energy in a crystal
    lambda b, a, t: b * (1 + a * np.cos(t)),  # III.17.37 decay by angle
)
