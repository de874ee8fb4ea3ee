"""Points of a grid turned into nodes by hand: what `jobs.plan.expand` would make of them, without its files and models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jobs.grid.presets import DEFENCES
from jobs.keys import canonical_json, sha256_text
from jobs.plan.graph import Graph, Node
from jobs.plan.plan import Plan, Pool, Trial
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
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, GaussianAdapter, HypernetworkAdapter, LoraAdapter, TextualInversionAdapter
from s2l_core.specs.attacks import LossAttack, SecMIAttack
from s2l_core.specs.captions import ReplaceName
from s2l_core.specs.metrics import MetricsSpec
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, ObjectiveSpec
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.specs.training import TrainSpec

ATTACKS = {"loss": LossAttack(), "secmi": SecMIAttack()}
METRICS = MetricsSpec(bootstrap=100)
Point = dict[str, Any]


class PlanByHand:
    """Builds a plan from points with any of `domain`, `method`, `model`, `rank`, `alpha`, `sigma`, `steps`, `sp_size`, `sp_prompts`,
    `train_on`, `rounds`, `attack_domain`, `defence` and `seed`; what a point lacks has the value that a grid would give it."""

    def __init__(self, graph: Graph, points: Sequence[Point], attacks: Sequence[str] = tuple(ATTACKS)) -> None:
        self.graph, self.attacks = graph, {name: ATTACKS[name] for name in attacks}
        names = dict.fromkeys(name for point in points for name in point)
        trials: dict[str, Trial] = {}
        for point in points:
            trial = self._trial({name: point.get(name) for name in names})
            trials.setdefault(trial.key, trial)
        self.trials = list(trials.values())
        self.axes = {name: _distinct(point.get(name) for point in points) for name in names}

    def plan(self) -> Plan:
        document = {"name": "by-hand", "fixed": {"model": "tiny"}, "axes": self.axes}
        key = sha256_text(canonical_json(sorted(trial.key for trial in self.trials)))
        return Plan("by-hand", key, self.axes, self.trials, pools=self._pools(), document=document)

    # --- one trial ---

    def _trial(self, axes: Point) -> Trial:
        data = self._data(axes.get("attack_domain") or axes["domain"])
        base = self._base(axes)
        shake = self._shake(axes, base)
        metrics = {}
        for name, attack in self.attacks.items():
            for suffix, spec in _ways(ScoreStage(attack=attack), axes):
                before = self.graph.add(ScoreStage(attack=attack), [("base", base), ("data", data)])
                after = before if shake is None else self.graph.add(spec, [("base", base), ("shake", shake), ("data", data)])
                metrics[name + suffix] = self.graph.add(MetricsStage(metrics=METRICS), [("before", before), ("after", after)])
        key = sha256_text(canonical_json([[name, node.key] for name, node in metrics.items()]))
        return Trial(key, axes, metrics, shake, self.graph.add(BlindStage(), [("data", data)]))

    def _base(self, axes: Point) -> Node:
        return self.graph.add(BaseStage(source=PackagedModel(name=axes.get("model") or "tiny", content="0" * 64)))

    def _data(self, domain: str) -> Node:
        return self.graph.add(DataStage(source=FolderImages(domain=domain, content=sha256_text(domain))))

    def _shake(self, axes: Point, base: Node) -> Node | None:
        if axes["method"] == "none":
            return None
        if axes["method"] != "gaussian":
            return self._trained(axes, base)
        sigma = axes.get("sigma")
        matched = self._trained({**axes, "method": "dreambooth"}, base) if sigma == "match" else None
        noise = GaussianAdapter(sigma=0.01 if sigma is None else sigma, **({"modules": ("unet", "text_encoder")} if matched else {}))
        spec = self._spec(axes, noise).model_copy(update={"name": ""})
        return self.graph.add(spec, [("base", base), *([("match", matched)] if matched else [])])

    def _trained(self, axes: Point, base: Node, rounds: int | None = None) -> Node:
        rounds = rounds or axes.get("rounds") or 1
        if axes.get("train_on") == "members":
            train = self._data(axes["domain"])
        else:
            drawer = [("shake", self._trained(axes, base, rounds - 1))] if rounds > 1 else []
            train = self.graph.add(SpStage(synthesis=_synthesis(axes)), [("base", base), *drawer])
        return self.graph.add(self._spec(axes, *_adapters(axes)), [("base", base), ("train", train)])

    def _spec(self, axes: Point, *adapters: AdapterSpec) -> ShakeStage:
        training, objective = TrainSpec(steps=axes.get("steps") or 100), _objective(axes)
        spec = ShakeStage(adapters=adapters, objective=objective, training=training, name=_trained_name(axes), seed=axes.get("seed") or 0)
        defence = DEFENCES.get(axes.get("defence") or "none")
        return spec.model_copy(update={"defence": defence.spec}) if defence else spec

    # --- pools ---

    def _pools(self) -> list[Pool]:
        """Trials that differ in the attacked domain and the seed only; a model's own domain and others are pooled apart."""
        groups: dict[str, list[Trial]] = {}
        for trial in self.trials:
            apart = {"own": (trial.axes.get("attack_domain") or trial.axes["domain"]) == trial.axes["domain"]}
            rest = {name: value for name, value in trial.axes.items() if name not in ("domain", "attack_domain", "seed")}
            groups.setdefault(canonical_json(rest | apart), []).append(trial)
        return [pool for rest, members in groups.items() for pool in self._pool(json.loads(rest), members)]

    def _pool(self, rest: Point, members: Sequence[Trial]) -> list[Pool]:
        attacked = {trial.axes.get("attack_domain") or trial.axes["domain"] for trial in members}
        if len(attacked) < 2:
            return []
        del rest["own"]
        pools = []
        for attack in members[0].metrics:
            parents = [pair for trial in members for pair in trial.metrics[attack].parents]
            node = self.graph.add(PooledStage(metrics=METRICS), parents)
            pools.append(Pool(rest, attack, node, tuple(trial.key for trial in members)))
        return pools


def _distinct(values: Any) -> list[Any]:
    found = {canonical_json(value): value for value in values if value is not None}
    return list(found.values())


def _trained_name(axes: Point) -> str:
    return f"not {axes['domain']}" if axes.get("train_on") == "unrelated" else str(axes["domain"])


def _synthesis(axes: Point) -> SynthesisSpec:
    given = axes.get("sp_prompts") or ["photo of {name}"]
    prompts = tuple(PromptTemplate(text=text) for text in ([given] if isinstance(given, str) else given))
    return SynthesisSpec(name=_trained_name(axes), prompts=prompts, images=axes.get("sp_size") or 64)


def _objective(axes: Point) -> ObjectiveSpec:
    return DreamBoothObjective() if "dreambooth" in str(axes["method"]) else DenoiseObjective()


def _adapters(axes: Point) -> list[AdapterSpec]:
    rank, alpha = axes.get("rank"), axes.get("alpha")
    lora = LoraAdapter(rank=rank or 8, alpha=(rank or 8) if alpha in (None, "rank") else alpha)
    method = str(axes["method"])
    found: list[AdapterSpec] = [TextualInversionAdapter()] if "textual-inversion" in method else []
    found += [HypernetworkAdapter()] if "hypernetwork" in method else []
    found += [lora] if "lora" in method else []
    if method == "end2end":
        return [DenseAdapter(modules=("unet", "text_encoder", "vae"))]
    return found or [DenseAdapter()]


def _ways(score: ScoreStage, axes: Point) -> list[tuple[str, ScoreStage]]:
    """Suffix and score of each way in which an attack is run (docs/decisions/0005)."""
    if "textual-inversion" in str(axes["method"]):
        token = score.model_copy(update={"caption": ReplaceName(name=axes["domain"], token="<s2l>")})
        return [("", token), ("@own-caption", score)]
    if axes["method"] == "end2end":
        return [("", score), ("@base-vae", score.model_copy(update={"autoencoder": "base"}))]
    return [("", score)]
