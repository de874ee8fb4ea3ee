"""Keeping Ray from the network: with its usage reports off by its own variable, it still asks and tells.

Seen with Ray 2.60, reports off: the process of the dashboard (there is one even without a dashboard) asks the metadata servers of three
clouds where it is, and a cluster's then tells Ray's makers that reports are off. Run as a program, this is `ray`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FOLDER = "S2L_RAY_HOME"
NOWHERE = "http://127.0.0.1:9/"
"""Nobody listens at the port of the discard service."""


def silence(folder: Path) -> None:
    """Have this process start silent Rays only.

    Args:
        folder: where the dashboard's process finds a description of the cluster: one that says nothing, but then it asks nobody.
    """
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_USAGE_STATS_REPORT_URL=NOWHERE)
    os.environ[FOLDER] = str(folder)
    from ray._private import services

    if services.start_ray_process is not _start:
        _begin.append(services.start_ray_process)
        services.start_ray_process = _start


_begin: list[Any] = []


def _start(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
    if process_type == "dashboard":
        home = Path(os.environ[FOLDER])
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "ray_bootstrap_config.yaml").write_text("{}\n")
        kwargs["env_updates"] = {**(kwargs.get("env_updates") or {}), "HOME": str(home)}
    return _begin[-1](command, process_type, *args, **kwargs)


if __name__ == "__main__":
    from ray.scripts.scripts import main

    from cluster import ray_silence

    ray_silence.silence(Path(os.environ[FOLDER]))
    main()
