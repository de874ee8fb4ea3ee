"""The tree of errors a user can meet, and the exit code each ends with.

S2LError
├── InputError            2  bad grid, folder, model or option; the user must change something
│   └── GridError         2  a grid file that does not make sense
├── OutOfReach            4  store, cluster or (for sync) tracking cannot be reached
│   └── StoreLost         4  the store was waited for, for as long as the grid's policy says, and still does not answer
├── Interrupted         130  stopped by the user, resumable
└── LedgerError           4  what a store holds is not what it should be
    ├── NotFound             no object of that name
    ├── AlreadyExists        somebody else was first (conditional put)
    ├── Conflict             the object changed since it was read (compare-and-swap)
    └── Corrupt              bytes do not match their manifest; quarantined and computed again
"""

from __future__ import annotations

EXIT_DONE, EXIT_INPUT, EXIT_TRIALS_FAILED, EXIT_OUT_OF_REACH, EXIT_INTERRUPTED = 0, 2, 3, 4, 130


class S2LError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code = 1


class InputError(S2LError, ValueError):
    """The user's input cannot be used as it is; the message says what, got, allowed and next step."""

    exit_code = EXIT_INPUT


class GridError(InputError):
    """A grid file that does not make sense; the message names file and line or path."""


class OutOfReach(S2LError):
    """A store, a cluster or a tracking server does not answer.

    Attributes:
        passing: False where waiting cannot mend it, such as credentials that may not do what is asked.
    """

    exit_code = EXIT_OUT_OF_REACH

    def __init__(self, message: str = "", *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


class StoreLost(OutOfReach):
    """The store was waited for, and still does not answer; nobody need wait again."""


class Interrupted(S2LError):
    """The user stopped the run; running again goes on where it stopped."""

    exit_code = EXIT_INTERRUPTED


class LedgerError(S2LError):
    """Something in the store is not what it should be."""

    exit_code = EXIT_OUT_OF_REACH


class NotFound(LedgerError):
    """The store has no object of that name."""


class AlreadyExists(LedgerError):
    """A conditional put lost: the object is there already."""


class Conflict(LedgerError):
    """A compare-and-swap lost: the object changed since it was read."""


class Corrupt(LedgerError):
    """Stored bytes do not match their manifest."""


class Preempted(BaseException):
    """A worker was told that its machine is taken away. No error: what runs stops at a checkpoint and goes on elsewhere."""
