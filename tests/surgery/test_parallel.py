"""A model whose calls were rewritten trains on two processes as on one."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from two_processes import assert_trained_as_alone, rank_of

from actune.surgery import swap


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.act = nn.Linear(3, 8), nn.Linear(8, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.down(F.gelu(self.up(x))))


def _train(rank: int, world: int, file: str, wrapper: str) -> None:
    with rank_of(rank, world, file):
        torch.manual_seed(0)
        model, x = nn.Sequential(Block(), Block()), torch.randn(4, 3)
        assert len(swap(model, "apalu", scope="channel", example=x).replaced) == 4
        assert_trained_as_alone(model, x, wrapper, sharded=tuple(model))  # each block has a class with a rewritten method


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_a_swapped_model_is_trained_by_two_processes(wrapper: str, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_train, (2, str(tmp_path / "rendezvous"), wrapper), nprocs=2)
