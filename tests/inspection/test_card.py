"""The card of a model: each place with its function, its learned values, and what it sees."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

import actune
from actune import Activation, card, read_card
from actune.cli import main
from actune.inspection.identity import identified
from actune.inspection.inputs import InputRecord

NETS = """
import torch.nn.functional as F
from torch import nn
import actune

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.act, self.outer = nn.Linear(3, 4), actune.Activation("swish", scope="channel", channels=4), nn.Linear(4, 2)
    def forward(self, x):
        return F.gelu(self.outer(self.act(self.inner(x))))

net = Net()
number = 3
"""


class Net(nn.Module):
    """A gate, a module that works in place, a function, and a module that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
        self.act, self.inplace, self.gate, self.idle = (
            Activation("swish", scope="channel", channels=4),
            nn.ReLU(True),
            nn.Sigmoid(),
            nn.ELU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.inplace(self.act(self.convolution(x)))
        x = self.head(x.mean((2, 3)))
        return F.gelu(x) * self.gate(x)


def test_each_place_in_the_order_of_its_calls_with_what_it_is() -> None:
    found = card(Net(), torch.randn(8, 1, 6, 6))
    assert [(c.names, c.function.partition("(")[0], c.scope) for c in found.activations] == [
        (("act",), "swish", "channel"), (("inplace",), "ReLU", None), (("",), "gelu", None), (("gate",), "Sigmoid", None),
        (("idle",), "ELU", None),
    ]  # fmt: skip
    assert [c.formula for c in found.activations[1:]] == [actune.family(f).text for f in ("relu", "gelu", "sigmoid", "elu")]
    assert [bool(c.gate) for c in found.activations] == [False, False, False, True, False]
    assert found.activations[-1].inputs is None
    assert (found.model, found.batches) == ("Net", 1)


def test_learned_values_are_those_that_the_formula_sees() -> None:
    model = Net()
    with torch.no_grad():
        model.act.beta.copy_(torch.tensor([0.5, 2.0, 3.0, -1.0]))
    values = card(model).activations[0].parameters["beta"]
    assert (values.count, values.low, values.high, values.initial, values.learns) == (4, -1.0, 3.0, (1.0,), True)
    assert values.values == (0.5, 2.0, 3.0, -1.0)
    positive = Activation("sau", n=3.0)  # is stored as its logarithm
    (entry,) = card(positive).activations
    assert float(positive.n.detach()) != 3.0
    assert entry.parameters["n"].median == pytest.approx(3.0, rel=1e-6)


def test_a_constraint_that_no_file_holds_takes_only_the_record() -> None:
    odd = actune.Family("odd", actune.parse("a*x"), {"a": actune.Param(1.0, constraints.half_open_interval(0, 2))})
    (entry,) = card(Activation(odd), torch.randn(3, 2)).activations
    assert entry.record is None
    assert entry.parameters["a"].median == pytest.approx(1.0)


def test_inputs_over_several_batches_are_those_of_all_of_them_together() -> None:
    torch.manual_seed(0)
    batches = [5 * torch.randn(50, 7) - 1, torch.randn(20, 7), torch.full((3, 7), 4.0)]
    (entry,) = card(nn.Sequential(nn.Identity(), nn.Softplus()), batches).activations
    inputs, every = entry.inputs, torch.cat(batches).double()
    assert inputs is not None
    slopes = every.sigmoid()
    assert (inputs.count, inputs.infinite, inputs.units, inputs.dead) == (511, 0, 7, 0.0)
    assert (inputs.low, inputs.high) == (float(every.min()), float(every.max()))
    assert inputs.mean == pytest.approx(float(every.mean()), rel=1e-12)
    assert inputs.deviation == pytest.approx(float(every.std(correction=0)), rel=1e-12)
    assert inputs.saturated == pytest.approx(float((slopes < 0.01).double().mean()), abs=1e-3)
    assert 0.02 < inputs.saturated < 0.2
    assert sum(inputs.counts) == pytest.approx(511, abs=2)


def test_a_histogram_has_the_shape_of_the_inputs_also_after_thinning() -> None:
    record, draw = InputRecord(), torch.Generator().manual_seed(1)
    for _ in range(6):  # more than is kept
        record.add(torch.randn(400, 128, generator=draw), -1, torch.tanh)
    found = record.summary()
    low, high = found.edges
    assert (low, high) == pytest.approx((-3.09, 3.09), abs=0.2)
    centres = np.linspace(low, high, len(found.counts) + 1)[:-1] + (high - low) / len(found.counts) / 2
    density = np.array(found.counts) / sum(found.counts) / (high - low) * len(found.counts)
    assert np.abs(density - np.exp(-(centres**2) / 2) / math.sqrt(2 * math.pi)).max() < 0.04


def test_dead_units_are_those_that_no_input_reaches() -> None:
    layer = nn.Linear(2, 4)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.copy_(torch.tensor([0.0, -100.0, 5.0, -100.0]))
    (entry,) = card(nn.Sequential(layer, nn.ReLU()), torch.randn(64, 2)).activations
    assert entry.inputs is not None
    assert (entry.inputs.units, entry.inputs.dead) == (4, 0.5)
    assert entry.inputs.saturated is not None
    assert 0.5 < entry.inputs.saturated < 0.95


def test_a_unit_that_one_batch_reaches_is_alive() -> None:
    batches = [torch.tensor([[1.0, -1.0, -1.0]]), torch.tensor([[-1.0, 1.0, -1.0]])]
    (entry,) = card(nn.Sequential(nn.ReLU()), batches).activations
    assert entry.inputs is not None
    assert entry.inputs.dead == pytest.approx(1 / 3)


def test_every_batch_counts_alike_in_the_histogram() -> None:
    record = InputRecord()
    for i in range(12):  # of 40,000 numbers each, more than is kept
        record.add(torch.full((400, 100), float(i >= 3)), -1, torch.tanh)
    counts = record.summary().counts
    assert counts[-1] / sum(counts) == pytest.approx(0.75, abs=0.01)


def test_numbers_that_are_infinite_or_nan_are_counted_and_change_nothing_else() -> None:
    x = torch.tensor([[1.0, math.inf], [math.nan, 2.0]])
    (entry,) = card(nn.Sequential(nn.SiLU()), [x, torch.full((2, 2), math.nan)]).activations
    assert entry.inputs is not None
    assert (entry.inputs.count, entry.inputs.infinite, entry.inputs.low, entry.inputs.high, entry.inputs.mean) == (
        8,
        6,
        1.0,
        2.0,
        1.5,
    )
    (entry,) = card(nn.Sequential(nn.SiLU()), torch.full((2, 2), math.nan)).activations
    assert entry.inputs is not None
    assert (entry.inputs.low, entry.inputs.counts) == (None, ())
    act = Activation("swish")
    with torch.no_grad():
        act.beta.fill_(math.nan)
    json.dumps(card(act).to_json(), allow_nan=False)


def test_the_model_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), Activation("apalu")).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        there = model.eval()[1](model[0](torch.ones(5, 3)))
    (seen,) = card(model.train(), torch.ones(5, 3)).activations
    assert seen.inputs is not None
    assert seen.inputs.high == float(there.max())  # in evaluation: no dropout, and the statistics of the training
    state = torch.get_rng_state()
    card(model, [torch.randn(5, 3, generator=torch.Generator().manual_seed(0))])
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("batches", [
    torch.randn(4, 3), [torch.randn(4, 3)], [(torch.randn(4, 3),)], [{"input": torch.randn(4, 3)}], {"input": torch.randn(4, 3)},
    [[torch.randn(4, 3), torch.zeros(4)]], iter([torch.randn(4, 3)]),
])  # fmt: skip
def test_batches_come_as_people_have_them(batches: Any) -> None:
    found = card(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), batches) if not _is_named(batches) else card(_Named(), batches)
    assert found.batches == 1
    assert found.activations[0].inputs is not None
    assert found.activations[0].inputs.count == 16


def _is_named(batches: Any) -> bool:
    return isinstance(batches, dict) or (isinstance(batches, list) and isinstance(batches[0], dict))


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(3, 4), nn.ReLU()

    def forward(self, *, input: Tensor) -> Tensor:
        return self.act(self.layer(input))


def test_recurrent_layers_of_ours_show_their_gates_and_those_of_torch_a_note() -> None:
    model = nn.Sequential(nn.LSTM(3, 4))
    assert "0 (LSTM): its functions run inside of torch" in card(model).notes
    actune.swap(model, {"gate": "zorro_sigmoid"}, where=nn.LSTM)
    found = card(model, torch.randn(5, 2, 3))
    assert found.notes == ()
    assert {c.function for c in found.activations} == {"zorro_sigmoid", "tanh"}
    assert all(c.inputs is not None for c in found.activations)


@pytest.mark.parametrize("name", ["relu", "silu", "gelu", "tanh", "mish", "hardswish", "softsign", "selu", "sigmoid"])
def test_functions_are_known_by_their_values(name: str) -> None:
    assert identified(name, getattr(F, name)) == actune.family(name).text
    assert identified("f", lambda x: getattr(F, name)(x) + 1e-4) is None


def test_a_function_that_wants_another_shape_is_not_known() -> None:
    assert identified("prelu", nn.PReLU(5)) is None
    assert identified("f", lambda x: None) is None


# -- files and the command line ----------------------------------------------------------------------------------------------


def test_a_card_comes_back_from_its_file(tmp_path: Path) -> None:
    found = card(Net(), torch.randn(8, 1, 6, 6))
    found.save(tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == found


def damaged(change: Any) -> str:
    data = card(Net(), torch.randn(8, 1, 6, 6)).to_json()
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no card that `actune card` wrote"),
        ("[]", 'has no "actune_card"'),
        ("[" * 100_000, "is no card that `actune card` wrote"),
        (damaged(lambda d: d.pop("batches")), "the card has no 'batches'"),
        (damaged(lambda d: d.update(extra=1)), "the card has an unknown 'extra'"),
        (damaged(lambda d: d.update(batches=True)), "batches must be a whole number, got True"),
        (
            damaged(lambda d: d["activations"][0]["inputs"].update(mean="x")),
            r"activations\[0\].inputs.mean must be a finite number, got 'x'",
        ),
        (damaged(lambda d: d["activations"][0]["inputs"].update(mean=10**400)), "mean must be a finite number, got an integer of"),
        (damaged(lambda d: d["activations"][0].update(names="act")), r"activations\[0\].names must be a list, got 'act'"),
        (damaged(lambda d: d["activations"][0]["record"].update(tree=["nix"])), "the function of 'act' is damaged"),
    ],
)
def test_a_damaged_card_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_card(tmp_path / "card.json")
    assert "\n" not in str(caught.value)


def ran(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["actune", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_the_command_shows_and_writes_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "nets_of_test.py"
    source.write_text(NETS)
    torch.save({f"{k}": torch.full_like(v, 2.0) for k, v in _net(source).state_dict().items()}, tmp_path / "state.pt")
    torch.save((torch.randn(8, 3),), tmp_path / "batch.pt")
    np.save(tmp_path / "batch.npy", np.ones((2, 3), np.float32))
    given = (f"{source}:Net", "--state", tmp_path / "state.pt", "--input", tmp_path / "batch.pt", "--input", tmp_path / "batch.npy")
    code, text, error = ran(capsys, monkeypatch, "card", *given, "-o", tmp_path / "card.json")
    assert (code, error) == (0, "")
    assert "swish" in text
    assert "beta 2" in text
    assert "on 2 batches" in text
    found = read_card(tmp_path / "card.json")
    assert [c.inputs.count for c in found.activations if c.inputs] == [40, 20]
    code, again, _ = ran(capsys, monkeypatch, "card", tmp_path / "card.json")
    assert code == 0
    assert again in text
    code, printed, _ = ran(capsys, monkeypatch, "card", f"{source}:net", "--json")
    assert json.loads(printed)["activations"][0]["function"] == "swish"


def _net(source: Path) -> nn.Module:
    from actune.inspection.models import read_model

    return read_model(f"{source}:net")


def test_a_folder_of_transformers_is_read_with_what_was_swapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=30
    )
    model = transformers.BertModel(config)
    actune.swap(model, "apalu")
    model.save_pretrained(tmp_path / "bert")
    torch.save({"input_ids": torch.arange(12).reshape(2, 6)}, tmp_path / "batch.pt")
    code, printed, _ = ran(capsys, monkeypatch, "card", tmp_path / "bert", "--input", tmp_path / "batch.pt", "--json")
    assert code == 0
    entries = json.loads(printed)["activations"]
    assert [e["function"] for e in entries].count("apalu") == 2
    assert all(e["inputs"]["count"] == 2 * 6 * 24 for e in entries if e["function"] == "apalu")


def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "nets_of_test.py"
    source.write_text(NETS)
    torch.save(nn.Linear(2, 2), tmp_path / "pickled.pt")
    torch.save({"x": torch.ones(1)}, tmp_path / "other.pt")
    (tmp_path / "card.json").write_text("{}")
    for given, said in (
        (("nix.pt",), "MODEL is 'nix.pt'; give FILE.py:NAME"),
        ((tmp_path / "pickled.pt",), "give FILE.py:NAME"),
        (("no_such_module:net",), "there is no module 'no_such_module'"),
        ((f"{tmp_path}/nix.py:net",), "there is no file"),
        ((f"{source}:nix",), "has no 'nix'"),
        ((f"{source}:number",), "gives 3; let it be a torch.nn.Module"),
        ((tmp_path,), "is no folder of save_pretrained"),
        ((f"{source}:net", "--state", tmp_path / "other.pt"), "does not fit the model"),
        ((f"{source}:net", "--state", tmp_path / "pickled.pt"), "holds objects that may run code"),
        ((f"{source}:net", "--input", tmp_path / "pickled.pt"), "holds objects that may run code"),
        ((f"{source}:net", "--input", tmp_path / "nix.pt"), "there is no file"),
        ((f"{source}:net", "-o", tmp_path / "card.txt"), "--output must name a .json file"),
        ((tmp_path / "card.json", "--input", tmp_path / "other.pt"), "leave out --state and --input"),
        ((tmp_path / "card.json",), 'has no "actune_card"'),
    ):
        code, _, error = ran(capsys, monkeypatch, "card", *given)
        assert (code, error.count("\n")) == (2, 1), (given, error)
        assert said in error, (given, error)
