"""What stands for a class of activations in libraries that take one."""

import pytest
import torch
from torch import nn

from actune.integrations.timm import act_layer


class Block(nn.Module):
    """A block as timm and torchvision write them."""

    def __init__(self, activation: type[nn.Module]):
        super().__init__()
        self.conv, self.act, self.last = nn.Conv2d(3, 4, 1), activation(inplace=True), activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.act(self.conv(x)))


def test_a_block_gets_activations_of_its_own():
    block = Block(act_layer("swish", scope="channel", beta=2.0))
    block(torch.randn(2, 3, 5, 5)).sum().backward()
    assert block.act.channels == block.last.channels == 4
    assert block.act is not block.last
    torch.testing.assert_close(block.act.values()["beta"], torch.full((4,), 2.0))
    assert block.act.beta.grad is not None


def test_a_name_that_is_none_is_an_error_at_once():
    with pytest.raises(ValueError, match="unknown activation function 'swsh'"):
        act_layer("swsh")
