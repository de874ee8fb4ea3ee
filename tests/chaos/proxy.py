"""A wire that can be cut: an HTTP proxy on loopback in front of S3 or MLflow, which refuses, lies, dawdles and hangs up on command."""

from __future__ import annotations

import contextlib
import random
import re
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_HEAD = 65_536
_CHUNK = 16_384
_SKEWED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>RequestTimeTooSkewed</Code>'
    b"<Message>The difference between the request time and the server's time is too large.</Message></Error>"
)


@dataclass(frozen=True)
class Weather:
    """What becomes of requests.

    Attributes:
        refuse: nobody listens.
        share: this part of the requests is answered with `status`.
        code: S3's word in that answer, such as `SlowDown`, after which clients wait longer.
        delay_s: every request waits so long.
        bytes_per_s: bodies trickle, in both directions.
        reset_after: an upload is reset after so many bytes of it.
    """

    refuse: bool = False
    share: float = 0.0
    status: int = 503
    code: str = ""
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    reset_after: int = 0


FAIR = Weather()


class Proxy:
    """Forwards one request a connection to `target`, as the weather allows; counts what it did to requests in `did`.

    The client is told to close after each answer, so that no request slips by on a connection from better times.
    """

    def __init__(self, target: int | Callable[[], int], seed: int = 0) -> None:
        self._target = target if callable(target) else lambda: target
        self._weathers = [FAIR]
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.did: Counter[str] = Counter()
        self.port = self._listen(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def weather(self) -> Weather:
        """What holds now: of several the one that lets nothing through, else the newest."""
        return next((one for one in self._weathers if one.refuse), self._weathers[-1])

    def turn(self, weather: Weather) -> None:
        """Begin this weather; requests under way are cut when it refuses."""
        before = self.weather
        self._weathers.append(weather)
        if weather.refuse and not before.refuse:
            self._stop_listening()
            self.hang_up()

    def clear(self, weather: Weather) -> None:
        """End it; another one that began meanwhile goes on."""
        before = self.weather
        self._weathers.remove(weather)
        if before.refuse and not self.weather.refuse:
            self._listen(self.port)

    def hang_up(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            sockets, self._open = list(self._open), set()
        for one in sockets:
            _reset(one)
            self.did["reset"] += 1

    def close(self) -> None:
        self._stop_listening()
        self.hang_up()

    # --- inside ---

    def _listen(self, port: int) -> int:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name="chaos-proxy").start()
        return int(listener.getsockname()[1])

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True, name="chaos-wire").start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket()
        with self._lock:
            self._open |= {client, server}
        try:
            client.settimeout(120)
            head, rest = _read_head(client)
            if head:
                self._answer(client, server, head, rest)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {client, server}
            client.close()
            server.close()

    def _answer(self, client: socket.socket, server: socket.socket, head: bytes, rest: bytes) -> None:
        weather = self.weather
        self.did["requests"] += 1
        if weather.share and self._random.random() < weather.share:
            self.did[str(weather.status)] += 1
            _drain(client, head, rest)
            client.sendall(_refusal(weather.status, weather.code))
            return
        if weather.delay_s:
            self.did["slow"] += 1
            time.sleep(weather.delay_s)
        try:
            server.connect(("127.0.0.1", self._target()))
        except OSError:
            self.did["unreachable"] += 1
            _reset(client)
            return
        server.settimeout(120)
        server.sendall(_closing(head))
        self._splice(client, server, rest, weather)

    def _splice(self, client: socket.socket, server: socket.socket, rest: bytes, weather: Weather) -> None:
        sent = 0
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in [] if rest else ready.select(120):
                    data = key.fileobj.recv(_CHUNK)  # type: ignore[union-attr]
                    if key.fileobj is client:
                        if not data:
                            ready.unregister(client)
                        rest += data
                    elif not data:
                        return
                    else:
                        _trickle(len(data), weather)
                        client.sendall(data)
                sent += len(rest)
                if weather.reset_after and sent >= weather.reset_after:
                    self.did["reset mid-upload"] += 1
                    _reset(client)
                    _reset(server)
                    return
                _trickle(len(rest), weather)
                server.sendall(rest)
                rest = b""


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD:
        more = client.recv(_CHUNK)
        if not more:
            return b"", b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _closing(head: bytes) -> bytes:
    """The request's head with `Connection: close`."""
    line, _, others = head.partition(b"\r\n")
    return line + b"\r\nConnection: close\r\n" + re.sub(rb"(?im)^connection:[^\r\n]*\r\n", b"", others)


def _drain(client: socket.socket, head: bytes, rest: bytes) -> None:
    """Read the body, so that the client reads our answer instead of a reset."""
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    left = (int(found[1]) if found else 0) - len(rest)
    if re.search(rb"(?im)^expect: *100-continue", head):
        return
    while left > 0:
        more = client.recv(min(_CHUNK, left))
        if not more:
            return
        left -= len(more)


def _refusal(status: int, code: str = "") -> bytes:
    coded = f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode() if code else b""
    body = _SKEWED if status == 403 else coded
    reason = {403: "Forbidden", 500: "Internal Server Error", 503: "Service Unavailable"}[status]
    kind = "application/xml" if body else "text/plain"
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def _trickle(size: int, weather: Weather) -> None:
    if weather.bytes_per_s and size:
        time.sleep(size / weather.bytes_per_s)


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        one.close()
