"""Claims of papers beside what was measured: tables for the terminal, and a document with pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from ..experiments.stats import estimate
from ..papers.claims import MISSING, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED
from ..papers.declaration import SCALES, Experiment, Paper
from ..papers.evidence import STATUSES, Finding, RunTable, count_verdicts
from ..papers.measured import function_numbers, largest_runs, ranked_functions
from ..papers.runs import planned_runs, select_experiments
from ..results import markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["count_runs", "experiments_table", "findings_table", "verdict_table", "write_document"]

COLOURS = {REPRODUCED: "green", NOT_REPRODUCED: "red", NOT_TESTABLE: "yellow", MISSING: "dim"}
COMMAND = "actune reproduce --table"


# -- terminal -------------------------------------------------------------------------------------------------------------


def count_runs(selection: str | None = None) -> dict[str, dict[str, Any]]:
    """The experiments by PAPER/EXPERIMENT: what is compared, and the number of runs at each scale."""
    return {
        f"{paper.name}/{e.name}": {"summary": e.summary} | {scale: len(list(planned_runs(paper, e, scale))) for scale in SCALES}
        for paper, e in select_experiments(selection)
    }


def experiments_table(selection: str | None = None) -> Table:
    """The experiments, with the number of runs at each scale; a dash where there is no such scale."""
    table = Table(_whole("experiment"), "what is compared", *(f"runs: {SCALES[0]}", *SCALES[1:]))
    for name, row in count_runs(selection).items():
        table.add_row(name, row["summary"], *(str(row[scale] or "–") for scale in SCALES))
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """A row for each claim: what is said, and what was measured."""
    table = Table(_whole("experiment"), "claim", "verdict", "measured")
    for f in findings:
        verdict = f"[{COLOURS[f.verdict.status]}]{_verdict(f)}[/]"
        table.add_row(f"{f.paper.name}/{f.experiment.name}", _claim(f), verdict, f.verdict.measured)
    return table


def _whole(title: str) -> Column:
    """A column whose words are to be copied: it is never cut."""
    return Column(title, no_wrap=True, overflow="ignore")


def _claim(f: Finding) -> str:
    part = f.claim.part
    return f.claim.says if part is None or part in f.claim.says else f"{f.claim.says} ({part})"


def _verdict(f: Finding) -> str:
    """The verdict; where it is not at the paper's scale, that is said."""
    decided = f.verdict.status in (REPRODUCED, NOT_REPRODUCED)
    return f.verdict.status + (" at this scale" if decided and f.scale != "full" else "")


# -- documents ------------------------------------------------------------------------------------------------------------


def verdict_table(findings: Sequence[Finding]) -> str:
    """The number of claims by paper and verdict, in Markdown."""
    papers = {f.paper.name: f.paper for f in findings}
    rows = [
        (f"[{papers[name].title}](https://arxiv.org/abs/{papers[name].arxiv})", str(sum(row.values())), *map(str, row.values()))
        for name, row in count_verdicts(findings).items()
    ]
    return markdown_table(("paper", "claims", *STATUSES), rows)


def write_document(path: Path, findings: Sequence[Finding], lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the document of all claims, with a picture for each plot of an experiment in a folder of its name beside it."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    known = {line["key"]: line for line in lines}
    sections = [
        "# The papers, reproduced",
        f"Written by `{COMMAND}` from the runs in `results/reproduction`; no number is typed by hand. `actune reproduce` carries "
        "out what is missing.",
        "A verdict is computed. *reproduced*: the measurements show what is claimed; *not reproduced*: they exclude it; *not "
        "testable at this scale*: the interval contains both; *not run*: runs are missing. *At this scale*: the networks, data or "
        "epochs are smaller than the paper's, so only the direction of an effect is judged, not its size. Intervals cover 95 %, "
        "differences are paired by seed, tests are corrected within an experiment. Sources: P as published, R reconstructed, M "
        "commonly reported and not checked.",
        verdict_table(findings),
    ]
    for paper in {f.paper.name: f.paper for f in findings}.values():
        sections += _paper_section(paper, [f for f in findings if f.paper is paper], known, folder)
    path.write_text("\n\n".join(sections) + "\n")


def _paper_section(paper: Paper, findings: Sequence[Finding], known: Mapping[str, Any], folder: Path) -> list[str]:
    found = [f"## {paper.title} (arXiv:{paper.arxiv})"]
    for experiment in paper.experiments:
        found += [f"### {paper.name}/{experiment.name}", f"{experiment.summary}."]
        rows = [
            (_claim(f), f"{f.claim.source} ({f.claim.certainty})", _published(f), f.verdict.measured, f"**{_verdict(f)}**")
            for f in findings
            if f.experiment is experiment
        ]
        found.append(markdown_table(("claim", "source", "published", "measured", "verdict"), rows))
        found += _measurements(paper, experiment, known, folder)
    return found


def _published(f: Finding) -> str:
    by = getattr(f.claim.question, "by", None)
    figures = [f"{name} {value:g}" for name, value in (f.claim.published or {}).items()]
    return ", ".join(figures) or ("" if by is None else f"{by:+g}")


def _measurements(paper: Paper, experiment: Experiment, known: Mapping[str, Any], folder: Path) -> list[str]:
    """What was measured of every function, at the largest scale of which there are runs, and the pictures."""
    largest = largest_runs(paper, experiment, known)
    if largest is None:
        return []
    scale, table = largest
    numbers = function_numbers(experiment, scale, table)
    if not numbers:
        return []
    measure = experiment.shown
    rows = []
    for function in ranked_functions(numbers, measure):
        e = estimate(numbers[function])
        spread = "" if e.low != e.low else f"{measure.show(e.low)} to {measure.show(e.high)}"
        label = f"{function} (baseline)" if function == experiment.baseline else function
        rows.append((label, measure.show(e.mean), spread, str(len(numbers[function]))))
    found = [markdown_table((f"function, scale {scale}", measure.name, "95 % interval", "seeds"), rows), _source(table)]
    for plot in experiment.plots:
        name = f"{paper.name}-{experiment.name}-{plot}.png"
        if _draw(plot, experiment, scale, table, folder / name):
            found.append(f"![{paper.name}/{experiment.name}: {plot}]({folder.name}/{name})")
    return found


def _source(table: RunTable) -> str:
    """The commands, machines and versions of the runs of a table, and what they took."""
    runs = [line for found in table.values() for line in found.values()]
    first = runs[0]
    minutes = sum(line["scores"].get("seconds") or 0 for line in runs) / 60
    machines = ", ".join(sorted({line["machine"]["cpu"] for line in runs}))
    return f"{len(runs)} runs, {minutes:.0f} minutes of training in all; {machines}; torch {first['versions']['torch']}."


# -- pictures -------------------------------------------------------------------------------------------------------------


def _draw(plot: str, experiment: Experiment, scale: str, table: RunTable, path: Path) -> bool:
    """Draw a plot into a file; False where there is nothing to draw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    drawn = PLOTS[plot](figure, experiment, scale, table)
    if drawn:
        figure.savefig(path, dpi=90)
    return drawn


def _functions(figure: Any, experiment: Experiment, scale: str, table: RunTable) -> bool:
    """The measure by function, with intervals, and the validation loss over the epochs."""
    numbers, measure = function_numbers(experiment, scale, table), experiment.shown
    order = ranked_functions(numbers, measure)[::-1]
    curves = _learning_curves(order, table)
    figure.set_size_inches(9 if curves else 5, max(2.4, 0.28 * len(order) + 1))
    left, *right = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
    for i, function in enumerate(order):
        e = estimate([measure.scale * v for v in numbers[function]])
        colour = "#D55E00" if function == experiment.baseline else "#0072B2"
        if e.low == e.low:
            left.plot([e.low, e.high], [i, i], color=colour)
        left.plot([e.mean], [i], "o", color=colour)
    left.set_yticks(range(len(order)), order)
    left.set_xlabel(measure.name + measure.unit)
    left.set_title(f"mean and 95 % interval; baseline {experiment.baseline}", fontsize=9)
    for axes in right:
        _draw_curves(axes, curves)
    return bool(order)


def _line_styles(functions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A colour and a dash pattern for each function; ten colours, and then again with other dashes."""
    dashes = ("-", "--", "-.", ":")
    return {
        f: {"color": f"C{i % 10}", "linestyle": dashes[i // 10 % 4], "linewidth": 1, "label": f} for i, f in enumerate(functions)
    }


def _draw_curves(axes: Axes, curves: Mapping[str, Sequence[float]]) -> None:
    styles = _line_styles(curves)
    for function, losses in curves.items():
        axes.plot(range(1, len(losses) + 1), losses, **styles[function])
    _epochs_across(axes)
    axes.set_title("validation loss, mean over seeds and parts", fontsize=9)
    axes.legend(fontsize=6)


def _learning_curves(order: Sequence[str], table: RunTable) -> dict[str, list[float]]:
    """For each function the mean of its validation losses after each epoch, over the longest runs that did not diverge."""
    curves: dict[str, list[float]] = {}
    for function in order:
        histories = [
            line["history"] for (f, _), runs in table.items() if f == function for line in runs.values() if "history" in line
        ]
        whole = [h for h in histories if len(h) == max(map(len, histories)) and None not in h]
        if whole:
            curves[function] = [fmean(values) for values in zip(*whole, strict=True)]
    return curves


def _layers(figure: Any, experiment: Experiment, scale: str, table: RunTable) -> bool:
    """The gradient at each layer before training, and the share of dead units after, in the deepest network."""
    deepest = list(experiment.scales[scale].parts)[-1]
    if not any(deepest in runs for runs in table.values()):
        return False
    figure.set_size_inches(9, 4)
    left, right = figure.subplots(1, 2)
    styles = _line_styles(experiment.functions)
    for function in experiment.functions:
        lines = [runs[deepest]["layers"] for (f, _), runs in table.items() if f == function and deepest in runs]
        if lines:
            for axes, what in ((left, "gradient before"), (right, "dead after")):
                columns = zip(*(line[what] for line in lines), strict=True)
                means = [fmean(math.nan if v is None else v for v in values) for values in columns]
                axes.plot(range(1, len(means) + 1), means, **styles[function])
    left.set_yscale("log")
    left.set_title(f"gradient before training, {deepest} layers", fontsize=9)
    right.set_title("share of dead units after training", fontsize=9)
    for axes in (left, right):
        axes.set_xlabel("layer")
    right.legend(fontsize=6)
    return True


def _epochs_across(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _course(figure: Any, experiment: Experiment, scale: str, table: RunTable) -> bool:
    """The parameters of each layer over the epochs, of the first function that learns, at the first seed."""
    found = next(((f, line["course"]) for (f, _), runs in table.items() for line in runs.values() if line.get("course")), None)
    if found is None:
        return False
    function, course = found
    names = list(dict.fromkeys(key.rpartition(".")[2] for key in course))
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, values in course.items():
            if key.endswith(f".{name}"):
                axes.plot(range(1, len(values) + 1), values, linewidth=1)
        axes.set_title(f"{name}, a line per layer", fontsize=9)
        _epochs_across(axes)
    figure.suptitle(f"how parameters move: {function}", fontsize=10)
    return True


PLOTS: dict[str, Callable[[Any, Experiment, str, RunTable], bool]] = {"functions": _functions, "depth": _layers, "course": _course}
