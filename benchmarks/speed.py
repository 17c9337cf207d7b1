"""Every family of the catalogue beside torch's GELU, against the bars that the package sets itself.

    python benchmarks/speed.py              # measure what results/speed.jsonl does not have yet, store, print who misses a bar
    python benchmarks/speed.py --again      # measure all anew
    python benchmarks/speed.py --table      # write the stored results into README.md

All families with up to four parameters and the heavy ones; 1e6 elements, one thread. As declared, and, where a family keeps
parameters fixed, once more with all of them trained. `actune bench` measures any selection, beside torch.compile and others.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import report
from timing import Ratio

import actune
from actune.bench import Plan
from actune.bench.measure import measure_steps

MOST = 4  # parameters
HEAVY = ("rational", "zorro_asymmetric")  # sums of several heavy terms
HEAVY_BAR = 2.0
BARS = {("float32", "forward"): 1.5, ("float32", "training"): 1.3, ("bfloat16", "forward"): 1.6}
KEPT = {"float32": 4.0, "bfloat16": 2.0}  # bytes an element,
SLACK = 1.01  # and a hundredth for what parameters need
BESIDE = ("mish", "prelu")  # torch has them too,
BEATEN = 2.0  # and is to take so many times as long, forward + backward
ALL_TRAINED = ", all trained"
COLUMNS = [(dtype, scope, kind) for dtype, kind in BARS for scope in ("layer", "channel")]
STORED = report.RESULTS / "speed.jsonl"

Column = tuple[str, str, str]


def subjects(rounds: int, seed: int) -> Iterator[tuple[str, Plan]]:
    """What is measured: the name of a row, and how."""

    def plan(name: str, train_all: bool) -> Plan:
        beside = ("torch",) if name in BESIDE else ()
        return Plan((name,), dtypes=("float32", "bfloat16"), scopes=("layer", "channel"), beside=beside, rounds=rounds,
                    train_all=train_all, seed=seed)  # fmt: skip

    for name in actune.list_families():
        f = actune.family(name)
        if len(dict(f.initial())) > MOST and name not in HEAVY:
            continue
        yield name, plan(name, False)
        if f.initial_form is None and not all(p.trainable for p in f.params.values()):
            yield name + ALL_TRAINED, plan(name, True)


def ratios(line: dict[str, Any], by: str = "actune") -> dict[Column, Ratio]:
    """The ratios to GELU of a stored row, by column; a family without parameters has no scope but "layer"."""
    records = [r for r in line["records"] if r["by"] == by and r["function"] == _family(line)]
    found = {(r["dtype"], r["scope"], kind): Ratio(**ratio) for r in records for kind, ratio in r["ratios"].items()}
    return {column: found[column] for column in COLUMNS if column in found}


def bar(family: str, column: Column) -> float:
    """What the ratio must not exceed."""
    return HEAVY_BAR if family in HEAVY else BARS[column[0], column[2]]


def misses(line: dict[str, Any]) -> list[str]:
    """The bars that a row misses, in words."""
    own, theirs, family = ratios(line), ratios(line, "torch"), _family(line)
    slow = [f"{' '.join(c)} {r} > {bar(family, c)}" for c, r in own.items() if r.median > bar(family, c)]
    times = {c: r.median / own[c].median for c, r in theirs.items() if c[2] == "training"}
    near = [f"{' '.join(c)}: torch's own takes {t:.2f} times as long < {BEATEN}" for c, t in times.items() if t < BEATEN]
    records = [r for r in line["records"] if r["by"] == "actune" and r["kept"] > SLACK * KEPT[r["dtype"]]]
    large = [f"{r['dtype']} {r['scope']} keeps {r['kept']:.3g} bytes > {KEPT[r['dtype']]:g}" for r in records]
    return [f"{line['function']}: {text}" for text in (*slow, *near, *large)]


def tables(lines: Sequence[dict[str, Any]]) -> str:
    """Stored rows in Markdown; what misses its bar is bold."""
    titles = {"forward": "forward", "training": "forward + backward"}
    header = ["family", *(f"{titles[kind]}, {scope}" + ", bfloat16" * (dtype == "bfloat16") for dtype, scope, kind in COLUMNS)]
    wanted = ["wanted", *(f"≤ {BARS[dtype, kind]}" for dtype, _, kind in COLUMNS), "4, 2"]
    missed = [text for line in lines for text in misses(line)]
    settings = lines[0]["settings"]
    return "\n\n".join(
        [
            "Time over that of `F.gelu`, 1e6 elements, float32 where nothing else is said, 1 thread: medians of "
            f"{settings['rounds']} interleaved rounds; what misses its bar is bold (the heavy ones, {' and '.join(HEAVY)}, have "
            f"{HEAVY_BAR}). Families without parameters have one scope. Backward gives the gradients of x and of the parameters "
            "that the family trains. Bytes kept for backward: an element, in float32 and bfloat16.",
            report.markdown_table([*header, "bytes kept"], [wanted, *map(_row, lines)]),
            f"{len(missed) or 'No'} bars are missed; `python benchmarks/speed.py` names them.",
            _beside(lines),
            report.source_line(lines[-1]),
        ]
    )


def _row(line: dict[str, Any]) -> list[str]:
    own, family = ratios(line), _family(line)
    cells = [own.get(c) for c in COLUMNS]
    texts = ["" if r is None else f"**{r.median:.2f}**" if r.median > bar(family, c) else f"{r.median:.2f}"
             for c, r in zip(COLUMNS, cells, strict=True)]  # fmt: skip
    kept = [f"{r['kept']:.3g}" for r in line["records"] if r["by"] == "actune" and r["scope"] == "layer"]
    return [line["function"], *texts, ", ".join(kept)]


def _beside(lines: Sequence[dict[str, Any]]) -> str:
    """How many times as long torch's own take, where it has the function."""
    rows = [(line, ratios(line, "torch"), ratios(line)) for line in lines]
    texts = [f"{_family(line)} {' '.join(c)} {theirs[c].median / own[c].median:.2f}" for line, theirs, own in rows for c in theirs]
    return f"Time of torch's own function over ours: {', '.join(texts)}." if texts else ""


def _family(line: dict[str, Any]) -> str:
    return str(line["function"]).removesuffix(ALL_TRAINED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=STORED, help="where results are, one line a row, and new ones are added")
    parser.add_argument("--again", action="store_true", help="forget what is stored and measure all anew")
    parser.add_argument("--table", action="store_true", help="write the stored results into README.md, and measure nothing")
    options = parser.parse_args()
    plans = dict(subjects(options.rounds, options.seed))

    def stored() -> dict[str, dict[str, Any]]:
        """The rows of these very plans; JSON has no tuples."""
        lines = {x["function"]: x for x in report.read_results(options.json)}
        return {n: lines[n] for n, p in plans.items() if n in lines and _plain(lines[n]["settings"]) == _plain(asdict(p))}

    if options.again:
        options.json.unlink(missing_ok=True)
    for name, plan in {} if options.table else {n: p for n, p in plans.items() if n not in stored()}.items():
        line = report.provenance(**asdict(plan)) | {"function": name, "records": [r for step in measure_steps(plan) for r in step]}
        report.append_result(options.json, line)
        print(name, ", ".join(str(r) for r in ratios(line).values()), flush=True)
    lines = list(stored().values())
    if not lines:
        raise SystemExit(f"nothing stored in {options.json.name} for these settings; run without --table first")
    if options.table:
        report.write_block("speed", tables(lines))
    print("\n".join(text for line in lines for text in misses(line)) or "no bar is missed")


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}


if __name__ == "__main__":
    main()
