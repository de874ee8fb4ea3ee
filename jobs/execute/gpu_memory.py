"""How much memory the cluster's GPUs have: Ray knows how many there are, not how large."""

from __future__ import annotations

from typing import Any

ASK_S = 60.0


def smallest_gpu() -> int | None:
    """Bytes of the smallest GPU of all nodes that have any; None where torch finds none there, or a node does not answer in time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0)]
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_on_this_node)
    asked = [task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes]
    try:
        sizes = ray.get(asked, timeout=ASK_S)
    except ray.exceptions.RayError:
        return None
    return None if None in sizes else min(sizes, default=None)


def _on_this_node() -> int | None:
    import os

    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all from a task that takes none; nothing was imported yet that has looked
    import torch

    sizes = [torch.cuda.get_device_properties(place).total_memory for place in range(torch.cuda.device_count())]
    return min(sizes, default=None)
