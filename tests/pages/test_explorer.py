"""The explorer in a real browser: what a person does with it, and that it says the truth."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import SCHEMES, WIDTHS, opened, violations
from scipy import integrate, optimize
from torch import nn

import actune
from actune.catalogue.registry import family
from actune.kernels.operators import evaluate
from actune.pages.explorer import explorer_page

HOSTILE = "<img src=x onerror=\"document['title']='hit'\">"


class Odd(nn.Module):
    """A function of nobody's catalogue, called as one of torch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.rrelu(x, 0.1, 0.9)


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("explorer") / "explorer.html"
    file.write_text(explorer_page(), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a model with hostile names, a parameter per channel, a vector, and a place without a formula."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("first", actune.Activation("swish", scope="channel", channels=4))
    net.add_module(HOSTILE, actune.Activation("rational"))
    net.add_module("odd", Odd())
    with torch.no_grad():
        net.first.beta.copy_(torch.tensor([0.5, 2.0, 3.0, -1.0]))
    card = replace(actune.card(net, torch.randn(1000, 4)), model=HOSTILE)
    file = tmp_path_factory.mktemp("trained") / "explorer.html"
    file.write_text(explorer_page(card), encoding="utf-8")
    return file


def chosen(page: Any, name: str) -> None:
    """Choose a family as a person does."""
    page.fill("#search", name)
    page.get_by_role("button", name=re.compile(f"^{name}\\b")).first.click()
    assert page.text_content("#name") == name


def curves(page: Any) -> str:
    """What a screen reader says of the picture."""
    return page.get_attribute("#picture canvas", "aria-label")


# -- loading -------------------------------------------------------------------------------------------------------------


def test_it_is_small_and_draws_within_a_second(browser: Any, explorer: Path) -> None:
    """A second of the page's own thread, so that other processes do not count, from the file to the first curves."""
    assert explorer.stat().st_size < 2_000_000
    for fragment in ("", "#f=ml_tanh"):
        with opened(browser, explorer, fragment=fragment) as page:
            page.wait_for_selector("#picture canvas")
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            spent = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]
            assert spent < 1, fragment


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_readable_in_each_scheme_and_width(browser: Any, explorer: Path, width: int, scheme: str) -> None:
    with opened(browser, explorer, width=width, scheme=scheme, fragment="#f=ml_tanh;+beta2=1.3&f=zorro_asymmetric&hide=1") as page:
        page.wait_for_selector("#signal canvas")
        page.fill("#formula", "x*(")
        page.press("#formula", "Enter")
        page.focus("#search")  # opens the list on a phone
        assert page.locator("#list").is_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_family_is_shown_without_an_error(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer) as page:
        shown = page.evaluate("""() => [...document.querySelectorAll("#list .pick")].map((button) => {
            button.click();
            for (const format of document.querySelectorAll("#format button")) format.click();
            return [document.getElementById("name").textContent, document.querySelector("#mathematics math").textContent.length,
                    document.getElementById("values").textContent];
        })""")
    assert [name for name, _, _ in shown] == actune.list_families()
    for name, mathematics, values in shown:
        at_1 = float(evaluate(family(name).expr, {"x": torch.tensor(1.0, dtype=torch.float64), **dict(family(name).initial())}))
        assert mathematics > 0
        assert values.replace("−", "-").startswith(f"{name}{at_1:.6g}"[:-1]), (name, values, at_1)


# -- finding -------------------------------------------------------------------------------------------------------------


def test_search_finds_names_aliases_papers_and_summaries(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer) as page:
        for text, first in (("swish1", "silu"), ("2302.11007", "ml_elu"), ("bell curve", "gaussian"), ("RELU", "relu")):
            page.fill("#search", text)
            assert page.locator("#list li .title").first.text_content().split()[0] == first, text
        page.fill("#search", "nothing has this")
        assert "No function" in page.text_content("#found")
        assert page.locator("#list li").count() == 0
        page.fill("#search", "hard")
        page.press("#search", "ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        second = page.locator("#list li .title").nth(1).text_content().split()[0]
        assert page.text_content("#name") == second
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert page.locator("#chips li").count() == 2


def test_a_phone_shows_the_list_while_it_is_used(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer, width=390) as page:
        assert not page.locator("#list").is_visible()
        page.fill("#search", "mish")
        page.locator("#list .pick").first.click()
        assert page.text_content("#name") == "mish"
        assert not page.locator("#list").is_visible()


# -- moving --------------------------------------------------------------------------------------------------------------


def test_sliders_and_numbers_move_parameters(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer) as page:
        chosen(page, "ml_tanh")
        slider, number = page.locator(".slider", has_text="beta2").locator("input").all()
        assert (slider.get_attribute("step"), slider.get_attribute("max")) == ("0.02", "3")
        before = page.text_content("#values")
        slider.fill("1.5")
        assert number.input_value() == "1.5"
        assert page.text_content("#values") != before
        slider.press("Home")
        assert number.input_value() == "0.05"
        number.fill("1.2345678901")
        number.press("Enter")
        assert slider.get_attribute("aria-valuetext") == "1.2345678901"
        assert "beta2=1.2345678901" in page.input_value("#formula")
        number.fill("7")
        number.press("Enter")
        assert number.get_attribute("aria-invalid") == "true"
        assert "beta2 must be ≥ 0.05 and ≤ 3, got 7" in page.locator(".slider", has_text="beta2").text_content()
        assert "beta2=1.2345678901" in page.input_value("#formula")
        page.click("#reset")
        assert number.input_value() == "1"
        assert number.get_attribute("aria-invalid") is None
        page.wait_for_function("() => location.hash === '#f=ml_tanh'")


def test_play_walks_a_parameter_and_less_motion_takes_steps(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer, fragment="#f=ml_tanh") as page:
        number = page.locator(".slider", has_text="beta2").locator("input").nth(1)
        page.click("#play")
        page.wait_for_function("() => explorer.state().functions[0].values.beta2 > 1.2")
        page.click("#play")
        held = number.input_value()
        page.wait_for_timeout(150)
        assert number.input_value() == held
        page.get_by_role("button", name="ml_erf", exact=True).click()
        page.wait_for_function("() => document.getElementById('name').textContent === 'ml_erf'")
        assert page.evaluate("explorer.state().functions[0].values") == dict(family("ml_erf").initial())
        page.emulate_media(reduced_motion="reduce")
        chosen(page, "ml_tanh")
        page.click("#play")
        assert number.input_value() == "1.25"


# -- formulas ------------------------------------------------------------------------------------------------------------


INVALID = {
    "x*(": "cannot read the formula at character 4",
    "x*sigmod(x)": "unknown function 'sigmod'",
    "swsh": "unknown function 'swsh'",
    "x; b=1": "the formula has no parameter 'b'",
    "x*b; b=one": "b needs a finite number",
    "": "write a formula of x",
}


def test_formulas_are_typed_and_invalid_ones_leave_the_picture(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer) as page:
        field, says = page.locator("#formula"), page.locator("#formula-says")
        field.fill("x*sigmoid(b*x) + c; b=2")
        field.press("Enter")
        assert says.text_content() == "c starts at 1; write c=… after a semicolon for another value"
        assert page.evaluate("explorer.state().functions[0].values") == {"b": 2, "c": 1}
        good = curves(page)
        for bad, told in INVALID.items():
            field.fill(bad)
            field.press("Enter")
            assert told in says.text_content(), bad
            assert "\n" not in says.text_content()
            assert field.get_attribute("aria-invalid") == "true"
            assert field.get_attribute("aria-describedby") == "formula-says"
            assert curves(page) == good
        field.fill("GELU")  # without Enter, after a moment
        page.wait_for_function("() => document.getElementById('name').textContent === 'gelu'")
        assert field.get_attribute("aria-invalid") is None


def test_several_functions_are_compared(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer, fragment="#f=silu") as page:
        page.fill("#search", "relu6")
        page.get_by_role("button", name="Add relu6 to the picture").click()
        assert curves(page) == "Curves for x from −5 to 5: silu; slope of silu; relu6; slope of relu6"
        page.get_by_role("button", name="its curvature").click()
        page.get_by_role("button", name="its slope").click()
        page.get_by_role("button", name="silu is drawn").click()
        assert curves(page) == "Curves for x from −5 to 5: relu6; curvature of relu6"
        assert page.get_by_role("button", name="silu is drawn").get_attribute("aria-pressed") == "false"
        page.get_by_role("button", name="Remove relu6").click()
        assert page.text_content("#name") == "silu"
        for name in ("elu", "selu", "celu", "mish", "gelu", "tanh", "erf", "sin"):
            page.fill("#search", name)
            page.get_by_role("button", name=f"Add {name} to the picture").click()
        assert page.locator("#chips li").count() == 8
        assert page.text_content("#message") == "8 functions are in the picture; remove one first"


# -- links and copies ----------------------------------------------------------------------------------------------------


def test_a_link_restores_the_whole_state(browser: Any, explorer: Path) -> None:
    with opened(
        browser, explorer, fragment="#f=ml_tanh;+beta2=1.3&f=x*sigmoid(b*x)%3B+b%3D2.5&hide=0&active=1&show=02&window=10&gain=own"
    ) as page:
        page.click("#link button")
        page.wait_for_function("() => document.querySelector('#link button').textContent === 'Copied'")
        link = page.evaluate("navigator.clipboard.readText()")
        state = page.evaluate("explorer.state()")
    assert [f["visible"] for f in state["functions"]] == [False, True]
    assert state["functions"][0]["values"] == dict(family("ml_tanh").initial()) | {"beta2": 1.3}
    assert (state["active"], state["orders"], state["window"], state["gain"]) == (1, [0, 2], 10, "own")
    with opened(browser, explorer, fragment="#" + link.partition("#")[2]) as page:
        assert page.evaluate("explorer.state()") == state
        assert page.locator("#message").is_hidden()
        page.wait_for_selector("#gain")
        assert page.input_value("#gain") == "own"


DAMAGED = {
    "#f=nothing": "unknown function 'nothing'",
    "#g=silu": "unknown part 'g'",
    "#f=silu&active=3": "a function that it does not have",
    "#f=silu&show=10": "a curve that there is not",
    "#f=silu&window=6": "its window is none of",
    "#f=swish%3B+beta%3Dnan": "beta needs a finite number",
    "#f=place+0": "no place 0",
    "#" + "f=silu&" * 9: "9 functions",
    "#f=x*(": "cannot read the formula",
    "#f=" + HOSTILE: "cannot read the formula",
    "#f=silu&" + "a" * 70000: "too long",
}


def test_damaged_links_open_the_start_with_one_line(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer) as page:
        for link, told in DAMAGED.items():
            page.evaluate("(link) => { location.hash = link; }", link)
            page.wait_for_function("(told) => document.getElementById('message').textContent.includes(told)", arg=told)
            message = page.text_content("#message")
            assert message.startswith("This link is damaged: ")
            assert "\n" not in message
            assert page.text_content("#name") == "swish"
        assert page.locator("#message").is_visible()
        assert page.locator("img").count() == 0
        assert page.title() == "actune explorer"


def test_code_is_copied(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer, fragment="#f=swish;+beta=1.5") as page:
        copies = {}
        for button in page.locator("#format button").all():
            button.click()
            page.locator("#code .copy").click()
            page.wait_for_function("() => document.querySelector('#code .copy').textContent === 'Copied'")
            copies[button.text_content()] = page.evaluate("navigator.clipboard.readText()")
            page.wait_for_function("() => document.querySelector('#code .copy').textContent === 'Copy'")
    assert actune.resolve(copies["Text"]).expr is family("swish").expr
    assert dict(actune.resolve(copies["Text"]).initial()) == {"beta": 1.5}
    assert r"\beta" in copies["LaTeX"]
    names: dict[str, Any] = {}
    exec(copies["Python"], names)
    function = next(v for k, v in names.items() if callable(v) and not k.startswith("_"))
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)
    assert torch.allclose(function(x), x * torch.sigmoid(1.5 * x), rtol=1e-12)
    assert "double" in copies["C"]
    assert "1.5" in copies["C"]


def test_code_that_a_language_lacks_names_the_command(browser: Any, explorer: Path) -> None:
    with opened(browser, explorer, fragment="#f=ml_tanh") as page:
        page.get_by_role("button", name="C", exact=True).click()
        assert "tanh(x)" in page.text_content("#code pre")  # the form that it has at its initial values
        slider = page.locator(".slider", has_text="beta2").locator("input").first
        slider.fill("1.3")
        assert "has no function in C" in page.text_content("#code-says")
        assert page.text_content("#code pre") == "actune export 'ml_tanh; beta2=1.3' --to c"


# -- a trained model -----------------------------------------------------------------------------------------------------


def test_a_model_shows_what_it_learned_and_sees(browser: Any, trained: Path) -> None:
    with opened(browser, trained) as page:
        page.wait_for_selector("#signal canvas")
        assert page.evaluate("explorer.state().functions[0].values") == {"beta": 0.5}  # the lower of the two in the middle
        assert "the inputs that first saw" in curves(page)
        assert "swish with the values that your model" in page.text_content("#about")
        assert "does not list" not in page.text_content("#about")
        page.select_option("#unit", label="unit 3")
        assert page.evaluate("explorer.state().functions[0].values") == {"beta": 3}
        page.wait_for_function("() => document.getElementById('measures').textContent.includes('of 4 units')")
        page.select_option("#place", index=2)
        assert HOSTILE in page.text_content("#name")
        assert HOSTILE in page.text_content("#model label")
        assert page.locator("img").count() == 0
        values = page.evaluate("explorer.state().functions[0].values")
        assert values == {k: pytest.approx(v) for k, v in family("rational").initial()}
        assert page.locator("#place option[disabled]:not([value=''])").count() == 1
        assert violations(page) == []
        assert page.title() == "actune explorer"


# -- the numbers ---------------------------------------------------------------------------------------------------------


def value_and_slope(name: str) -> list[Any]:
    """A function of the catalogue and its slope, by the library."""
    f = family(name)

    def at(e: actune.Expr, x: float) -> float:
        return float(evaluate(e, {"x": torch.tensor(float(x), dtype=torch.float64), **dict(f.initial())}))

    return [partial(at, e) for e in (f.expr, f.expr.diff("x"))]


def expected(g: Any, scale: float = 1.0) -> float:
    """E g(scale*z) for z ~ N(0, 1)."""
    found, _ = integrate.quad(lambda z: g(scale * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi), -8, 8, points=[0], limit=200)
    return found


def test_what_it_says_of_a_function_is_true(browser: Any, explorer: Path) -> None:
    script = """(name) => { const f = functions.ofFamily(catalogue.find(name));
        const [value, slope] = [(x) => functions.evaluate(f, 0, x), (x) => functions.evaluate(f, 1, x)];
        return {...signal.shares(slope), own: signal.ownGain(value), layers: signal.layers(value, slope, 1.2),
                steep: measures.lipschitz(value, slope), fixed: measures.fixedPoints(value, slope), low: measures.lowest(value)};
        }"""
    with opened(browser, explorer) as page:
        found = {
            name: page.evaluate(script, name)
            for name in ("relu", "gelu", "tanh", "hardtanh", "sin", "threshold", "identity", "softplus")
        }
    for name in ("relu", "gelu", "tanh", "sin", "softplus"):
        value, slope = value_and_slope(name)
        told = found[name]
        second = expected(lambda z, f=value: f(z) ** 2)
        assert told["own"] == pytest.approx(1 / math.sqrt(second), rel=1e-4), name
        first, next_ = told["layers"][:2]
        assert first["mean"] == pytest.approx(expected(value), abs=1e-4)
        assert first["variance"] == pytest.approx(second - expected(value) ** 2, rel=1e-3)
        assert first["gradient"] == pytest.approx(1.44 * expected(lambda z, f=slope: f(z) ** 2), rel=1e-3)
        assert next_["input"] == pytest.approx(1.44 * second, rel=1e-4)
        assert next_["mean"] == pytest.approx(expected(value, math.sqrt(1.44 * second)), abs=2e-4)
        best = optimize.minimize_scalar(lambda x, f=slope: -abs(f(x)), bounds=(0, 3), method="bounded")
        assert told["steep"]["value"] == pytest.approx(max(abs(best.fun), abs(slope(10)), abs(slope(0))), rel=1e-6), name
    tail = math.atanh(math.sqrt(0.99))  # where the slope of tanh is 0.01
    assert found["tanh"]["saturated"] == pytest.approx(math.erfc(tail / math.sqrt(2)), abs=1e-3)
    assert (found["relu"]["dead"], found["relu"]["saturated"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found["hardtanh"]["dead"] == pytest.approx(math.erfc(1 / math.sqrt(2)), abs=1e-4)
    assert found["threshold"]["steep"] == {"value": math.inf, "x": pytest.approx(1)}
    assert found["gelu"]["low"]["value"] == pytest.approx(-0.16997, abs=1e-5)
    assert found["relu"]["fixed"] == [{"from": 0, "to": 10}]
    assert found["identity"]["fixed"] == [{"from": -10, "to": 10}]
    assert found["sin"]["fixed"] == [{"x": 0, "slope": 1}]
    assert found["softplus"]["fixed"] == []
    assert found["threshold"]["fixed"] == [{"x": 0, "slope": 0}, {"from": pytest.approx(1, abs=0.01), "to": 10}]
    assert found["gelu"]["fixed"] == [{"x": 0, "slope": 0.5}]  # from 8.3 on gelu(x) is x in float64, but not truly
