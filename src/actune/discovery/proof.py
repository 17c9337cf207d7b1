"""The proof after a search: leaders chosen on several fresh seeds, then compared with what everybody uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from optuna.study import Study

from ..catalogue.registry import Family
from ..experiments.comparison import RANKING_SEEDS, Comparison, Ranked, TrainingProgress, compare, rank
from ..experiments.tasks import Task
from ..experiments.tasks import task as find_task
from .proposers.settings import Ranking
from .study.attributes import PROOF, RANKING
from .study.counting import finished
from .study.results import leaders

__all__ = ["PROOF_BASELINES", "Proof", "confirm", "prove"]

_RANKING = Ranking()

PROOF_BASELINES = ("relu", "gelu", "silu", "gelu_sine", "sau", "apalu", "zorro_tanh", "pangaea_line_log_sigmoid")


@dataclass(frozen=True)
class Proof:
    """What a search found and what it is worth.

    winner      the candidate with the best mean validation loss over several fresh seeds; chosen without the test part
    ranking     all leaders in that order; empty if none were ranked, and the winner is the study's
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
        ranking = [{"formula": str(r.activation), "validation_loss": _finite(r.validation_loss)} for r in self.ranking]
        return {"winner": self.winner.text, "verdict": self.verdict(), "ranking": ranking, "comparison": self.comparison.to_json()}

    def brief(self) -> dict[str, Any]:
        """What a study keeps of it: `to_json` with the measure of each training on the test part instead of the training."""
        found, measure = self.to_json() | {"name": str(self.winner)}, self.comparison.measure
        for row, known in zip(found["comparison"]["functions"], self.comparison.rows, strict=True):
            del row["outcomes"]
            row["scores"] = [_finite((o.test_scores or {})[measure.name]) for o in known.outcomes]
        return found


def confirm(
    study: Study,
    task: str | Task,
    *,
    ranking: Ranking = _RANKING,
    workers: int = 1,
    progress: TrainingProgress | None = None,
    device: str = "cpu",
    together: int = 1,
) -> tuple[Ranked, ...]:
    """Train the leaders of a study again on fresh seeds, so that luck does not win: best mean validation loss first.

    ranking   how many, how often, how long; with leaders=0 there is nothing to do, and the result is empty
    together  the number of networks that train side by side in each process, as in `compare`
    The study keeps the result: `best` goes by it as long as no trial is added.
    """
    if ranking.leaders < 1:
        return ()
    t = find_task(task)
    seeds = range(RANKING_SEEDS.start, RANKING_SEEDS.start + ranking.runs)
    candidates = leaders(study, ranking.leaders)
    ranked = rank(
        t.trained_for(ranking.epochs), candidates, seeds, workers=workers, progress=progress, device=device, together=together
    )
    done = len(finished(study.get_trials(deepcopy=False)))
    study.set_user_attr(RANKING, {"finished": done, "seeds": list(seeds), "leaders": [_proof_record(r) for r in ranked]})
    return tuple(ranked)


def _proof_record(r: Ranked) -> dict[str, Any]:
    f = cast(Family, r.activation)
    return {"text": str(f), "losses": [_finite(o.validation_loss) for o in r.outcomes]}


def _finite(loss: float) -> float | None:
    """The loss; None for a training that diverged, since JSON has no infinity."""
    return loss if math.isfinite(loss) else None


def prove(
    study: Study,
    task: str | Task,
    *,
    seeds: int = 10,
    ranking: Ranking = _RANKING,
    baselines: Sequence[str] = PROOF_BASELINES,
    workers: int = 1,
    progress: TrainingProgress | None = None,
    device: str = "cpu",
    together: int = 1,
) -> Proof:
    """Re-train the best candidates of a study and say whether they beat the baselines, the first of which is the one to beat.

    ranking   how the leaders are ranked on fresh seeds (see `confirm`), and how many of them meet the baselines on the test part
    seeds     the number of fresh seeds for that
    progress  called as progress(trainings done, trainings in all)
    together  the number of networks that train side by side in each process, as in `compare`
    The study keeps the result, for its report.
    """
    best = leaders(study, max(ranking.leaders, ranking.finalists))
    first = min(len(best), ranking.leaders) * ranking.runs
    total = first + seeds * len({*baselines, *map(str, best[: ranking.finalists])})
    shown = _shifted(progress, 0, total)
    ranked = confirm(study, task, ranking=ranking, workers=workers, progress=shown, device=device, together=together)
    chosen: list[Any] = [r.activation for r in ranked][: ranking.finalists] or best[: ranking.finalists]
    comparison = compare(task, [*chosen, *(b for b in baselines if b not in map(str, chosen))], seeds=seeds, baseline=baselines[0],
                         workers=workers, progress=_shifted(progress, first, total), device=device, together=together)  # fmt: skip
    proof = Proof(chosen[0], ranked, comparison)
    study.set_user_attr(PROOF, {"finished": len(finished(study.get_trials(deepcopy=False))), **proof.brief()})
    return proof


def _shifted(progress: TrainingProgress | None, done: int, total: int) -> TrainingProgress | None:
    return None if progress is None else lambda n, _: progress(min(done + n, total), total)
