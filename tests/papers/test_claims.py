"""Questions about numbers made by hand."""

from __future__ import annotations

import math

import pytest

from actune.experiments.stats import holm, paired_p
from actune.papers.claims import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Better,
    Claim,
    Equivalent,
    NotWorse,
    Question,
    Verdict,
    Within,
    judge,
    measure_named,
)

ACCURACY = measure_named("accuracy")  # a share of 1, printed in per cent; larger is better
LOSS = measure_named("loss")  # smaller is better
INF = math.inf
BASE = [0.600, 0.604, 0.596]


def numbers(measure: str = "accuracy", **functions: list[float]) -> dict[str, dict[str, list[float]]]:
    return {name: {measure: values} for name, values in functions.items()}


def decide(question: Question, *, full: bool = True, measure: str = "accuracy", **functions: list[float]) -> Verdict:
    """The verdict on one claim."""
    (verdict,) = judge([Claim("", "", "P", question, measure)], [numbers(measure, **functions)], ACCURACY, full)
    return verdict


def gained(*points: float) -> list[float]:
    return [b + p / 100 for b, p in zip(BASE, points, strict=True)]


@pytest.mark.parametrize(
    ("points", "by", "full", "status"),
    [
        ((1.9, 2.0, 2.1), None, True, REPRODUCED),
        ((1.9, 2.0, 2.1), 2.1, True, REPRODUCED),  # the interval, 1.75 to 2.25, has the claimed gain
        ((1.9, 2.0, 2.1), 1.0, True, REPRODUCED),  # more than was claimed
        ((1.9, 2.0, 2.1), 5.0, True, NOT_REPRODUCED),  # it is better, but not by as much
        ((1.9, 2.0, 2.1), 5.0, False, REPRODUCED),  # at a smaller scale only the direction counts
        ((-0.1, 0.0, 0.1), 5.0, True, NOT_REPRODUCED),
        ((-0.1, 0.0, 0.1), 5.0, False, NOT_TESTABLE),
        ((-2.0, 2.0, 6.0), 5.0, True, NOT_TESTABLE),
        ((-1.9, -2.0, -2.1), None, True, NOT_REPRODUCED),
        ((-1.9, -2.0, -2.1), 5.0, False, NOT_REPRODUCED),
    ],
)
def test_better(points: tuple[float, ...], by: float | None, full: bool, status: str) -> None:
    assert decide(Better("new", ("old",), by), full=full, new=gained(*points), old=BASE).status == status


def test_better_than_each_of_several() -> None:
    question = Better("new", ("old", "other"))
    assert decide(question, new=gained(1.9, 2.0, 2.1), old=BASE, other=BASE).status == REPRODUCED
    assert decide(question, new=gained(1.9, 2.0, 2.1), old=BASE, other=gained(1.9, 2.1, 2.0)).status == NOT_TESTABLE
    assert decide(question, new=gained(1.9, 2.0, 2.1), old=BASE, other=gained(2.9, 3.0, 3.1)).status == NOT_REPRODUCED


def test_a_smaller_loss_is_better() -> None:
    functions = {"new": [0.10, 0.11, 0.12], "old": [0.20, 0.212, 0.219]}
    assert decide(Better("new", ("old",)), measure="loss", **functions).status == REPRODUCED
    assert decide(Better("old", ("new",)), measure="loss", **functions).status == NOT_REPRODUCED
    assert decide(Better("new", ("old",)), measure="loss", **functions).measured.startswith("a gain of +0.100 (+0.0")


def test_measurements_in_words() -> None:
    assert decide(Better("new", ("old",)), new=gained(1.9, 2.0, 2.1), old=BASE).measured == "+2.0 (+1.8 to +2.2) points against old"
    assert decide(Within("old", least=59), old=BASE).measured == "60.0 % (59.0 % to 61.0 %); at least 59 %"


@pytest.mark.parametrize(
    ("points", "status"),
    [
        ((-0.1, 0.0, 0.1), REPRODUCED),
        ((-2.0, 0.0, 2.0), NOT_TESTABLE),
        ((1.9, 2.0, 2.1), NOT_REPRODUCED),
        ((-1.9, -2.0, -2.1), NOT_REPRODUCED),
    ],
)
def test_equivalent(points: tuple[float, ...], status: str) -> None:
    assert decide(Equivalent("new", "old", within=0.5), new=gained(*points), old=BASE).status == status


@pytest.mark.parametrize(
    ("points", "status"),
    [
        ((-0.1, 0.0, 0.1), REPRODUCED),
        ((5.9, 6.0, 6.1), REPRODUCED),
        ((-2.0, 0.0, 2.0), NOT_TESTABLE),
        ((-1.9, -2.0, -2.1), NOT_REPRODUCED),
    ],
)
def test_not_worse(points: tuple[float, ...], status: str) -> None:
    assert decide(NotWorse("new", ("old",), within=0.5), new=gained(*points), old=BASE).status == status
    both = decide(NotWorse("new", ("old", "same"), within=0.5), new=gained(*points), old=BASE, same=gained(*points))
    assert both.status == status


@pytest.mark.parametrize(
    ("least", "most", "status"),
    [
        (59.9, INF, REPRODUCED),
        (60.1, INF, NOT_REPRODUCED),
        (-INF, 59.9, NOT_REPRODUCED),
        (59, 61, REPRODUCED),
        (61, 62, NOT_REPRODUCED),
    ],
)
def test_within(least: float, most: float, status: str) -> None:
    assert decide(Within("old", least, most), old=BASE).status == status


@pytest.mark.parametrize(
    "question",
    [Better("new", ("old",)), Equivalent("new", "old", within=50), NotWorse("new", ("old",), within=1), Within("new", least=0)],
    ids=lambda j: type(j).__name__,
)
@pytest.mark.parametrize("full", [True, False])
def test_a_single_seed_shows_nothing(question: Question, full: bool) -> None:
    """There is no interval, which is nan, and no p-value."""
    assert decide(question, full=full, new=[0.9], old=[0.5]).status == NOT_TESTABLE


@pytest.mark.parametrize(
    ("question", "status"),
    [
        (Better("new", ("old",)), NOT_REPRODUCED),
        (Equivalent("new", "old", within=50), NOT_REPRODUCED),
        (NotWorse("new", ("old",), within=50), NOT_REPRODUCED),
        (Within("new", most=50), NOT_REPRODUCED),
        (Better("old", ("new",)), NOT_TESTABLE),  # it won by an infinite gain, of which no interval can be made
        (NotWorse("old", ("new",), within=50), NOT_TESTABLE),
    ],
    ids=str,
)
def test_a_run_that_diverged_has_the_worst_number(question: Question, status: str) -> None:
    functions = {"new": [0.1, 0.2, INF], "old": [0.3, 0.3, 0.4]}
    assert decide(question, measure="loss", **functions).status == status


def test_where_both_diverged_nothing_is_decided() -> None:
    functions = {"new": [0.1, 0.2, INF], "old": [0.3, INF, 0.4]}
    for question in (Better("new", ("old",)), NotWorse("new", ("old",), within=1), Equivalent("new", "old", within=1)):
        assert decide(question, measure="loss", **functions).status == NOT_TESTABLE


def test_the_tests_of_an_experiment_are_corrected_together() -> None:
    """A p-value of 0.03 shows something alone, and nothing as one of two; claims about other numbers count too."""
    new = gained(1.0, 2.0, 1.4)
    differences = [a - b for a, b in zip(new, BASE, strict=True)]
    p = paired_p(differences)
    assert 0.025 < p < 0.05
    assert holm([p, 0.9])[0] > 0.05
    claim = Claim("", "", "P", Better("new", ("old",)))
    other = Claim("", "", "P", Better("b", ("a",)), measure="loss")
    mine, theirs = numbers(new=new, old=BASE), numbers("loss", a=[1.0, 2.0, 3.0], b=[1.1, 1.9, 3.0])
    alone = judge([claim], [mine], ACCURACY, full=True)
    together = judge([claim, other], [mine, theirs], ACCURACY, full=True)
    assert alone[0].status == REPRODUCED
    assert [v.status for v in together] == [NOT_TESTABLE] * 2
    # A claim without a p-value, for it has one seed only, makes no other harder to show.
    single = judge([claim, claim], [mine, numbers(new=[0.9], old=[0.5])], ACCURACY, full=True)
    assert [v.status for v in single] == [REPRODUCED, NOT_TESTABLE]


def test_measures_by_name() -> None:
    assert measure_named("dead units").show(0.125) == "12.5 %"
    assert not measure_named("gradient decades").larger
    with pytest.raises(ValueError, match=r"unknown measure 'acuracy' \(known: accuracy, "):
        measure_named("acuracy")
    with pytest.raises(TypeError, match="measured by an experiment"):
        measure_named("seconds").of(None, None, 0.0)  # type: ignore[arg-type]
