"""A grid and its ledger, made by hand: real stages, real manifests in a folder, and scores drawn from known distributions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.graph import Graph, Node
from jobs.keys import canonical_json, sha256_text
from jobs.ledger.failures import Failure
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan, Pool, Trial
from jobs.stages.specs import (
    BaseStage,
    BlindStage,
    DataStage,
    FolderImages,
    MetricsStage,
    PackagedModel,
    PooledStage,
    ScoreStage,
    ShakeStage,
    SpStage,
)
from jobs.store.open import open_store
from s2l_core.images import ImageRecord, write_images
from s2l_core.metrics.compare import compare
from s2l_core.metrics.pooled import pool
from s2l_core.scores import Scores
from s2l_core.specs.adapters import DenseAdapter, LoraAdapter
from s2l_core.specs.attacks import LossAttack, SecMIAttack
from s2l_core.specs.metrics import MetricsSpec
from s2l_core.specs.objectives import DreamBoothObjective
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.specs.training import TrainSpec

MADE = {"at": "2026-01-02T03:04:05Z", "host": "node-1", "device": "cpu", "seconds": 1.25}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@dataclass
class World:
    """A plan, its ledger, and a way to commit what is still open."""

    ledger: Ledger
    work: Path
    domains: tuple[str, ...]
    effect: Callable[[dict[str, Any], str], float]
    blind_separates: bool = False
    n_member: int = 60
    n_non_member: int = 120
    graph: Graph = field(default_factory=Graph)
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.plan = self._plan()

    # --- the plan ---

    def _plan(self) -> Plan:
        self.base = self.graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64)))
        points: list[dict[str, Any]] = []
        for domain in self.domains:
            points.append({"domain": domain, "method": "none", "rank": None, "train_on": "sp", "seed": 0})
            points.append({"domain": domain, "method": "dreambooth", "rank": None, "train_on": "sp", "seed": 0})
            points += [{"domain": domain, "method": "lora+dreambooth", "rank": rank, "train_on": "sp", "seed": 0} for rank in (1, 8)]
            points.append({"domain": domain, "method": "dreambooth", "rank": None, "train_on": "members", "seed": 0})
        trials = [self._trial(point) for point in points]
        axes = {name: list(dict.fromkeys(point[name] for point in points if point[name] is not None)) for name in points[0]}
        document = {"name": "by-hand", "fixed": {"model": "tiny"}, "axes": axes}
        plan = Plan("by-hand", sha256_text(canonical_json(sorted(trial.key for trial in trials))), axes, trials, document=document)
        plan.pools = self._pools(trials) if len(self.domains) > 1 else []
        return plan

    def _trial(self, axes: dict[str, Any]) -> Trial:
        content = sha256_text(axes["domain"])
        data = self.graph.add(DataStage(source=FolderImages(domain=axes["domain"], content=content)))
        shake = self._shake(axes, data)
        metrics = {}
        for name, attack in (("loss", LossAttack()), ("secmi", SecMIAttack())):
            spec = ScoreStage(attack=attack)
            before = self.graph.add(spec, [("base", self.base), ("data", data)])
            after = before if shake is None else self.graph.add(spec, [("base", self.base), ("shake", shake), ("data", data)])
            metrics[name] = self.graph.add(MetricsStage(metrics=MetricsSpec(bootstrap=100)), [("before", before), ("after", after)])
        key = sha256_text(canonical_json([node.key for node in metrics.values()]))
        return Trial(key, axes, metrics, shake, self.graph.add(BlindStage(), [("data", data)]))

    def _shake(self, axes: dict[str, Any], data: Node) -> Node | None:
        if axes["method"] == "none":
            return None
        synthesis = SynthesisSpec(name=axes["domain"], prompts=(PromptTemplate(text="photo of {name}"),))
        sp = self.graph.add(SpStage(synthesis=synthesis), [("base", self.base)])
        adapter = LoraAdapter(rank=axes["rank"], alpha=axes["rank"]) if axes["rank"] else DenseAdapter()
        spec = ShakeStage(
            adapters=(adapter,), objective=DreamBoothObjective(), training=TrainSpec(), name=axes["domain"], seed=axes["seed"]
        )
        return self.graph.add(spec, [("base", self.base), ("train", data if axes["train_on"] == "members" else sp)])

    def _pools(self, trials: list[Trial]) -> list[Pool]:
        groups: dict[str, list[Trial]] = {}
        for trial in trials:
            rest = {name: value for name, value in trial.axes.items() if name not in ("domain", "seed")}
            groups.setdefault(canonical_json(rest), []).append(trial)
        pools = []
        for rest, members in groups.items():
            for attack in members[0].metrics:
                parents = [pair for trial in members for pair in trial.metrics[attack].parents]
                node = self.graph.add(PooledStage(metrics=MetricsSpec(bootstrap=100)), parents)
                pools.append(Pool(json.loads(rest), attack, node, tuple(trial.key for trial in members)))
        return pools

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
        seed = int(sha256_text(f"{trial.axes['domain']} {attack}")[:8], 16)
        drawn = np.random.default_rng(seed).normal(size=self.n_member + self.n_non_member)
        member = np.arange(len(drawn)) < self.n_member
        wobble = np.random.default_rng(int(trial.key[:8], 16)).normal(size=len(drawn)) * (0.0 if trial.shake is None else 0.2)
        ids = tuple(f"{index}" for index in range(len(drawn)))
        before = drawn + 0.5 * member
        after = before + wobble + self.effect(trial.axes, attack) * member
        kind, domain = {"kind": attack}, trial.axes["domain"]
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

    def commit_images(self, node: Node, *, members: bool) -> None:
        folder = self.work / "images" / node.key
        folder.mkdir(parents=True)
        records = [
            ImageRecord(image_id=f"{index}", image=PIXEL, text="a photo", domain="d", member=members or None, provenance={})
            for index in range(3)
        ]
        write_images(folder / "images.parquet", records)
        parents = {parent.key: self._manifest(parent) for _, parent in node.parents}
        self.ledger.commit(node, folder, parents=parents, made=MADE)


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
