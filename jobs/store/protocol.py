"""What the ledger asks of a store. Any class with these methods is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from jobs.errors import InputError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
MAX_NAME = 900


@dataclass(frozen=True)
class Stored:
    """An object's bytes and the tag that `replace` and `delete` compare."""

    data: bytes
    tag: str


class Entry(NamedTuple):
    """One line of a listing: name, size in bytes, and when it got this name: seconds since 1970 by the store's own clock."""

    name: str
    size: int
    modified: float


class Unfinished(NamedTuple):
    """What a writer that was killed left in a store, in no listing: parts of an upload, or a file that has no name yet.

    Attributes:
        name: the object that was to be, where that is known.
        id: what `abandon` finds it by.
    """

    name: str
    id: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """Named, whole objects. Nobody ever sees half of one, and a conditional write has one winner.

    Every method raises `jobs.errors.OutOfReach` when the store cannot be used (unreachable, no permission, disk full) and
    `jobs.errors.InputError` for a name that is none.
    """

    url: str

    def get(self, name: str) -> Stored:
        """The whole object.

        Raises:
            jobs.errors.NotFound: no object of that name.
        """
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """The object's bytes in order, for objects that do not fit in memory.

        Raises:
            jobs.errors.NotFound: no object of that name.
        """
        ...

    def size(self, name: str) -> int | None:
        """Size in bytes; None when there is no such object."""
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """Objects whose names begin with the prefix (which ends in `/` or is empty), in any order."""
        ...

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        """Write a new object and return its tag.

        Args:
            durable: False when a power cut may take it, which is quicker on a disk.

        Raises:
            jobs.errors.AlreadyExists: somebody else was first; the object is unchanged.
        """
        ...

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        """Write over the object if it still carries the tag; return the new tag. `durable` as for `create`.

        Raises:
            jobs.errors.Conflict: the object changed or is gone.
        """
        ...

    def put_file(self, name: str, path: Path) -> None:
        """Write a file's bytes, whatever was there before. For names that say what the bytes are."""
        ...

    def move(self, name: str, to: str) -> None:
        """Give the object another name, which must be free.

        Raises:
            jobs.errors.NotFound: no object of that name, or another one by now.
            jobs.errors.AlreadyExists: the new name is taken.
        """
        ...

    def delete(self, name: str, tag: str | None = None) -> None:
        """Remove the object; with a tag, only if it still carries it. Removing what is not there is fine.

        Raises:
            jobs.errors.Conflict: the object carries another tag.
        """
        ...


@runtime_checkable
class KeepsUnfinished(Protocol):
    """A store that can tell what killed writers left. A port of its own: only `s2l gc` asks for it, and a store need not have it."""

    def unfinished(self) -> Iterator[Unfinished]:
        """What was begun and has no name yet, of living writers too: their age tells."""
        ...

    def abandon(self, found: Unfinished) -> None:
        """Remove it. One that is gone or finished by now is fine."""
        ...


def checked_name(name: str) -> str:
    """The name, if a store may use it: parts of letters, digits, `.`, `_`, `-`, joined by `/`; never `..`, never absolute.

    Raises:
        jobs.errors.InputError: it may not.
    """
    if len(name) > MAX_NAME or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise InputError(
            f"not a name for an object of the store: {name[:200]!r}; allowed are parts of letters, digits, '.', '_' and '-' "
            f"(none that begins with '.' or '-'), joined by '/', {MAX_NAME} characters at most"
        )
    return name


def checked_prefix(prefix: str) -> str:
    """The prefix, if it is empty or a name that ends in `/`."""
    if prefix and not (prefix.endswith("/") and checked_name(prefix[:-1])):
        raise InputError(f"a listing's prefix is empty or ends in '/'; got {prefix!r}")
    return prefix
