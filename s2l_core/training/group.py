"""The processes of one data-parallel fit, as a value: who this one is, and how they sum and share tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from s2l_core.training.errors import GroupBroken

if TYPE_CHECKING:
    from torch import Tensor, nn

BUCKET_BYTES = 64 * 2**20
"""Tensors travel in pieces of about this size, so that what is added to the memory does not depend on the model."""


class Group(Protocol):
    """The processes of one fit. All of them call the same methods in the same order.

    Attributes:
        rank: of this process, from 0; rank 0 keeps checkpoints, companions and results.
        size: how many there are.
    """

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes the sum over all processes, the same bits in each.

        Raises:
            GroupBroken: another process is gone.
        """
        ...

    def broadcast_(self, tensor: Tensor) -> None:
        """The tensor becomes what it is in rank 0.

        Raises:
            GroupBroken: another process is gone.
        """
        ...


@dataclass(frozen=True)
class Alone:
    """A fit in one process."""

    rank: int = 0
    size: int = 1

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Nothing: the sum of one is itself."""

    def broadcast_(self, tensor: Tensor) -> None:
        """Nothing, likewise."""


ALONE = Alone()


class TorchGroup:
    """A group over one of torch's process groups (gloo or NCCL); whoever made that one ends it."""

    def __init__(self, backend: Any, device: str = "cpu") -> None:
        """Take the process group, and the device that its tensors must be on: the CPU for gloo, this process's GPU for NCCL."""
        self._backend = backend
        self._device = device
        self._rank, self._size = int(backend.rank()), int(backend.size())

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def size(self) -> int:
        return self._size

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        import torch

        with torch.no_grad():
            for bucket in _buckets(tensors):
                flat = torch.cat([tensor.flatten() for tensor in bucket]).to(self._device)
                self._wait(lambda backend, flat=flat: backend.allreduce([flat]))
                for tensor, part in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
                    tensor.copy_(part.view(tensor.shape))

    def broadcast_(self, tensor: Tensor) -> None:
        import torch

        with torch.no_grad():
            sent = tensor.contiguous().to(self._device)
            self._wait(lambda backend: backend.broadcast([sent], _from_rank_0()))
            tensor.copy_(sent)

    def leave(self) -> None:
        """Break the group: whoever waits in a sum, in this process or another, comes out with an error. A second time does nothing."""
        backend, self._backend = self._backend, None  # gloo closes its connections when nobody holds it any more
        if backend is not None:
            backend.abort()

    def _wait(self, begin: Any) -> None:
        try:
            if self._backend is None:
                raise RuntimeError("this process has left the group")
            begin(self._backend).wait()
        except RuntimeError as error:
            raise GroupBroken(
                f"process {self.rank + 1} of {self.size} of this fit cannot reach the others any more ({_first_line(error)}); one of them "
                "has ended or hangs"
            ) from error


def agreed(group: Group, flag: bool) -> bool:
    """What rank 0 says."""
    if group.size == 1:
        return flag
    import torch

    said = torch.tensor([float(flag)])
    group.broadcast_(said)
    return bool(said.item())


def sum_gradients(group: Group, parameters: Sequence[nn.Parameter], value: float) -> float:
    """The sum of `value` over all processes; every gradient becomes the sum over all processes.

    A parameter without a gradient anywhere stays without one: the optimiser passes it by, as it does in one process. One that has a
    gradient elsewhere alone (this process may have had no example) counts as zero here.
    """
    if group.size == 1:
        return value
    import torch

    there = torch.tensor([value, *(float(parameter.grad is not None) for parameter in parameters)], dtype=torch.float64)
    group.sum_([there])
    total, *counts = there.tolist()
    summed = [parameter for parameter, count in zip(parameters, counts, strict=True) if count]
    for parameter in summed:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    group.sum_([parameter.grad for parameter in summed if parameter.grad is not None])
    return float(total)


def share_files(group: Group, folder: Path, names: Sequence[str]) -> None:
    """Every process has rank 0's files in its folder."""
    if group.size == 1:
        return
    import torch

    for name in names:
        size = torch.tensor([(folder / name).stat().st_size if group.rank == 0 else 0])
        group.broadcast_(size)
        with (folder / name).open("rb" if group.rank == 0 else "wb") as file:
            for start in range(0, int(size), BUCKET_BYTES):
                length = min(BUCKET_BYTES, int(size) - start)
                data = bytearray(file.read(length)) if group.rank == 0 else bytearray(length)
                piece = torch.frombuffer(data, dtype=torch.uint8)
                group.broadcast_(piece)
                if group.rank:
                    file.write(piece.numpy().tobytes())


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, in lists of one type and of a limited size each."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        more = tensor.numel() * tensor.element_size()
        if bucket and (size + more > BUCKET_BYTES or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += more
    if bucket:
        yield bucket


def _from_rank_0() -> Any:
    from torch.distributed import BroadcastOptions

    options = BroadcastOptions()
    options.rootRank = options.rootTensor = 0
    return options


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
