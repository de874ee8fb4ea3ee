"""Every name the ledger uses in a store, in one class."""

from __future__ import annotations

import re

_MANIFEST = re.compile(r"(quarantine/)?manifests/([^/]+)/([0-9a-f]{64})\.json(?(1)/.*)")


class Paths:
    """Names of objects. Prefixes end in `/`."""

    blobs = "blobs/"
    manifests = "manifests/"
    failures = "failures/"
    grids = "grids/"
    leases = "leases/"
    progress = "progress/"
    quarantine = "quarantine/"
    drops = "dropped/"
    runs = "runs/"

    @staticmethod
    def blob(sha256: str) -> str:
        return f"blobs/{sha256[:2]}/{sha256}"

    @staticmethod
    def dropped(sha256: str) -> str:
        return f"dropped/{sha256}.json"

    @staticmethod
    def manifest(kind: str, key: str) -> str:
        return f"manifests/{kind}/{key}.json"

    @staticmethod
    def manifests_of(kind: str) -> str:
        return f"manifests/{kind}/"

    @staticmethod
    def failure(kind: str, key: str, attempt: int) -> str:
        return f"failures/{kind}/{key}/{attempt}.json"

    @staticmethod
    def failures_of(kind: str, key: str) -> str:
        return f"failures/{kind}/{key}/"

    @staticmethod
    def grid(name: str, grid_key: str) -> str:
        return f"grids/{name}/{grid_key}.json"

    @staticmethod
    def runs_of(grid: str) -> str:
        return f"runs/{grid}/"

    @staticmethod
    def run_file(grid: str, run: str, what: str) -> str:
        """What is known of one run: `run` (who runs), `asked` (what its driver is to do), `log`, `order` (what a detached one runs)."""
        return f"runs/{grid}/{run}/{what}.json"

    @staticmethod
    def lease(key: str) -> str:
        return f"leases/{key}.json"

    @staticmethod
    def progress_of(key: str) -> str:
        return f"progress/{key}/"

    @staticmethod
    def progress_index(key: str) -> str:
        return f"progress/{key}/index.json"

    @staticmethod
    def progress_file(key: str, fence: int, sha256: str) -> str:
        return f"progress/{key}/{fence}/{sha256}"

    @staticmethod
    def quarantined(name: str, number: int) -> str:
        return f"quarantine/{name}/{number}"

    @staticmethod
    def quarantine_reason(name: str, number: int) -> str:
        return f"quarantine/{name}/{number}.reason.json"

    @staticmethod
    def stage_of(name: str) -> tuple[str, str] | None:
        """(kind, key) of a manifest's name, or of a place under it in quarantine; None for other names."""
        found = _MANIFEST.fullmatch(name)
        return (found[2], found[3]) if found else None
