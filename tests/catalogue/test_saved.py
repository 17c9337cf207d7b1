"""A function in a file: what is written is read again, whatever the catalogue says by then; all else is refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn
from torch.distributions import constraints

import actune
from actune import Activation, Family, Param
from actune.catalogue.registry import FAMILIES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "best.json"


@pytest.mark.parametrize("name", actune.list_families())
def test_every_family_comes_back_as_itself(name: str, path: Path) -> None:
    actune.save(path, name)
    assert actune.load(path) is actune.family(name)


@pytest.mark.parametrize("constraint", [
    constraints.real, constraints.positive, constraints.nonnegative, constraints.greater_than(0.25), constraints.interval(-1, 2),
    constraints.unit_interval, constraints.less_than(3.0),
])  # fmt: skip
def test_a_formula_keeps_its_parameters(constraint: object, path: Path) -> None:
    f = Family(
        "mine", actune.parse("b*x + c0*sin(x) + c1"), {"b": Param(0.5, constraint, False), "c": Param((0.1, 0.2))}, "a paper"
    )
    actune.save(path, f, validation_loss=0.25, study={"name": "digits"})
    g = actune.load(path)
    assert (g.name, g.expr, g.paper) == ("mine", f.expr, "a paper")
    assert [(n, p.init, p.trainable, type(p.constraint), vars(p.constraint)) for n, p in g.params.items()] == [
        (n, p.init, p.trainable, type(p.constraint), vars(p.constraint)) for n, p in f.params.items()
    ]
    assert json.loads(path.read_text())["facts"] == {"validation_loss": 0.25, "study": {"name": "digits"}}


def test_initial_values_last(path: Path) -> None:
    actune.save(path, actune.resolve("swish", beta=2.5))
    assert actune.load(path).params["beta"].init == 2.5
    assert isinstance(actune.load(path).params["beta"].constraint, type(actune.family("swish").params["beta"].constraint))


def test_a_file_means_the_same_when_the_catalogue_has_changed(path: Path) -> None:
    actune.save(path, "swish")
    other = Family("swish", actune.parse("tanh(beta*x)"), {"beta": Param(1.0)})
    with mock.patch.dict(FAMILIES, {"swish": other}):
        f = actune.load(path)
        assert f.expr is actune.parse("x*sigmoid(beta*x)")
        assert str(f) == "x*sigmoid(beta*x); beta=1"


def test_modules_and_swaps_read_it(path: Path) -> None:
    actune.save(path, "x*sigmoid(b*x) + a; a=0.5, b=2")
    x = torch.linspace(-3, 3, 12).view(3, 4)
    act = Activation.from_file(path, scope="channel", channels=4)
    torch.testing.assert_close(act(x), x * torch.sigmoid(2 * x) + 0.5)
    report = actune.swap(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), path, scope="channel")
    assert isinstance(report.model[1], Activation)
    assert report.model[1].family.text == act.family.text


@pytest.mark.parametrize(("content", "said"), [
    (None, "No such file"),
    ("", "is no function"),
    ("[1]", 'its "actune" is None'),
    ('{"actune": 2}', 'its "actune" is 2'),
    ('{"actune": 1}', "is damaged ('tree' is missing)"),
    ("\x00\xff", "is no function"),
])  # fmt: skip
def test_what_is_no_such_file_is_refused(content: str | None, said: str, path: Path) -> None:
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"best\.json") as refused:
        actune.load(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("where", "value"), [
    (("tree",), ["__import__", ["os"]]),
    (("parameters",), {}),
    (("parameters", "beta"), 3),
    (("parameters", "beta", "constraint"), ["exec", "1"]),
    (("parameters", "beta", "constraint"), ["closed", 2, 1]),
    (("parameters", "beta", "constraint"), ["closed", 0, 10**400]),
    (("parameters", "beta", "constraint"), ["closed", 0]),
    (("parameters", "beta", "trainable"), "yes"),
    (("parameters", "beta", "initial"), 10**400),
    (("parameters", "beta", "initial"), True),
    (("notes",), None),
    (("paper",), "\ud800"),
    (("parameters", "beta", "initial"), "1e"),
])  # fmt: skip
def test_a_damaged_part_is_refused(where: tuple[str, ...], value: object, path: Path) -> None:
    actune.save(path, "swish")
    record = json.loads(path.read_text())
    inner = record
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="is damaged") as refused:
        actune.load(path)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_written_leaves_the_file_as_it_was(path: Path) -> None:
    actune.save(path, "swish")
    before = path.read_text()
    with pytest.raises(ValueError, match=r"parameter 'b' has the constraint .* cannot hold"):
        actune.save(path, Family("mine", actune.parse("b*x"), {"b": Param(2.0, constraints.half_open_interval(1, 3))}))
    with pytest.raises(ValueError, match="JSON"):
        actune.save(path, "relu", loss=float("nan"))
    with mock.patch.object(os, "replace", side_effect=OSError("disk full")), pytest.raises(OSError, match="disk full"):
        actune.save(path, "relu")
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]
