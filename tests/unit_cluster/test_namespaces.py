"""The bed of the multi-node tests keeps its promises: own addresses, a link that can be cut, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.namespaces import IP, Host, bridge_address, needs_namespaces, network

REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()"
LISTEN = "import socket, time; s = socket.socket(); s.bind(('0.0.0.0', 7001)); s.listen(); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def two() -> Iterator[dict[str, Host]]:
    needs_namespaces()
    with network("a", "b") as hosts:
        yield hosts


def reaches(source: Host, address: str, port: int) -> bool:
    return source.run([sys.executable, "-c", REACH, address, str(port)]).returncode == 0


def test_hosts_reach_each_other_until_a_link_is_cut_and_after_it_is_joined(two: dict[str, Host]) -> None:
    a, b = two["a"], two["b"]
    b.start([sys.executable, "-u", "-c", LISTEN])
    deadline = time.monotonic() + 20
    while not reaches(a, b.address, 7001):
        assert time.monotonic() < deadline
    assert ("0.0.0.0", 7001) in {(ip, port) for ip, port, _ in b.listening()}
    b.cut()
    assert not reaches(a, b.address, 7001)
    b.join()
    assert reaches(a, b.address, 7001)
    b.kill()
    assert not b.pids()
    assert not reaches(a, b.address, 7001)


def test_a_host_has_no_way_out_but_the_bridge(two: dict[str, Host]) -> None:
    routes = two["a"].run([IP, "route"]).stdout
    assert "default" not in routes
    assert bridge_address(two).rpartition(".")[0] in routes


def test_a_host_has_its_own_name_and_its_own_temporary_folder(two: dict[str, Host]) -> None:
    write = "import socket, tempfile, pathlib; print(socket.gethostname()); (pathlib.Path(tempfile.gettempdir()) / 'mine').touch()"
    assert two["a"].python(write).stdout == "a\n"
    assert (two["a"].folder / "mine").exists()
    assert not (two["b"].folder / "mine").exists()


def test_nothing_is_left_behind() -> None:
    needs_namespaces()
    with network("only") as hosts:
        namespace, folder = hosts["only"].namespace, hosts["only"].folder
        hosts["only"].start(["sleep", "100"])
    assert namespace not in subprocess.run([IP, "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not folder.exists()


def test_a_host_that_a_test_took_out_of_its_hosts_is_gone_at_the_end_too() -> None:
    needs_namespaces()
    with network("services", "head") as hosts:
        namespace = hosts.pop("services").namespace
    assert namespace not in subprocess.run([IP, "netns", "list"], capture_output=True, text=True, check=True).stdout
