"""The proof after a search: leaders chosen on several fresh seeds, then compared with what everybody uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study

from ..experiments.compare import RANKING_SEEDS, Comparison, Progress, Ranked, compare, rank
from ..experiments.tasks import Task
from ..family import Family
from .study import leaders

__all__ = ["BASELINES", "Proof", "prove"]

BASELINES = ("relu", "gelu", "silu", "gelu_sine", "sau", "apalu", "zorro_tanh", "pangaea_line_log_sigmoid")


@dataclass(frozen=True)
class Proof:
    """What a search found and what it is worth.

    winner      the candidate with the best mean validation loss over several fresh seeds; chosen without the test part
    ranking     all leaders in that order
    comparison  the finalists and the baselines on the test part
    """

    winner: Family
    ranking: tuple[Ranked, ...]
    comparison: Comparison

    def verdict(self) -> str:
        """Whether the winner beats the baseline, in a plain sentence or two."""
        row = self.comparison.row(str(self.winner))
        own = self.comparison.verdict_on(row.name)
        if row.name == self.comparison.baseline:
            own = f"The search found nothing better than {row.name}. {own}"
        better = self.comparison.above(row.name)
        return own + (f" On these seeds {', '.join(better)} did better still." if better else "")

    def to_json(self) -> dict[str, Any]:
        ranking = [{"formula": str(r.activation), "validation_loss": r.validation_loss} for r in self.ranking]
        return {"winner": self.winner.text, "verdict": self.verdict(), "ranking": ranking, "comparison": self.comparison.to_json()}


def prove(
    study: Study,
    task: str | Task,
    *,
    seeds: int = 10,
    candidates: int = 8,
    finalists: int = 3,
    baselines: Sequence[str] = BASELINES,
    workers: int = 1,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Proof:
    """Re-train the best candidates of a study and say whether they beat the baselines, the first of which is the one to beat.

    candidates  so many leaders of the study are ranked by mean validation loss over five fresh seeds
    finalists   so many of them meet the baselines, on `seeds` fresh seeds, on the test part
    progress    called as progress(trainings done, trainings in all)
    """
    best = leaders(study, candidates)
    first = len(best) * len(RANKING_SEEDS)
    total = first + seeds * len({*baselines, *map(str, best[:finalists])})
    ranking = rank(task, best, workers=workers, progress=_shifted(progress, 0, total), device=device)
    chosen: list[Any] = [r.activation for r in ranking[:finalists]]
    comparison = compare(task, [*chosen, *(b for b in baselines if b not in map(str, chosen))], seeds=seeds, baseline=baselines[0],
                         workers=workers, progress=_shifted(progress, first, total), device=device)  # fmt: skip
    return Proof(chosen[0], tuple(ranking), comparison)


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    return None if progress is None else lambda n, _: progress(min(done + n, total), total)
