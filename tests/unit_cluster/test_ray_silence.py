"""What Ray's dashboard process is given so that it asks nobody. That it then asks nobody: tests/integration/test_secrets_and_silence.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import ray_silence

Started = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Processes that Ray starts, with what they are given; a home without a token."""
    from ray._private import services

    found: Started = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, kind, fate_share, **given: found.append((kind, given)))
    monkeypatch.setattr(ray_silence, "_begin", [])
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_USAGE_STATS_REPORT_URL", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    return found


def test_only_the_dashboard_s_process_has_another_home_with_a_description_in_it(started: Started) -> None:
    from ray._private import services

    ray_silence.silence()
    ray_silence.silence()
    for kind in ("raylet", "dashboard"):
        services.start_ray_process(["x"], kind, False, env_updates={"A": "1"})
    assert started == [
        ("raylet", {"env_updates": {"A": "1"}}),
        ("dashboard", {"env_updates": {"A": "1", "HOME": str(ray_silence.HOME)}}),
    ]
    assert yaml.safe_load((ray_silence.HOME / "ray_bootstrap_config.yaml").read_text()) == {}


def test_nothing_is_written_where_another_account_could_have_left_a_link(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private import services

    mine, silent = tmp_path / "mine", tmp_path / "silent"
    mine.write_text("precious")
    silent.mkdir()
    (silent / "ray_bootstrap_config.yaml").symlink_to(mine)
    monkeypatch.setenv("S2L_RAY_HOME", str(silent))
    ray_silence.silence()
    services.start_ray_process(["x"], "dashboard", False)
    assert mine.read_text() == "precious"
    assert ray_silence.HOME.is_relative_to(Path(ray_silence.__file__).parent), "as safe as the code itself"


@pytest.mark.parametrize(
    ("variables", "passed_on"),
    [({}, True), ({"RAY_AUTH_TOKEN": "another"}, False), ({"RAY_AUTH_TOKEN_PATH": "/elsewhere"}, False)],
)
def test_a_token_in_the_hidden_home_is_named_to_the_dashboard(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], passed_on: bool
) -> None:
    from ray._private import services

    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("a" * 64)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ray_silence.silence()
    services.start_ray_process(["x"], "dashboard", False)
    ((_, given),) = started
    assert given["env_updates"].get("RAY_AUTH_TOKEN_PATH") == (str(tmp_path / ".ray/auth_token") if passed_on else None)


def test_ray_still_calls_what_is_replaced() -> None:
    """Another Ray may start its processes in another way: then this fails, and so does the watch."""
    import inspect

    from ray._private import services

    assert list(inspect.signature(services.start_ray_process).parameters)[:4] == ["command", "process_type", "fate_share", "env_updates"]
    assert "ray_constants.PROCESS_TYPE_DASHBOARD" in inspect.getsource(services.start_api_server)
