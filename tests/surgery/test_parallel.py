"""A model whose calls were rewritten trains on two processes as on one."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actune.surgery import swap


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.act = nn.Linear(3, 8), nn.Linear(8, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.down(F.gelu(self.up(x))))


def _train(rank: int, world: int, file: str, wrapper: str) -> None:
    """One step of SGD on this rank's part of a batch; both together must do what one process does with the whole."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    try:
        torch.manual_seed(0)
        model, x = nn.Sequential(Block(), Block()), torch.randn(4, 3)
        assert len(swap(model, "apalu", scope="channel", example=x).replaced) == 4
        alone = copy.deepcopy(model)
        if wrapper == "fsdp":
            for block in model:
                fully_shard(block)  # on the class with the rewritten method
        run = DistributedDataParallel(model) if wrapper == "ddp" else fully_shard(model)
        for trained, part in ((run, x.chunk(world)[rank]), (alone, x)):
            optimizer = torch.optim.SGD(trained.parameters(), 0.1)
            trained(part).square().mean().backward()
            optimizer.step()
        for name, p in model.named_parameters():
            full = p.full_tensor() if wrapper == "fsdp" else p
            torch.testing.assert_close(full, alone.get_parameter(name), rtol=1e-4, atol=1e-5)
        dist.barrier()  # who leaves while the other still talks may take it down
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_a_swapped_model_is_trained_by_two_processes(wrapper: str, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_train, (2, str(tmp_path / "rendezvous"), wrapper), nprocs=2)
