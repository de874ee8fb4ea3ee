"""Processes that outlive the one that started them, and are found again by their number and their command line."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def spawn(command: list[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> int:
    """A process in the folder that outlives this one and its terminal, leader of a group of its own; its words go to the log."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, handle, 1), (os.POSIX_SPAWN_DUP2, handle, 2)]
        shell = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]
        pid = os.posix_spawn(shell[0], shell, os.environ if environment is None else environment, file_actions=actions, setsid=True)
    finally:
        os.close(handle)
    while has_no_command_line(pid):
        time.sleep(0.01)
    return pid


def command_line(pid: int) -> list[str]:
    """The words a process was started with; none for one that is gone."""
    try:
        return [word.decode(errors="replace") for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []


def has_no_command_line(pid: int) -> bool:
    """True just after a process began, and while a killed one has threads that may hold its ports. Collects a child of ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        alone = len(os.listdir(f"/proc/{pid}/task")) == 1
        return not (state in "ZX" and alone) and not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def starts_or_runs(pid: int, is_running: Callable[[], bool]) -> bool:
    """True while it runs, or is about to: it has no command line while the shell becomes the server."""
    return is_running() or has_no_command_line(pid) or is_running()  # asked again: between the two it may have become one


def wait_until_gone(pid: int, is_running: Callable[[], bool], seconds: float) -> bool:
    """True when it went in time."""
    deadline = time.monotonic() + seconds
    while starts_or_runs(pid, is_running):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def send(pid: int, number: signal.Signals, is_running: Callable[[], bool]) -> None:
    """Send a signal, to our process alone."""
    if is_running():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def members(group: int) -> list[int]:
    """The processes of a group, its leader among them while it lives."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(name)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(pid)
    return found


def working_folder(pid: int) -> str:
    """Empty for a process that is gone or another account's."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/cwd")
    return ""


def open_files(pid: int) -> list[str]:
    """Paths of what a process has open; none of one that is gone or another account's."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def end_all(find: Callable[[], list[int]], number: signal.Signals, seconds: float) -> bool:
    """Send the signal to all that is found, and wait until nothing is found any more; True when that was in time."""
    deadline = time.monotonic() + seconds
    for pid in find():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    while find():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def log_tail(log: Path, lines: int = 15) -> str:
    """The log's last lines, for a message on why a server did not come up."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on; a reader never sees half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(beside, path)
