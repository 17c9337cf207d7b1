"""The report of a search: what it shows, of studies of any size and kind, whoever has named them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from browser import SCHEMES, WIDTHS, opened, page_of_command, violations
from command_line import run
from made_study import write_study
from optuna.trial import TrialState, create_trial
from quadrants import TINY

from actune.discovery import Ranking, prove
from actune.discovery.study.overview import study_overview
from actune.discovery.study.storage.opening import existing_study
from actune.pages.report import report_page

HOSTILE = "<img src=x onerror=\"document.title='hit'\"></script><script>document.title='hit'</script>"
KEY = "activation:activation"
Writer = Callable[[optuna.Study], Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Writes the report of a study to a file."""

    def written(study: optuna.Study) -> Path:
        path = tmp_path / "report.html"
        path.write_text(report_page(study_overview(study, "some.db")), encoding="utf-8")
        return path

    return written


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a study of ten trials that has a proof."""
    path = tmp_path_factory.mktemp("studies") / "ten.db"
    study = write_study(path, 10)
    prove(study, TINY, seeds=3, ranking=Ranking(leaders=2, runs=1, finalists=1), baselines=["relu", "gelu"])
    return path


@pytest.fixture(scope="module")
def ten(proved: Path) -> Path:
    """Its report."""
    file = proved.with_suffix(".html")
    file.write_text(report_page(study_overview(existing_study(str(proved)), "ten.db")), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_report_is_whole_and_accessible(browser: Any, ten: Path, width: int, scheme: str) -> None:
    with opened(browser, ten, width=width, scheme=scheme) as page:
        data = page.evaluate("dom.data()")
        assert page.locator("h1").text_content() == "digits"
        assert page.locator("canvas").count() >= 4
        assert page.locator("#winner math").count() == 1
        assert page.locator("#winner .formula .mono").text_content() == data["winners"]["activation"]["formula"]
        rows = page.locator("#proof .forest tbody tr").count()
        assert rows == len(data["proof"]["comparison"]["functions"]) == page.locator("#proof .forest tbody svg").count()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        page.wait_for_selector("#trial-search")
        assert violations(page) == []


def test_the_verdict_comes_first_and_its_numbers_are_those_of_the_proof(browser: Any, ten: Path) -> None:
    with opened(browser, ten) as page:
        proof = page.evaluate("dom.data().proof")
        own = next(r for r in proof["comparison"]["functions"] if r["name"] == proof["name"])
        first = page.locator(".verdict").text_content().replace("The winner", proof["name"])
        assert proof["verdict"].startswith(first)
        assert page.locator(".verdict").bounding_box()["y"] < 300
        gain = page.locator(".figures dd").first.text_content().replace("−", "-")
        assert gain == f"{100 * own['difference']['mean']:+.1f} points"
        for row, known in zip(page.locator("#proof .forest tbody tr").all(), proof["comparison"]["functions"], strict=True):
            told = row.locator(".gain").text_content().replace("−", "-")
            d = known["difference"]
            wanted = "baseline" if d is None else f"{100 * d['mean']:+.1f} ({100 * d['low']:+.1f} to {100 * d['high']:+.1f})"
            assert told == wanted


def test_intervals_stand_where_their_numbers_say(browser: Any, ten: Path) -> None:
    """On every row the zero line, the ends of the bar and its middle lie on one linear scale."""
    with opened(browser, ten) as page:
        rows = page.evaluate("dom.data().proof.comparison.functions.filter((r) => r.difference)")
        place = """(row) => { const at = (e, name) => parseFloat(e.getAttribute(name));
            const bar = row.querySelector(".reach"), mean = row.querySelector(".mean"), zero = row.querySelector(".zero");
            return [at(zero, "x1"), at(bar, "x1"), at(mean, "cx"), at(bar, "x2")]; }"""
        drawn = [page.evaluate(place, e) for e in page.query_selector_all("#proof .forest tbody tr") if e.query_selector(".reach")]
        known = [[0.0, *(r["difference"][k] for k in ("low", "mean", "high"))] for r in rows]
        scales = {round((d[3] - d[1]) / (k[3] - k[1]), 3) for d, k in zip(drawn, known, strict=True)}
        assert len(scales) == 1
        (scale,) = scales
        for d, k in zip(drawn, known, strict=True):
            assert d[2] - d[0] == pytest.approx(scale * k[2], abs=0.01)


def test_the_page_has_the_data_that_json_prints(
    browser: Any, proved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page_file = tmp_path / "new" / "report.html"
    code, out, _ = run(capsys, monkeypatch, "report", str(proved), "-o", str(page_file))
    assert (code, str(page_file) in out.replace("\n", "")) == (0, True)
    code, out, _ = run(capsys, monkeypatch, "report", str(proved), "--json", "-o", str(page_file))
    assert code == 0
    with opened(browser, page_file) as page:
        assert page.evaluate("dom.data()") == json.loads(out)


def test_ten_thousand_trials(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.db"
    write_study(path, 10_000, without=("course",))
    begun = time.process_time()
    text = report_page(study_overview(existing_study(str(path)), "large.db"))
    assert time.process_time() - begun < 10
    assert len(text.encode()) < 5e6
    file = tmp_path / "large.html"
    file.write_text(text, encoding="utf-8")
    with opened(browser, file) as page:
        assert page.locator("canvas").count() >= 4
        page.get_by_text("All 10,000 trials").click()
        page.fill("#trial-search", "tanh")
        texts = page.evaluate("dom.data().trials.activations.activation.text")
        told = page.locator("#course details p[aria-live]").text_content()
        assert told.startswith(f"{sum('tanh' in t for t in texts):,} trials")
        assert page.locator("#course details tbody tr").count() == 50
        page.get_by_role("button", name="Show 50 more").click()
        assert page.locator("#course details tbody tr").count() == 100
        page.select_option("#trial-ending", "failed")
        assert all("failed" in row for row in page.locator("#course details tbody tr").all_text_contents())


def test_the_trial_under_the_pointer_is_told(browser: Any, ten: Path) -> None:
    """Down the column of a trial, its line appears, with its value and its function."""
    with opened(browser, ten) as page:
        trials = page.evaluate("dom.data().trials")
        over, line = page.locator("#course .u-over"), page.locator("#course .pointed")
        over.scroll_into_view_if_needed()
        box = over.bounding_box()
        assert line.text_content() == "Point at a trial to read what it was."
        n = next(n for n, kind in enumerate(trials["ending"]) if kind == "complete" and 0 < n < len(trials["ending"]) - 1)
        seen = []
        for y in range(5, int(box["height"]), 10):
            page.mouse.move(box["x"] + box["width"] * n / (len(trials["ending"]) - 1), box["y"] + y)
            seen.append(line.text_content())
        own = next(text for text in seen if text.startswith(f"Trial {n} · complete · "))
        assert own.endswith(f" · {trials['activations']['activation']['text'][n]}")
        assert f" · {trials['values'][n][0]:.4g} · " in own


def test_code_is_copied(browser: Any, ten: Path) -> None:
    with opened(browser, ten) as page:
        best = page.evaluate("dom.data().winners.activation.text")
        page.locator("#use .copy").first.click()
        page.get_by_text("Copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == f"import actune\n\nbest = {json.dumps(best)}\nlayer = actune.Activation(best)"
        page.get_by_role("button", name="Copy formula").click()
        page.wait_for_function("navigator.clipboard.readText().then((t) => t === dom.data().winners.activation.text)")


def test_hostile_names_and_formulas_are_text(browser: Any, write: Writer) -> None:
    study = optuna.create_study(study_name=HOSTILE)
    origin = {"proposer": HOSTILE, "kind": HOSTILE, "parents": [], "fingerprint": "0", "failed": {HOSTILE: HOSTILE}}
    name = HOSTILE.replace(":", "")
    good = {f"activation:{name}": "tanh(x)", f"activation:{name}:origin": origin}
    study.add_trial(create_trial(value=1.0, user_attrs=good))
    bad = {f"activation:{name}": HOSTILE, "actune:error": HOSTILE}
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=bad))
    study.set_user_attr("actune:commands", [{"command": HOSTILE, "date": HOSTILE, "machine": {}, "versions": {HOSTILE: HOSTILE}}])
    with opened(browser, write(study)) as page:
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        page.wait_for_selector("#trial-search")
        assert "hit" not in page.title().partition(":")[0].replace(HOSTILE, "")
        assert page.locator("h1").text_content() == HOSTILE
        assert page.locator("img").count() == 0
        assert page.evaluate("document.querySelectorAll('main script').length") == 0
        assert page.locator("code", has_text="<img src=x").count() >= 2


def test_studies_of_all_kinds(browser: Any, write: Writer) -> None:
    """Own objectives, larger is better; several objectives and activations; nothing complete; nothing at all; half-finished."""
    largest = optuna.create_study(study_name="largest", direction="maximize")
    for value, text in enumerate(["relu", "tanh(x)", "gelu"]):
        largest.add_trial(create_trial(value=float(value), user_attrs={KEY: text}))
    largest.ask()
    several = optuna.create_study(study_name="several", directions=["minimize", "maximize"])
    for n, text in enumerate(["relu", "gelu", "silu"]):
        attributes = {"activation:hidden": text, "activation:out": "a*tanh(x); a=1"}
        several.add_trial(create_trial(values=[0.3 - n / 10, 5.0 - n], user_attrs=attributes))
    failing = optuna.create_study(study_name="failing")
    failing.add_trial(create_trial(state=TrialState.FAIL, user_attrs={KEY: "relu", "actune:error": "OSError: the disk is full"}))
    empty = optuna.create_study(study_name="empty")
    told = {
        largest: ["The best of 3 trials has value 2.", "complete3running1"],
        several: [
            "The best of 3 trials has value 1 0.1.",
            "The winner: hidden",
            "The winner: out",
            "the front of all 2 objectives",
        ],
        failing: ["Nothing was found yet.", "the last one failed with OSError: the disk is full"],
        empty: ["Nothing was found yet.", "The study has no trials."],
    }
    for study, sentences in told.items():
        with opened(browser, write(study), width=390) as page:
            text = page.locator("main").text_content()
            assert [s for s in sentences if s not in text] == [], study.study_name
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert violations(page) == []


KILLED = """
import os, sys, actune
def objective(trial):
    actune.suggest_activation(trial)
    if trial.number == 3:
        os.kill(os.getpid(), 9)
    return 1.0 / (1 + trial.number)
actune.search(objective, trials=10, storage=sys.argv[1], study="killed")
"""


def test_a_search_that_was_killed(browser: Any, tmp_path: Path, write: Writer) -> None:
    path = tmp_path / "killed.db"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True).returncode == -9
    study = existing_study(str(path))
    assert study_overview(study)["trials"]["ending"] == ["complete", "complete", "complete", "running"]
    with opened(browser, write(study)) as page:
        assert (
            page.locator("header .quiet")
            .first.text_content()
            .startswith("Search with an own objective · 3 finished trials · 1 not finished")
        )
        assert page.locator(".verdict").text_content() == "The best of 3 trials has value 0.3333."


def test_what_is_not_known_is_said_and_how_to_get_it(browser: Any, write: Writer, tmp_path: Path) -> None:
    study = write_study(tmp_path / "plain.db", 12, without=("course",))
    with opened(browser, write(study)) as page:
        assert page.locator("#proof code").text_content() == "actune search digits --trials 12 --storage some.db --study digits"
        assert "--course" in page.locator("#learned").text_content()
        assert page.locator("#provenance dd", has_text="not recorded").count() == 3  # command, machine, versions


def test_a_search_writes_its_report(
    browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, page_file = tmp_path / "study.db", tmp_path / "search.html"
    typed = ("search", "digits", "--trials", "2", "--no-proof", "--storage", str(storage))
    found, data = page_of_command(browser, capsys, monkeypatch, page_file, *typed)
    assert data == study_overview(existing_study(str(storage)), str(storage))
    assert data["record"] == {k: v for k, v in found.items() if k != "report"}
    assert [c["command"] for c in data["provenance"]["commands"]] == [found["command"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "Missing argument"),
        (
            ["report", "no_such.db"],
            "storage='no_such.db': there is no such file; name the one that `actune search --storage` wrote",
        ),
        (["report", "journal:no_such.log"], "there is no such file"),
        (["report", "no_such.db", "-o", "report.pdf"], "--output must name a .html or .htm file, got 'report.pdf'"),
        (["search", "digits", "--report", "report.pdf"], "--report must name a .html or .htm file, got 'report.pdf'"),
    ],
)
def test_wrong_input_is_refused_in_a_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, errors = run(capsys, monkeypatch, *arguments)
    assert (code, out) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1
