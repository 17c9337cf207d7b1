"""The page of claims: every verdict, every interval, by paper, from the data that `reproduce --table --json` prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import SCHEMES, WIDTHS, opened, page_of_command, violations
from command_line import run

from actune.experiments.stats import estimate
from actune.pages.claims import claims_page
from actune.papers import PAPERS, read_runs, reproduce, reproduction_overview, weigh
from actune.papers.runs import run_key

sys.path.append(str(Path(__file__).parents[1] / "papers"))
import declared_paper as little

HOSTILE = "<img src=x onerror=\"document.title='hit'\">"
CLAIMS = (little.BETTER, little.ON_A, replace(little.ON_A, says=HOSTILE, published={"gelu": 0.25}, part=None))


@pytest.fixture(scope="module", autouse=True)
def only_little() -> Iterator[None]:
    """The little paper is the only one."""
    declared = dict(PAPERS)
    PAPERS.clear()
    PAPERS["little"] = little.paper(little.experiment(claims=CLAIMS), little.experiment("two"))
    run_key.cache_clear()
    yield
    PAPERS.clear()
    PAPERS.update(declared)  # in their order
    run_key.cache_clear()


@pytest.fixture(scope="module")
def results(only_little: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of the first experiment."""
    folder = tmp_path_factory.mktemp("results")
    reproduce("little/one", results=folder, command="actune reproduce little/one")
    return folder


def test_the_data_has_verdicts_and_intervals(results: Path) -> None:
    lines = read_runs(results)
    found = reproduction_overview(lines)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    (paper,) = found["papers"]
    one, two = paper["experiments"]
    verdicts = [f.verdict for f in weigh(lines)]
    assert [c["verdict"] for c in one["claims"] + two["claims"]] == [v.status for v in verdicts]
    assert [c["measured"] for c in one["claims"]] == [v.measured for v in verdicts[:3]]
    assert [c["gain"] for c in one["claims"]] == [1.0, None, None]
    assert sum(paper["verdicts"].values()) == len(verdicts)
    gelu, relu = one["measured"]["functions"]
    e = estimate(gelu["scores"])
    assert (gelu["name"], gelu["mean"], gelu["low"], gelu["high"], gelu["seeds"]) == ("gelu", e.mean, e.low, e.high, 2)
    assert (gelu["published"], relu["published"]) == (0.25, None)
    assert relu["mean"] - gelu["mean"] == pytest.approx(1.0)
    assert (one["measured"]["runs"], one["measured"]["commands"]) == (8, ["actune reproduce little/one"])
    assert two["measured"] is None


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_shows_them(browser: Any, results: Path, width: int, scheme: str) -> None:
    found = reproduction_overview(read_runs(results))
    file = results / "claims.html"
    file.write_text(claims_page(found), encoding="utf-8")
    with opened(browser, file, width=width, scheme=scheme) as page:
        assert page.evaluate("dom.data()") == found
        text = page.locator("main").text_content()
        for e in found["papers"][0]["experiments"]:
            for claim in e["claims"]:
                assert claim["claim"] in text
                assert claim["measured"] in text
        assert page.locator("#little .good").count() == sum(f.verdict.status == "reproduced" for f in weigh(read_runs(results)))
        assert page.locator("#little .forest tbody tr").count() == 2
        assert page.locator("#little .mark").count() == 1
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        assert violations(page) == []


@pytest.mark.parametrize("more", [(), ("--table",)])
def test_the_command_writes_it(
    browser: Any, results: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(results)
    file = results / "new" / "claims.html"
    told = ("reproduce", "little/one", "--results", str(results), *more)
    found, data = page_of_command(browser, capsys, monkeypatch, file, *told)
    assert [e["name"] for e in data["papers"][0]["experiments"]] == ["one"]
    assert data == {name: found[name] for name in data} if more else found["done"] == 8


def test_a_page_has_an_ending_that_browsers_open(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, errors = run(capsys, monkeypatch, "reproduce", "--table", "--report", "claims.pdf")
    assert (code, errors.count("\n")) == (2, 1)
    assert "--report must name a .html or .htm file, got 'claims.pdf'" in errors
