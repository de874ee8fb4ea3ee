"""What Ray's dashboard process is given so that it asks nobody. That it then asks nobody: tests/integration/test_secrets_and_silence.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster import ray_silence


def test_only_the_dashboard_s_process_has_another_home_with_a_description_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    started: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, kind, fate_share, **given: started.append((kind, given)))
    monkeypatch.setattr(ray_silence, "_begin", [])
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_USAGE_STATS_REPORT_URL", ray_silence.FOLDER):
        monkeypatch.setenv(name, "before")
    ray_silence.silence(tmp_path / "first")
    ray_silence.silence(tmp_path / "silent")
    for kind in ("raylet", "dashboard"):
        services.start_ray_process(["x"], kind, False, env_updates={"A": "1"})
    assert started == [
        ("raylet", {"env_updates": {"A": "1"}}),
        ("dashboard", {"env_updates": {"A": "1", "HOME": str(tmp_path / "silent")}}),
    ]
    assert (tmp_path / "silent" / "ray_bootstrap_config.yaml").read_text() == "{}\n"


def test_ray_still_calls_what_is_replaced() -> None:
    """Another Ray may start its processes in another way: then this fails, and so does the watch."""
    import inspect

    from ray._private import services

    assert list(inspect.signature(services.start_ray_process).parameters)[:4] == ["command", "process_type", "fate_share", "env_updates"]
    assert "ray_constants.PROCESS_TYPE_DASHBOARD" in inspect.getsource(services.start_api_server)
