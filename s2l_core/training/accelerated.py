"""Device, precision and optimiser of one fit, through accelerate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from s2l_core.randomness import generator
from s2l_core.specs.training import TrainSpec
from s2l_core.training.errors import NumericalFailure
from s2l_core.training.group import ALONE, Group, sum_gradients
from s2l_core.training.optimizers import optimizer_for


class Accelerated:
    """One fit's optimiser and precision. As a context manager it leaves no process-wide state of accelerate behind."""

    def __init__(self, parameters: Sequence[nn.Parameter], training: TrainSpec, device: str, group: Group = ALONE) -> None:
        """Make the optimiser of one of the group's processes.

        Raises:
            ValueError: nothing is trainable, or the precision or the optimiser does not go with the device.
        """
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self._parameters:
            raise ValueError(f"there is nothing to train: none of {len(parameters)} parameters requires a gradient")
        if training.precision == "fp16" and device == "cpu":
            raise ValueError("fp16 training needs a GPU; on a CPU use precision fp32 or bf16")
        self.group = group
        self._device = torch.device(device)
        self.optimizer = optimizer_for(self._parameters, training, self._device)
        self._accelerator = _accelerator(training, self._device)
        self._prepared = self._accelerator.prepare_optimizer(self.optimizer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.optimizer.zero_grad(set_to_none=True)  # a step that failed leaves half a gradient
        _forget_process_state()

    @property
    def loss_scale(self) -> dict[str, Any]:
        """The state of fp16's loss scaler; empty in other precisions."""
        scaler = self._accelerator.scaler
        return dict(scaler.state_dict()) if scaler else {}

    @loss_scale.setter
    def loss_scale(self, state: dict[str, Any]) -> None:
        if self._accelerator.scaler and state:
            self._accelerator.scaler.load_state_dict(state)

    def autocast(self) -> AbstractContextManager[None]:
        found: AbstractContextManager[None] = self._accelerator.autocast()
        return found

    @contextmanager
    def seeded(self, seed: int, step: int) -> Iterator[None]:
        """What still draws from torch's global generator (dropout) draws from a stream of (seed, step), and leaves no trace.

        Further processes of a fit have streams of their own: equal ones would give their examples equal masks.
        """
        rank = [self.group.rank] if self.group.rank else []
        devices = [] if self._device.type == "cpu" else [self._device]
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(generator("fit", "dropout", seed, step, *rank).initial_seed() % 2**63)
            yield

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def over_processes(self, value: float) -> float:
        """The sum of `value` over the fit's processes, whose gradients become the sum of all likewise."""
        return sum_gradients(self.group, self._parameters, value)

    def update(self, step: int, lr: float, clip_norm: float | None) -> float:
        """One optimiser step; returns the gradient's norm before clipping.

        Raises:
            NumericalFailure: the norm is not finite; no weight is changed. (fp16's scaler skips such a step instead.)
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        norm = float(self._accelerator.clip_grad_norm_(self._parameters, clip_norm if clip_norm is not None else float("inf")))
        if self._accelerator.scaler is None and not norm < float("inf"):
            raise NumericalFailure(
                f"the gradient's norm is {norm} at step {step}; try a lower learning rate (now {lr:g}) or fp32 precision"
            )
        self._prepared.step()
        self._prepared.zero_grad(set_to_none=True)
        return norm


def _accelerator(training: TrainSpec, device: torch.device) -> Any:
    """An Accelerator for this fit alone, whatever ran before it in this process.

    Left to itself accelerate joins a process group when it sees a launcher's variables (LOCAL_RANK, PMI_SIZE: Slurm and MPI set them for
    everything below them) and would wait there for peers that never come. The processes of a data-parallel fit sum their gradients
    themselves (docs/decisions/0018); to accelerate each is alone.
    """
    from accelerate import Accelerator
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    _forget_process_state()
    cpu = device.type == "cpu"
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        alone = {"distributed_type": DistributedType.NO, "num_processes": 1, "process_index": 0, "local_process_index": 0}
        PartialState._shared_state.update(_cpu=cpu, backend=None, device=device, debug=False, fork_launched=False, **alone)
    return Accelerator(mixed_precision={"fp32": "no"}.get(training.precision, training.precision), cpu=cpu)


def _forget_process_state() -> None:
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()
