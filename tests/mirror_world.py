"""A plan with a real ledger in a folder, results written by hand, and a look at what MLflow then shows. For tests of the mirror."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.keys import canonical_json, sha256_text
from jobs.ledger.failures import Failure
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Graph, Node
from jobs.plan.plan import Plan, Trial
from jobs.stages.specs import (
    BaseStage,
    DataStage,
    ExtractStage,
    FidelityStage,
    FolderImages,
    MemorisationStage,
    MetricsStage,
    PackagedModel,
    ScoreStage,
    ShakeStage,
    StageSpec,
)
from jobs.states import TrialState
from jobs.store.open import open_store
from s2l_core.specs.adapters import LoraAdapter
from s2l_core.specs.attacks import LossAttack, SecMIAttack
from s2l_core.specs.objectives import DreamBoothObjective
from s2l_core.specs.training import TrainSpec

DONE = TrialState("done")


@dataclass
class World:
    """Trials of `domains` x {none, lora at each rank}, each with two attacks."""

    folder: Path
    domains: tuple[str, ...] = ("zorvik", "mellune")
    ranks: tuple[int, ...] = (1, 8)
    grid: str = "by-hand"
    graph: Graph = field(default_factory=Graph)

    def __post_init__(self) -> None:
        self.ledger = Ledger(open_store(str(self.folder / "store")), notice=lambda text: None)
        self.plan = self.make_plan()

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def spool(self) -> Path:
        return self.folder / "mlflow-spool"

    # --- the plan ---

    def make_plan(self) -> Plan:
        self.base = self.graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64)))
        points: list[dict[str, Any]] = []
        for domain in self.domains:
            points.append({"domain": domain, "method": "none", "rank": None, "seed": 0})
            points += [{"domain": domain, "method": "lora", "rank": rank, "seed": 0} for rank in self.ranks]
        trials = [self._trial(point) for point in points]
        axes = {name: list(dict.fromkeys(point[name] for point in points if point[name] is not None)) for name in points[0]}
        return Plan(self.grid, sha256_text(canonical_json(sorted(trial.key for trial in trials))), axes, trials)

    def _trial(self, axes: dict[str, Any]) -> Trial:
        data = self.graph.add(DataStage(source=FolderImages(domain=axes["domain"], content=sha256_text(axes["domain"]))))
        shake = None
        if axes["rank"] is not None:
            adapters = (LoraAdapter(rank=axes["rank"], alpha=axes["rank"]),)
            spec = ShakeStage(adapters=adapters, objective=DreamBoothObjective(), training=TrainSpec(), name=axes["domain"])
            shake = self.graph.add(spec, [("base", self.base), ("train", data)])
        metrics = {}
        for name, attack in (("loss", LossAttack()), ("secmi", SecMIAttack())):
            before = self.graph.add(ScoreStage(attack=attack), [("base", self.base), ("data", data)])
            parents = [("base", self.base), *([("shake", shake)] if shake else []), ("data", data)]
            after = self.graph.add(ScoreStage(attack=attack), parents)
            metrics[name] = self.graph.add(MetricsStage(), [("before", before), ("after", after)])
        return Trial(sha256_text(canonical_json([node.key for node in metrics.values()])), axes, metrics, shake, None)

    def measure_more(self) -> World:
        """The same trials, now also measured for extraction, fidelity and memorisation; nothing of it is committed yet."""
        self.plan.trials[:] = [self._with_more(trial) for trial in self.plan.trials]
        return self

    def _with_more(self, trial: Trial) -> Trial:
        def asked(spec: StageSpec) -> Node:
            before = self.graph.add(spec, [("base", self.base)])
            return before if trial.shake is None else self.graph.add(spec, [("shake", trial.shake), ("before", before)])

        named = MemorisationStage(name=trial.axes["domain"])
        return replace(trial, extraction=asked(ExtractStage()), fidelity=asked(FidelityStage()), memorisation=asked(named))

    # --- the ledger ---

    def finish(self, trials: Iterable[Trial] | None = None) -> World:
        for trial in self.plan.trials if trials is None else trials:
            for attack, node in trial.metrics.items():
                self._commit(node, {"metrics.json": measured(trial, attack)})
            for leaf in (trial.extraction, trial.fidelity, trial.memorisation):
                if leaf is not None:
                    self._commit(leaf, self._files(leaf))
        return self

    def fail(self, trial: Trial, message: str = "loss is NaN at step 3") -> TrialState:
        node = trial.shake or next(iter(trial.metrics.values()))
        failure = Failure(kind=node.kind, key=node.key, error_class="numerical", message=message, traceback="secret/path.py", host="node-2")
        return TrialState("failed", node, self.ledger.record_failure(failure))

    def _commit(self, node: Node, files: dict[str, Any]) -> Any:
        known = self.ledger.manifest(node.kind, node.key)
        if known is not None:
            return known
        parents = {parent.key: self._commit(parent, self._files(parent)) for _, parent in node.parents}
        folder = self.folder / "work" / node.key
        folder.mkdir(parents=True)
        for name, value in files.items():
            (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
        made = {"at": "2026-01-02T03:04:05Z", "host": "node-1", "seconds": 2.5}
        return self.ledger.commit(node, folder, parents=parents, made=made)

    def _files(self, node: Node) -> dict[str, Any]:
        if node.kind == "shake":
            return {"curve.json": {"step": list(range(500)), "loss": [1 / (1 + step) for step in range(500)]}}
        if node.kind in MORE:
            return {MORE[node.kind]: measured_more(node.kind, shaken=node.parent("before") is not None)}
        return {"payload": node.key}


def measured(trial: Trial, attack: str) -> dict[str, Any]:
    """A `metrics.json` whose numbers follow from the trial."""
    gain = 0.01 * (trial.axes["rank"] or 0)
    auc = 0.6 if attack == "loss" else 0.45
    metric = {"before": auc, "before_low": auc - 0.1, "before_high": auc + 0.1, "after": auc + gain, "p_value": None}
    metric |= {"after_low": auc - 0.1, "after_high": auc + 0.1, "delta": gain, "delta_low": gain - 0.02, "delta_high": gain + 0.02}
    metric["verdict"] = "amplified" if gain > 0.02 else "none"
    curve = {"fpr": [0.0, 0.5, 1.0], "tpr": [0.0, auc, 1.0]}
    return {
        "attack": attack,
        "n_member": 64,
        "n_non_member": 128,
        "metrics": {name: dict(metric) for name in ("auc", "tpr_at_fpr_0.01")},
        "roc": {"before": curve, "after": curve},
        "warnings": [{"code": "few-non-members", "message": "128 non-members"}],
    }


MORE = {"extract": "extraction.json", "fidelity": "fidelity.json", "memorisation": "memorisation.json"}
SECRET = "sp-0-secret-image"
"""What stands in a document and must never be seen outside the store."""


def measured_more(kind: str, *, shaken: bool) -> dict[str, Any]:
    """A document beside `metrics.json`, before a shake or after one."""
    if kind == "extract":
        found, false = (5, 2) if shaken else (1, 2)
        rule = {"members": {"images": found + 1}, "members_compared": {"images": found}, "non_members": {"images": false}}
        precision = {"value": found / (found + false), "p_value": 0.01}
        return {"rules": {"l2": rule | {"precision": precision}}, "retrieval": {"value": 0.5}, "ids": [SECRET]}
    if kind == "fidelity":
        right = [True, False, True, True] if shaken else [True] * 4
        images = {"id": [SECRET] * 4, "right_identity": right, "nearest_member_pixel_l2": [0.25] * 4, "prompt_similarity": None}
        document = {"frechet": {side: {"value": 9.0 + shaken} for side in ("members", "non_members")}, "images": images}
        change = {"before": 1.0, "after": 0.75, "delta": -0.25, "low": -0.5, "high": 0.0}
        more = {"change": {"pairs": 4, "right_identity": change, "frechet": {"members": 1.0, "non_members": 1.0}}}
        return document | more if shaken else document
    score = 0.75 if shaken else 0.5
    return {"score": score, "control_mean": 0.25, "ratio": score / 0.25, "rank": 1, "controls": [{"name": "brindok", "score": 0.25}]}


class Shown:
    """What MLflow shows of one grid."""

    def __init__(self, uri: str, grid: str = "by-hand") -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        self.experiment = self.client.get_experiment_by_name(f"s2l/{grid}")
        runs = list(self.client.search_runs([self.experiment.experiment_id], max_results=1000)) if self.experiment else []
        self.parents = [run for run in runs if "s2l.trial_key" not in run.data.tags]
        self.children = [run for run in runs if "s2l.trial_key" in run.data.tags]

    @property
    def by_trial(self) -> dict[str, Any]:
        return {run.data.tags["s2l.trial_key"]: run for run in self.children}

    def assert_exact(self, plan: Plan, status: str = "FINISHED") -> None:
        """One parent, one closed child a trial under it, all of one status."""
        assert len(self.parents) == 1
        assert Counter(run.data.tags["s2l.trial_key"] for run in self.children) == Counter(trial.key for trial in plan.trials)
        assert {run.info.status for run in self.children} <= {status}
        assert {run.data.tags["mlflow.parentRunId"] for run in self.children} <= {self.parents[0].info.run_id}

    def content(self) -> dict[str, Any]:
        """Everything but ids and times of MLflow's own."""
        return {
            key: (
                run.info.run_name,
                run.info.status,
                run.info.start_time,
                run.info.end_time,
                run.data.params,
                run.data.metrics,
                _lasting(run),
            )
            for key, run in self.by_trial.items()
        }


def _lasting(run: Any) -> dict[str, str]:
    return {name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"}


def wait_until(condition: Any, what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s} s"
        time.sleep(0.05)
