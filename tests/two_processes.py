"""One step of training on this rank's part of a batch; all ranks together must do what one process does with the whole."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def rank_of(rank: int, world: int, file: str) -> Iterator[None]:
    """This process as one of several that talk over gloo."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    try:
        yield
        dist.barrier()  # who leaves while the other still talks may take it down
    finally:
        dist.destroy_process_group()


def assert_trained_as_alone(module: nn.Module, x: Tensor, wrapper: str, sharded: tuple[nn.Module, ...] = ()) -> None:
    """Train a copy with the whole batch, and the module, wrapped as ddp or fsdp, with its part; all parameters must agree.

    sharded   parts of the module that fsdp takes one by one before it
    """
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    alone = copy.deepcopy(module)
    if wrapper == "fsdp":
        for part in sharded:
            fully_shard(part)
    run: nn.Module = DistributedDataParallel(module) if wrapper == "ddp" else fully_shard(module)  # type: ignore[assignment]
    for model, part in ((run, x.chunk(dist.get_world_size())[dist.get_rank()]), (alone, x)):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model(part).square().mean().backward()
        optimizer.step()
    for name, p in module.named_parameters():
        full = p.full_tensor() if wrapper == "fsdp" else p
        torch.testing.assert_close(full, alone.get_parameter(name), rtol=1e-4, atol=1e-5)
