"""Which class a failure belongs to; the class decides what is tried again (docs/failures.md, docs/decisions/0016)."""

from __future__ import annotations

import errno
import re
import socket
import traceback
from dataclasses import asdict
from typing import Any

from jobs.errors import Corrupt, InputError, OutOfReach
from jobs.execute.losses import Verdict
from jobs.execute.queue import Outcome
from jobs.ledger.failures import ErrorClass
from jobs.secrets import scrub

_TRANSIENT_ERRNO = {errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.EAGAIN, errno.EIO, errno.ENOSPC, errno.ESTALE}
_NO_MEMORY = re.compile(r"[Cc]an(?:'t|not) allocate memory|CUDA(?: driver)?(?: error:)? out of memory|_STATUS_ALLOC_FAILED")
"""What allocators say that raise no error of their own: torch's on the CPU, CUDA, cuBLAS, cuDNN."""
_GPU_FAULT = re.compile(r"CUDA (?:driver )?error|Triton Error \[CUDA\]|cuDNN error|\b(?:CUBLAS|CUDNN|CUFFT|CUSOLVER|CUSPARSE)_STATUS_")
_REFUSED = re.compile(r"no kernel image is available|invalid (?:argument|configuration argument|device ordinal|device function)")
"""A launch that CUDA refused, after which it works as before."""


class WorkerOver(Exception):
    """This process cannot go on: it ends, and its unit begins again in another, as after any worker's death."""


def classify(error: BaseException) -> ErrorClass:
    """The class of an exception raised by a stage."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names or _NO_MEMORY.search(str(error)):
        return "oom"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "oom"
    if names & {"NumericalFailure", "FloatingPointError"}:
        return "numerical"
    if isinstance(error, OutOfReach | ConnectionError | TimeoutError):
        return "transient"
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO:
        return "transient"
    if isinstance(error, Corrupt):
        return "data"
    if isinstance(error, InputError | ValueError | NotImplementedError):
        return "configuration"
    return "unknown"


def spoils_process(error: BaseException) -> bool:
    """Whether the process can compute no more: after an illegal access, a failed launch or a broken memory cell CUDA answers every further
    call of the process with that error."""
    text = str(error)
    return isinstance(error, RuntimeError) and classify(error) != "oom" and bool(_GPU_FAULT.search(text)) and not _REFUSED.search(text)


def verdict_on(error: Exception, stage: str = "") -> dict[str, Any]:
    """What a worker tells the driver of an error outside of its stages, for a record like any other; free of this host's secrets."""
    trace = scrub("".join(traceback.format_exception(error)))
    return asdict(Verdict(classify(error), _text(error), stage, socket.gethostname(), trace))


def not_made(error: Exception) -> Outcome:
    """What became of a unit whose worker could not be made."""
    if isinstance(error, InputError):
        return Outcome(wrong=f"a worker on {socket.gethostname()} cannot begin: {_text(error)}")
    if isinstance(error, OutOfReach):
        return Outcome(unreached=_text(error))
    return Outcome(broken=verdict_on(error))


def _text(error: Exception) -> str:
    return scrub(str(error).strip() or type(error).__name__)
