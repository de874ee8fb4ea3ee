"""Which class an exception belongs to, and after which of them a process computes no more."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from jobs.errors import InputError
from jobs.worker.failures import classify, spoils_process

CPU = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: {} allocate memory: you tried to allocate 8796093022208 bytes."


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in the documentation"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("unable to mmap 1024 bytes from file </model>: Cannot allocate memory (12)"),
        RuntimeError(CPU.format("can't")),
    ],
)
def test_want_of_memory_is_known_by_whoever_says_so(error: Exception) -> None:
    assert classify(error) == "oom"
    assert not spoils_process(error)


def test_torchs_own_allocator_says_what_is_looked_for() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert classify(caught.value) == "oom"


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA driver error: an illegal memory access was encountered"),
        RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa)`"),
    ],
)
def test_after_a_fault_of_the_gpu_a_process_computes_no_more(error: Exception) -> None:
    assert spoils_process(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("boom"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        InputError("a trial is to take 1 GPUs, and torch finds none: CUDA error"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    ],
)
def test_other_errors_leave_the_process_whole(error: Exception) -> None:
    assert not spoils_process(error)
