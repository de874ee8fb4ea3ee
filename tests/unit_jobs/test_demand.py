"""What runs: a missing stage only if something that is missing needs it."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.plan.demand import count, missing_nodes
from jobs.plan.graph import Graph, Node
from jobs.plan.plan import Plan, Pool, Trial
from jobs.stages.specs import (
    BaseStage,
    BlindStage,
    DataStage,
    DrawnFaces,
    MetricsStage,
    PackagedModel,
    PooledStage,
    ScoreStage,
    ShakeStage,
    SpStage,
)
from s2l_core.specs.adapters import LoraAdapter
from s2l_core.specs.attacks import LossAttack
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.specs.training import TrainSpec


class Stated:
    """A ledger that holds what it is told, and counts how often it is asked."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes = list(nodes)
        self.asked: list[str] = []

    def committed(self, kind: str) -> set[str]:
        self.asked.append(kind)
        return {node.key for node in self.nodes if node.kind == kind}


def one_trial() -> tuple[Plan, dict[str, Node]]:
    graph = Graph()
    base = graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64)))
    data = graph.add(DataStage(source=DrawnFaces(identity="zorvik")))
    sp = graph.add(SpStage(synthesis=SynthesisSpec(name="zorvik", prompts=(PromptTemplate(text="{name}"),))), [("base", base)])
    spec = ShakeStage(adapters=(LoraAdapter(),), objective=DenoiseObjective(), training=TrainSpec(), name="zorvik")
    shake = graph.add(spec, [("base", base), ("train", sp)])
    before = graph.add(ScoreStage(attack=LossAttack()), [("base", base), ("data", data)])
    after = graph.add(ScoreStage(attack=LossAttack()), [("base", base), ("shake", shake), ("data", data)])
    metrics = graph.add(MetricsStage(), [("before", before), ("after", after)])
    blind = graph.add(BlindStage(), [("data", data)])
    pooled = graph.add(PooledStage(), [("before", before), ("after", after)])
    names = {"base": base, "data": data, "sp": sp, "shake": shake, "before": before, "after": after, "metrics": metrics}
    names |= {"blind": blind, "pooled": pooled}
    plan = Plan("g", "k", {}, [Trial("t", {}, {"loss": metrics}, shake, blind)], [Pool({}, "loss", pooled, ("t",))])
    return plan, names


def missing_after(*done: str) -> set[str]:
    plan, nodes = one_trial()
    names = {node.key: name for name, node in nodes.items()}
    return {names[node.key] for node in missing_nodes(plan, Stated(nodes[name] for name in done))}


def test_an_empty_ledger_needs_everything() -> None:
    assert missing_after() == {"base", "data", "sp", "shake", "before", "after", "metrics", "blind", "pooled"}


def test_committed_leaves_need_nothing_even_if_weights_were_dropped() -> None:
    assert missing_after("metrics", "blind", "pooled") == set()


def test_a_missing_metric_needs_no_more_than_its_scores() -> None:
    assert missing_after("before", "after", "blind", "pooled") == {"metrics"}


def test_a_missing_score_needs_its_shake_again_but_not_what_is_done() -> None:
    assert missing_after("base", "data", "sp", "before", "metrics", "blind") == {"shake", "after", "pooled"}


def test_pools_are_asked_for_like_leaves() -> None:
    assert missing_after("before", "after", "metrics", "blind") == {"pooled"}


def test_counts_tell_done_from_not_needed() -> None:
    plan, nodes = one_trial()
    ledger = Stated(nodes[name] for name in ("base", "data", "metrics", "pooled"))
    counts = count(plan, ledger)
    assert counts["metrics"] == {"distinct": 1, "done": 1, "to_run": 0}
    assert counts["blind"] == {"distinct": 1, "done": 0, "to_run": 1}
    assert counts["shake"] == {"distinct": 1, "done": 0, "to_run": 0}
    assert counts["score"] == {"distinct": 2, "done": 0, "to_run": 0}


def test_the_ledger_is_asked_once_per_kind() -> None:
    plan, _ = one_trial()
    ledger = Stated()
    count(plan, ledger)
    assert len(ledger.asked) == len(set(ledger.asked))
