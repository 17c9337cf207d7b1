"""Claims beside measurements: the tables, the document with its pictures, and the command that writes them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from rich.console import Console

from actune.papers import PAPERS, Scale, reproduce, weigh
from actune.papers.claims import MISSING
from actune.papers.evidence import count_verdicts
from actune.papers.runs import perform, planned_runs, run_key
from actune.show.reproduction import findings_table, verdict_table, write_document

sys.path.append(str(Path(__file__).parents[1] / "papers"))
import declared_paper as little

TRAINED = ("zorro/depth", "pangaea/parameters", "sau/smoothness")  # with each kind of picture


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`actune reproduce`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTUNE_DATA", raising=False)
    return lambda *arguments: run(capsys, monkeypatch, "reproduce", *arguments)


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that makes the little paper the only one, with these changes of its experiment."""

    def one(**changes: Any) -> None:
        for name in list(PAPERS):
            monkeypatch.delitem(PAPERS, name)
        monkeypatch.setitem(PAPERS, "little", little.paper(little.experiment(**changes)))
        run_key.cache_clear()

    yield one
    run_key.cache_clear()


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """Runs of three experiments as they are stored, of the scale laptop by their names, but trained on the data of smoke."""
    found = []
    for name in TRAINED:
        paper = PAPERS[name.partition("/")[0]]
        experiment = paper.experiment(name.partition("/")[2])
        (smoke,) = [perform(r, device="cpu", storage=None, command="")
                    for r in list(planned_runs(paper, experiment, "smoke"))[:1]]  # fmt: skip
        kept = {k: smoke[k] for k in ("history", "layers", "course", "machine", "versions") if k in smoke}
        if "course" in kept:  # in one epoch nothing moves
            kept["course"] = {"0.alpha": [1.0, 1.1], "0.beta": [1.0, 0.9], "2.alpha": [1.0, 1.2]}
        for r in planned_runs(paper, experiment, "laptop"):
            scores = {m: v and v + 0.001 * (r.seed % 7) for m, v in smoke["scores"].items()}
            found.append({"key": run_key(r), **vars(r), "scores": scores, **kept})
    return found


def test_the_document_has_every_claim_and_a_picture_for_what_was_run(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    findings = weigh(lines)
    path = tmp_path / "new" / "reproduction.md"
    write_document(path, findings, lines)
    text = path.read_text()
    for f in findings:
        rows = [row for row in text.splitlines() if row.startswith(f"| {f.claim.says}") and f"**{f.verdict.status}" in row]
        assert rows, f.claim.says
        assert any(f.verdict.measured in row for row in rows)
    pictures = re.findall(r"!\[(.*)\]\((.*)\)", text)
    assert {label for label, _ in pictures} == {
        "zorro/depth: functions", "zorro/depth: depth", "pangaea/parameters: functions", "pangaea/parameters: course",
        "sau/smoothness: functions",
    }  # fmt: skip
    assert all((path.parent / file).read_bytes().startswith(b"\x89PNG") for _, file in pictures)
    assert "relu (baseline)" in text
    assert text.count("scale laptop") == 3
    # What is no longer run leaves no picture behind.
    write_document(path, weigh([]), [])
    assert list(path.with_suffix("").iterdir()) == []
    assert "![" not in path.read_text()


def test_a_verdict_says_at_which_scale(one, tmp_path: Path) -> None:
    one(claims=(little.ON_A,))
    reproduce("little", scale="laptop", results=tmp_path)
    stored = [json.loads(line) for line in (tmp_path / "little.jsonl").read_text().splitlines()]
    write_document(tmp_path / "a.md", weigh(stored), stored)
    assert "**reproduced at this scale**" in (tmp_path / "a.md").read_text()
    reproduce("little", scale="full", results=tmp_path)
    stored = [json.loads(line) for line in (tmp_path / "little.jsonl").read_text().splitlines()]
    write_document(tmp_path / "a.md", weigh(stored), stored)
    text = (tmp_path / "a.md").read_text()
    assert "**reproduced** |" in text
    assert "function, scale full" in text
    assert "| gelu | 0.010 | " in text
    assert "12 runs, 0 minutes of training in all" in text


def test_verdicts_are_counted_without_our_checks() -> None:
    findings = weigh([])
    counts = count_verdicts(findings)
    assert set(counts) == set(PAPERS)
    assert sum(sum(row.values()) for row in counts.values()) == sum(not f.claim.check for f in findings) < len(findings)
    assert all(row[MISSING] == sum(row.values()) for row in counts.values())
    table = verdict_table(findings).splitlines()
    assert len(table) == 2 + len(PAPERS)
    assert "https://arxiv.org/abs/2109.13210" in "".join(table)


def test_a_claim_about_one_part_names_it(one, capsys: pytest.CaptureFixture[str]) -> None:
    one(claims=(little.ON_A,))
    Console(width=200).print(findings_table(weigh([])))
    assert "gelu has a small loss on a " in capsys.readouterr().out  # it does
    one(claims=(replace(little.ON_A, says="gelu is small", part="b"),))
    Console(width=200).print(findings_table(weigh([])))
    assert "gelu is small (b)" in capsys.readouterr().out


def test_runs_of_the_shallow_networks_alone_draw_no_layers(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    some = [line for line in lines if line["part"] == "10"]
    write_document(tmp_path / "a.md", weigh(some, [PAPERS["zorro"]]), some)
    assert "![" not in (tmp_path / "a.md").read_text()


def test_the_command_lists_experiments(command) -> None:
    code, out, _ = command("--list")
    assert code == 0
    assert all(f"{p.name}/{e.name}" in out for p in PAPERS.values() for e in p.experiments)
    code, out, _ = command("sau", "--list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert [name.partition("/")[0] for name in listed] == ["sau"] * 4
    assert listed["sau/smoothness"]["laptop"] == 30
    assert listed["sau/smoothness"]["full"] == 0


def test_the_command_shows_claims(command, tmp_path: Path) -> None:
    code, out, _ = command("sau", "--table", "--json")
    claims = json.loads(out)["claims"]
    assert code == 0
    assert len(claims) == 9
    assert {c["verdict"] for c in claims} == {MISSING}
    assert all("runs are there" in c["measured"] for c in claims)
    code, out, _ = command("sau", "--table")
    assert "Smoothing helps" in out
    assert list(tmp_path.iterdir()) == []  # a part of the papers is no document
    code, out, _ = command("--table")
    assert "docs/reproduction.md" in out
    assert (tmp_path / "docs" / "reproduction.md").read_text().count("### ") == sum(len(p.experiments) for p in PAPERS.values())


def test_the_command_runs(command, one, tmp_path: Path) -> None:
    one()
    code, out, _ = command("little", "--scale", "smoke", "--json")
    assert (code, json.loads(out)) == (
        0, {"command": "actune reproduce little --scale smoke --json", "done": 4, "new": 4, "failed": {}, "absent": {}},
    )  # fmt: skip
    code, out, _ = command("little", "--scale", "smoke")
    assert "4 runs are there, 0 of them new, in results/reproduction." in out


def test_the_command_says_what_failed_and_what_is_not_here(command, one) -> None:
    one(functions={"relu": "relu", "gelu": "gelu", "tanh": "tanh"})
    code, out, _ = command("little", "--scale", "smoke")
    assert code == 1
    assert "failed: little/one a: tanh, seed 2000: ArithmeticError: tanh is broken" in out
    one(scales={"laptop": Scale({"a": little.part("a", little.absent)})})
    code, out, _ = command()
    assert code == 0
    assert "not run: little/one: ACTUNE_DATA is not set" in out
    assert "0 runs are there" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoro"], "unknown paper 'zoro'; did you mean 'zorro'?"),
        (["zoro", "--list"], "unknown paper 'zoro'; did you mean 'zorro'?"),
        (["zorro/dept", "--table"], "has no experiment 'dept'; did you mean 'depth'?"),
        (["zorro", "--scale", "large"], "unknown scale 'large' (known: smoke, laptop, full)"),
        (["--device", "nowhere", "--scale", "smoke"], "device='nowhere' cannot be used here"),
    ],
)
def test_bad_input_is_one_line(command, arguments: list[str], message: str, tmp_path: Path) -> None:
    code, out, errors = command(*arguments)
    assert code == 2
    assert out == ""
    assert message in errors
    assert errors.startswith("actune: ")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
