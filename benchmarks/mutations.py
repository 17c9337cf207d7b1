"""So many mutations from every start: each valid and within the limits, each kind as likely as the others.

    python benchmarks/mutations.py                     # 100,000 from every start; resumable; --count, --seed
    python benchmarks/mutations.py --only apalu,swish

Starts are the families of the catalogue and the two shapes of PANGAEA's. Half of the mutations are of the start itself: their kinds
are counted, and chi-square says whether they may be equally likely (where all fit: near the limit, what does not is redrawn).
The other half is a walk, in which each formula comes from the one before.
"""

from __future__ import annotations

import argparse
import collections
import random
from typing import Any

from actune import list_families, parse, resolve
from actune.discovery.proposers.space import MUTATIONS, Space, bare_formula, fits, mutate
from actune.language.expr import Expr

SHAPES = ("tanh(erf(x))", "max(tanh(x), exp(x))")


def starts() -> list[str]:
    return [*SHAPES, *list_families()]


def mutations(start: str, count: int, seed: int = 0, space: Space | None = None) -> dict[str, Any]:
    """Mutate; what was drawn how often, the size of the largest formula, and p of equal frequencies (None: some do not fit)."""
    space = space or Space()
    rng = random.Random(f"{start}:{seed}")
    e = bare_formula(resolve(start), rng, space)
    kinds: collections.Counter[str] = collections.Counter()
    walked: collections.Counter[str] = collections.Counter()
    largest, walk = 0, e
    for _ in range(count // 2):
        kind, new = mutate(e, rng, space)
        kinds[kind] += 1
        step, walk = mutate(walk, rng, space)
        walked[step] += 1
        for found in (new, walk):
            check(found, space)
            largest = max(largest, found.size())
    return {"kinds": dict(kinds), "walked": dict(walked), "largest": largest, "p": equal(kinds) if roomy(e, space) else None}


def check(e: Expr, space: Space) -> None:
    """A formula in x alone, that text can say, within the limits."""
    if parse(str(e)) is not e or not set(e.symbols()) <= {"x"} or not fits(e, space) or e.size() > space.size:
        raise AssertionError(f"a mutation gave {e}, which is no formula of the space")


def roomy(e: Expr, space: Space, draws: int = 500) -> bool:
    """Whether every mutation of this formula fits, as far as these draws tell: what does not is redrawn, maybe as another."""
    rng = random.Random(0)
    return all(fits(mutation(e, rng, space), space) for mutation in MUTATIONS.values() for _ in range(draws))


def equal(kinds: collections.Counter[str]) -> float:
    from scipy.stats import chisquare

    return float(chisquare([kinds[kind] for kind in MUTATIONS]).pvalue)


def main() -> None:
    import report

    stored = report.RESULTS / "mutations.jsonl"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="starts, separated by commas")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else starts()
    known = [r["settings"] for r in report.read_results(stored)]
    for start in chosen:
        settings = {"start": start, "count": options.count, "seed": options.seed}
        if settings not in known:
            found = mutations(start, options.count, options.seed)
            report.append_result(stored, report.provenance(**settings) | found)
            print(f"{start}: {found['kinds']}, p = {found['p']}, largest {found['largest']}", flush=True)


if __name__ == "__main__":
    main()
