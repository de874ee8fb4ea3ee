"""Which address of a Ray cluster is asked, and what the environment holds then. No Ray is started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import ray_node
from cluster.ray_node import quiet_environment, ray_session


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.usefixtures("clean")
def test_a_private_ray_gets_a_token_of_its_own_and_a_cluster_keeps_its_owners() -> None:
    import os

    quiet_environment("127.0.0.1:6379")
    assert not {"RAY_AUTH_TOKEN", "RAY_AUTH_MODE"} & set(os.environ)
    quiet_environment()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.usefixtures("clean")
def test_an_address_where_nothing_listens_is_said_at_once(listener: int, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ConnectionError, match="nothing listens"), ray_session(workers=None, temp=tmp_path, address=f"127.0.0.1:{port}"):
            pass


def test_a_cluster_on_the_loopback_address_alone_is_looked_for_there(listener: int) -> None:
    assert ray_node._is_loopback_alone(f"127.0.0.1:{listener}")
    assert not ray_node._is_loopback_alone("192.0.2.7:6379")
    assert not ray_node._is_loopback_alone("auto")


def test_sockets_of_a_private_ray_fit_into_a_unix_path_whatever_the_temporary_folder() -> None:
    with ray_node._short_folder() as folder:
        session = "/session_2026-11-24_12-05-43_965478_4194304/sockets/plasma_store"
        assert len(str(folder) + session) <= 107
        assert len("x" * ray_node.LONGEST_TEMP + session) <= 107
        folder.chmod(0o777)  # as Ray does
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert not folder.parent.exists()
