"""The files for `ray up`: as Ray itself reads and checks them, and what must stand in both."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compose_bed import ROOT

FOLDER = ROOT / "cluster/launch/ray_up"
FILES = sorted(FOLDER.glob("*.yaml"))
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def prepared(path: Path, change: dict[str, Any] | None = None) -> dict[str, Any]:
    """The file as `ray up` sees it after its own checks and defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.autoscaler._private.util import prepare_config, validate_config

        config: dict[str, Any] = prepare_config(yaml.safe_load(path.read_text()) | (change or {}))
        validate_config(config)
    return config


@EACH
def test_ray_takes_it_with_its_own_schema_and_defaults(path: Path) -> None:
    config = prepared(path)
    assert config["cluster_name"] == "s2l"
    assert config["available_node_types"][config["head_node_type"]]


@EACH
def test_a_key_that_ray_does_not_know_is_refused(path: Path) -> None:
    with pytest.raises(Exception, match="wokers_max"):
        prepared(path, {"wokers_max": 3})


def test_on_premises_has_as_many_workers_as_machines() -> None:
    config = yaml.safe_load((FOLDER / "on-premises.yaml").read_text())
    assert config["min_workers"] == config["max_workers"] == len(config["provider"]["worker_ips"])


@EACH
def test_head_and_workers_ask_for_a_token_and_the_pages_stay_on_loopback(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    for role in ("head", "worker"):
        (command,) = [words for words in config[f"{role}_start_ray_commands"] if "ray start" in words]
        assert "RAY_AUTH_MODE=token" in command
        assert "RAY_USAGE_STATS_ENABLED=0" in command
    assert "--dashboard-host=127.0.0.1" in " ".join(config["head_start_ray_commands"])
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@EACH
def test_no_secret_and_no_real_machine_stands_in_it(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|(?i:secret_access_key|password)\s*[:=]\s*\S", text)
    addresses = re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)
    assert {address for address in addresses if not address.startswith(("192.0.2.", "127.0.0.1"))} == set()


def test_on_aws_disks_are_encrypted_and_keys_come_from_roles() -> None:
    config = yaml.safe_load((FOLDER / "aws.yaml").read_text())
    for kind in config["available_node_types"].values():
        node = kind["node_config"]
        assert all(disk["Ebs"]["Encrypted"] and disk["Ebs"]["DeleteOnTermination"] for disk in node["BlockDeviceMappings"])
        assert node["MetadataOptions"] == {"HttpTokens": "required"}
        assert node["IamInstanceProfile"]["Name"]
    workers = config["available_node_types"]["worker"]["node_config"]
    assert workers["InstanceMarketOptions"] == {"MarketType": "spot"}


@EACH
def test_what_the_file_says_to_type_names_the_file(path: Path) -> None:
    named = re.findall(r"cluster/launch/ray_up/\S+\.yaml", path.read_text())
    assert named
    assert all((ROOT / name).exists() for name in named)
