"""Claims beside measurements: the stored runs of each experiment, its numbers, and a verdict on every claim."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .claims import MISSING, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Claim, Numbers, Verdict, judge, measure_named
from .declaration import SCALES, Experiment, Paper
from .declared import PAPERS
from .runs import planned_runs, run_key

__all__ = ["DECISIVE", "STATUSES", "Finding", "Line", "RunTable", "count_verdicts", "gather_runs", "seed_numbers", "weigh"]

STATUSES = (REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE, MISSING)
DECISIVE = tuple(s for s in reversed(SCALES) if s != "smoke")  # drawn data decides nothing; the paper's scale comes first

Line = Mapping[str, Any]
RunTable = dict[tuple[str, int], dict[str, Line]]  # (function, seed) -> part -> the finished run


@dataclass(frozen=True)
class Finding:
    """A claim and what was measured of it.

    scale   of the runs that decide; None without any
    seeds   their number
    """

    paper: Paper
    experiment: Experiment
    claim: Claim
    verdict: Verdict
    scale: str | None
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {
            "paper": self.paper.name, "arxiv": self.paper.arxiv, "experiment": self.experiment.name, "claim": self.claim.says,
            "source": self.claim.source, "certainty": self.claim.certainty, "published": dict(self.claim.published or {}),
            "verdict": self.verdict.status, "measured": self.verdict.measured, "scale": self.scale, "seeds": self.seeds,
        }  # fmt: skip


def count_verdicts(findings: Iterable[Finding]) -> dict[str, dict[str, int]]:
    """For each paper the number of its claims by verdict; our own checks are not counted."""
    counts: dict[str, dict[str, int]] = {}
    for f in findings:
        row = counts.setdefault(f.paper.name, dict.fromkeys(STATUSES, 0))
        row[f.verdict.status] += not f.claim.check
    return counts


def weigh(lines: Iterable[Line], papers: Iterable[Paper] | None = None) -> list[Finding]:
    """Every claim of these papers (default: all) with the verdict of the stored runs; those of other declarations do not count."""
    known = {line["key"]: line for line in lines}
    chosen = PAPERS.values() if papers is None else papers
    return [finding for paper in chosen for e in paper.experiments for finding in _findings(paper, e, known)]


def _findings(paper: Paper, experiment: Experiment, known: Mapping[str, Line]) -> list[Finding]:
    tables = {scale: gather_runs(paper, experiment, scale, known) for scale in DECISIVE if scale in experiment.scales}
    found: list[Finding] = []
    decided = {claim: _deciding(experiment, claim, tables) for claim in experiment.claims}
    for scale, table in tables.items():
        seeds = {claim: found_seeds for claim, (s, found_seeds) in decided.items() if s == scale}
        found += _judged(paper, experiment, scale, seeds, table)
    for claim, (deciding, _) in decided.items():
        if deciding is None:
            reason = _why_not(experiment, claim, tables)
            found.append(Finding(paper, experiment, claim, Verdict(MISSING, reason), None, 0))
    return sorted(found, key=lambda f: experiment.claims.index(f.claim))


def _judged(
    paper: Paper, experiment: Experiment, scale: str, seeds: Mapping[Claim, tuple[int, ...]], table: RunTable
) -> list[Finding]:
    """Judge the claims that a scale decides, each by its seeds and parts; their tests are corrected together."""
    numbers = [seed_numbers(table, c.question.functions, used, _parts(experiment, scale, c)) for c, used in seeds.items()]
    verdicts = judge(list(seeds), numbers, experiment.measure, full=scale == "full")
    return [Finding(paper, experiment, c, v, scale, len(seeds[c])) for c, v in zip(seeds, verdicts, strict=True)]


def gather_runs(paper: Paper, experiment: Experiment, scale: str, known: Mapping[str, Line]) -> RunTable:
    """The finished runs of an experiment at a scale, by function and seed and then by part; more seeds than declared count too."""
    table: RunTable = defaultdict(dict)
    most = 1 + max(
        (line["seed"] - experiment.first_seed for line in known.values() if _belongs(line, paper, experiment, scale)), default=-1
    )
    for run in planned_runs(paper, experiment, scale, max(most, experiment.scales[scale].seeds)):
        line = known.get(run_key(run))
        if line is not None:
            table[run.function, run.seed][run.part] = line
    return table


def _belongs(line: Line, paper: Paper, experiment: Experiment, scale: str) -> bool:
    return (line["paper"], line["experiment"], line["scale"]) == (paper.name, experiment.name, scale)


def _parts(experiment: Experiment, scale: str, claim: Claim) -> tuple[str, ...]:
    """The parts that a claim is about."""
    return tuple(experiment.scales[scale].parts) if claim.part is None else (claim.part,)


def _complete_seeds(parts: Iterable[str], functions: Iterable[str], table: RunTable) -> tuple[int, ...]:
    """The seeds with which each of these functions has run on all of these parts."""
    wanted, names = set(parts), set(functions)
    counts = Counter(seed for (name, seed), found in table.items() if name in names and wanted <= found.keys())
    return tuple(sorted(seed for seed, count in counts.items() if count == len(names)))


def _measured(experiment: Experiment, claim: Claim, table: RunTable) -> RunTable:
    """The runs that measured what a claim is about: an older version of a procedure may have measured less."""
    name = claim.measure or experiment.measure.name
    return {key: {part: line for part, line in found.items() if name in line["scores"]} for key, found in table.items()}


def _deciding(experiment: Experiment, claim: Claim, tables: Mapping[str, RunTable]) -> tuple[str | None, tuple[int, ...]]:
    """The largest scale at which all runs of a claim are there, and their seeds."""
    for scale, table in tables.items():
        seeds = _complete_seeds(_parts(experiment, scale, claim), claim.question.functions, _measured(experiment, claim, table))
        if len(seeds) >= experiment.scales[scale].seeds:
            return scale, seeds
    return None, ()


def _why_not(experiment: Experiment, claim: Claim, tables: Mapping[str, RunTable]) -> str:
    """Why there is no verdict: how many of the runs are there, and what they need."""
    scale = next(reversed(list(tables)))  # the smallest that decides
    functions, parts = set(claim.question.functions), set(_parts(experiment, scale, claim))
    seeds = experiment.scales[scale].seeds
    there_are = _measured(experiment, claim, tables[scale])
    counts = Counter((f, part) for (f, _), found in there_are.items() if f in functions for part in parts & found.keys())
    there = sum(min(count, seeds) for count in counts.values())
    needs = [experiment.needs] * bool(experiment.needs) + ["the full scale"] * (scale == "full")
    asked = f"{there} of {len(functions) * len(parts) * seeds} runs are there"
    return asked + (f"; they need {' and '.join(needs)}" if needs else "")


def seed_numbers(table: RunTable, functions: Iterable[str], seeds: Iterable[int], parts: Iterable[str]) -> Numbers:
    """For each function and measure a number for each of these seeds, the mean over the parts; what diverged has the worst."""
    used, chosen = tuple(seeds), tuple(parts)
    return {f: _by_measure([[table[f, seed][part] for part in chosen] for seed in used]) for f in functions}


def _by_measure(runs: Sequence[Sequence[Line]]) -> dict[str, list[float]]:
    """By measure, of those that all runs have: a search that found nothing has no seconds, say."""
    scores = [line["scores"] for parts in runs for line in parts]
    names = [name for name in (scores[0] if scores else ()) if all(name in s for s in scores)]
    return {name: [fmean(_number(name, line) for line in parts) for parts in runs] for name in names}


def _number(name: str, line: Line) -> float:
    value = line["scores"][name]
    return (-math.inf if measure_named(name).larger else math.inf) if value is None else float(value)
