"""What MLflow's answers mean to those who write to it: later, or never."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.tracker.location import shown

_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_CONFLICT")


class Unreachable(Exception):
    """MLflow does not answer, or not in time; the same call may work later."""


class Refused(Exception):
    """MLflow answers and does not want what it was sent; sending it again would not help."""


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Whatever goes wrong inside is `Refused` when MLflow says that the request is at fault, and `Unreachable` otherwise."""
    try:
        yield
    except (Refused, Unreachable):
        raise
    except Exception as error:
        text = f"{shown(uri)}: {_first_line(error)}"
        if getattr(error, "error_code", None) in _REFUSALS:
            raise Refused(text) from error
        raise Unreachable(text) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
