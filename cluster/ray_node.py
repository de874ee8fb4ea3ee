"""Starting a private Ray on this machine, or connecting to one that runs. Knows nothing of trials."""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.ray_silence import silence

LONGEST_TEMP = 40
"""Ray adds about 65 characters to it, and a Unix socket's path ends at 107."""


@dataclass(frozen=True)
class RaySlots:
    """What a Ray cluster offers.

    Attributes:
        cpus, gpus: units of resources over all nodes.
        nodes: number of nodes that are alive.
    """

    cpus: int
    gpus: float
    nodes: int


def quiet_environment(address: str | None = None) -> None:
    """Settings that must stand before `import ray`: no usage reports, no metrics exporter noise, and for a private Ray a token of this run.

    Whether a cluster at `address` asks for a token, and for which, is for its owner to say: in Ray's own variables or in `~/.ray`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    if address:
        return
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray writes one to ~/.ray, readable by all


@contextlib.contextmanager
def ray_session(*, workers: int | None, temp: Path, address: str | None = None) -> Iterator[RaySlots]:
    """A connected Ray: one of our own with `workers` CPU slots, or the cluster at `address`.

    Args:
        workers: CPU slots of a private Ray; ignored for a cluster.
        temp: a folder for Ray's sockets and logs; one with a path too long for Unix sockets is replaced by a private one in /tmp.
        address: `host:port` of a running cluster, or None.

    Raises:
        ConnectionError: the cluster does not answer.
    """
    quiet_environment(address)
    if len(str(temp)) > LONGEST_TEMP:
        with _short_folder() as short, ray_session(workers=workers, temp=short, address=address) as slots:
            yield slots
        return
    if address:
        _knock(address)
    if not address or _is_loopback_alone(address):  # Ray's own switch for "this machine only": the loopback address alone
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            silence()
            ray.init(
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=100 * 1024 * 1024,
                _temp_dir=str(temp),
                _node_ip_address="127.0.0.1",
            )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own prints stacks and dies; ours ends the run in order
    try:
        resources = ray.cluster_resources()
        yield RaySlots(int(resources.get("CPU", 0)), float(resources.get("GPU", 0)), sum(1 for node in ray.nodes() if node["Alive"]))
    finally:
        with undisturbed(), _no_handle_dropped():
            ray.shutdown()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for this block: a second Ctrl-C would leave Ray half shut down, with Ray's exit code in place of ours."""
    if threading.current_thread() is not threading.main_thread():  # only that one is ever interrupted
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextlib.contextmanager
def _no_handle_dropped() -> Iterator[None]:
    """No garbage is collected in this block, by whatever thread, and none with handles of actors is left before it.

    A handle that is dropped tells Ray so, and while Ray shuts down that ends the process on the spot, with exit code 1.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _short_folder() -> Iterator[Path]:
    """A folder in a private one: Ray opens its own to everybody."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="s2l-ray-"))
    try:
        (folder / "r").mkdir()
        yield folder / "r"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _host_and_port(address: str) -> tuple[str, int] | None:
    """None for words such as `auto`."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return (host, int(port)) if host and port.isdigit() else None


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def _knock(address: str) -> None:
    """Ask whether anybody listens: Ray would try for minutes.

    Raises:
        ConnectionError: nobody does.
    """
    place = _host_and_port(address)
    if place is not None and not _listens(*place):
        raise ConnectionError("nothing listens there")


def _is_loopback_alone(address: str) -> bool:
    """True for a cluster that listens on the loopback address and on no other: Ray would look for it at this machine's other address."""
    place = _host_and_port(address)
    if place is None or place[0] not in ("127.0.0.1", "localhost"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # names the route; nothing is sent
        return not _listens(probe.getsockname()[0], place[1])
    return True
