"""Gradient checkpointing: activations are computed again on the way back instead of being kept. Less memory, more time, the same bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputing(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Networks of diffusers and transformers recompute their activations inside, and are as they were afterwards, to the attribute.

    transformers recomputes in training mode only. That mode is switched for the checkpointed layers themselves and not for what they hold,
    so that a network in eval mode gets no dropout by it.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    settings = {"gradient_checkpointing": True, "_gradient_checkpointing_func": partial(checkpoint, use_reentrant=False)}
    with ExitStack() as undo:
        for network in networks:
            for layer in network.modules():
                if hasattr(layer, "gradient_checkpointing"):
                    training = {"training": True} if isinstance(layer, GradientCheckpointingLayer) else {}
                    undo.callback(_put_back, layer, _set(layer, {**settings, **training}))
        yield


def _set(layer: nn.Module, values: dict[str, Any]) -> dict[str, Any]:
    """Set attributes; returns what the layer itself had, without those that it did not have."""
    before = {name: vars(layer)[name] for name in values if name in vars(layer)}
    for name, value in values.items():
        setattr(layer, name, value)
    return {name: before.get(name, _Absent) for name in values}


def _put_back(layer: nn.Module, before: dict[str, Any]) -> None:
    for name, value in before.items():
        if value is _Absent:
            delattr(layer, name)
        else:
            setattr(layer, name, value)


class _Absent:
    """Stands for an attribute that was not there."""
