"""The time and the error of actune.mittag_leffler, in units of torch's GELU, beside the other packages that have the function.

    python benchmarks/mittag_leffler.py --json results/mittag_leffler.jsonl     # measure, print, store
    python benchmarks/mittag_leffler.py --table                                 # write the stored result into README.md

One thread, z = 2 randn. Each time is divided by that of F.gelu on the same elements, in the same round and of the same kind:
forward, or forward and backward with gradients in all arguments. "Changing" means that α and β move before every call, as they
do under an optimizer, so that nothing that was prepared for the last pair helps.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import exact
import report
import timing
import torch
import torch.nn.functional as F
from torch import Tensor

import actune

PAIRS = ((0.8, 1.0), (0.5, 1.0), (1.0, 1.3), (1.5, 1.0), (0.3, 0.6))
POINTS = 64  # how many of the timed elements are compared with mpmath, for each pair
WANTED = {"forward": 1.3, "training": 2.0, "training, changing": 1.6, "float64": 0.7}
HEADINGS = {
    "forward": "forward",
    "forward, changing": "forward, α and β changing",
    "training": "forward + backward",
    "training, changing": "forward + backward, α and β changing",
    "float64": "float64 forward",
}
STORED = report.RESULTS / "mittag_leffler.jsonl"
Function = Callable[[Tensor, Any, Any], Tensor]  # z, α, β


@dataclass(frozen=True)
class Peer:
    """Another package: its function, the types that it takes, and what it cannot do."""

    function: Function
    dtypes: tuple[torch.dtype, ...]
    gradients: bool
    negative: bool  # takes z ≤ 0 only


def pymittagleffler() -> Peer:
    f = importlib.import_module("pymittagleffler").mittag_leffler
    return Peer(lambda z, a, b: torch.from_numpy(f(z.numpy(), a, b).real), (torch.float64,), gradients=False, negative=False)


def dfsc() -> Peer:
    """Its `hybrid` method: the plain series, its other one, loses all digits where |z| is large."""
    f = importlib.import_module("dfsc").mittag_leffler_e_ab
    dtypes = (torch.float32, torch.float64)
    return Peer(lambda z, a, b: f(a, b, z, method="hybrid"), dtypes, gradients=True, negative=True)


PEERS = {"pymittagleffler": pymittagleffler, "dfsc": dfsc}


def calls(z: Tensor, alpha: float, beta: float) -> dict[str, Callable[[], Any]]:
    """What is timed for one (α, β), with the calls of GELU that it is compared with."""
    x, g, double = z.clone().requires_grad_(), torch.randn_like(z), z.double()
    a, b, moving_a, moving_b = (torch.tensor([v], requires_grad=True) for v in (alpha, beta, alpha, beta))

    def move() -> None:
        with torch.no_grad():
            moving_a.add_(1e-5)
            moving_b.add_(1e-5)

    def forward_changing() -> Tensor:
        move()
        return actune.mittag_leffler(z, moving_a.detach(), moving_b.detach())

    def training(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(actune.mittag_leffler(x, a, b), [x, a, b], g)

    def training_changing() -> tuple[Tensor, ...]:
        move()
        return training(moving_a, moving_b)

    return {
        "gelu forward": lambda: F.gelu(z),
        "gelu training": lambda: torch.autograd.grad(F.gelu(x), x, g),
        "gelu float64": lambda: F.gelu(double),
        "forward": lambda: actune.mittag_leffler(z, alpha, beta),
        "forward, changing": forward_changing,
        "training": lambda: training(a, b),
        "training, changing": training_changing,
        "float64": lambda: actune.mittag_leffler(double, alpha, beta),
    }


def measure(z: Tensor, alpha: float, beta: float, rounds: int) -> dict[str, Any]:
    """The ratios and errors of actune for one (α, β)."""
    seconds = timing.interleaved(calls(z, alpha, beta), rounds)
    ratios = {name: timing.ratio(seconds[name], seconds[f"gelu {name.split(',')[0]}"]) for name in HEADINGS}
    errors = {_name(dtype): error(actune.mittag_leffler, z.to(dtype), alpha, beta) for dtype in (torch.float32, torch.float64)}
    return {"alpha": alpha, "beta": beta, "ratios": {k: asdict(r) for k, r in ratios.items()}, "errors": errors}


def measure_peer(peer: Peer, z: Tensor, alpha: float, beta: float, rounds: int) -> Iterator[dict[str, Any]]:
    """The same of another package, a line for each type."""
    for dtype in peer.dtypes:
        whole = z.to(dtype)
        part = -_part(whole).abs() if peer.negative else _part(whole).clone()
        functions = peer_calls(peer, whole, part, alpha, beta)
        seconds = timing.interleaved(functions, rounds)
        scale, kinds = len(whole) / len(part), [k for k in functions if not k.startswith("gelu")]
        ratios = {k: asdict(timing.ratio(seconds[k], seconds[f"gelu {k}"], scale)) for k in kinds}
        found = error(peer.function, part, alpha, beta)
        yield {"alpha": alpha, "beta": beta, "dtype": _name(dtype), "ratios": ratios, "error": found}


def peer_calls(peer: Peer, whole: Tensor, part: Tensor, alpha: float, beta: float) -> dict[str, Callable[[], Any]]:
    """GELU on all elements, the other package on a part of them."""
    x, y = (t.clone().requires_grad_() for t in (whole, part))
    g, h = torch.randn_like(whole), torch.randn_like(part)
    a, b = (torch.tensor(v, dtype=part.dtype, requires_grad=True) for v in (alpha, beta))
    forward = {"gelu forward": lambda: F.gelu(whole), "forward": lambda: peer.function(part, alpha, beta)}
    training = {
        "gelu training": lambda: torch.autograd.grad(F.gelu(x), x, g),
        "training": lambda: torch.autograd.grad(peer.function(y, a, b), [y, a, b], h),
    }
    return forward | training if peer.gradients else forward


def error(function: Function, z: Tensor, alpha: float, beta: float) -> float | None:
    """The largest error in a call on z, at elements spread evenly over its range; None: nan, or inf for a finite value."""
    values, places = _part(z).sort()
    spread = torch.linspace(float(values[0]), float(values[-1]), POINTS, dtype=z.dtype)
    at = places[torch.searchsorted(values, spread).clamp(max=len(values) - 1)].unique()
    e = exact.largest_error(alpha, beta, z[at].double().tolist(), function(z, alpha, beta)[at].numpy())
    return e if e < float("inf") else None


def _part(z: Tensor) -> Tensor:
    """The elements for what is too slow to take all."""
    return z[: max(POINTS, len(z) // 50)]


def over_reference(function: Function, negative: bool) -> Iterator[dict[str, Any]]:
    """The errors in float64 over the reference values, near 0 and everywhere."""

    def one(alpha: float, beta: float, z: float) -> float:
        return float(function(torch.tensor([z], dtype=torch.float64), alpha, beta))

    for reach in (10.0, 1e6):
        points = [p for p in exact.reference() if abs(p.z) <= reach and (p.z <= 0 or not negative)]
        yield {"reach": reach, **asdict(exact.summary(one, points))}


def run(size: int, rounds: int, seed: int) -> dict[str, Any]:
    """The whole measurement; prints a line as it goes, because mpmath takes a while."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    z = 2 * torch.randn(size)
    own = []
    for pair in PAIRS:
        own.append(measure(z, *pair, rounds))
        print(f"actune, α, β = {pair}: " + ", ".join(f"{k} {r['median']:.2f}" for k, r in own[-1]["ratios"].items()), flush=True)
    peers: dict[str, Any] = {}
    reference = {"actune": list(over_reference(actune.mittag_leffler, negative=False))}
    for name, load in PEERS.items():
        try:
            peer = load()
        except ImportError as missing:
            print(f"{name}: not installed ({missing})")
            continue
        peers[name] = [line for pair in PAIRS for line in measure_peer(peer, z, *pair, max(3, rounds // 4))]
        reference[name] = list(over_reference(peer.function, peer.negative))
        print(f"{name}: done", flush=True)
    return report.provenance(size=size, rounds=rounds, seed=seed, threads=1) | {
        "actune": own,
        "peers": peers,
        "reference": reference,
    }


def tables(result: dict[str, Any]) -> str:
    """A stored result in Markdown."""
    settings = result["settings"]
    missing = "".join(f" {name}: not installed." for name in PEERS if name not in result["peers"])
    return "\n\n".join(
        [
            f"Time over that of `F.gelu`, {settings['size']:,} float32 elements, {settings['threads']} thread: median (quartiles) "
            f"of {settings['rounds']} interleaved rounds; and the largest error against mpmath where it was timed:",
            _own_table(result["actune"]),
            "Other packages, on fewer elements, scaled; `z ≤ 0` where a package takes no others; each over GELU in its own type:"
            + missing,
            _peer_table(result["peers"]),
            "Errors in float64 over the reference values of the tests (0 < α ≤ 2, 0 < β ≤ 3; dfsc: z ≤ 0 only):",
            _reference_table(result["reference"]),
            report.source_line(result),
        ]
    )


def _own_table(lines: list[dict[str, Any]]) -> str:
    header = ["α, β", *HEADINGS.values(), "error, float32", "error, float64"]
    wanted = ["wanted", *(f"≤ {WANTED[k]}" if k in WANTED else "" for k in HEADINGS), "≤ 3e-07", "≤ 2e-13"]
    rows = []
    for x in lines:
        errors = [_error(x["errors"][dtype]) for dtype in ("float32", "float64")]
        rows.append([_pair(x), *(str(timing.Ratio(**x["ratios"][k])) for k in HEADINGS), *errors])
    return report.markdown_table(header, [wanted, *rows])


def _peer_table(peers: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for name, lines in peers.items():
        for x in lines:
            ratios = [str(timing.Ratio(**x["ratios"][k])) if k in x["ratios"] else "no gradients" for k in ("forward", "training")]
            rows.append([name, _pair(x), x["dtype"], *ratios, _error(x["error"])])
    return report.markdown_table(["package", "α, β", "type", "forward", "forward + backward", "largest error"], rows)


def _reference_table(reference: dict[str, list[dict[str, Any]]]) -> str:
    header = ["package", "range", "points", "no finite number", "median error", "largest error"]
    rows = [
        [name, f"\\|z\\| ≤ {x['reach']:g}", f"{x['points']:,}", f"{x['failed']:,}", _error(x["median"]), _error(x["largest"])]
        for name, lines in reference.items()
        for x in lines
    ]
    return report.markdown_table(header, rows)


def _pair(line: dict[str, Any]) -> str:
    return f"{line['alpha']:g}, {line['beta']:g}"


def _error(e: float | None) -> str:
    return "wrong nan or inf" if e is None else f"{e:.1e}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000, help="elements")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="add the result to this file, as one line")
    parser.add_argument("--table", action="store_true", help="write the last stored result into README.md, and measure nothing")
    options = parser.parse_args()
    if options.table:
        results = report.read_results(STORED)
        if not results:
            raise SystemExit(f"nothing stored in {STORED.name}; run with --json results/{STORED.name} first")
        return report.write_block("mittag_leffler", tables(results[-1]))
    result = run(options.size, options.rounds, options.seed)
    print(tables(result))
    if options.json:
        report.append_result(options.json, result)
    return None


if __name__ == "__main__":
    main()
