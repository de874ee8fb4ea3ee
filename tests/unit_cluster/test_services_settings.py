"""What `up` writes, refuses and leaves alone: no server is started here."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from cluster.services import certificates, environment, mlflow, postgres, ray_head, seaweedfs, together
from cluster.services.mlflow import MlflowServer
from cluster.services.ports import PortTakenError, free_ports
from cluster.services.process import write_private
from cluster.services.ray_head import RayHead
from cluster.services.seaweedfs import SeaweedFS
from cluster.services.together import Wanted

STORE = SeaweedFS("/d/s3", 1, (11, 12, 13, 14), "WRITER", "writer's secret", "READER", "reader's secret", "ab" * 32)
TRACKING = MlflowServer("/d/mlflow", 2, 15, "127.0.0.1", "admin's $password", "reader's password")
RAY = RayHead("/d/ray", 3, "127.0.0.1", (16, 17, 18, 19), "the token", "/d/ray/ray")


def sourced(path: Path) -> dict[str, str]:
    """What a shell has after it sourced the file."""
    done = subprocess.run(["env", "-i", "bash", "-c", f"source {path}; env -0"], capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {name: value for name, value in found.items() if name not in ("PWD", "SHLVL", "_")}


def test_a_shell_that_sources_env_can_do_everything_and_others_cannot_read_it(tmp_path: Path) -> None:
    environment.write(tmp_path, STORE, TRACKING, RAY)
    assert sourced(tmp_path / "env") == {
        "S2L_STORE": "s3://s2l/store",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:14",
        "AWS_ACCESS_KEY_ID": "WRITER",
        "AWS_SECRET_ACCESS_KEY": "writer's secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:15",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": "admin's $password",
        "RAY_ADDRESS": "127.0.0.1:16",
        "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:17",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "the token",
    }
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600, 0o600]


def test_env_readonly_holds_nothing_with_which_one_could_write(tmp_path: Path) -> None:
    environment.write(tmp_path, STORE, TRACKING, RAY)
    found = sourced(tmp_path / "env.readonly")
    assert (found["AWS_ACCESS_KEY_ID"], found["MLFLOW_TRACKING_USERNAME"]) == ("READER", "reader")
    text = (tmp_path / "env.readonly").read_text()
    assert not [word for word in ("WRITER", "writer", "admin", "RAY_", "token") if word in text]


def test_a_file_that_others_could_read_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("old")
    (tmp_path / "env").chmod(0o644)
    write_private(tmp_path / "env", "new")
    assert ((tmp_path / "env").read_text(), (tmp_path / "env").stat().st_mode & 0o777) == ("new", 0o600)


def test_parts_that_are_not_there_are_not_in_the_files(tmp_path: Path) -> None:
    environment.write(tmp_path, None, TRACKING, None)
    assert not [name for name in sourced(tmp_path / "env") if not name.startswith("MLFLOW_")]


# --- nothing beyond loopback without credentials ---


def test_mlflow_does_not_listen_beyond_loopback_without_a_password(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"listen at 10\.0\.0\.5, where other machines reach it, without a password"):
        mlflow.start(tmp_path / "mlflow", host="10.0.0.5", auth=False)
    assert not (tmp_path / "mlflow").exists()


def test_no_secret_stands_on_a_command_line(tmp_path: Path) -> None:
    words = " ".join(
        [
            *ray_head._command(RAY, None),
            *mlflow._auth_arguments(tmp_path, TRACKING),
            *seaweedfs._arguments(tmp_path, STORE.ports, STORE.host),
        ]
    )
    assert not [secret for secret in (RAY.token, TRACKING.password, STORE.secret_key, STORE.kek) if secret in words]


def test_a_ray_head_asks_for_its_token_and_serves_no_metrics_whatever_its_parents_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/elsewhere")
    monkeypatch.setenv("RAY_ADDRESS", "10.9.9.9:6379")
    found = ray_head._environment(RAY, {"AWS_ACCESS_KEY_ID": "WRITER"})
    assert (found["RAY_AUTH_MODE"], found["RAY_AUTH_TOKEN"], found["AWS_ACCESS_KEY_ID"]) == ("token", "the token", "WRITER")
    assert found["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent), "detached runs find another python"
    assert not {"RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"} & set(found)
    assert (found["AUTOSCALER_METRIC_PORT"], found["DASHBOARD_METRIC_PORT"], found["RAY_enable_metrics_collection"]) == ("-1", "-1", "0")


def test_the_certificate_of_the_inner_ports_is_private_and_stays(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(made) == {"grpc.crt", "grpc.key", "security.toml"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    certificates.make(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == made


# --- what runs is left as it is ---


def listening_ray(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is found, and that counts as running."""
    (folder / "ray").mkdir()
    (folder / "ray" / "ray-head.json").write_text(json.dumps(asdict(RAY)))
    monkeypatch.setattr(RayHead, "is_running", lambda self: True)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(("ray",), host="{host}"), "ray runs and listens at 127.0.0.1; to change that: s2l down, then s2l up with --host"),
        (Wanted(("ray",), ports={"ray": 20}), "ray runs and listens on port 16; to change that: .* --ray-port 20"),
        (Wanted(("ray",), ports={"dashboard": 20}), "dashboard runs and listens on port 17; .* --dashboard-port 20"),
    ],
)
def test_settings_of_a_service_that_runs_do_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, said: str) -> None:
    listening_ray(tmp_path, monkeypatch)
    monkeypatch.setattr(together, "check_address", lambda host: "10.0.0.5")
    with pytest.raises(together.SettledError, match=said):
        together.up(tmp_path, wanted, print)


def test_mlflow_that_runs_does_not_change_its_password_or_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow-server.json").write_text(json.dumps({"folder": "/d/mlflow", "pid": 2, "port": 15}))
    monkeypatch.setattr(MlflowServer, "is_running", lambda self: True)
    for wanted, said in ((Wanted(auth=True), "asks for no password.*--auth"), (Wanted(postgres=True), "in SQLite.*--postgres")):
        with pytest.raises(together.SettledError, match=said):
            together.up(tmp_path, wanted, print)


def test_a_process_that_got_the_number_of_a_service_is_not_stopped(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            states = {
                "s3/server.json": asdict(STORE),
                "mlflow/mlflow-server.json": asdict(TRACKING),
                "ray/ray-head.json": asdict(RAY),
                "postgres/postgres.json": {"folder": "/d/postgres", "port": 20, "password": "p"},
            }
            for name, state in states.items():
                (tmp_path / name).parent.mkdir()
                (tmp_path / name).write_text(json.dumps(state | {"pid": stranger.pid}))
            assert together.down(tmp_path, print) == [("ray", False), ("mlflow", False), ("postgres", False), ("s3", False)]
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_down_where_nothing_was_ever_started_does_nothing(tmp_path: Path) -> None:
    assert together.down(tmp_path / "none", print) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("which", ["s3", "mlflow", "ray"])
def test_a_port_that_was_asked_for_and_is_taken_is_said_before_anything_starts(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1, twins=True)[0])) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"port {port}.*--{which}-port"):
            together.up(tmp_path, Wanted((which,), ports={which: port}), lambda text: None)
    assert not list(tmp_path.rglob("*.log"))


def test_the_state_of_an_older_version_is_read_and_gets_what_it_lacks(tmp_path: Path) -> None:
    old = {"folder": str(tmp_path), "pid": 1, "ports": [1, 2, 3, 4], "access_key": "A", "secret_key": "B"}
    (tmp_path / "server.json").write_text(json.dumps(old))
    found = seaweedfs.find(tmp_path)
    assert found is not None
    keys = seaweedfs._keys(found)
    assert (keys.access, keys.secret) == ("A", "B")
    assert re.fullmatch("[0-9a-f]{64}", keys.kek)
    assert keys.reader_access
    assert keys.reader_access != keys.access


def test_without_postgresql_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match=r"no initdb.*apt-get install postgresql.*--postgres out, for SQLite"):
        postgres._program("initdb")
