"""docker/compose.yaml against the compose schema, and against what it refers to: scripts, variables, checks. Needs no container engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compose_bed import COMPOSE, ROOT, compose, filled, make_env, read_env, variables

SERVICES: dict[str, Any] = compose()["services"]
START = ROOT / "docker/start"
EACH = pytest.mark.parametrize("name", SERVICES)


def test_it_keeps_to_the_compose_schema(tmp_path: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, str(COMPOSE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("restart:", "restrat:"))
    assert subprocess.run([*check, str(broken)], capture_output=True, check=False).returncode == 1


def test_the_credentials_that_must_be_given_are_those_that_make_env_makes(tmp_path: Path) -> None:
    made = make_env(tmp_path / "env")
    needed = {name for name, kind in variables(COMPOSE.read_text()).items() if kind == "?"}
    assert needed == set(made)
    assert all(filled(SERVICES[name]["environment"], made) for name in SERVICES)
    with pytest.raises(KeyError, match=r"RAY_AUTH_TOKEN: run docker/make-env\.sh"):
        filled(SERVICES["head"]["environment"], made | {"RAY_AUTH_TOKEN": ""})


def test_credentials_are_random_private_and_made_once(tmp_path: Path) -> None:
    first, second = make_env(tmp_path / "one"), make_env(tmp_path / "two")
    assert {name for name in first if first[name] == second[name]} == {"MLFLOW_AUTH_ADMIN_USERNAME"}
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0
    assert make_env(tmp_path / "one") == first
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    ignored = subprocess.run(["git", "check-ignore", "docker/.env"], cwd=ROOT, capture_output=True, check=False)
    assert ignored.returncode in (0, 128)  # 128: no git repository


def test_no_secret_is_written_into_it() -> None:
    for name, service in SERVICES.items():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|TOKEN|ACCESS_KEY", key):
                assert re.fullmatch(r"\$\{\w+:\?run docker/make-env\.sh\}", str(value)), f"{name}: {key}"


def test_every_other_variable_has_a_default() -> None:
    assert "" not in variables(COMPOSE.read_text()).values()


@EACH
def test_a_service_has_a_check_limits_and_a_network_of_its_own(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["networks"] == ["inside"]
    assert "no-new-privileges:true" in service["security_opt"]


@EACH
def test_what_is_published_is_published_on_loopback_alone(name: str) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@EACH
def test_it_waits_for_services_that_are_there_and_have_a_check(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


@EACH
def test_named_volumes_are_declared(name: str) -> None:
    volumes = [str(volume).split(":")[0] for volume in SERVICES[name].get("volumes", [])]
    assert {volume for volume in volumes if not volume.startswith(("/", "."))} <= set(compose()["volumes"])


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "postgres"])
def test_what_a_service_is_told_is_what_its_start_command_reads(name: str) -> None:
    script = START / SERVICES[name]["command"][0]
    assert script.stat().st_mode & 0o111
    sourced = re.findall(r"^source .*/([\w-]+\.sh)\"$", script.read_text(), re.MULTILINE)
    assert sourced
    read = "\n".join((START / part).read_text() for part in (script.name, *sourced))
    told = {key for key in SERVICES[name]["environment"] if key.startswith("S2L_")} - {"S2L_STORE"}
    assert {key for key in told if key not in read} == set()
    documented = "\n".join(line for line in read.splitlines() if line.startswith("#"))
    assert {key for key in re.findall(r"\$\{(S2L_\w+)[:}]", read) if key not in documented} == set()


def test_the_ports_that_checks_and_clients_name_are_those_that_scripts_listen_on() -> None:
    defaults = {
        "head": ("S2L_RAY_PORT:-6379", "S2L_JOBS_PORT:-8265"),
        "mlflow": ("S2L_MLFLOW_PORT:-5000",),
        "seaweedfs": ("S2L_S3_PORT:-8333", "S2L_FILER_PORT:-8888"),
    }
    text = COMPOSE.read_text()
    for name, ports in defaults.items():
        script = (START / SERVICES[name]["command"][0]).read_text()
        for port in ports:
            assert port in script
            assert f":{port.rpartition('-')[2]}" in text


def test_an_env_file_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# words\n\nA=1\nB=x=y\n")
    assert read_env(tmp_path / "env") == {"A": "1", "B": "x=y"}
