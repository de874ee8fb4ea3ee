"""A namespace whose ways out all lead to a watch: what its processes try to reach is seen, and reaches nobody."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.namespaces import IP, Host

NAMESERVER = "192.0.2.53"
"""Of the addresses that are kept for examples: nobody has it."""
_NOBODY = "02:00:00:00:00:01"
_IPV4, _IGMP, _UDP = 0x0800, 2, 17


class Watch:
    """What left a host: one line for each kind of packet, such as `192.0.2.1 tcp 443` or `192.0.2.53 udp 53 example.org`."""

    def __init__(self, interface: str) -> None:
        self.seen: set[str] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self._socket.bind((interface, 0))
        self._socket.settimeout(0.5)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                if line := _told(self._socket.recv(65535)):
                    self.seen.add(line)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(10)
        self._socket.close()


@contextlib.contextmanager
def watched(host: Host) -> Iterator[Watch]:
    """Give the host a route to everywhere and a name server: every IPv4 packet that leaves it is noted, none is answered."""
    gateway = host.address.rpartition(".")[0] + ".253"
    inner = f"e{host.namespace}"
    for words in (("neigh", "add", gateway, "lladdr", _NOBODY, "dev", inner), ("route", "add", "default", "via", gateway)):
        subprocess.run([IP, "-n", host.namespace, *words], check=True, capture_output=True)
    names = Path("/etc/netns") / host.namespace
    names.mkdir(parents=True)
    (names / "resolv.conf").write_text(f"nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n")
    (names / "hosts").write_text(f"127.0.0.1 localhost\n{host.address} {host.name}\n")
    watch = Watch(host.outer)
    try:
        yield watch
    finally:
        watch.close()
        shutil.rmtree(names)


def _told(frame: bytes) -> str:
    """Destination, protocol, port and the name that is asked for; empty for what is no IPv4."""
    if len(frame) < 34 or struct.unpack("!H", frame[12:14])[0] != _IPV4:
        return ""
    head = 14 + (frame[14] & 15) * 4
    protocol, to = frame[23], socket.inet_ntoa(frame[30:34])
    if (protocol, to) == (_IGMP, "224.0.0.22"):
        return ""  # the kernel's own, of a link that comes up
    if protocol not in (6, _UDP):
        return f"{to} protocol {protocol}"
    port = struct.unpack("!H", frame[head + 2 : head + 4])[0]
    asked = f" {_name(frame[head + 20 :])}" if (protocol, port) == (_UDP, 53) else ""
    return f"{to} {'udp' if protocol == _UDP else 'tcp'} {port}{asked}"


def _name(question: bytes) -> str:
    """The name in a DNS question (behind its header of 12 bytes)."""
    parts: list[str] = []
    while question and question[0]:
        parts.append(question[1 : 1 + question[0]].decode(errors="replace"))
        question = question[1 + question[0] :]
    return ".".join(parts)
