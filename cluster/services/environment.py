"""What a shell sources to use the services: one file that may do everything, one that may only look. Both 0600."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from cluster.services.mlflow import MlflowServer
from cluster.services.process import write_private
from cluster.services.ray_head import RayHead
from cluster.services.seaweedfs import SeaweedFS

ALL, READ_ONLY = "env", "env.readonly"
BUCKET = "s2l"
STORE = f"s3://{BUCKET}/store"


def variables(store: SeaweedFS | None, tracking: MlflowServer | None, ray: RayHead | None, *, reader: bool = False) -> dict[str, str]:
    """The variables with which S2L, and any S3, MLflow and Ray client, finds these services.

    Args:
        reader: for those who look: a key that may only read, MLflow's user `reader`, and no Ray, whose token may do everything.
    """
    found: dict[str, str] = {}
    if store is not None:
        found |= {"S2L_STORE": STORE} | store.environment(reader=reader)
    if tracking is not None:
        found |= tracking.environment(reader=reader)
    if ray is not None and not reader:
        found |= ray.environment()
    return found


def write(folder: Path, store: SeaweedFS | None, tracking: MlflowServer | None, ray: RayHead | None) -> None:
    """Both files, whole and private from their first byte on."""
    said = {
        ALL: "Credentials that may do everything: keep this file private.",
        READ_ONLY: "Credentials for those who look, such as dashboards: they change nothing that is there.",
    }
    for name, words in said.items():
        write_private(folder / name, _script(variables(store, tracking, ray, reader=name == READ_ONLY), words))


def _script(found: Mapping[str, str], words: str) -> str:
    lines = [f"# Written by s2l up; source it in a shell. {words}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in found.items()]
    return "\n".join(lines) + "\n"
