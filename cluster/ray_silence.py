"""Keeping Ray from the network: with its usage reports off by its own variable, it still asks and tells.

Seen with Ray 2.60, reports off: the process of the dashboard (there is one even without a dashboard) asks the metadata servers of three
clouds where it is, and a cluster's then tells Ray's makers that reports are off. It asks nobody when it finds a description of its cluster
in its home; ours says nothing. Run as a program, this is `ray`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent / "silent_home"
"""Part of the package, so that nothing is written anywhere: a folder that somebody else could make first would be his to fill."""

NOWHERE = "http://127.0.0.1:9/"
"""Nobody listens at the port of the discard service."""


def silence() -> None:
    """Have this process start silent Rays only."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_USAGE_STATS_REPORT_URL=NOWHERE)
    from ray._private import services

    if services.start_ray_process is not _start:
        _begin.append(services.start_ray_process)
        services.start_ray_process = _start


_begin: list[Any] = []


def _start(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
    if process_type == "dashboard":
        kwargs["env_updates"] = {**(kwargs.get("env_updates") or {}), "HOME": str(HOME), **_token_at_home()}
    return _begin[-1](command, process_type, *args, **kwargs)


def _token_at_home() -> dict[str, str]:
    """Where the token is, when Ray would look for it in the home that is hidden from it."""
    path = Path(os.path.expanduser("~/.ray/auth_token"))  # and no error where there is no home
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") or not path.is_file():
        return {}
    return {"RAY_AUTH_TOKEN_PATH": str(path)}


if __name__ == "__main__":
    from ray.scripts.scripts import main

    from cluster import ray_silence

    ray_silence.silence()
    main()
