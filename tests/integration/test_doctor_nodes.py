"""`s2l doctor` on a real Ray node that is not as it should be: another key, a folder that is not shared, other code, no answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.services import ray_head, seaweedfs
from cluster.services.ray_head import RayHead
from cluster.services.seaweedfs import SeaweedFS
from tests.s2l_process import ROOT, Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

START = "import sys; from pathlib import Path; from cluster.services import ray_head; ray_head.start(Path(sys.argv[1]), cpus=1)"
OTHER_CODE = """\
from jobs.doctor import versions
found = versions.installed()
versions.installed = lambda: found | {"code": "0123456789ab"}
from jobs.cli import main
main()
"""
NODES_ONLY = """\
import json, sys, tempfile
from dataclasses import asdict
from pathlib import Path
from jobs.doctor import nodes
address, timeout_s = sys.argv[1:]
checks = nodes.on_every_node(address, None, "/none", "", Path(tempfile.mkdtemp()), float(timeout_s))
print(json.dumps([asdict(check) for check in checks]))
"""


def can_unshare() -> bool:
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    running = seaweedfs.start(tmp_path_factory.mktemp("weed"), buckets=["s2l"])
    yield running
    seaweedfs.stop(running, at_once=True)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder store of the driver; where the node is, something else lies in its place."""
    found = Path(tempfile.mkdtemp(prefix="s2l-doctor-"))
    yield found
    shutil.rmtree(found)


@pytest.fixture(scope="module")
def head(server: SeaweedFS, folder: Path) -> Iterator[RayHead]:
    """A node with a wrong key, in a mount namespace of its own where that is possible."""
    place = Path(tempfile.mkdtemp(prefix="s2l-node-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    environment |= server.environment() | {"AWS_SECRET_ACCESS_KEY": "another-secret", "PYTHONPATH": str(ROOT)}
    apart = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(folder)] if can_unshare() else []
    subprocess.run([*apart, sys.executable, "-c", START, str(place)], env=environment, check=True)
    running = ray_head.find(place)
    assert running is not None
    yield running
    ray_head.stop(running, at_once=True)
    shutil.rmtree(place)


class Examined(Home):
    """A home whose commands reach the node."""

    variables: dict[str, str]

    def environment(self) -> dict[str, str]:
        return super().environment() | self.variables

    def examine(self, *args: str, code: int = 4, script: str = "from jobs.cli import main; main()") -> dict[tuple[str, str], Any]:
        """Findings by (node, name)."""
        command = [sys.executable, "-c", script, "doctor", "--json", *args]
        done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == code, done.stdout + done.stderr
        return {(check["node"], check["name"]): check for check in json.loads(done.stdout)["checks"]}

    def nodes_only(self, address: str, timeout_s: float) -> list[Any]:
        """What is found without a look at this machine."""
        command = [sys.executable, "-c", NODES_ONLY, address, str(timeout_s)]
        done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=True, timeout=600)
        return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture
def home(tmp_path: Path, head: RayHead, server: SeaweedFS) -> Examined:
    found = Examined(tmp_path)
    found.variables = head.environment() | server.environment()
    return found


def test_a_workers_wrong_key_and_other_code_are_seen_from_the_driver(home: Examined, server: SeaweedFS) -> None:
    found = home.examine("--store", "s3://s2l/store", script=OTHER_CODE)
    assert found["", "store"]["state"] == "ok"
    bad = found["127.0.0.1", "store"]
    assert bad["state"] == "failed"
    assert "AWS_SECRET_ACCESS_KEY does not fit" in bad["found"]
    assert "before its `ray start`" in bad["mend"]
    assert server.secret_key not in json.dumps(list(found.values()))
    other = found["127.0.0.1", "versions"]
    assert other["state"] == "failed"
    assert "here 0123456789ab" in other["found"]
    assert "torch" not in other["found"]
    assert found["127.0.0.1", "clock"]["state"] == "ok"


@pytest.mark.skipif(not can_unshare(), reason="needs a mount namespace: root")
def test_a_folder_that_is_not_shared_with_a_node_is_seen(home: Examined, folder: Path) -> None:
    found = home.examine("--store", str(folder))
    assert found["", "store"]["state"] == "ok"
    assert "does not see what the driver wrote" in found["127.0.0.1", "store"]["found"]
    assert "mount the same folder" in found["127.0.0.1", "store"]["mend"]
    assert [path for path in folder.rglob("probe/*") if path.is_file()] == [], "nothing is left of the question"


def test_a_node_that_does_not_answer_in_time_is_said_and_nobody_waits(home: Examined, head: RayHead) -> None:
    seen = {check["name"]: check for check in home.nodes_only(head.address, 0.0)}
    assert "did not answer within 0 s" in seen["node"]["found"]


def test_a_wrong_token_and_a_cluster_that_is_not_there_are_failed_checks(home: Examined, head: RayHead) -> None:
    home.variables |= {"RAY_AUTH_TOKEN": "ab" * 32}
    for address, said in ((head.address, "failed to connect"), ("127.0.0.1:9", "nothing listens there")):
        (check,) = home.nodes_only(address, 60.0)
        assert (check["name"], check["state"]) == ("ray", "failed")
        assert said in check["found"].lower()
        assert "RAY_AUTH_TOKEN" in check["mend"]
