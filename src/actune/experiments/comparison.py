"""Comparison of activation functions on fresh seeds, paired by seed, with intervals and corrected tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from ..catalogue.registry import Family, resolve
from ..messages import shorten, suggestion
from ..module import Activation
from ..results import versions
from .measures import MEASURES, Measure
from .stats import LEVEL, Estimate, estimate, holm, paired_p
from .tasks import Task, task
from .training.loop import Outcome, check_device, one_thread, train
from .training.networks import ActivationChoice, network_builder
from .training.together import train_together

__all__ = ["RANKING_SEEDS", "Comparison", "Ranked", "Row", "TrainingProgress", "compare", "rank"]

RANKING_SEEDS = range(100, 105)  # on which leaders are chosen; neither a search nor a comparison uses them
TrainingProgress = Callable[[int, int], None]  # (trainings done, trainings in all)


@dataclass(frozen=True)
class Row:
    """One function in a comparison.

    outcomes      one training for each seed, in the order of the seeds
    score         the comparison's measure on the test part; a diverged network counts with what its outputs give
    difference    the gain over the baseline, paired by seed, positive where this function is better; None for the baseline itself
    p, p_corrected   of the two-sided paired t-test, and after Holm's correction over the table; nan without a test
    """

    name: str
    formula: str
    outcomes: tuple[Outcome, ...]
    score: Estimate
    difference: Estimate | None
    p: float
    p_corrected: float

    @property
    def validation_loss(self) -> float:
        return fmean(o.validation_loss for o in self.outcomes)

    @property
    def diverged(self) -> int:
        """The number of trainings that diverged."""
        return sum(o.diverged for o in self.outcomes)

    @property
    def better(self) -> bool:
        """Does the corrected test say that this function beats the baseline?"""
        return self.difference is not None and self.difference.mean > 0 and self.p_corrected < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Functions compared on one task; the rows are sorted by the mean of the measure on the test part, the best first."""

    task: str
    baseline: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    versions: Mapping[str, str]
    measure: Measure = MEASURES["accuracy"]

    def row(self, name: str) -> Row:
        """The row of this name."""
        rows = {r.name: r for r in self.rows}
        if name not in rows:
            raise ValueError(f"no row is called {name!r}{suggestion(name, rows)} (there are {', '.join(rows)})")
        return rows[name]

    def verdict(self) -> str:
        """What the comparison shows, in a plain sentence or two."""
        base = self.row(self.baseline)
        others = [r for r in self.rows if r is not base]
        if not others:
            return f"{base.name} stands alone on {self.task}; name other functions to compare it with."
        if len(self.seeds) == 1:
            return f"One seed shows nothing on {self.task}: compare on several (10 or more where a training takes a second)."
        winners = [r for r in others if r.better]
        if not winners:
            numbers = self._numbers(others[0], base)
            return f"Nothing beats {base.name} on {self.task} beyond chance. The best of the others, {others[0].name}: {numbers}"
        count = f" {len(winners)} of {len(others)} functions beat it." if len(others) > 1 else ""
        return self.verdict_on(winners[0].name) + count

    def verdict_on(self, name: str) -> str:
        """Whether this function beats the baseline, in a plain sentence with the numbers."""
        row, base = self.row(name), self.row(self.baseline)
        if row is base:
            return f"{name} is the baseline itself on {self.task}: test {self.measure.name} {self.measure.show(row.score.mean)}."
        says = "beats" if row.better else "does not beat"
        return f"{name} {says} {base.name} on {self.task}: {self._numbers(row, base)}"

    def above(self, name: str) -> list[str]:
        """The functions whose mean is better than that of this one, the best first."""
        own = self.row(name).score.mean
        return [r.name for r in self.rows if self.measure.over(r.score.mean, own) > 0]

    def _numbers(self, row: Row, base: Row) -> str:
        d, m = row.difference, self.measure
        assert d is not None
        return (
            f"test {m.name} {m.show(row.score.mean)} against {m.show(base.score.mean)}, {m.gain.format(m.signed(d.mean))} "
            f"(95 % interval {m.signed(d.low)} to {m.signed(d.high)}, corrected p = {row.p_corrected:.2g}) "
            f"over {len(self.seeds)} seeds."
        )

    def __str__(self) -> str:
        lines = [f"{r.name}: {self.measure.show(r.score.mean)}" + " (baseline)" * (r.name == self.baseline) for r in self.rows]
        return "\n".join([f"{self.task}, test {self.measure.name} over {len(self.seeds)} seeds:", *lines, self.verdict()])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data for `json.dumps`; what is not finite (no interval, no test, a diverged loss) is None."""
        return {
            "task": self.task,
            "baseline": self.baseline,
            "seeds": list(self.seeds),
            "versions": dict(self.versions),
            "measure": self.measure.name,
            "verdict": self.verdict(),
            "functions": [_plain(_record(r, self.measure.name)) for r in self.rows],
        }


def compare(
    what: Task | str,
    names: Sequence[ActivationChoice] | Mapping[str, ActivationChoice],
    *,
    seeds: int = 10,
    baseline: ActivationChoice = "relu",
    workers: int = 1,
    first_seed: int = 1000,
    progress: TrainingProgress | None = None,
    device: torch.device | str = "cpu",
    together: int = 1,
) -> Comparison:
    """Train every function on the same fresh seeds and test each against the baseline on the test part.

    The p-values speak of other seeds on this split of the data, not of other data; where each seed draws its own problem, of other
    problems of that kind.

    names       names, formulas, families or modules, or mappings from the places of the network to them; a mapping of all gives
                them other names: {"Zorro gates": {"gate": "zorro_sigmoid", "default": "tanh"}}. The baseline joins by itself
    seeds       their number, from `first_seed` on; take seeds on which nothing was chosen (`search` and `rank` use small ones)
    workers     the number of processes, with one torch thread each; it does not change the results. With more than one, the
                calling script needs the usual `if __name__ == "__main__":`
    together    the number of networks that train side by side in each process (see `train_together`): faster where the task's
                network is a perceptron; another number gives results that differ by rounding
    """
    t = task(what)
    named = _named(names)
    (base, base_activation), *_ = _named([baseline]).items()
    if base in named and _formula_text(named[base]) != _formula_text(base_activation):
        raise ValueError(f"the name {base!r} belongs to the baseline; give the other function another name")
    named = {base: base_activation} | named
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    used = tuple(range(first_seed, first_seed + seeds))
    outcomes = dict(zip(named, _train_all(t, list(named.values()), used, workers, True, progress, device, together), strict=True))
    rows = _rows({name: _formula_text(a) for name, a in named.items()}, outcomes, base, t.measure)
    return Comparison(t.name, base, used, rows, versions(("actune", "torch")), t.measure)


@dataclass(frozen=True)
class Ranked:
    """A candidate with its mean validation loss over the seeds; one that diverged on any seed has inf."""

    activation: ActivationChoice
    validation_loss: float
    outcomes: tuple[Outcome, ...]


def rank(
    what: Task | str,
    candidates: Sequence[ActivationChoice],
    seeds: Sequence[int] = RANKING_SEEDS,
    *,
    workers: int = 1,
    progress: TrainingProgress | None = None,
    device: torch.device | str = "cpu",
    together: int = 1,
) -> list[Ranked]:
    """Order candidates by their mean validation loss over several seeds, the best first; ties keep the given order.

    This is how leaders are chosen: a function that was lucky with one seed falls back here. The test part is never touched.
    """
    if not seeds:
        raise ValueError("rank needs seeds, got none; give several that the search did not use")
    results = _train_all(task(what), candidates, seeds, workers, False, progress, device, together)
    ranked = [Ranked(a, fmean(o.validation_loss for o in runs), runs) for a, runs in zip(candidates, results, strict=True)]
    return sorted(ranked, key=lambda r: r.validation_loss)


# -- rows -----------------------------------------------------------------------------------------------------------------


def _rows(formulas: Mapping[str, str], outcomes: Mapping[str, tuple[Outcome, ...]], base: str, measure: Measure) -> tuple[Row, ...]:
    scores = {name: [_tested(o, measure) for o in runs] for name, runs in outcomes.items()}
    differences = {
        name: [measure.over(a, b) for a, b in zip(values, scores[base], strict=True)]
        for name, values in scores.items()
        if name != base
    }
    p = {name: paired_p(d) for name, d in differences.items()}
    single = len(scores[base]) == 1
    corrected = dict(p) if single else dict(zip(p, holm(list(p.values())), strict=True))
    rows = [
        Row(
            name=name,
            formula=formulas[name],
            outcomes=outcomes[name],
            score=estimate(values),
            difference=estimate(differences[name]) if name != base else None,
            p=p.get(name, math.nan),
            p_corrected=corrected.get(name, math.nan),
        )
        for name, values in scores.items()
    ]
    return tuple(sorted(rows, key=lambda r: r.score.mean, reverse=measure.larger))


def _tested(outcome: Outcome, measure: Measure) -> float:
    assert outcome.test_scores is not None  # compare always tests
    return outcome.test_scores[measure.name]


def _record(row: Row, measure: str) -> dict[str, Any]:
    """A row as plain data; the score goes by the name of the measure."""
    named = {measure if key == "score" else key: value for key, value in asdict(row).items()}
    for outcome in named["outcomes"]:
        del outcome["course"]  # not asked for
    return named | {"validation_loss": row.validation_loss, "diverged": row.diverged}


# -- trainings -----------------------------------------------------------------------------------------------------------


def _train_all(
    t: Task,
    activations: Sequence[ActivationChoice],
    seeds: Sequence[int],
    workers: int,
    test: bool,
    progress: TrainingProgress | None,
    device: torch.device | str,
    together: int,
) -> list[tuple[Outcome, ...]]:
    """Train each activation with each seed, and give its outcomes in the order of the seeds.

    One torch thread everywhere, so that the number of workers changes nothing.
    """
    for name, count in (("workers", workers), ("together", together)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    if together > 1 and torch.device(device).type != "cpu":
        raise ValueError(f"together={together} is for the CPU; leave it out, or device={str(device)!r}")
    check_device(device)
    _check_comparison(t, activations, t.split(seeds[0], test).train.inputs[:2])
    pairs = [(a, seed) for seed in seeds for a in activations]
    jobs = [(t, pairs[i : i + together], test, device, together > 1) for i in range(0, len(pairs), together)]
    done: list[Outcome] = []
    for outcomes in _sequential(jobs) if workers == 1 else _parallel(jobs, workers):
        done += outcomes
        if progress is not None:
            progress(len(done), len(pairs))
    return [tuple(done[i :: len(activations)]) for i in range(len(activations))]


_Chunk = tuple[Task, list[tuple[ActivationChoice, int]], bool, torch.device | str, bool]


def _job(job: _Chunk) -> list[Outcome]:
    t, pairs, test, device, together = job
    if together:
        return train_together(t, [a for a, _ in pairs], [seed for _, seed in pairs], test=test)
    return [train(t, activation, seed, test=test, device=device) for activation, seed in pairs]


def _sequential(jobs: Sequence[_Chunk]) -> Iterator[list[Outcome]]:
    with one_thread():
        yield from map(_job, jobs)


def _parallel(jobs: Sequence[_Chunk], workers: int) -> Iterator[list[Outcome]]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    spawn = multiprocessing.get_context("spawn")  # a forked child would inherit torch's thread pools in an unknown state
    with ProcessPoolExecutor(min(workers, len(jobs)), spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(_job, jobs)


def _check_comparison(t: Task, activations: Sequence[ActivationChoice], inputs: Tensor) -> None:
    """Build and call each network once: a wrong name or module is to fail before the first training, not after the last."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for activation in activations:
            network_builder(t, activation)()(inputs)


# -- names and numbers ---------------------------------------------------------------------------------------------------


def _named(given: Sequence[ActivationChoice] | Mapping[str, ActivationChoice]) -> dict[str, ActivationChoice]:
    """Each activation under the name that the table shows."""
    if isinstance(given, Mapping):
        return dict(given)
    named: dict[str, ActivationChoice] = {}
    if not isinstance(given, str | Sequence):
        raise ValueError(f"names must be a list of functions, or a mapping from names to functions, got {shorten(repr(given))}")
    for activation in [given] if isinstance(given, str) else given:
        name = _row_name(activation)
        if _formula_text(named.setdefault(name, activation)) != _formula_text(activation):
            raise ValueError(f"two different functions are called {name!r}; give a mapping from names to functions")
    return named


def _row_name(activation: ActivationChoice) -> str:
    if isinstance(activation, Mapping):
        return ", ".join(f"{place}: {_row_name(a)}" for place, a in activation.items())
    if isinstance(activation, str):
        return activation.strip()
    if isinstance(activation, type):
        return activation.__name__
    if isinstance(activation, (Family, Activation)):
        return str(activation.family if isinstance(activation, Activation) else activation)
    return type(activation).__name__


def _formula_text(activation: ActivationChoice) -> str:
    if isinstance(activation, Mapping):
        return ", ".join(f"{place}: {_formula_text(a)}" for place, a in activation.items())
    if isinstance(activation, Activation):
        return activation.family.text
    if isinstance(activation, type):
        return f"torch: {activation.__name__}"
    return repr(activation) if isinstance(activation, nn.Module) else resolve(activation).text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
