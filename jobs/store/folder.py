"""A store in a folder: local disk, or a network file system with hard links and flock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import AlreadyExists, Conflict, InputError, NotFound, OutOfReach
from jobs.store.protocol import Entry, Stored, Unfinished, checked_name, checked_prefix

_CHUNK = 1 << 20
_LOCKS = 64
_LASTING = {errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EROFS}
_HINTS = {
    errno.EACCES: "check who may read and write the folder",
    errno.EPERM: "the file system must allow hard links; choose another folder, or an s3:// store",
    errno.EOPNOTSUPP: "the file system must allow hard links; choose another folder, or an s3:// store",
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the quota is used up: free some space and run again",
    errno.EROFS: "the file system is mounted read-only",
    errno.ESTALE: "the network file system has lost the folder: mount it again",
    errno.EIO: "the disk reports an error",
}


class FolderStore:
    """Objects as files of a folder.

    A new object is written beside (`.part/`), flushed, then given its name by a hard link, which fails when the name is taken.
    Compare-and-swap happens under a lock file. The folder is made at the first write, readable by its owner alone.
    Bytes are flushed, names are not: a power cut may take the names given in the last seconds, and what has no name is made again.
    """

    def __init__(self, root: Path) -> None:
        """
        Raises:
            jobs.errors.InputError: the path is there and is not a folder.
        """
        self.root = Path(os.path.abspath(root.expanduser()))
        self.url = str(self.root)
        self._parts = self.root / ".part"
        place = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not place.is_dir():
            below = "" if place == self.root else f", so that {self.root} cannot be a folder below it"
            raise InputError(f"the store must be a folder or s3://bucket/prefix; {place} is a file{below}")

    def get(self, name: str) -> Stored:
        with _translated(name, self.url):
            data = self._path(name).read_bytes()
        return Stored(data, _tag(data))

    def chunks(self, name: str) -> Iterator[bytes]:
        with _translated(name, self.url), self._path(name).open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def size(self, name: str) -> int | None:
        try:
            with _translated(name, self.url):
                return os.stat(self._path(name)).st_size
        except NotFound:
            return None

    def list(self, prefix: str) -> Iterator[Entry]:
        folder = checked_prefix(prefix)
        with _translated(prefix, self.url), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield from _walk(str(self.root / folder), folder)

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        path = self._path(name)
        with _translated(name, self.url):
            part = self._write_part(data, durable)
            try:
                _link(part, path)
            finally:
                part.unlink(missing_ok=True)
        return _tag(data)

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        path = self._path(name)
        with _translated(name, self.url), self._locked(name):
            self._compare(path, name, tag)
            part = self._write_part(data, durable)
            os.replace(part, path)
        return _tag(data)

    def put_file(self, name: str, path: Path) -> None:
        target = self._path(name)
        with _translated(name, self.url):
            part = self._new_part()
            try:
                shutil.copyfile(path, part)
                _sync(part)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        source, target = self._path(name), self._path(to)
        with _translated(name, self.url), self._locked(name):
            _link(source, target)
            source.unlink(missing_ok=True)
            os.utime(target)  # its age is that of its name, as in a bucket

    def delete(self, name: str, tag: str | None = None) -> None:
        path = self._path(name)
        with contextlib.suppress(NotFound), _translated(name, self.url):
            if not path.exists():
                return
            with self._locked(name):
                if tag is not None and path.exists():
                    self._compare(path, name, tag)
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / checked_name(name)

    def _compare(self, path: Path, name: str, tag: str) -> None:
        try:
            now = _tag(path.read_bytes())
        except FileNotFoundError:
            raise Conflict(f"{name} is gone from {self.url}") from None
        if now != tag:
            raise Conflict(f"{name} in {self.url} changed since it was read")

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Holds off every other replace, move and delete of the name, by whatever process."""
        folder = self.root / ".lock"
        self._make(folder)
        number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % _LOCKS
        with (folder / f"{number:02d}").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write_part(self, data: bytes, durable: bool) -> Path:
        part = self._new_part()
        try:
            part.write_bytes(data)
            if durable:
                _sync(part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def _new_part(self) -> Path:
        """An empty file that no listing shows."""
        if not self._parts.exists():
            self._make(self._parts)
        handle, name = tempfile.mkstemp(dir=self._parts)
        os.close(handle)
        return Path(name)

    def _make(self, folder: Path) -> None:
        if not self.root.exists():
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True)

    def unfinished(self) -> Iterator[Unfinished]:
        """Files in `.part/`: what is being written, and what killed writers left."""
        with _translated(".part", self.url), contextlib.suppress(FileNotFoundError):
            for part in list(self._parts.iterdir()):
                with contextlib.suppress(FileNotFoundError):  # got its name while we look
                    found = part.stat()
                    yield Unfinished("", part.name, found.st_size, found.st_mtime)

    def abandon(self, found: Unfinished) -> None:
        with _translated(found.id, self.url):
            (self._parts / checked_name(found.id)).unlink(missing_ok=True)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _walk(folder: str, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted while we list
                now = entry.stat()
                yield Entry(prefix + entry.name, now.st_size, now.st_mtime)


@contextlib.contextmanager
def _translated(name: str, url: str) -> Iterator[None]:
    """Errors of the file system in the ledger's words."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise NotFound(f"the store {url} has no {name}") from None
    except FileExistsError:
        raise AlreadyExists(f"the store {url} has {name} already") from None
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "check the folder and run again")
        told = f"the store {url} cannot be used: {error.strerror or error} at {name}; {hint}"
        raise OutOfReach(told, passing=error.errno not in _LASTING) from error
