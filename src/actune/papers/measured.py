"""What was measured of every function of an experiment, and all of it as plain data, beside the claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ..experiments.measures import Measure
from ..experiments.stats import estimate
from .declaration import Experiment, Paper
from .declared import PAPERS
from .evidence import DECISIVE, STATUSES, Finding, Line, RunTable, count_verdicts, gather_runs, seed_numbers, weigh

__all__ = ["function_numbers", "largest_runs", "ranked_functions", "reproduction_overview"]


def largest_runs(paper: Paper, experiment: Experiment, known: Mapping[str, Line]) -> tuple[str, RunTable] | None:
    """The largest scale of which there are runs, and these; None without any."""
    tables = ((scale, gather_runs(paper, experiment, scale, known)) for scale in DECISIVE if scale in experiment.scales)
    return next(((scale, table) for scale, table in tables if table), None)


def function_numbers(experiment: Experiment, scale: str, table: RunTable) -> dict[str, list[float]]:
    """For each function its numbers by seed, the means over parts, where all parts have run."""
    parts, shown = tuple(experiment.scales[scale].parts), experiment.shown.name
    whole = [key for key, runs in table.items() if len([line for line in runs.values() if shown in line["scores"]]) == len(parts)]
    found: dict[str, list[float]] = {}
    for function in experiment.functions:
        seeds = sorted(seed for f, seed in whole if f == function)
        if seeds:
            found[function] = list(seed_numbers(table, [function], seeds, parts)[function][shown])
    return found


def ranked_functions(numbers: Mapping[str, Sequence[float]], measure: Measure) -> list[str]:
    """The functions by their means, the best first."""
    return sorted(numbers, key=lambda f: fmean(numbers[f]), reverse=measure.larger)


def reproduction_overview(lines: Iterable[Line], papers: Iterable[Paper] | None = None) -> dict[str, Any]:
    """Claims beside measurements by paper and experiment, as plain data for `json.dumps`; what diverged has no mean: None."""
    known = {line["key"]: line for line in lines}
    chosen = list(PAPERS.values() if papers is None else papers)
    findings = weigh(known.values(), chosen)
    return {"statuses": list(STATUSES), "papers": [_paper(p, [f for f in findings if f.paper is p], known) for p in chosen]}


def _paper(paper: Paper, findings: Sequence[Finding], known: Mapping[str, Line]) -> dict[str, Any]:
    return {
        "name": paper.name, "title": paper.title, "arxiv": paper.arxiv,
        "verdicts": count_verdicts(findings).get(paper.name, dict.fromkeys(STATUSES, 0)),
        "experiments": [
            {
                "name": e.name, "summary": e.summary, "needs": e.needs, "baseline": e.baseline,
                "claims": [_claim_record(f) for f in findings if f.experiment is e],
                "measured": _measured(paper, e, known),
            }
            for e in paper.experiments
        ],
    }  # fmt: skip


def _claim_record(f: Finding) -> dict[str, Any]:
    """A claim and its verdict; "gain" is the claimed one, in the unit in which the measure is printed."""
    return f.to_json() | {"part": f.claim.part, "check": f.claim.check, "gain": getattr(f.claim.question, "by", None)}


def _measured(paper: Paper, experiment: Experiment, known: Mapping[str, Line]) -> dict[str, Any] | None:
    """The functions of an experiment by their means, with intervals, and what the runs took; None without any."""
    largest = largest_runs(paper, experiment, known)
    numbers = {} if largest is None else function_numbers(experiment, *largest)
    if largest is None or not numbers:
        return None
    scale, table = largest
    measure = experiment.shown
    runs = [line for found in table.values() for line in found.values()]
    return {
        "scale": scale, "runs": len(runs), "hours": sum(line["scores"].get("seconds") or 0 for line in runs) / 3600,
        "measure": measure.to_json(),
        "functions": [
            {"name": name, "seeds": len(numbers[name]), "scores": _plain_numbers(numbers[name])}
            | dict(zip(("mean", "low", "high"), _plain_numbers(_interval(numbers[name])), strict=True))
            | {"published": _published(experiment, name, measure)}
            for name in ranked_functions(numbers, measure)
        ],
        "machines": sorted({line["machine"]["cpu"] for line in runs}),
        "versions": runs[0]["versions"], "commands": sorted({line["command"] for line in runs}),
        "dates": [min(line["date"] for line in runs), max(line["date"] for line in runs)],
    }  # fmt: skip


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    e = estimate(values)
    return e.mean, e.low, e.high


def _plain_numbers(values: Iterable[float]) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in values]


def _published(experiment: Experiment, function: str, measure: Measure) -> float | None:
    """The figure that the paper gives for the function, in the unit in which it is measured here; None where it gives none."""
    for claim in experiment.claims:
        if (
            (claim.measure or experiment.measure.name) == measure.name
            and claim.part is None
            and function in (claim.published or {})
        ):
            return (claim.published or {})[function] / measure.scale
    return None
