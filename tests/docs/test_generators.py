"""The programs that make pages: formulas, curves, the overview, the command line, the house, lists of arguments."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from documentation import generator

import actune

FAMILIES = ("elu", "ml_tanh", "swish")


def formula(name: str) -> ElementTree.Element:
    text = generator("mathml").mathml(actune.family(name).expr)
    return ElementTree.fromstring(
        re.sub(r"&(?!amp;|lt;|gt;|#)\w+;", "", text).replace("<mo>></mo>", "<mo>&gt;</mo>").replace("<mo><</mo>", "<mo>&lt;</mo>")
    )


def test_formulas_are_well_formed_and_have_no_guards() -> None:
    """The signs that readers see; no name of a class of SymPy, no 1e30."""
    for name in actune.list_families():
        shown = "".join(formula(name).itertext())
        assert not re.search(r"piecewise|mittagleffler|True|000000000", shown, re.IGNORECASE), f"{name}: {shown}"
    assert "".join(formula("elu").itertext()) == "{xif\u00a0x>0α⁢(ex-1)otherwise"
    assert "".join(formula("ml_tanh").itertext()).endswith("Eα2,β2(x2)")


def test_the_overview_names_every_family() -> None:
    catalogue = generator("catalogue")
    text = catalogue.overview({name: catalogue.panels(actune.family(name)) for name in FAMILIES}, catalogue.measured_speeds())
    assert all(f"]({name}.md)" in text for name in FAMILIES)
    assert "3 families" in text


def test_a_page_says_what_the_registry_says() -> None:
    catalogue = generator("catalogue")
    f = actune.family("swish")
    text = catalogue.page(f, catalogue.panels(f), catalogue.measured_speeds()["swish"])
    for part in (
        f.summary,
        f.text,
        f.latex(),
        "https://arxiv.org/abs/1710.05941",
        "| `beta` | 1 | any number | yes |",
        "float32, parameters per layer",
    ):
        assert part in text, part
    assert catalogue.limits(actune.family("zorro_tanh").params["a"]) == "above 0"
    assert catalogue.limits(actune.family("ml_tanh").params["beta2"]) == "at least 0.05 and at most 3"


def test_curves_are_those_of_the_function() -> None:
    """At the initial values, at x = -5 and x = 5; the pen is lifted where the slope of ReLU jumps."""
    (value, slope), *_ = generator("curves").panels(actune.family("relu"))
    (line,) = value.lines
    assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (-5, 0, 5, 5)
    (line,) = slope.lines
    assert sum(y != y for y in line.y) == 1
    assert generator("curves").picture((value, slope)).count('<svg class="panel"') == 2


def test_the_reference_has_every_command_with_every_option() -> None:
    commands = generator("commands")
    text = commands.command_page()
    for name, command in commands.commands().items():
        assert f"## actune {name}\n" in text
        part = text.partition(f"## actune {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert all(option in part for option in parameter.opts), parameter.opts


def test_the_house_has_every_room_and_only_imports_that_exist() -> None:
    house, imports = generator("house"), generator("imports")
    rooms = {room for floor in imports.FLOORS for room in floor.split()}
    assert set(re.findall(r">(\w+)</text>", house.house_picture())) == rooms
    found = house.rooms_imports({"a.b": {"c.d"}, "cli.search": {"discovery.searching", "cli.terminal"}})
    assert found["cli"] == {"discovery"}


def test_arguments_in_docstrings_become_lists() -> None:
    pytest.importorskip("griffe", reason="griffe is not installed: pip install 'actune[docs]'")
    text = "What it does.\n\nshort      the first,\n           and more\nlong_names the second\nand a line below."
    assert generator("docstrings").with_lists(text) == (
        "What it does.\n\n- `short`: the first, and more\n- `long_names`: the second\n\nand a line below."
    )
    assert generator("docstrings").with_lists("Two lines\nof text.") == "Two lines\nof text."
