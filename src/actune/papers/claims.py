"""What a paper claims, as data, and how measurements decide on it.

A claim is a sentence and the question that decides on it, one of four about numbers that runs measured: is one function better than
others, are two equivalent, is one not worse, does a number lie in a range. The answer is computed, never written down.

    Better("sau", over=("relu",), by=5.12)      +4.3 points (+2.9 to +5.7) over three seeds: reproduced
                                                +1.3 points (+0.4 to +2.2): not reproduced, for the interval excludes +5.12;
                                                at a smaller scale than the paper's, where only the direction counts, reproduced
                                                +2.0 points (-3.0 to +7.0): not testable, for it has both 0 and +5.12 in it
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..experiments.measures import MEASURES, Measure
from ..experiments.stats import LEVEL, Estimate, estimate, holm, paired_p

__all__ = [
    "MISSING",
    "NOT_REPRODUCED",
    "NOT_TESTABLE",
    "REPRODUCED",
    "Better",
    "Claim",
    "Equivalent",
    "NotWorse",
    "Numbers",
    "Question",
    "Verdict",
    "Within",
    "judge",
    "measure_named",
]

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_TESTABLE, MISSING = "not testable at this scale", "not run"

Numbers = Mapping[str, Mapping[str, Sequence[float]]]  # function -> measure -> its numbers, one for each seed, in one order


def _of_no_outputs(*_: object) -> float:
    raise TypeError("this number is measured by an experiment, not computed from outputs")


# Numbers that experiments measure beside those of `MEASURES`.
OTHERS = {
    row.name: row
    for row in (
        Measure("seconds", _of_no_outputs, digits=1, unit=" s"),
        Measure("time ratio", _of_no_outputs, digits=2),
        Measure("dead units", _of_no_outputs, scale=100, digits=1, unit=" %", gain="{} points"),
        Measure("gradient decades", _of_no_outputs, digits=2),
        Measure("gradient growth", _of_no_outputs, digits=2),
        Measure("largest difference", _of_no_outputs, digits=7),
    )
}


def measure_named(name: str) -> Measure:
    """The measure of this name, of outputs or of an experiment."""
    found = (MEASURES | OTHERS).get(name)
    if found is None:
        raise ValueError(f"unknown measure {name!r} (known: {', '.join(MEASURES | OTHERS)})")
    return found


@dataclass(frozen=True)
class Verdict:
    """What measurements say of a claim.

    status    REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE or MISSING
    measured  the numbers in words, with the interval; for MISSING the reason
    """

    status: str
    measured: str


class Question(Protocol):
    """A question about numbers, with its answer."""

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions whose numbers it needs."""
        ...

    def tests(self, numbers: Numbers, measure: Measure) -> list[float]:
        """The p-values of its tests; those of an experiment are corrected together."""
        ...

    def answer(self, numbers: Numbers, measure: Measure, corrected: Sequence[float], full: bool) -> Verdict:
        """The verdict.

        corrected   the p-values of `tests`, after Holm's correction over all claims of the experiment
        full        whether the runs are at the paper's scale: only there the size of an effect is compared with the claimed one
        """
        ...


@dataclass(frozen=True, eq=False)
class Claim:
    """A statement of a paper about an experiment.

    says        the statement in a sentence
    source      where it stands: "abstract", "Table 3"
    certainty   how sure the statement is what the paper says: "P" as published (abstract, code, or two independent accounts), "R"
                reconstructed by us, "M" commonly reported and not checked
    question    how it is decided
    measure     what it is about; left out, the measure of the experiment's task
    published   the figures of the paper by function, in the unit in which the measure is printed
    part        the only part of the experiment that it is about; None: all
    check       whether nobody claims it: it is what a sound training reaches with a usual function
    """

    says: str
    source: str
    certainty: Literal["P", "R", "M"]
    question: Question
    measure: str | None = None
    published: Mapping[str, float] | None = None
    part: str | None = None
    check: bool = False


def judge(claims: Sequence[Claim], numbers: Sequence[Numbers], default: Measure, full: bool) -> list[Verdict]:
    """A verdict for each claim of an experiment, from its numbers, of which none is missing; all tests are corrected together."""
    measures = [default if c.measure is None else measure_named(c.measure) for c in claims]
    found = [c.question.tests(n, m) for c, n, m in zip(claims, numbers, measures, strict=True)]
    flat = [p for ps in found for p in ps if not math.isnan(p)]
    after = iter(holm(flat))
    corrected = [[math.nan if math.isnan(p) else next(after) for p in ps] for ps in found]
    rows = zip(claims, numbers, measures, corrected, strict=True)
    return [claim.question.answer(n, m, ps, full) for claim, n, m, ps in rows]


# -- questions -----------------------------------------------------------------------------------------------------------


def _gains(numbers: Numbers, measure: Measure, of: str, over: str) -> list[float]:
    """By how much one function is better than another, seed by seed."""
    pairs = zip(numbers[of][measure.name], numbers[over][measure.name], strict=True)
    return [measure.over(a, b) for a, b in pairs]


def _is_excluded(e: Estimate, gain: float) -> bool:
    """Whether the measurements exclude a gain of this size: it lies above the interval, or the function diverged, not the other."""
    return e.high < gain or e.mean == -math.inf


def _gain_in_words(e: Estimate, measure: Measure, over: str) -> str:
    """For example "+2.0 (+1.8 to +2.2) points against relu"; without an interval only the mean."""
    interval = "" if math.isnan(e.low) else f" ({measure.signed(e.low)} to {measure.signed(e.high)})"
    return f"{measure.gain.format(measure.signed(e.mean) + interval)} against {over}"


@dataclass(frozen=True)
class Better:
    """Is a function better than each of some others?

    by   the claimed gain, in the unit in which the measure is printed; None where only the direction is claimed

    Reproduced: each gain is positive beyond chance, and, at the paper's scale, its interval reaches the claimed one. Not
    reproduced: some interval excludes any gain, at the paper's scale the claimed one. All else is not testable.
    """

    of: str
    over: tuple[str, ...]
    by: float | None = None

    @property
    def functions(self) -> tuple[str, ...]:
        return (self.of, *self.over)

    def tests(self, numbers: Numbers, measure: Measure) -> list[float]:
        return [paired_p(_gains(numbers, measure, self.of, other)) for other in self.over]

    def answer(self, numbers: Numbers, measure: Measure, corrected: Sequence[float], full: bool) -> Verdict:
        found = {other: estimate(_gains(numbers, measure, self.of, other)) for other in self.over}
        says = "; ".join(_gain_in_words(e, measure, other) for other, e in found.items())
        claimed = self.by / measure.scale if full and self.by is not None else 0.0
        if any(_is_excluded(e, claimed) for e in found.values()):
            return Verdict(NOT_REPRODUCED, says)
        shown = all(e.mean > 0 and p < LEVEL for e, p in zip(found.values(), corrected, strict=True))
        return Verdict(REPRODUCED if shown else NOT_TESTABLE, says)


@dataclass(frozen=True)
class Equivalent:
    """Do two functions agree to within a margin, in the unit in which the measure is printed?

    Reproduced: the interval of the difference lies within the margin; not reproduced: it lies outside, or one of them diverged.
    """

    of: str
    over: str
    within: float

    @property
    def functions(self) -> tuple[str, ...]:
        return (self.of, self.over)

    def tests(self, numbers: Numbers, measure: Measure) -> list[float]:
        return []  # the interval decides

    def answer(self, numbers: Numbers, measure: Measure, corrected: Sequence[float], full: bool) -> Verdict:
        e, margin = estimate(_gains(numbers, measure, self.of, self.over)), self.within / measure.scale
        says = f"{_gain_in_words(e, measure, self.over)}; margin ±{self.within:g}"
        if -margin <= e.low and e.high <= margin:
            return Verdict(REPRODUCED, says)
        is_outside = e.low > margin or e.high < -margin or math.isinf(e.mean)
        return Verdict(NOT_REPRODUCED if is_outside else NOT_TESTABLE, says)


@dataclass(frozen=True)
class NotWorse:
    """Is a function worse than each of some others by less than a margin, in the unit in which the measure is printed?"""

    of: str
    over: tuple[str, ...]
    within: float

    @property
    def functions(self) -> tuple[str, ...]:
        return (self.of, *self.over)

    def tests(self, numbers: Numbers, measure: Measure) -> list[float]:
        return []  # the interval decides

    def answer(self, numbers: Numbers, measure: Measure, corrected: Sequence[float], full: bool) -> Verdict:
        found = {other: estimate(_gains(numbers, measure, self.of, other)) for other in self.over}
        margin = self.within / measure.scale
        says = "; ".join(_gain_in_words(e, measure, other) for other, e in found.items())
        says += f"; margin {self.within:g}"
        if all(e.low > -margin for e in found.values()):
            return Verdict(REPRODUCED, says)
        return Verdict(NOT_REPRODUCED if any(_is_excluded(e, -margin) for e in found.values()) else NOT_TESTABLE, says)


@dataclass(frozen=True)
class Within:
    """Does the mean of a function's numbers lie in a range, in the unit in which the measure is printed? One seed is no mean."""

    of: str
    least: float = -math.inf
    most: float = math.inf

    @property
    def functions(self) -> tuple[str, ...]:
        return (self.of,)

    def tests(self, numbers: Numbers, measure: Measure) -> list[float]:
        return []  # the mean decides

    def answer(self, numbers: Numbers, measure: Measure, corrected: Sequence[float], full: bool) -> Verdict:
        values = numbers[self.of][measure.name]
        e = estimate(values)
        says = f"{measure.show(e.mean)}"
        if not math.isnan(e.low):
            says += f" ({measure.show(e.low)} to {measure.show(e.high)})"
        bounds = [f"at least {self.least:g}"] * (self.least > -math.inf) + [f"at most {self.most:g}"] * (self.most < math.inf)
        says += f"; {' and '.join(bounds)}{measure.unit}"
        if len(values) == 1:
            return Verdict(NOT_TESTABLE, says)
        is_inside = self.least <= measure.scale * e.mean <= self.most
        return Verdict(REPRODUCED if is_inside else NOT_REPRODUCED, says)
