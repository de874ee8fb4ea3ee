"""A ledger in a folder, stages to commit and folders to commit them from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.ledger.paths import Paths
from jobs.plan.graph import Graph, Node
from jobs.stages.specs import BlindStage, DataStage, DrawnFaces, MetricsStage, ScoreStage
from jobs.store.open import open_store
from s2l_core.specs.attacks import PIAAttack

FILES = {"scores.parquet": b"scores", "deep/curve.json": b"{}"}


def chain(seed: int = 0) -> tuple[Node, Node, Node]:
    """Three stages, each computed from the one before. The chain is the ledger's concern; that the kinds would not go together is not."""
    graph = Graph()
    data = graph.add(DataStage(source=DrawnFaces(identity="nobody", seed=seed)))
    score = graph.add(ScoreStage(attack=PIAAttack()), [("data", data)])
    metrics = graph.add(MetricsStage(), [("before", score), ("after", score)])
    return data, score, metrics


def blind(seed: int, data: Node) -> Node:
    """One of many different stages over the same data."""
    return Graph().add(BlindStage(seed=seed), [("data", data)])


def leave(tmp_path: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """A folder with these files."""
    for file, data in files.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / name


class LedgerCase:
    """A ledger in a folder, what it said, and a chain of three stages."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.root = tmp_path / "store"
        self.said: list[str] = []
        self.adopted: list[tuple[Manifest, Manifest]] = []
        self.ledger = Ledger(
            open_store(str(self.root)), notice=self.said.append, adopted=lambda ours, theirs: self.adopted.append((ours, theirs))
        )
        self.data, self.score, self.metrics = chain()

    def folder(self, name: str, files: dict[str, bytes] = FILES) -> Path:
        return leave(self.tmp, name, files)

    def commit(self, node: Node, content: str = "one", made: dict[str, Any] | None = None) -> Manifest:
        """Commit a node with its parents' present manifests; the content decides the digest."""
        parents = {parent.key: manifest for _, parent in node.parents if (manifest := self.ledger.manifest(*parent.id))}
        return self.ledger.commit(node, self.folder(f"{node.kind}-{content}", {"out": content.encode()}), parents=parents, made=made or {})

    def path(self, name: str) -> Path:
        return self.root / name

    def manifest_path(self, node: Node) -> Path:
        return self.path(Paths.manifest(*node.id))

    def quarantined(self) -> list[str]:
        return sorted(entry.name for entry in self.ledger.store.list(Paths.quarantine))
