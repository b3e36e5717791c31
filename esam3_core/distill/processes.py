# SPDX-License-Identifier: Apache-2.0
"""Processes and devices of a run: this one alone, or those that `torchrun` started, on one machine or many."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import nn

from esam3_core.config_fit import FitConfig


def make_fabric(config: FitConfig, device: str = "auto") -> Fabric:
    """Join the processes that `torchrun` started; without it, be the only one.

    Args:
        config: precision, and how weights are shared between processes.
        device: auto, cpu or cuda.
    """
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    processes, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    strategy: Strategy | str = "auto"
    if processes > 1:
        strategy = DDPStrategy(find_unused_parameters=True) if config.strategy == "ddp" else _sharding(processes)
    fabric = Fabric(
        accelerator=device,
        devices=local if processes > 1 else 1,
        num_nodes=max(1, processes // local),
        strategy=strategy,
        precision=config.precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def _sharding(processes: int) -> ModelParallelStrategy:
    """Every process holds a share of each weight of the student (ZeRO-3; torch's `fully_shard`)."""
    from torch.distributed.fsdp import fully_shard

    def share(module: nn.Module, mesh: Any) -> nn.Module:
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # no other can be shared out
        single = {p for p in module.parameters() if p.ndim == 0 or not p.numel()}  # fully_shard cannot share these out
        fully_shard(module, mesh=mesh["data_parallel"], ignored_params=single)
        for parameter in single:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(_average_gradient)
        return module

    return ModelParallelStrategy(parallelize_fn=share, data_parallel_size=processes, tensor_parallel_size=1)


def _average_gradient(parameter: torch.Tensor) -> None:
    """Mean of a gradient over all processes."""
    assert parameter.grad is not None
    torch.distributed.all_reduce(parameter.grad)
    parameter.grad /= torch.distributed.get_world_size()


def from_all(fabric: Fabric, value: torch.Tensor) -> torch.Tensor:
    """The vector [n] of every process, on the CPU: [processes, n]."""
    gathered = fabric.all_gather(value)
    assert isinstance(gathered, torch.Tensor)
    return gathered.reshape(fabric.world_size, -1).cpu()


def clip_gradients(parameters: list[nn.Parameter], limit: float) -> torch.Tensor:
    """Scale gradients so that their norm is at most `limit`, in place; returns the norm before, a scalar.

    torch's own `clip_grad_norm_` takes either whole gradients or shared out ones, and a student has both.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [[g for g in gradients if hasattr(g, "full_tensor") is shared_out] for shared_out in (True, False)]
    norms = [whole(nn.utils.get_total_norm(part)) for part in parts if part]
    total: torch.Tensor = norms[0] if len(norms) == 1 else torch.stack(norms).norm()
    share = float((limit / (total + 1e-6)).clamp(max=1.0))
    for gradient in gradients:
        gradient.mul_(share)
    return total


def whole(value: Any) -> Any:
    """Tensors that are shared out between processes as whole ones, in nested dicts and lists; all processes call it."""
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, torch.Tensor) and hasattr(value, "full_tensor"):
        return value.full_tensor()
    return value


def shared(state: dict[str, torch.Tensor], like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The opposite of `whole`: tensors shared out between processes as those of the same name are."""
    return {name: _shared(value, like[name]) if name in like else value for name, value in state.items()}


def shared_moments(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state with each tensor shared out as the parameter it belongs to."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments = {
        index: {
            name: _shared(value, parameters[index]) if value.shape == parameters[index].shape else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    return {**state, "state": moments}


def _shared(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
