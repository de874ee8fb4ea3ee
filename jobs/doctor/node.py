"""What a worker finds on its own node. Runs there, with the node's own environment, and answers with plain values."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException

from jobs.doctor import versions
from jobs.errors import NotFound, S2LError
from jobs.secrets import scrub
from jobs.store.open import open_store
from jobs.store.probe import probe

_HTTP_S, _SMI_S = 10.0, 20.0
NOT_SHARED = "does not see what the driver wrote there a moment ago"


@dataclass(frozen=True)
class Question:
    """What a node is asked. No credentials: a worker uses those of its node.

    Attributes:
        store: the store's URL.
        nonce: an object that the driver has just written there; empty when it could not.
        tracking: the URI of an MLflow server, without user and password; empty when there is none to reach.
    """

    store: str
    nonce: str
    tracking: str


@dataclass(frozen=True)
class Answer:
    """What a node found; empty texts are good news.

    Attributes:
        gpus: (name, free GiB, total GiB) of each.
        cuda: whether this torch can use a GPU.
        disk: (folder of scratch files, free GiB).
    """

    host: str
    versions: dict[str, str]
    store: str
    tracking: str
    gpus: list[tuple[str, float, float]]
    cuda: bool
    disk: tuple[str, float]


def look(question: Question) -> Answer:
    """The whole answer; whatever fails is in it, without the secrets of this node."""
    import torch

    scratch = tempfile.gettempdir()
    return Answer(
        host=socket.gethostname(),
        versions=versions.installed(),
        store=scrub(_store(question)),
        tracking=scrub(_tracking(question.tracking)),
        gpus=_gpus(),
        cuda=torch.version.cuda is not None,
        disk=(scratch, shutil.disk_usage(scratch).free / 2**30),
    )


def _store(question: Question) -> str:
    """Looks for the driver's object before it writes: where that is missing, a folder would be made for nothing."""
    try:
        store = open_store(question.store)
        if question.nonce:
            store.get(question.nonce)
        probe(store)
    except NotFound:
        return NOT_SHARED
    except S2LError as error:
        return str(error)
    return ""


def _tracking(uri: str) -> str:
    if not uri:
        return ""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_HTTP_S):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return "" if error.code < 500 else f"answers with {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        return f"does not answer: {error}"


def _gpus() -> list[tuple[str, float, float]]:
    """By the driver's own program: Ray hides GPUs from workers that asked for none, and torch would take memory to look."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_S, check=True, env={**os.environ, "LC_ALL": "C"})
        rows = [[word.strip() for word in row] for row in csv.reader(done.stdout.splitlines())]
        return [(name, float(free) / 1024, float(total) / 1024) for name, free, total in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
