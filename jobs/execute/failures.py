"""Which class a failure belongs to; the class decides what is tried again (docs/decisions/0003)."""

from __future__ import annotations

import errno
from typing import Literal

from jobs.errors import Corrupt, InputError, OutOfReach

FailureClass = Literal["preempted", "transient", "oom", "numerical", "configuration", "data", "unknown", "blocked"]

_TRANSIENT_ERRNO = {errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.EAGAIN, errno.EIO, errno.ENOSPC, errno.ESTALE}


def classify(error: BaseException) -> FailureClass:
    """The class of an exception raised by a stage."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names or "can't allocate memory" in str(error):
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


def retries(failure_class: FailureClass) -> int:
    """How often a stage that failed in this class is tried again within one run."""
    return {"transient": 3, "oom": 3, "numerical": 1}.get(failure_class, 0)
