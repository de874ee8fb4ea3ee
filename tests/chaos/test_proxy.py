"""The wire does what it is told, to requests that are sent over it, and counts them."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.chaos.proxy import Proxy, Weather

CONTENT = bytes(range(256)) * 200


class Echo(BaseHTTPRequestHandler):
    """Gives back what is sent, and a fixed content when nothing is."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(CONTENT)

    def do_PUT(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def wire() -> Iterator[Proxy]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    proxy = Proxy(server.server_address[1], seed=1)
    yield proxy
    proxy.close()
    server.shutdown()
    server.server_close()
    thread.join()


def ask(wire: Proxy, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(wire.url, data=body, method="PUT" if body else "GET")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def test_in_fair_weather_bytes_go_through_unchanged_both_ways(wire: Proxy) -> None:
    assert ask(wire) == CONTENT
    assert ask(wire, CONTENT) == CONTENT
    assert wire.did == {"requests": 2}


def test_a_wire_that_refuses_is_there_again_at_the_same_port(wire: Proxy) -> None:
    wire.turn(Weather(refuse=True))
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(wire)
    wire.clear(Weather(refuse=True))
    assert ask(wire) == CONTENT


def test_of_two_outages_the_longer_one_counts(wire: Proxy) -> None:
    for _ in range(2):
        wire.turn(Weather(refuse=True))
    wire.clear(Weather(refuse=True))
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(wire)
    wire.clear(Weather(refuse=True))
    assert ask(wire) == CONTENT


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_share_of_requests_is_answered_with_an_error(wire: Proxy, status: int) -> None:
    wire.turn(Weather(share=0.5, status=status))
    codes = []
    for _ in range(30):
        try:
            ask(wire, b"some bytes")
            codes.append(200)
        except urllib.error.HTTPError as error:
            codes.append(error.code)
            error.close()
    assert set(codes) == {200, status}
    assert wire.did[str(status)] == codes.count(status)


def test_an_upload_is_reset_in_its_middle_and_a_small_one_goes_through(wire: Proxy) -> None:
    wire.turn(Weather(reset_after=20_000))
    assert ask(wire, b"small") == b"small"
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask(wire, CONTENT)
    assert wire.did["reset mid-upload"] == 1


def test_slow_bytes_arrive_whole(wire: Proxy) -> None:
    wire.turn(Weather(delay_s=0.1, bytes_per_s=1_000_000))
    assert ask(wire) == CONTENT
    assert wire.did["slow"] == 1
