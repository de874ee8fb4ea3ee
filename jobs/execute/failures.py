"""Which class a failure belongs to; the class decides what is tried again (docs/failures.md, docs/decisions/0016)."""

from __future__ import annotations

import errno

from jobs.errors import Corrupt, InputError, OutOfReach
from jobs.ledger.failures import ErrorClass

_TRANSIENT_ERRNO = {errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.EAGAIN, errno.EIO, errno.ENOSPC, errno.ESTALE}


def classify(error: BaseException) -> ErrorClass:
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
