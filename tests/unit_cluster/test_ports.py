"""Ports that are free, ports that are taken and by whom, addresses that services may listen at."""

from __future__ import annotations

import os
import socket

import pytest

from cluster.services.ports import PortTakenError, check_address, check_free, free_ports, is_free, is_loopback


def test_a_taken_port_is_said_with_its_owner_and_how_to_choose_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(PortTakenError, match=rf"port {port}, which is for MLflow, is taken by pid {os.getpid()} .*--mlflow-port"):
            check_free(port, "MLflow", choose="--mlflow-port")
    check_free(port, "MLflow", choose="--mlflow-port")


def test_free_ports_differ_avoid_what_they_are_told_and_keep_their_twins_free() -> None:
    first = free_ports(20)
    assert len(set(first)) == 20
    assert all(port + 10_000 < 32_768 for port in first), "a twin would lie where the system takes outgoing ports from"
    assert not set(free_ports(20, avoid=(*first,))) & set(first)
    with socket.create_server(("127.0.0.1", free_ports(1)[0] + 10_000)) as twin:
        assert twin.getsockname()[1] - 10_000 not in free_ports(200, twins=True)


@pytest.mark.parametrize(
    ("host", "said"),
    [("0.0.0.0", "every address at once"), ("192.0.2.77", "no address of this machine"), ("no-such-host.invalid", "no address is known")],
)
def test_only_one_address_of_this_machine_may_be_listened_at(host: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}.*such as 10.0.0.5"):
        check_address(host)


def test_loopback_is_known_by_name_and_number() -> None:
    assert check_address("localhost") == "127.0.0.1"
    assert is_loopback("127.0.0.1")
    assert not is_loopback("10.0.0.5")
