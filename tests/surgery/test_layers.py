"""LSTM and GRU layers of torch, replaced by layers whose gates and cells take any function."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from actune import Activation
from actune.recurrent import GRU, LSTM
from actune.surgery import restore, swap

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}
OPTIONS = [
    {}, {"num_layers": 2, "batch_first": True}, {"bidirectional": True, "num_layers": 2}, {"bias": False},
    {"num_layers": 3, "dropout": 0.5, "batch_first": True, "bidirectional": True},
]  # fmt: skip


class Tagger(nn.Module):
    def __init__(self, kind: str, **options: object):
        super().__init__()
        self.body = KINDS[kind](3, 5, **options)
        self.body.flatten_parameters()

    def forward(self, x: Tensor, state: object = None) -> object:
        return self.body(x) if state is None else self.body(x, state)


def first_state(kind: str, layer: nn.RNNBase, n: int) -> object:
    shape = (layer.num_layers * (1 + layer.bidirectional), *([n] if n else []), 5)
    h, c = torch.randn(2, *shape, dtype=torch.float64)
    return (h, c) if kind == "lstm" else h


def assert_close(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_with_sigmoid_and_tanh_nothing_changes(kind, options):
    torch.manual_seed(0)
    model = Tagger(kind, **options).double().eval()
    x, alone = torch.randn(4, 6, 3).double(), torch.randn(6, 3).double()
    n = 4 if options.get("batch_first") else 6
    state, single = first_state(kind, model.body, n), first_state(kind, model.body, 0)
    before = model(x), model(x, state), model(alone), model(alone, single)
    keys, ids = list(model.state_dict()), [id(p) for p in model.parameters()]
    report = swap(model, {"gate": "sigmoid"})
    assert isinstance(model.body, LSTM if kind == "lstm" else GRU)
    for found, expected in zip((model(x), model(x, state), model(alone), model(alone, single)), before, strict=True):
        assert_close(found, expected)
    assert (list(model.state_dict()), [id(p) for p in model.parameters()]) == (keys, ids)
    old = model.body
    restore(model, report)
    assert type(model.body) is KINDS[kind] is not type(old)
    assert_close(model(x), before[0])


def test_dropout_between_layers_is_torchs():
    torch.manual_seed(0)
    model = Tagger("lstm", num_layers=2, dropout=0.5, batch_first=True).double()
    x = torch.randn(64, 6, 3).double()
    swap(model, {"cell": "tanh"})
    outputs = torch.stack([model(x)[0] for _ in range(2)])
    assert not torch.equal(outputs[0], outputs[1])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_functions_by_place_learn_and_are_saved(kind):
    model = Tagger(kind, num_layers=2, bidirectional=True, batch_first=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    report = swap(model, {"gate": "zorro_sigmoid", "cell": "x*sigmoid(b*x); b=1"}, scope="channel", optimizer=optimizer)
    (replaced,) = report.replaced
    assert replaced.names == ("body",)
    assert replaced.new.startswith(f"{kind.upper()}(gate=zorro_sigmoid, cell=x*sigmoid(b*x); b=1")
    acts = [m for m in model.modules() if isinstance(m, Activation) and m.family.params]
    assert {m.channels for m in acts} == ({15, 5} if kind == "lstm" else {10, 5})
    assert replaced.parameters == sum(p.numel() for m in acts for p in m.parameters())
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    x = torch.randn(4, 6, 3)
    model(x)[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x)[0], model(x)[0])
    restore(model, report)
    assert len([p for group in optimizer.param_groups for p in group["params"]]) == len(list(model.parameters()))


def test_what_such_a_layer_cannot_do_is_said():
    model = nn.ModuleList([nn.LSTM(3, 5, proj_size=2), nn.RNN(3, 5), nn.LSTM(3, 5)])
    report = swap(model, {"cell": "swish"})
    assert [r.names for r in report.replaced] == [("2",)]
    assert [(k.name, k.reason) for k in report.skipped] == [
        ("0", "proj_size=2 is not known to this layer; keep torch's"),
        ("1", "only LSTM and GRU have a layer here that takes functions"),
    ]
    packed = pack_padded_sequence(torch.randn(4, 2, 3), [4, 3])
    with pytest.raises(TypeError, match="the input is a PackedSequence; pad it"):
        model[2](packed)
    with pytest.raises(ValueError, match=r"act names the place 'gates'; did you mean 'gate'\?"):
        swap(nn.LSTM(2, 2), {"gates": "swish"})
    with pytest.raises(ValueError, match=r"the model has no LSTM or GRU layer, whose places act names"):
        swap(nn.Linear(2, 2), {"gate": "swish"})
    with pytest.raises(ValueError, match=r"no LSTM or GRU layer that where='b\*' means"):
        swap(model, {"gate": "swish"}, where="b*")


@pytest.mark.parametrize("where", ["0", nn.LSTM, [nn.LSTM], lambda name, module: name == "0"])
def test_where_chooses_layers(where):
    model = nn.ModuleList([nn.LSTM(3, 5), nn.GRU(3, 5)])
    swap(model, {"cell": "swish"}, where=where)
    assert [type(m) for m in model] == [LSTM, nn.GRU]


def test_a_later_swap_keeps_the_gates():
    model = Tagger("lstm", batch_first=True)
    swap(model, {"cell": "mish"})
    report = swap(model, "apalu", example=torch.randn(2, 4, 3))
    assert [r.names for r in report.replaced] == [("body.cells.0",)]
    assert {k.name for k in report.gates} == {"body.gates.0", "body.outputs.0"}
    restore(model, report)
    assert [k.name for k in swap(model, "apalu").gates] == ["body.gates.0"]


def test_default_means_the_places_that_are_not_named():
    model = nn.Sequential(nn.LSTM(3, 4))
    swap(model, {"gate": "hardsigmoid", "default": "softsign"})
    assert [str(model[0].activation(place).family) for place in ("gate", "cell", "output")] == [
        "hardsigmoid",
        "softsign",
        "softsign",
    ]
