"""Grouping of missing stages into units, and the queue that hands them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.execute.order import WorkOrder, node_of, parse_spec
from jobs.execute.queue import Outcome, Queue
from jobs.execute.units import Unit, make_units
from jobs.plan.graph import Graph, Node, ancestors
from jobs.stages.specs import (
    BaseStage,
    BlindStage,
    DataStage,
    DrawnFaces,
    FolderImages,
    MetricsStage,
    PackagedModel,
    PooledStage,
    ScoreStage,
    ShakeStage,
    SpStage,
)
from s2l_core.specs.adapters import DenseAdapter
from s2l_core.specs.attacks import LossAttack, PIAAttack
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.specs.training import TrainSpec


class SmallGrid:
    """Two domains, one shake each, two attacks; pooled over both."""

    def __init__(self, source: str = "drawn") -> None:
        self.graph = Graph()
        self.base = self.graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64)))
        self.cells: dict[str, list[Node]] = {}
        self.before: dict[str, list[Node]] = {}
        pairs: list[tuple[str, Node]] = []
        for domain in ("one", "two"):
            drawn = DrawnFaces(identity=domain)
            folder = FolderImages(domain=domain, content="1" * 64)
            data = self.graph.add(DataStage(source=drawn if source == "drawn" else folder))
            blind = self.graph.add(BlindStage(), [("data", data)])
            sp = self.graph.add(SpStage(synthesis=SynthesisSpec(name=domain, prompts=(PromptTemplate(text="x"),))), [("base", self.base)])
            shake = self.graph.add(
                ShakeStage(adapters=(DenseAdapter(),), objective=DenoiseObjective(), training=TrainSpec(), name=domain),
                [("base", self.base), ("train", sp)],
            )
            self.cells[domain] = [shake]
            self.before[domain] = [blind]
            for attack in (LossAttack(), PIAAttack()):
                before = self.graph.add(ScoreStage(attack=attack), [("base", self.base), ("data", data)])
                after = self.graph.add(ScoreStage(attack=attack), [("base", self.base), ("shake", shake), ("data", data)])
                metrics = self.graph.add(MetricsStage(), [("before", before), ("after", after)])
                self.before[domain].append(before)
                self.cells[domain] += [after, metrics]
                pairs += [("before", before), ("after", after)]
        self.pooled = self.graph.add(PooledStage(), pairs)

    def nodes(self) -> list[Node]:
        leaves = [node for nodes in (*self.cells.values(), *self.before.values()) for node in nodes]
        return list(ancestors([*leaves, self.pooled]))


def unit_of(units: list[Unit], node: Node) -> Unit:
    (found,) = [unit for unit in units if node.key in unit.keys]
    return found


def test_a_cell_is_one_shake_and_everything_that_hangs_on_it_alone() -> None:
    grid = SmallGrid()
    units = make_units(grid.nodes())
    for nodes in grid.cells.values():
        cell = unit_of(units, nodes[0])
        assert cell.kind == "cell"
        assert set(cell.keys) == {node.key for node in nodes}
    assert sum(unit.kind == "cell" for unit in units) == 2


def test_scores_of_the_unshaken_base_on_one_domain_are_one_prepare_unit() -> None:
    grid = SmallGrid()
    units = make_units(grid.nodes())
    _, loss, pia = grid.before["one"]
    assert unit_of(units, loss) is unit_of(units, pia)
    assert unit_of(units, loss) is not unit_of(units, grid.before["two"][1])


def test_a_stage_over_several_cells_is_a_unit_of_its_own_and_needs_them_all() -> None:
    grid = SmallGrid()
    units = make_units(grid.nodes())
    unit = unit_of(units, grid.pooled)
    assert unit.keys == [grid.pooled.key]
    assert {node.key for nodes in grid.cells.values() for node in nodes if node.kind == "score"} <= unit.needs


def test_a_unit_reads_the_users_folder_only_in_the_drivers_process() -> None:
    assert not any(unit.here for unit in make_units(SmallGrid().nodes()))
    here = [unit for unit in make_units(SmallGrid("folder").nodes()) if unit.here]
    assert {node.kind for unit in here for node in unit.nodes} == {"data", "blind"}


def test_every_missing_stage_is_in_exactly_one_unit_and_parents_come_first() -> None:
    grid = SmallGrid()
    units = make_units(grid.nodes())
    keys = [key for unit in units for key in unit.keys]
    assert sorted(keys) == sorted(node.key for node in grid.nodes())
    for unit in units:
        seen: set[str] = set()
        for node in unit.nodes:
            assert all(parent.key in seen or parent.key in unit.needs for _, parent in node.parents)
            seen.add(node.key)


def run_all(queue: Queue) -> list[str]:
    order = []
    while (unit := queue.take()) is not None:
        order.append(unit.id)
        queue.finish(unit.id, Outcome(committed=tuple(unit.keys), ran=tuple(unit.keys)))
    return order


def test_the_queue_hands_out_each_unit_once_and_after_what_it_needs() -> None:
    grid = SmallGrid()
    queue = Queue(make_units(grid.nodes()))
    done: set[str] = set()
    promised = {node.key for node in grid.nodes()}
    while (unit := queue.take()) is not None:
        assert unit.needs & promised <= done
        done.update(unit.keys)
        queue.finish(unit.id, Outcome(committed=tuple(unit.keys)))
    assert done == promised
    assert queue.exhausted


def test_what_is_committed_already_is_not_waited_for() -> None:
    grid = SmallGrid()
    cells = [node for nodes in grid.cells.values() for node in nodes]
    queue = Queue(make_units(cells))
    assert len(run_all(queue)) == 2


def test_cells_of_a_failed_parent_are_blocked_and_the_rest_goes_on() -> None:
    grid = SmallGrid()
    units = make_units(grid.nodes())
    queue = Queue(units)
    shake = grid.cells["one"][0]
    sp = shake.parent("train")
    assert sp is not None
    while (unit := queue.take()) is not None:
        if sp.key in unit.keys:
            queue.finish(unit.id, Outcome(failed={sp.key: ("unknown", "broke")}))
        else:
            queue.finish(unit.id, Outcome(committed=tuple(unit.keys)))
    blocked = {unit_id: cause for unit_id, (_, cause) in queue.blocked.items()}
    assert blocked == {unit_of(units, shake).id: sp.key, unit_of(units, grid.pooled).id: sp.key}
    assert unit_of(units, grid.cells["two"][0]).id in queue.finished
    assert queue.exhausted


def test_what_waits_for_another_drivers_stage_is_not_blamed_on_a_failure() -> None:
    grid = SmallGrid()
    queue = Queue(make_units(grid.nodes()))
    while (unit := queue.take()) is not None:
        if grid.base.key in unit.keys:
            queue.finish(unit.id, Outcome(busy=(grid.base.key,)))
        else:
            queue.finish(unit.id, Outcome(committed=tuple(unit.keys)))
    assert queue.blocked
    assert {cause for _, cause in queue.blocked.values()} == {""}


def test_a_unit_given_back_is_handed_out_again() -> None:
    queue = Queue(make_units(SmallGrid().nodes()))
    first = queue.take()
    assert first is not None
    queue.give_back(first.id)
    again = [queue.take() for _ in range(len(queue.waiting))]
    assert first in again


def test_a_work_order_says_all_a_worker_needs_in_json() -> None:
    grid = SmallGrid("folder")
    for unit in make_units(grid.nodes()):
        order = WorkOrder.model_validate_json(WorkOrder.of(unit, {"1" * 64: "/somewhere"}).model_dump_json())
        nodes = {node.key: node for node in grid.nodes()}
        for stage in order.stages:
            built = node_of(stage, nodes)
            assert built == nodes[stage.key]
            assert built.spec == nodes[stage.key].spec
        assert order.inputs == ({"1" * 64: "/somewhere"} if unit.here else {})


def test_a_spec_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind"):
        parse_spec({"kind": "no-such-stage"})


def test_stage_files_exist_for_every_kind() -> None:
    from typing import get_args

    from jobs.stages.specs import AnyStage

    folder = Path(__file__).resolve().parents[2] / "jobs" / "stages"
    for spec in get_args(get_args(AnyStage)[0]):
        assert (folder / f"{spec.model_fields['kind'].default}.py").is_file()


def test_a_queue_lasts_as_long_as_its_run_and_does_not_hold_the_manifests_that_its_units_brought() -> None:
    unit = make_units(SmallGrid().cells["one"])[0]
    queue = Queue([unit])
    assert queue.take() is unit
    queue.finish(unit.id, Outcome(committed=tuple(unit.keys), manifests={"manifests/shake/0.json": "x" * 1000}))
    assert queue.finished[unit.id] == Outcome(committed=tuple(unit.keys))
