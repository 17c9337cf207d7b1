"""The transformer of characters: nanoGPT's number of parameters, and that no place sees a later one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from actune import Activation
from actune.experiments.models.factory import HIDDEN
from actune.experiments.models.transformer import FEED_FORWARD, character_transformer

SMALL = {"symbols": 11, "length": 12, "width": 16, "depth": 2, "heads": 2}


def gelu(width: int, dim: int = -1, place: str = HIDDEN) -> nn.Module:
    return nn.GELU()


def test_the_number_of_parameters_is_that_of_nanogpt():
    """Its config/train_shakespeare_char.py prints 10.65M, which leaves out the 256 × 384 of places; the optimizer sees 10,740,096
    in matrices and 4,992 in the scales of normalisation."""
    with torch.device("meta"):
        model = character_transformer(gelu)
    sizes = [(p.dim(), p.numel()) for p in model.parameters()]
    assert sum(n for dim, n in sizes if dim == 2) == 10_740_096
    assert sum(n for dim, n in sizes if dim == 1) == 4_992
    assert f"{(sum(n for _, n in sizes) - 256 * 384) / 1e6:.2f}M" == "10.65M"


def test_each_block_has_its_activation_inside():
    made = []

    def factory(width: int, dim: int = -1, place: str = HIDDEN) -> nn.Module:
        assert (width, dim, place) == (64, -1, FEED_FORWARD)
        made.append(Activation("swish", scope="channel", channels=width, dim=dim))
        return made[-1]

    model = character_transformer(factory, bias=True, **SMALL)
    assert len(made) == 2
    scores = model(torch.randint(11, (3, 12)))
    assert scores.shape == (3, 12, 11)
    scores.logsumexp(-1).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_no_place_sees_a_later_one():
    torch.manual_seed(0)
    model, x = character_transformer(gelu, **SMALL), torch.randint(11, (4, 12))
    changed = x.clone()
    changed[:, 7] = (x[:, 7] + 1) % 11
    before, after = model(x), model(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert all(not torch.allclose(before[:, i], after[:, i], atol=1e-5, rtol=0) for i in range(7, 12))
    torch.testing.assert_close(model(x[:, :5]), before[:, :5])


def test_it_learns_to_repeat_what_was_two_places_before():
    """Needs attention and positions: the next symbol is the one before the current one."""
    torch.manual_seed(0)
    model = character_transformer(gelu, **SMALL)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        x = torch.randint(11, (32, 2)).repeat(1, 6)
        loss = nn.functional.cross_entropy(model(x[:, :-1])[:, 1:].flatten(0, 1), x[:, 2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


def test_what_is_added_begins_smaller_in_deep_networks():
    """Deviations of nanoGPT: 0.02, and 0.02/√(2 · depth) for the two layers of a block whose outputs are added."""
    torch.manual_seed(0)
    model = character_transformer(gelu, width=64, depth=8, heads=2)
    deviations = {round(m.weight.std().item(), 3) for m in model.modules() if isinstance(m, nn.Linear)}
    assert deviations == {0.02, 0.005}


def test_long_inputs_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^length must be at least that of the input, 13, got 12$"):
        character_transformer(gelu, **SMALL)(torch.zeros(1, 13, dtype=torch.long))
