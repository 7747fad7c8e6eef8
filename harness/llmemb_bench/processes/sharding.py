"""A base that does not fit on one device, spread over all (FSDP): each layer is whole only while it computes."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from llmemb_bench.base.errors import SpecError


def shard(model: nn.Module, layers: Iterable[nn.Module], device: str) -> None:
    """Spread the frozen weights in place, layer by layer; trained ones (LoRA) stay whole in every process.
    Without LoRA it is a SpecError."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from llmemb_bench.processes.world import world

    trained = {weight for weight in model.parameters() if weight.requires_grad}
    if len(trained) == len(list(model.parameters())):
        raise SpecError(
            "full tuning of a sharded base is not supported",
            where="embeddings.encoder.full",
            fix="use lora, or start accelerate without FSDP",
        )
    for weight in trained:
        weight.data = weight.data.to(device)
    mesh = init_device_mesh(device.partition(":")[0], (world().size,))
    for part in (*layers, model):
        fully_shard(part, mesh=mesh, ignored_params=trained)
