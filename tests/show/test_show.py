"""Plots and tables: what is drawn and printed is what was measured."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.distributions import constraints

import actune
from actune.catalogue.registry import resolve
from actune.experiments.comparison import Comparison, Row
from actune.experiments.measures import MEASURES
from actune.experiments.stats import Estimate
from actune.experiments.training.loop import Outcome
from actune.show.braille import NUMBERS, braille_table, can_draw
from actune.show.plots import SPAN, _symbol, family_figure, functions_figure, plot_family, plot_functions
from actune.show.tables import comparison_table, families_table, family_table

NAN = float("nan")


def printed(table, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


# -- curves in the terminal ----------------------------------------------------------------------------------------------


def dots(panel: list[str]) -> list[tuple[int, int]]:
    """The dots of a drawing, (from the left, from the top), a character being 2 wide and 4 high (Unicode's order of bits)."""
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
    return [
        (2 * column + dx, 4 * row + dy)
        for row, line in enumerate(panel)
        for column, c in enumerate(line)
        for bit, (dx, dy) in enumerate(places)
        if ord(c) >= 0x2800 and (ord(c) - 0x2800) >> bit & 1
    ]


@pytest.mark.parametrize("name", ["tanh", "gelu", "sin(x)"])
@pytest.mark.parametrize("order", [0, 1])
def test_the_dots_lie_on_the_curve(name: str, order: int) -> None:
    """Each dot is within a dot of the function, or of the derivative that autograd finds, at the columns beside it."""
    lines = printed(braille_table(resolve(name), 46)).splitlines()
    start = 14 * order
    assert lines[start].split() == [("f(x)", "f′(x)")[order]]
    panel = [line[NUMBERS:].rstrip("\n") for line in lines[start + 1 : start + 12]]
    width = max(map(len, panel))
    x = torch.linspace(*SPAN, 2 * width, dtype=torch.float64, requires_grad=True)
    y = actune.Activation(name)(x)
    y = torch.autograd.grad(y.sum(), x)[0] if order else y.detach()
    margin = 0.06 * max(float(y.max() - y.min()), 0.5)
    high, low = float(y.max()) + margin, float(y.min()) - margin
    down = ((high - y) / (high - low) * 44).tolist()
    found = dots(panel)
    assert len({column for column, _ in found}) == 2 * width  # a line without gaps
    for column, row in found:
        near = down[max(0, column - 2) : column + 3]
        assert min(near) - 1 <= row + 0.5 <= max(near) + 1


def test_panels_fit_the_terminal() -> None:
    for width in (30, 50, 80, 200):
        lines = printed(braille_table(actune.family("relu"), width)).splitlines()
        assert max(len(line.rstrip()) for line in lines) <= width
        assert ("f′(x)" in lines[0]) == (width >= 80)


def test_a_function_without_values_is_drawn_as_an_empty_window() -> None:
    assert dots([line[NUMBERS:] for line in printed(braille_table(resolve("log(-1 - x*x)"), 46)).splitlines()[1:12]]) == []


def test_what_cannot_show_the_characters() -> None:
    assert [can_draw(encoding) for encoding in ("utf-8", "ascii", "latin-1", None, "no such")] == [True, *[False] * 4]


# -- plots ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_plot_functions_writes_the_format_of_the_ending(tmp_path, ending):
    path = tmp_path / f"plot.{ending}"
    plot_functions(path, "tanh(x) + erf(x)", ["relu", "gelu"])
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_plot_family_writes_a_picture(tmp_path):
    from matplotlib.image import imread

    path = tmp_path / "swish.png"
    plot_family(str(path), "swish")
    pixels = imread(path)
    assert pixels.shape[0] > 400
    assert pixels.std() > 0.05  # not an empty page


def test_functions_and_derivatives_are_drawn_winner_in_bold():
    figure = functions_figure("tanh(x)", ["gelu", "relu"])
    values, slopes = figure.axes
    assert [line.get_label() for line in values.lines[:3]] == ["gelu", "relu", "tanh(x)"]
    widths = [line.get_linewidth() for line in values.lines[:3]]
    assert widths[2] > 2 * max(widths[:2])
    assert len({line.get_color() for line in values.lines[:3]}) == len({line.get_linestyle() for line in values.lines[:2]}) + 1 == 3
    x = values.lines[2].get_xdata()
    assert (x[0], x[-1]) == SPAN
    np.testing.assert_allclose(values.lines[2].get_ydata(), np.tanh(x), rtol=1e-12)
    np.testing.assert_allclose(slopes.lines[2].get_ydata(), 1 / np.cosh(x) ** 2, rtol=1e-9)
    relu = slopes.lines[1].get_ydata()
    assert np.isnan(relu).sum() == np.isnan(relu[x == 0]).sum() == 1  # the pen is lifted where the slope jumps
    np.testing.assert_allclose(relu[x != 0], x[x != 0] > 0, atol=1e-12)


def test_the_legend_names_every_function_winner_first():
    figure = functions_figure("sin(x) + tanh(x)", ["gelu", "relu"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sin(x) + tanh(x)", "gelu", "relu"]
    assert figure.get_suptitle() == "sin(x) + tanh(x)"


def test_a_long_formula_is_shortened_in_title_and_legend():
    figure = functions_figure(" + ".join(f"tanh({i}*x)" for i in range(2, 30)))
    label = figure.legends[0].get_texts()[0].get_text()
    assert len(label) < 50 < len(figure.get_suptitle()) < 120
    assert label.endswith("…")
    assert figure.get_suptitle().endswith("…")


def test_poles_leave_a_gap_and_growth_stays_in_the_window():
    values, slopes = functions_figure("1/x", ["exp(x)", "0*x"]).axes
    y = values.lines[2].get_ydata()
    assert 0 < np.isnan(y).sum() < 20
    low, high = values.get_ylim()
    assert (low, high) == pytest.approx((-5.6, 5.6))
    assert not (np.abs(np.diff(y)) > high - low).any()  # no line across the window; nan compares false
    assert slopes.get_ylim()[1] < 6


def test_a_constant_function_has_a_window_too():
    for axes in functions_figure("0*x + 2").axes:
        low, high = axes.get_ylim()
        assert low < high


def test_the_pen_is_lifted_at_jumps_and_not_on_slopes():
    values, slopes = functions_figure("sign(x - 1.0025) + sign(x + 2.0025)", ["sigmoid(100*x)", "abs(x)"]).axes
    steep, size, stairs = (line.get_ydata() for line in values.lines[:3])
    assert np.isnan(stairs).sum() == 2
    assert not np.isnan(steep).any()
    assert not np.isnan(size).any()
    x = slopes.lines[1].get_xdata()
    assert list(x[np.isnan(slopes.lines[1].get_ydata())]) == [-0.005, 0]  # sign(0) = 0 belongs to neither side


def test_a_slope_is_drawn_only_where_the_function_is():
    slope = functions_figure("log(x)").axes[1].lines[0]
    x, y = slope.get_xdata(), slope.get_ydata()
    assert np.isnan(y[x <= 0]).all()
    np.testing.assert_allclose(y[x > 0.5], 1 / x[x > 0.5])


# -- one family, its parameters moved ------------------------------------------------------------------------------------


def curves_of(axes) -> list:
    return [line for line in axes.lines if " = " in line.get_label()]


@pytest.mark.parametrize("name", [n for n in actune.list_families() if not actune.family(n).sweep])
def test_each_trainable_parameter_is_varied_within_its_constraint(name):
    f = actune.family(name)
    varied = [(n, p) for n, p in f.params.items() if p.trainable and not isinstance(p.init, tuple)][:3]
    figure = family_figure(f)
    assert len(figure.axes) == 2 * max(1, len(varied))
    if not varied:  # one curve
        assert [len(axes.lines) for axes in figure.axes] == [3, 3]
        assert [axes.get_legend() for axes in figure.axes] == [None, None]
    for axes, (parameter, p) in zip(figure.axes[::2], varied, strict=False):
        values = [float(line.get_label().split()[2]) for line in curves_of(axes)]
        assert len(values) >= 2
        assert values == sorted(set(values))
        assert bool(p.constraint.check(torch.tensor(values, dtype=torch.float64)).all())
        bold = [line.get_label() for line in curves_of(axes) if line.get_linewidth() == 3]
        assert bold == [f"{_symbol(parameter)} = {p.init:.4g} (initial)"]


@pytest.mark.parametrize("name", [n for n in actune.list_families() if actune.family(n).sweep])
def test_a_sweep_that_a_family_declares_is_drawn(name):
    f = actune.family(name)
    parameter, values = f.sweep
    figure = family_figure(f)
    assert len(figure.axes) == 2
    for order, axes in enumerate(figure.axes):
        lines = curves_of(axes)
        assert [line.get_label().split()[2] for line in lines] == [f"{v:.4g}" for v in values]
        for line, v in zip(lines, values, strict=True):
            act = actune.Activation(f, **{parameter: v}, dtype=torch.float64)
            x = torch.tensor(line.get_xdata(), requires_grad=True)
            y = act(x)
            expected = torch.autograd.grad(y.sum(), x)[0] if order else y.detach()
            drawn = torch.tensor(line.get_ydata())
            assert int(drawn.isnan().sum()) <= len(f.kinks)
            torch.testing.assert_close(drawn, expected.where(~drawn.isnan(), torch.nan), rtol=1e-7, atol=1e-9, equal_nan=True)


def test_ml_tanh_goes_from_tanh_to_the_identity():
    values, slopes = family_figure("ml_tanh").axes
    x = values.lines[0].get_xdata()
    np.testing.assert_allclose(values.lines[0].get_ydata(), np.tanh(x), rtol=1e-12)
    np.testing.assert_allclose(values.lines[4].get_ydata(), x, rtol=1e-12)
    np.testing.assert_allclose(slopes.lines[4].get_ydata(), 1, rtol=1e-12)


def test_one_legend_a_row_from_the_largest_value_and_colours_from_dark_to_light():
    values, slopes = family_figure("ml_tanh").axes
    assert values.get_legend() is None
    legend = [text.get_text() for text in slopes.get_legend().get_texts()]
    assert legend == ["β₂ = 2", "β₂ = 1.75", "β₂ = 1.5", "β₂ = 1.25", "β₂ = 1 (initial)"]
    brightness = [float(np.dot(line.get_color()[:3], (0.299, 0.587, 0.114))) for line in curves_of(values)]
    assert brightness == sorted(brightness)
    assert brightness[0] < 0.3
    assert 0.6 < brightness[-1] < 0.8
    assert all(np.array_equal(a.get_color(), b.get_color()) for a, b in zip(values.lines[:5], slopes.lines[:5], strict=True))


def test_an_initial_value_beside_the_sweep_is_drawn_too():
    lines = curves_of(family_figure("ml_tanh; beta2=1.3").axes[0])
    assert [line.get_label().split(" ", 2)[2] for line in lines] == ["1", "1.25", "1.3 (initial)", "1.5", "1.75", "2"]


def test_values_that_overflow_leave_the_others_their_window():
    values, slopes = family_figure("tanh(x) + b*exp(exp(5 + x)); b=0").axes
    for axes in (values, slopes):
        assert np.ptp(axes.get_ylim()) < 12
        assert axes.get_legend_handles_labels()[1] == ["b = -0.5", "b = -0.25", "b = 0 (initial)", "b = 0.25", "b = 0.5"]
        for line in curves_of(axes):
            y = line.get_ydata()
            assert not np.isinf(y).any()
            assert np.isfinite(y[0])
            assert np.isnan(y[-1])  # also 0 times infinity


@pytest.mark.parametrize(
    ("name", "printed"),
    [("beta2", "β₂"), ("mu", "μ"), ("lambda", "lambda"), ("a10", "a₁₀"), ("gain", "gain"), ("alpha_p", "alpha_p"), ("B", "B")],
)
def test_parameters_as_print_has_them(name, printed):
    assert _symbol(name) == printed


def test_a_declared_sweep_must_fit_its_parameter():
    from actune import Param, declare

    def sweeping(sweep):
        def never_declared(x, b):
            """A function that is not declared."""
            return b * x

        return lambda: declare(paper="none", b=Param(1.0, constraints.positive), sweep=sweep)(never_declared)

    with pytest.raises(ValueError, match="outside its constraint"):
        sweeping(("b", (1.0, -1.0)))()
    with pytest.raises(ValueError, match="no parameter 'c'"):
        sweeping(("c", (1.0,)))()
    assert "never_declared" not in actune.list_families()


@pytest.mark.parametrize(
    ("spec", "rows"),
    [("gelu", 1), ("swish", 1), ("apalu", 2), ("ml_gelu", 1), ("a*x + b*sin(c*x) + d*x^2; a=1, b=1, c=1, d=0", 3)],
)
def test_family_figure_has_a_row_for_each_trainable_parameter(spec, rows):
    figure = family_figure(spec)
    assert len(figure.axes) == 2 * rows
    assert all(len(axes.lines) >= 3 for axes in figure.axes)


def test_the_title_of_a_family_is_its_name_and_formula_or_its_summary():
    assert family_figure("swish").get_suptitle() == f"swish: {actune.family('swish').text}"
    assert family_figure("zorro_tanh").get_suptitle().startswith("zorro_tanh: Symmetric-Zorro")
    assert family_figure("relu").get_suptitle() == "relu: The positive part of the input"
    assert family_figure("x*sigmoid(b*x); b=2").get_suptitle() == "x*sigmoid(b*x); b=2"
    assert family_figure("ml_gelu; alpha1=0.7").get_suptitle() == "ml_gelu; alpha1=0.7"


def test_plotting_sets_up_no_global_state(tmp_path):
    code = (
        "import sys, actune.show.plots as p; assert 'matplotlib' not in sys.modules;"
        f"p.plot_functions({str(tmp_path / 'a.png')!r}, 'gelu'); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


# -- tables --------------------------------------------------------------------------------------------------------------


def row(name: str, accuracy: float, gain: float | None = None, p: float = NAN, diverged: int = 0) -> Row:
    runs = tuple(Outcome(0.25, {"accuracy": 0.9}, 0.1, (0.25,), i < diverged, 0.25, {"accuracy": accuracy}) for i in range(4))
    difference = None if gain is None else Estimate(gain, gain - 0.01, gain + 0.01)
    return Row(name, name, runs, Estimate(accuracy, accuracy - 0.02, accuracy + 0.02), difference, p, p)


def comparison(*rows: Row, seeds: int = 4) -> Comparison:
    return Comparison("digits", "relu", tuple(range(seeds)), rows, {})


def lines_of(*rows: Row, seeds: int = 4) -> dict[str, list[str]]:
    text = printed(comparison_table(comparison(*rows, seeds=seeds)))
    cells = [[cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]] for line in text.splitlines()]
    return {c[0]: c[1:] for c in cells if c}


def test_comparison_table_shows_every_number():
    found = lines_of(row("new", 0.9512, 0.0734, 0.00012), row("gelu", 0.88, -0.004, 0.8), row("relu", 0.8778))
    assert found["new"] == ["95.1 ± 2.0", "+7.3 ± 1.0", "0.00012", "0.250"]
    assert found["gelu"] == ["88.0 ± 2.0", "-0.4 ± 1.0", "0.8", "0.250"]
    assert found["relu (baseline)"] == ["87.8 ± 2.0", "", "", "0.250"]
    assert "diverged" not in found["function"]


def test_comparison_table_fits_a_terminal():
    found = printed(comparison_table(comparison(row("tanh(x) + erf(erf(exp(x) - 1))", 0.95, 0.07, 1e-5, diverged=1))), width=80)
    assert "tanh(x) +" in found
    assert "95.0 ± 2.0" in found
    assert "1 of 4" in found


def test_what_beats_the_baseline_is_bold_and_nothing_else():
    table = comparison_table(comparison(row("new", 0.95, 0.07, 0.001), row("luck", 0.93, 0.05, 0.2), row("bad", 0.1, -0.7, 0.001)))
    assert [r.style for r in table.rows] == ["bold", "", ""]


def test_diverged_trainings_are_counted():
    found = lines_of(row("relu", 0.9), row("wild", 0.5, -0.4, 1e-12, diverged=3))
    assert found["function"][-1] == "diverged"
    assert found["wild"][-3:] == ["<1e-9", "0.250", "3 of 4"]
    assert found["relu (baseline)"][-1] == ""


def test_a_single_seed_has_no_interval_and_no_p():
    alone = Row("new", "new", row("new", 0.9).outcomes[:1], Estimate(0.9, NAN, NAN), Estimate(0.02, NAN, NAN), NAN, NAN)
    assert lines_of(alone, seeds=1)["new"] == ["90.0", "+2.0", "–", "0.250"]
    assert comparison_table(comparison(alone, seeds=1)).title == "digits: test accuracy over 1 seed"


def test_the_table_is_about_the_measure_of_the_task():
    errors = replace(comparison(row("new", 0.4126, 0.0734, 0.00012), row("relu", 0.486)), measure=MEASURES["RMSE"])
    text = printed(comparison_table(errors))
    assert "test RMSE over 4 seeds" in text
    assert "accuracy" not in text
    assert "0.413 ± 0.020" in text
    assert "+0.073 ± 0.010" in text


def test_names_are_printed_as_they_are():
    assert "[red]a[/red]" in lines_of(row("[red]a[/red]", 0.9, 0.1, 0.5))


def test_the_list_of_families_has_them_all():
    text = printed(families_table(map(actune.family, actune.list_families())))
    shown = {line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")}
    assert set(actune.list_families()) <= shown
    assert "x*sigmoid(beta*x); beta=1 " in text
    assert "[n=2e+04]" in text  # fixed
    assert "where(where(" not in text  # long formulas give way to the summary


@pytest.mark.parametrize("name", actune.list_families())
def test_one_family_is_shown_with_all_that_is_known(name):
    f = actune.family(name)
    text = " ".join(printed(family_table(f), width=20_000).split())
    for part in (f.name, f.summary, str(f.expr), f.paper, f.notes, *f.aliases):
        assert " ".join(part.split()) in text
    for parameter, p in f.params.items():
        assert f"{parameter}=" in text
        assert p.trainable or f"[{parameter}=" in text


@pytest.mark.parametrize(
    ("constraint", "signs"),
    [
        (constraints.positive, "a=1 (> 0)"),
        (constraints.nonnegative, "a=1 (≥ 0)"),
        (constraints.less_than(3.0), "a=1 (< 3)"),
        (constraints.interval(-1.0, 2.0), "a=1 (≥ -1, ≤ 2)"),
        (constraints.real, "a=1"),
    ],
)
def test_constraints_are_shown_in_signs(constraint, signs):
    f = actune.Family("scaled", actune.parse("a*x"), {"a": actune.Param(1.0, constraint)})
    lines = [" ".join(line.split()) for line in printed(family_table(f)).splitlines()]
    assert f"parameters {signs}" in lines
