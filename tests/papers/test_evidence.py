"""Verdicts from lines that are made by hand: which runs count, and which scale decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import declared_paper as little
import pytest

from actune.papers import PAPERS, Finding, Paper, weigh
from actune.papers.claims import MISSING, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Better, Claim, Within
from actune.papers.declaration import Scale
from actune.papers.runs import Run, planned_runs, run_key

Lines = list[dict[str, Any]]
LOSSES = {"relu": 1.5, "gelu": 0.4}


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Paper]]:
    """A function that makes a paper known, with these changes of its experiment."""

    def declare(**changes: Any) -> Paper:
        paper = little.paper(little.experiment(**changes))
        monkeypatch.setitem(PAPERS, paper.name, paper)
        run_key.cache_clear()  # keys are kept by the names of runs
        return paper

    yield declare
    run_key.cache_clear()


def lines(paper: Paper, scale: str, seeds: int | None = None, **losses: float) -> Lines:
    """What the runs of an experiment would have given, a little different for each seed and part."""
    return [
        {"key": run_key(run), **vars(run), "scores": {"loss": (LOSSES | losses)[run.function] + noise(run)}}
        for run in planned_runs(paper, paper.experiments[0], scale, seeds)
    ]


def noise(run: Run) -> float:
    return 0.01 * run.seed + (0.001 * run.seed if run.function == "relu" else 0) - 20 + (0.02 if run.part == "b" else 0)


def verdicts(found: list[Finding]) -> list[tuple[str, str | None, int]]:
    return [(f.verdict.status, f.scale, f.seeds) for f in found]


def test_no_runs(declare) -> None:
    paper = declare()
    assert verdicts(weigh([], [paper])) == [(MISSING, None, 0)] * 2
    assert [f.verdict.measured for f in weigh([], [paper])] == ["0 of 8 runs are there", "0 of 2 runs are there"]


def test_runs_decide(declare) -> None:
    paper = declare()
    better, within = weigh(lines(paper, "laptop"), [paper])
    assert verdicts([better, within]) == [(REPRODUCED, "laptop", 2), (REPRODUCED, "laptop", 2)]
    assert better.verdict.measured.startswith("a gain of +3.1")  # 1.5 - 0.4 and 0.001 times the seed
    assert "against relu" in better.verdict.measured
    assert within.verdict.measured.startswith("0.405 (")  # on the part a alone
    assert verdicts(weigh(lines(paper, "laptop", gelu=1.6), [paper]))[1] == (NOT_REPRODUCED, "laptop", 2)


def test_one_deleted_run(declare) -> None:
    """It is missed by the claims that are about its function and part, and by no others."""
    paper = declare()
    stored = lines(paper, "laptop")
    for i, line in enumerate(stored):
        found = weigh(stored[:i] + stored[i + 1 :], [paper])
        assert found[0].verdict.status == MISSING
        assert found[0].verdict.measured == "7 of 8 runs are there"
        concerns_within = (line["function"], line["part"]) == ("gelu", "a")
        assert found[1].verdict.status == (MISSING if concerns_within else REPRODUCED)
        assert not concerns_within or found[1].verdict.measured == "1 of 2 runs are there"


def test_more_seeds_than_declared_count(declare) -> None:
    paper = declare()
    stored = lines(paper, "laptop", seeds=5)
    assert verdicts(weigh(stored, [paper])) == [(REPRODUCED, "laptop", 5)] * 2
    # A seed with which one function did not run is left out.
    assert verdicts(weigh(stored[1:], [paper]))[0] == (REPRODUCED, "laptop", 4)
    # Many runs of one function do not make up for one of another: all of relu, and one of gelu on each part.
    some = [line for line in stored if line["function"] == "relu" or line["seed"] == 2000]
    assert weigh(some, [paper])[0].verdict.measured == "6 of 8 runs are there"


def test_smoke_runs_decide_nothing(declare) -> None:
    paper = declare()
    assert verdicts(weigh(lines(paper, "smoke", seeds=5), [paper])) == [(MISSING, None, 0)] * 2
    with pytest.raises(ValueError, match="the experiment 'one' needs a scale that decides"):
        declare(scales={"smoke": Scale(little.TWO_PARTS)})


def test_the_scale_of_the_paper_comes_first(declare) -> None:
    paper = declare(claims=(little.BETTER, little.ON_A, Claim("by much", "", "P", Better("gelu", ("relu",), by=9.0))))
    laptop, full = lines(paper, "laptop"), lines(paper, "full", gelu=0.45)
    found = weigh(laptop + full, [paper])
    assert verdicts(found) == [(REPRODUCED, "full", 3), (REPRODUCED, "full", 3), (NOT_REPRODUCED, "full", 3)]
    assert verdicts(weigh(laptop, [paper]))[2] == (REPRODUCED, "laptop", 2)  # its size is not judged
    # A scale that is not complete decides nothing: what is complete at the smaller one does.
    assert verdicts(weigh(laptop + full[1:], [paper]))[0] == (REPRODUCED, "laptop", 2)
    # Only one claim's runs are at the paper's scale: each is decided where its runs are.
    mixed = weigh(laptop + [line for line in full if line["function"] == "gelu"], [paper])
    assert verdicts(mixed) == [(REPRODUCED, "laptop", 2), (REPRODUCED, "full", 3), (REPRODUCED, "laptop", 2)]


@pytest.mark.parametrize(
    "changes",
    [
        {"functions": {"relu": "relu", "gelu": "silu"}},
        {"scales": {"laptop": Scale({name: little.part(name).with_recipe(epochs=2) for name in "ab"}, seeds=2)}},
        {"scales": {"laptop": Scale(little.TWO_PARTS, seeds=2, arguments={"gain": 2.0})}},
        {"first_seed": 3000},
    ],
    ids=["function", "recipe", "argument", "seeds"],
)
def test_runs_of_another_declaration_do_not_count(declare, changes) -> None:
    stored = lines(declare(), "laptop")
    assert verdicts(weigh(stored, [declare()])) == [(REPRODUCED, "laptop", 2)] * 2
    assert verdicts(weigh(stored, [declare(**changes)]))[0] == (MISSING, None, 0)


def test_a_run_without_a_number_has_the_worst(declare) -> None:
    paper = declare()
    stored = lines(paper, "laptop")
    for line in stored:
        if (line["function"], line["seed"]) == ("gelu", 2001):
            line["scores"]["loss"] = None
    assert [f.verdict.status for f in weigh(stored, [paper])] == [NOT_REPRODUCED] * 2


def test_a_measure_that_some_runs_lack(declare) -> None:
    """A search that found nothing has no seconds: claims about the loss are decided all the same."""
    paper = declare()
    stored = lines(paper, "laptop")
    stored[0]["scores"]["seconds"] = 1.0
    assert verdicts(weigh(stored, [paper])) == [(REPRODUCED, "laptop", 2)] * 2


def test_runs_that_did_not_measure_what_a_claim_is_about_do_not_count(declare) -> None:
    """Those of an older version of a procedure, say."""
    paper = declare(claims=(little.BETTER, replace(little.ON_A, measure="dead units")))
    found = lines(paper, "laptop")
    assert verdicts(weigh(found, [paper])) == [(REPRODUCED, "laptop", 2), (MISSING, None, 0)]
    assert weigh(found, [paper])[1].verdict.measured == "0 of 2 runs are there"
    for line in found:
        line["scores"]["dead units"] = 0.1
    assert verdicts(weigh(found, [paper])) == [(REPRODUCED, "laptop", 2), (NOT_REPRODUCED, "laptop", 2)]


def test_the_tests_of_all_parts_are_corrected_together(declare) -> None:
    """Both claims have p = 0.036: alone each would be reproduced, together none is."""
    on = {p: Claim(f"on {p}", "", "P", Better("gelu", ("relu",)), part=p) for p in "ab"}
    paper = declare(claims=tuple(on.values()), scales={"laptop": Scale(little.TWO_PARTS, seeds=3)})
    gains = {2000: 1.0, 2001: 2.0, 2002: 1.4}
    stored = lines(paper, "laptop")
    for line in stored:
        line["scores"]["loss"] = 1.0 if line["function"] == "gelu" else 1.0 + gains[line["seed"]]
    assert [f.verdict.status for f in weigh(stored, [paper])] == [NOT_TESTABLE] * 2
    alone = declare(claims=(on["a"],), scales=paper.experiments[0].scales)
    assert [f.verdict.status for f in weigh(stored, [alone])] == [REPRODUCED]


def test_what_runs_need_is_said(declare) -> None:
    paper = declare(needs="MVTec AD")
    assert weigh([], [paper])[1].verdict.measured == "0 of 2 runs are there; they need MVTec AD"
    paper = declare(needs="MVTec AD", scales={"full": Scale(little.TWO_PARTS, seeds=2)})
    assert weigh([], [paper])[1].verdict.measured == "0 of 2 runs are there; they need MVTec AD and the full scale"


def test_a_finding_as_plain_data(declare) -> None:
    paper = declare(claims=(replace(little.ON_A, question=Within("gelu", most=0.5), published={"gelu": 0.4}),))
    (found,) = weigh(lines(paper, "laptop"), [paper])
    plain = found.to_json()
    assert plain["paper"] == "little"
    assert plain["verdict"] == "reproduced"
    assert plain["published"] == {"gelu": 0.4}
    assert (plain["scale"], plain["seeds"], plain["certainty"]) == ("laptop", 2, "P")
