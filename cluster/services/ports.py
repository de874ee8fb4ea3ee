"""Ports of this machine: free ones, and who has one that is taken."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from cluster.services.process import command_line

GRPC = 10_000
"""SeaweedFS adds this to every port of its own."""
_RANGE = range(10_100, 21_900)
"""So that neither a port nor its gRPC twin lies where the system takes outgoing ports from."""


class PortTakenError(RuntimeError):
    """A port that a service should listen on is in use; the message says which, by whom, and how to choose another."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, avoid: tuple[int | None, ...] = (), twins: bool = False) -> list[int]:
    """As many free ports, none of them in `avoid`; with `twins` the port 10,000 higher is free too."""
    chosen: list[int] = []
    while len(chosen) < count:
        port = secrets.choice(_RANGE)
        if port in (*avoid, *chosen) or not is_free(port) or (twins and not is_free(port + GRPC)):
            continue
        chosen.append(port)
    return chosen


def check_free(port: int, what: str, *, host: str = "127.0.0.1", choose: str) -> None:
    """See that a server can listen there.

    Args:
        what: the service it is for.
        choose: how another port is chosen, for the message.

    Raises:
        PortTakenError: it cannot.
    """
    if is_free(port, host):
        return
    owner = _owner(port)
    by = f" by {owner}" if owner else ""
    raise PortTakenError(f"port {port}, which is for {what}, is taken{by}: end that, or choose another port ({choose})")


def check_address(host: str) -> str:
    """The IPv4 address that a name or an address of this machine stands for.

    Raises:
        ValueError: it is none of this machine's.
    """
    advice = "name one address of this machine under which the others reach it, such as 10.0.0.5"
    try:
        address = socket.gethostbyname(host)
    except OSError:
        raise ValueError(f"no address is known for the host {host!r}; {advice}") from None
    if address == "0.0.0.0":
        raise ValueError(f"{host} is every address at once; {advice}")
    if not is_free(0, address):
        raise ValueError(f"{host} is no address of this machine; {advice}")
    return address


def is_loopback(host: str) -> bool:
    """True for an address that no other machine can reach."""
    return host.startswith("127.")


def _owner(port: int) -> str:
    """The process that listens on the port, as far as this user may see: `pid 123 (python server.py)`."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        inodes |= {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for name in filter(str.isdigit, os.listdir("/proc")):
        if wanted & set(_links(Path("/proc", name, "fd"))):
            words = " ".join(command_line(int(name))).strip()
            return f"pid {name} ({words[:60]})"
    return ""


def _links(folder: Path) -> Iterator[str]:
    """What a process's open files are; none where we may not look."""
    with contextlib.suppress(OSError):
        for handle in os.listdir(folder):
            with contextlib.suppress(OSError):  # closed meanwhile
                yield os.readlink(folder / handle)
