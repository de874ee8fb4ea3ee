"""A grid and its ledger, made by hand: real stages, real manifests in a folder, and scores drawn from known distributions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboards.conditions import split
from jobs.keys import canonical_json, sha256_text
from jobs.ledger.failures import Failure
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Graph, Node
from jobs.plan.plan import Plan, Pool, Trial
from jobs.store.open import open_store
from s2l_core.images import ImageRecord, write_images
from s2l_core.metrics.compare import compare
from s2l_core.metrics.pooled import pool
from s2l_core.scores import Scores
from s2l_core.specs.metrics import MetricsSpec
from tests.plan_by_hand import ATTACKS, PlanByHand, Point

MADE = {"at": "2026-01-02T03:04:05Z", "host": "node-1", "device": "cpu", "seconds": 1.25}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@dataclass
class World:
    """A plan, its ledger, and a way to commit what is still open.

    Attributes:
        effect: how much more the members' scores rise than the others', by axes and attack.
        points: of the grid; those of `points_of(domains)` when there are none.
    """

    ledger: Ledger
    work: Path
    domains: tuple[str, ...]
    effect: Callable[[dict[str, Any], str], float]
    blind_separates: bool = False
    n_member: int = 60
    n_non_member: int = 120
    points: Sequence[Point] = ()
    attacks: Sequence[str] = tuple(ATTACKS)
    graph: Graph = field(default_factory=Graph)
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.plan = PlanByHand(self.graph, self.points or points_of(self.domains), self.attacks).plan()

    # --- what is committed ---

    def commit(self, node: Node, name: str, content: bytes) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.work))
        (folder / name).write_bytes(content)
        parents = {parent.key: self._manifest(parent) for _, parent in node.parents}
        self.ledger.commit(node, folder, parents=parents, made=MADE)

    def _manifest(self, node: Node) -> Any:
        manifest = self.ledger.manifest(node.kind, node.key)
        if manifest is None:
            self.commit(node, "payload", node.key.encode())
            manifest = self.ledger.manifest(node.kind, node.key)
        return manifest

    def finish(self, *, except_for: Callable[[Trial], bool] = lambda trial: False) -> World:
        """Commit every trial but those named, and the pools of trials that are all there."""
        left_out = {trial.key for trial in self.plan.trials if except_for(trial)}
        for trial in self.plan.trials:
            if trial.key not in left_out:
                self.finish_trial(trial)
        for pooled in self.plan.pools:
            if not left_out & set(pooled.trials):
                self._finish_pool(pooled)
        return self

    def finish_trial(self, trial: Trial) -> None:
        for attack, node in trial.metrics.items():
            if self.ledger.manifest(node.kind, node.key) is None:
                self.commit(node, "metrics.json", canonical_json(self.measured(trial, attack)).encode())
        if trial.blind is not None and self.ledger.manifest("blind", trial.blind.key) is None:
            self.commit(trial.blind, "blind.json", canonical_json(self.blind()).encode())

    def _finish_pool(self, pooled: Pool) -> None:
        trials = {trial.key: trial for trial in self.plan.trials}
        pairs = [self.scores(trials[key], pooled.attack) for key in pooled.trials]
        document = pool(pairs, MetricsSpec(bootstrap=100))
        self.commit(pooled.node, "pooled.json", canonical_json(document).encode())

    def scores(self, trial: Trial, attack: str) -> tuple[Scores, Scores]:
        domain = trial.axes.get("attack_domain") or trial.axes["domain"]
        seed = int(sha256_text(f"{domain} {split(attack)[0]}")[:8], 16)
        drawn = np.random.default_rng(seed).normal(size=self.n_member + self.n_non_member)
        member = np.arange(len(drawn)) < self.n_member
        # drawn by what the trial is called, not by its key: a new schema version must not turn quiet grids loud
        shaken = int(sha256_text(canonical_json(trial.axes))[:8], 16)
        wobble = 0.2 * np.random.default_rng(shaken).normal(size=len(drawn))
        ids = tuple(f"{index}" for index in range(len(drawn)))
        before = drawn + 0.5 * member
        after = before if trial.shake is None else before + wobble + self.effect(trial.axes, attack) * member
        kind = {"kind": attack}
        return Scores(kind, domain, ids, member, before), Scores(kind, domain, ids, member, after)

    def measured(self, trial: Trial, attack: str) -> dict[str, Any]:
        before, after = self.scores(trial, attack)
        return compare(before, after, MetricsSpec(bootstrap=100))

    def blind(self) -> dict[str, Any]:
        sizes = {"features": ["mean colour"], "n_member": self.n_member, "n_non_member": self.n_non_member}
        if self.blind_separates:
            return {"auc": 0.93, "auc_low": 0.9, "auc_high": 0.96, "p_value": 1e-9, "separates": True, **sizes}
        return {"auc": 0.51, "auc_low": 0.42, "auc_high": 0.6, "p_value": 0.8, "separates": False, **sizes}

    def fail(self, node: Node, error_class: Any, message: str) -> None:
        self.ledger.record_failure(
            Failure(kind=node.kind, key=node.key, error_class=error_class, message=message, traceback="Traceback: here", host="node-2")
        )

    def commit_images(self, node: Node, *, members: bool, text: str = "a photo") -> None:
        folder = self.work / "images" / node.key
        folder.mkdir(parents=True)
        records = [
            ImageRecord(image_id=f"{index}", image=PIXEL, text=text, domain="d", member=members or None, provenance={})
            for index in range(3)
        ]
        write_images(folder / "images.parquet", records)
        parents = {parent.key: self._manifest(parent) for _, parent in node.parents}
        self.ledger.commit(node, folder, parents=parents, made=MADE)


def points_of(domains: Sequence[str]) -> list[Point]:
    """Four ways to fine-tune and the positive control, for each domain."""
    point = {"rank": None, "train_on": "sp", "seed": 0}
    return [
        {"domain": domain, "method": method} | point | given
        for domain in domains
        for method, given in (
            ("none", {}),
            ("dreambooth", {}),
            ("lora+dreambooth", {"rank": 1}),
            ("lora+dreambooth", {"rank": 8}),
            ("dreambooth", {"train_on": "members"}),
        )
    ]


def effect_of(**by_train_on: float) -> Callable[[dict[str, Any], str], float]:
    """An effect on members' scores that depends on what the model was trained on."""
    return lambda axes, attack: 0.0 if axes["method"] == "none" else by_train_on.get(axes["train_on"], 0.0)


def world_in(folder: Path, domains: tuple[str, ...], *, sp: float, members: float, **settings: Any) -> World:
    return World(Ledger(open_store(str(folder / "store"))), folder / "work", domains, effect_of(sp=sp, members=members), **settings)


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """A world with domains and effects of one's choice; nothing is committed yet."""

    def make(domains: tuple[str, ...] = ("alba", "bruno"), *, sp: float = 0.0, members: float = 1.2, **settings: Any) -> World:
        return world_in(tmp_path, domains, sp=sp, members=members, **settings)

    return make


def world_of(
    folder: Path, points: Sequence[Point], effect: Callable[[Point, str], float] = lambda axes, attack: 0.0, **settings: Any
) -> World:
    """A world with points of one's choice; nothing is committed yet.

    Args:
        effect: how much more the members' scores rise than the others', by axes and attack.
    """
    domains = tuple(dict.fromkeys(str(point["domain"]) for point in points))
    return World(Ledger(open_store(str(folder / "store"))), folder / "work", domains, effect, points=points, **settings)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A finished grid without amplification, whose positive control moves. Only to be looked at."""
    return world_in(tmp_path_factory.mktemp("quiet"), ("alba", "bruno", "chiara"), sp=0.0, members=1.2).finish()


PLANTED = ("<script>alert(1)</script>", '"onmouseover="alert(2)', "$x$ & co")


@pytest.fixture(scope="session")
def loud(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An amplified grid with markup planted in the domains' names, a split that leaks, and failures. Only to be looked at."""
    world = world_in(tmp_path_factory.mktemp("loud"), PLANTED, sp=0.9, members=1.2, blind_separates=True)
    world.finish(except_for=lambda trial: trial.axes["rank"] == 8)
    failing = next(trial for trial in world.plan.trials if trial.axes["rank"] == 8)
    world.fail(failing.shake, "oom", "no room for <b>3 GB</b>\nand more")
    return world
