"""The benchmark: what it times is the function, what it counts is right, what it refuses, and what it writes."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import actune
from actune import bench, results
from actune.bench import contenders, measure, process, report, timing
from actune.bench.contenders import Computed, Tensors
from actune.bench.plan import Plan, from_text
from actune.cli import main
from actune.export.python import has_torch_form, source, torch_function
from actune.language.parser import parse
from actune.show.speed import plot_speed, speed_figure, speed_tables

ROOT = Path(__file__).resolve().parents[2]


def written(f: actune.Family) -> Any:
    """What the family computes while nothing is trained that it keeps fixed."""
    return f.expr if f.initial_form is None else f.initial_form


WRITABLE = [n for n in actune.list_families() if has_torch_form(written(actune.family(n)))]


@pytest.fixture(autouse=True)
def _as_in_the_measuring_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def record(function: str = "swish", by: str = "actune", forward: float = 1.0, training: float = 1.0, **more: Any) -> dict[str, Any]:
    """A made-up result."""
    times = {k: {"median": m, "low": 0.9 * m, "high": 1.1 * m} for k, m in (("forward", forward), ("training", training))}
    where = {"size": 1000, "elements": 1000, "dtype": "float32", "scope": "layer", "threads": 1, "device": "cpu"}
    first = {"forward": 0.5, "training": 1.0}
    return {"function": function, "by": by, "ratios": times, "kept": 4.0, "first": first, "rounds": 3} | where | more


def result(*records: dict[str, Any], **more: Any) -> dict[str, Any]:
    settings = {"rounds": 3, "train_all": False}
    return results.provenance("a command", settings) | {"starting": {"actune": 0.25}, "absent": [], "records": list(records)} | more


# -- the formula that a user would write -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITABLE)
def test_torch_operators_compute_the_function_and_its_gradients(name: str) -> None:
    torch.manual_seed(0)
    f = actune.family(name)
    act = actune.Activation(name, dtype=torch.float64, trainable=f.initial_form is None)
    e, values = written(f), dict(f.initial())
    names = [s for s in e.symbols() if s != "x"]
    x = (2 * torch.randn(400, dtype=torch.float64)).requires_grad_()
    parameters = [torch.tensor([values[s]], dtype=torch.float64, requires_grad=True) for s in names]
    y, expected = torch_function(e, ("x", *names))(x, *parameters), act(x)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-12)
    (slope,), (expected_slope,) = (torch.autograd.grad(v.sum(), x, retain_graph=True) for v in (y, expected))
    torch.testing.assert_close(slope, expected_slope, rtol=1e-9, atol=1e-9)
    assert all(torch.autograd.grad(y.sum(), p, retain_graph=True)[0].shape == (1,) for p in parameters)


def test_source_has_a_line_for_each_operator_and_numbers_in_it() -> None:
    text = source(parse("max(x*sigmoid(b*x), 0.5) + sqrt(2)*(x*sigmoid(b*x))"), ("x", "b"))
    assert text.count("torch.sigmoid") == 1
    assert "torch.clamp(t2, min=0.5)" in text
    assert "1.4142135623730951 * t2" in text
    assert "torch.sqrt" not in text


@pytest.mark.parametrize("formula", ["where(x > 0, 1, 0)*x", "clip(x, -1, b)", "where(x > 0, x, -0.5)", "hypot(x, 2)", "0*b + 3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_do_not_change_the_dtype(formula: str, dtype: torch.dtype) -> None:
    x, b = torch.linspace(-2, 2, 9, dtype=dtype), torch.tensor([0.75], dtype=dtype)
    y = torch_function(parse(formula), ("x", "b"))(x, b)
    assert y.dtype == dtype
    expected = actune.Activation(formula, **({"b": 0.75} if "b" in formula else {}))(x)
    torch.testing.assert_close(y.expand(9), expected, rtol=0.02, atol=0.01)


def test_each_formula_has_a_code_object_of_its_own() -> None:
    """torch.compile counts how often one code object was compiled, and gives up at eight."""
    first, second = (torch_function(parse(f), ("x",)) for f in ("sin(x)", "cos(x)"))
    assert first.__code__ is not second.__code__  # type: ignore[attr-defined]


# -- timing ----------------------------------------------------------------------------------------------------------------


class Clock:
    """Functions that take a known time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def function(self, name: str, seconds: float):
        def run() -> None:
            self.now += seconds
            self.calls.append(name)

        return run


def test_every_round_calls_every_function_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SETTLING", 0)
    clock = Clock(monkeypatch)
    seconds = timing.interleaved({n: clock.function(n, s) for n, s in (("a", 0.01), ("b", 0.03), ("c", 0.02))}, rounds=20)
    assert timing.ratio(seconds["b"], seconds["a"]).median == pytest.approx(3)
    rounds = [clock.calls[i : i + 3] for i in range(6, len(clock.calls), 3)]
    assert len(rounds) == 20
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 3


def test_what_is_fast_is_repeated_and_what_is_slow_gets_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SETTLING", 0)
    clock = Clock(monkeypatch)
    timing.interleaved({"a": clock.function("a", timing.SHORTEST / 10.01)}, rounds=3)
    assert len(clock.calls) == 2 + 3 * 10
    seconds = timing.interleaved({"b": clock.function("b", 1.0)}, rounds=30, most=7.5)
    assert len(seconds["b"]) == 8
    assert len(timing.interleaved({"b": clock.function("b", 100.0)}, rounds=30, most=7.5)["b"]) == timing.FEWEST


def test_a_ratio_is_taken_round_by_round() -> None:
    found = timing.ratio([2, 30, 4, 50, 6], [1, 10, 1, 10, 1])
    assert found == timing.Ratio(median=4, low=3, high=5)
    assert timing.ratio([2.0], [4.0], scale=10) == timing.Ratio(5, 5, 5)
    assert str(found) == "4.00 (3.00 to 5.00)"


def test_four_times_the_work_takes_about_four_times_as_long() -> None:
    x = torch.randn(20_000)
    y = torch.empty_like(x)  # what is allocated anew may take longer than what is computed

    def erf(times: int) -> None:
        for _ in range(times):
            torch.erf(x, out=y)

    seconds = timing.interleaved({n: functools.partial(erf, n) for n in (1, 4)}, rounds=15)
    assert 2 < timing.ratio(seconds[4], seconds[1]).median < 8


# -- memory ----------------------------------------------------------------------------------------------------------------


class Hidden(torch.autograd.Function):
    """Keeps a tensor where no hook sees it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.hidden = x.double()
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


SLOPE = torch.full((1000,), 0.5, requires_grad=True)


@pytest.mark.parametrize(
    ("call", "parameters", "wanted"),
    [
        (F.gelu, (), 4),  # x
        (lambda x: x.exp(), (), 4),  # the value
        (lambda x: x * x.exp(), (), 8),  # x and exp(x)
        (lambda x: x * x, (), 4),  # x, once
        (lambda x: SLOPE * x, (SLOPE,), 4),  # x; the parameter would be there anyway
        (Hidden.apply, (), 8),
        (lambda x: Hidden.apply(x).exp(), (), 12),
        (lambda x: x + 1, (), 0),
    ],
)
def test_bytes_that_are_kept(call: Any, parameters: tuple[Tensor, ...], wanted: float) -> None:
    assert measure.bytes_kept(Computed(call, parameters), torch.randn(1000, requires_grad=True)) == wanted


# -- what is measured ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"functions": ("gleu",)}, "unknown activation function 'gleu'; did you mean 'gelu'?"),
        ({"functions": ("x*sigmoid(b*x)",)}, "no initial value for b"),
        ({"functions": ()}, "functions is empty"),
        ({"sizes": (0,)}, "sizes must be whole numbers from 1 to"),
        ({"sizes": (10**12,)}, "sizes must be whole numbers from 1 to"),
        ({"threads": (0,)}, "threads must be whole numbers from 1 to 1,024, got 0"),
        ({"rounds": 0}, "rounds must be whole numbers from 1"),
        ({"dtypes": ("float23",)}, "dtypes must be of float32, bfloat16, float16, float64, got 'float23'; did you mean 'float32'?"),
        ({"scopes": ("chanel",)}, "got 'chanel'; did you mean 'channel'?"),
        ({"beside": ("jax",)}, "beside must be of torch, eager, torch.compile, peers, got 'jax'"),
        ({"functions": ("gelu",), "scopes": ("channel",)}, "gelu have none; use 'layer'"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        Plan(**settings)
    assert message in str(refused.value)


def test_a_plan_is_read_from_text() -> None:
    lists = {"sizes": "1e4, 1.6e7", "dtypes": "float32,bfloat16", "scopes": "layer", "threads": "2"}
    plan = from_text(functions=("swish",), **lists)
    assert (plan.sizes, plan.dtypes, plan.threads) == ((10_000, 16_000_000), ("float32", "bfloat16"), (2,))
    for wrong in ("1e-3", "many", "nan", "1.5"):
        with pytest.raises(ValueError, match=f"sizes: cannot read the whole number '{wrong}'"):
            from_text(functions=("swish",), **lists | {"sizes": wrong})


def test_every_combination_is_measured_and_scopes_only_with_parameters() -> None:
    plan = Plan(("gelu", "swish"), (10, 20), ("float32", "float64"), ("layer", "channel"), (1, 2), beside=("torch",))
    places = list(plan.steps())
    assert len(places) == 16
    assert {(where.scope, functions) for where, functions in places} == {("layer", ("gelu", "swish")), ("channel", ("swish",))}
    assert len(plan) == 8 * 3 + 8 * 2


@pytest.mark.parametrize("size", [1, 100, 10_000, 1_000_000, 16_000_000])
@pytest.mark.parametrize("scope", actune.module.SCOPES)
def test_shapes_have_about_the_size(scope: str, size: int) -> None:
    where = Tensors(size, "float32", scope, 1)
    elements = torch.Size(where.shape).numel()
    assert abs(elements - size) <= (0 if scope == "layer" else max(64, 0.3 * size))
    assert len(where.shape) == {"layer": 1, "channel": 4, "neuron": 2}[scope]


@pytest.mark.parametrize("scope", actune.module.SCOPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_measurement(scope: str, dtype: str) -> None:
    plan = Plan(("sau",), (5000,), (dtype,), (scope,), beside=("torch", "eager"), rounds=2)
    steps = list(measure.measure_steps(plan))
    assert len(steps) == len(plan)
    records = {(r["function"], r["by"]): r for step in steps for r in step}
    assert list(records) == [*((name, "torch") for name in contenders.TORCH), ("sau", "actune"), ("sau", "eager")]
    for r in records.values():
        assert {k: r[k] for k in ("dtype", "scope", "threads", "rounds")} == {
            "dtype": dtype, "scope": scope, "threads": 1, "rounds": 2,
        }  # fmt: skip
        assert 0 < r["ratios"]["forward"]["low"] <= r["ratios"]["forward"]["median"]
        assert min(*r["seconds"].values(), *r["first"].values()) > 0
    assert records["sau", "eager"]["kept"] > 4 * records["sau", "actune"]["kept"]


def test_which_parameters_get_gradients() -> None:
    """The family's own by default, and then all; the other contenders get the same."""
    for train_all, wanted in ((False, 1), (True, 2)):
        made = [w.make() for w in contenders.formula_contenders("sau", Tensors(100, "float64", "layer", 1), ("eager",), train_all)]
        assert [len(f.parameters) for f in made] == [wanted, wanted]
        x = torch.randn(100, dtype=torch.float64)
        torch.testing.assert_close(made[0].call(x), made[1].call(x))


def test_what_is_timed() -> None:
    """Forward: no gradient is recorded, also where parameters are trained. Training: the gradients of x and of them."""
    where = Tensors(100, "float32", "layer", 1)
    made = next(contenders.formula_contenders("swish", where, ())).make()
    calls = measure._Inputs(where, seed=0).calls(made)
    assert not calls["forward"]().requires_grad
    assert [tuple(g.shape) for g in calls["training"]()] == [(100,), (1,)]


def test_a_formula_without_torch_operators_says_so() -> None:
    plan = Plan(("mittag_leffler(-abs(x), 0.5, 1)",), (50,), beside=("eager",), rounds=1)
    ours, theirs = next(measure.measure_steps(plan))
    assert ours["by"] == "actune"
    assert theirs["failed"] == "NotImplementedError: torch has no operator for the Mittag-Leffler function"


def test_spinning_threads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(ValueError, match="OMP_WAIT_POLICY must be PASSIVE"):
        next(measure.measure_steps(Plan(("gelu",), (10,))))


# -- other packages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def star_relu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package with one of the functions that are compared."""
    for loaded in [m for m in sys.modules if m.partition(".")[0] in ("torch_activation", "rational")]:
        monkeypatch.delitem(sys.modules, loaded)
    (tmp_path / "torch_activation.py").write_text(
        "import warnings, torch\n"
        "warnings.warn('a part of it needs more')\n"
        "class StarReLU(torch.nn.Module):\n"
        "    def __init__(self, learnable=False):\n"
        "        super().__init__()\n"
        "        assert learnable\n"
        "        self.s, self.b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))\n"
        "    def forward(self, x):\n"
        "        return self.s*torch.relu(x)**2 + self.b\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "rational", None)  # not importable
    yield
    sys.modules.pop("torch_activation", None)


@pytest.mark.usefixtures("star_relu")
def test_a_peer_computes_our_function_with_our_values() -> None:
    where = Tensors(100, "float64", "layer", 1)
    ours, theirs = (w.make() for w in contenders.formula_contenders("star_relu", where, ("peers",)))
    x = torch.randn(100, dtype=torch.float64)
    torch.testing.assert_close(theirs.call(x), ours.call(x), rtol=1e-6, atol=1e-6)  # they keep float32 before
    assert len(theirs.parameters) == len(ours.parameters) == 2
    assert [w.by for w in contenders.formula_contenders("rational", where, ("peers",))] == ["actune"]
    assert [w.by for w in contenders.formula_contenders("star_relu", where, ())] == ["actune"]
    assert contenders.absent() == ["rational-activations"]


# -- the measuring process -------------------------------------------------------------------------------------------------


def test_a_measurement_in_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch.compile, where there is a C++ compiler. This process keeps its threads, and need not have been started so."""
    monkeypatch.delenv("OMP_WAIT_POLICY")
    torch.set_num_threads(1)
    said = []
    plan = Plan(("swish",), (3000,), threads=(2,), beside=("eager", "torch.compile", "peers"), rounds=2)
    found = bench.run(plan, progress=lambda *news: said.append(news), command="a test")
    json.dumps(found, allow_nan=False)
    assert torch.get_num_threads() == 1
    assert said == [(0, 1, ""), (1, 1, "swish")]
    assert (found["command"], found["settings"]["functions"]) == ("a test", ("swish",))
    assert found["absent"] == contenders.absent()
    by = {r["by"]: r for r in found["records"]}
    assert list(by) == ["actune", "eager", "torch.compile"]
    if shutil.which("g++") or shutil.which("clang++"):
        assert set(found["starting"]) == set(by)
        assert by["torch.compile"]["kept"] == pytest.approx(4, abs=0.1)
        assert sum(by["torch.compile"]["first"].values()) > 10 * sum(by["eager"]["first"].values())
    else:
        assert by["torch.compile"]["failed"]
    assert "swish" in bench.markdown(found)


def test_a_process_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ChildProcessError, match=r"ended with exit code 1 after the start; .* smaller sizes"):
        process.run(Plan(("gelu",), (10,)))


# -- what is shown and written ---------------------------------------------------------------------------------------------

SHOWN = result(
    record("swish", "actune", 1.25, 1.5),
    record("swish", "torch.compile", 2, 3),
    record("swish", "torch-activation", 20, 300),
    record("sin(x)", "actune", 0.5, 1, dtype="bfloat16"),
    {k: v for k, v in record("swish", "eager", failed="RuntimeError: no").items() if k not in ("ratios", "kept", "first")},
    absent=["rational-activations"],
)


def test_rows_and_notes() -> None:
    (title, rows), (other, _) = report.rows(SHOWN)
    assert title == "1,000 float32 elements, scope layer, 1 thread"
    assert "bfloat16" in other
    assert rows[0] == ("swish", "actune", "1.25 (1.12 to 1.38)", "1.50 (1.35 to 1.65)", "4", "1.5 s")
    assert rows[3][:3] == ("swish", "eager", "not possible")
    notes = "\n".join(report.notes(SHOWN))
    for text in (
        "OMP_WAIT_POLICY=PASSIVE",
        "swish by eager: RuntimeError: no",
        "pip install rational-activations",
        "actune 250 ms",
    ):
        assert text in notes
    assert "all parameters" in "\n".join(report.notes(SHOWN | {"settings": {"rounds": 3, "train_all": True}}))
    assert "| `swish` | torch.compile | 2.00 (1.80 to 2.20) |" in bench.markdown(SHOWN)


def test_tables_and_pictures(tmp_path: Path) -> None:
    assert [t.row_count for t in speed_tables(SHOWN)] == [4, 1]
    figure = speed_figure(SHOWN)
    assert len(figure.axes) == 4
    drawn = [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_marker() != "None"]
    assert drawn == [1.5, 3, 300]
    assert [t.get_text() for t in figure.axes[2].get_yticklabels()] == ["sin(x)"]
    plot_speed(tmp_path / "a.png", SHOWN)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def script(path: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script of this repository as a module."""
    monkeypatch.syspath_prepend(ROOT / Path(path).parent)
    spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_script", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_speed_table_has_a_row_for_each_function(monkeypatch: pytest.MonkeyPatch) -> None:
    text = script("docs/generators/tables.py", monkeypatch).speed(SHOWN)
    assert "| `swish` | 1.25; 1.50 | 2.00; 3.00 |  |  | 20.00; 300.00 (torch-activation) | 4 | 1.5 s, 1.5 s |" in text
    assert "| `sin(x)` | 0.50; 1.00 |" in text
    assert "`a command`" in text
    assert "rational-activations: not installed." in text


def test_bars_that_are_missed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    speed = script("benchmarks/speed.py", monkeypatch)

    def line(family: str, *records: dict[str, Any]) -> dict[str, Any]:
        return results.provenance("a command", {"rounds": 3}) | {"function": family, "records": list(records)}

    good = line("swish", record(forward=1.5, training=1.3), record(forward=1.6, training=9.0, dtype="bfloat16", kept=2.01))
    assert speed.misses(good) == []
    slow = line("swish", record(forward=1.51, training=1.31), record(forward=1.61, dtype="bfloat16", kept=4.0, scope="channel"))
    found = "\n".join(speed.misses(slow))
    for text in ("float32 layer forward 1.51", "float32 layer training 1.31", "bfloat16 channel forward 1.61", "keeps 4 bytes > 2"):
        assert text in found
    assert len(speed.misses(slow)) == 4
    assert speed.misses(line("rational", record("rational", forward=1.9, training=2.0))) == []
    assert len(speed.misses(line("rational", record("rational", forward=2.1)))) == 1
    own = line("mish", record("mish"), record("mish", "torch", training=1.9))
    assert speed.misses(own) == ["mish: float32 layer training: torch's own takes 1.90 times as long < 2.0"]
    assert "**1.51**" in speed.tables([good, slow])
    assert "5 bars" not in speed.tables([good, slow])
    assert "4 bars are missed" in speed.tables([good, slow])


def test_the_speed_benchmark_covers_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    speed = script("benchmarks/speed.py", monkeypatch)
    names = dict(speed.subjects(rounds=3, seed=0))
    small = [n for n in actune.list_families() if len(dict(actune.family(n).initial())) <= 4]
    assert {*small, *speed.HEAVY} == {n for n in names if not n.endswith(speed.ALL_TRAINED)}
    assert names["sau, all trained"].train_all
    assert "swish, all trained" not in names


# -- the command -----------------------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["actune", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stored, plot = tmp_path / "new" / "bench.jsonl", tmp_path / "bench.png"
    options = f"--sizes 1e3 --rounds 1 --no-compile --no-eager --no-peers -o {stored} --plot {plot} --json"
    code, out, _ = command(capsys, monkeypatch, "-x*sigmoid(b*x); b=2", *options.split())
    found = json.loads(out)
    assert code == 0
    assert found["command"] == f"actune bench '-x*sigmoid(b*x); b=2' {options}"
    assert found["settings"]["functions"] == ["-x*sigmoid(b*x); b=2"]
    assert [r["by"] for r in found["records"]] == ["torch"] * 4 + ["actune"]
    assert json.loads(stored.read_text()) == found
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_command_hands_on_what_was_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    monkeypatch.setattr(bench, "run", lambda plan, **more: asked.append(plan) or SHOWN)
    options = ("--no-compile", "--train-all", "--scopes", "layer,channel", "--threads", "1,2", "--output", str(tmp_path / "a.json"))
    code, out, _ = command(capsys, monkeypatch, "--all", *options)
    assert code == 0
    assert "1.25 (1.12–1.38)" in out
    assert "PASSIVE" in out
    assert asked == [
        Plan(
            tuple(actune.list_families()),
            scopes=("layer", "channel"),
            threads=(1, 2),
            beside=("torch", "eager", "peers"),
            train_all=True,
        )
    ]
    assert json.loads((tmp_path / "a.json").read_text()) == SHOWN
    command(capsys, monkeypatch)
    assert asked[1] == Plan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["swsh"], "unknown activation function 'swsh'; did you mean 'swish'?"),
        (["gelu", "--sizes", "0"], "sizes must be whole numbers from 1"),
        (["gelu", "--sizes", "big"], "sizes: cannot read the whole number 'big'"),
        (["gelu", "--threads", "0"], "threads must be whole numbers from 1"),
        (["gelu", "--dtypes", "int8"], "dtypes must be of float32"),
        (["gelu", "--all"], "--all measures every family"),
        (["gelu", "--device", "nowhere"], "device='nowhere' cannot be used here"),
        (["gelu", "-o", "a.txt"], "--output must name a .json or .jsonl file, got 'a.txt'"),
        (["gelu", "--plot", "a.jpg"], "--plot must name a .png file"),
        (["gelu", "--rounds", "0"], "Invalid value for '--rounds'"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    code, out, errors = command(capsys, monkeypatch, *arguments)
    assert (code, out) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1
