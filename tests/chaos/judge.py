"""What must hold when a grid has come through: the same results, nothing lost, nothing twice, one MLflow run a trial, a clean store."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from dashboards import results, tables
from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.run import run_plan
from jobs.ledger.paths import Paths
from jobs.ledger.verify import verify
from jobs.tracker.rows import BOUNDS, safe
from jobs.tracker.session import sync_grid
from tests.chaos.world import Broken, World, answer

TOLERANCE = 5e-3
"""How far a number may be off where a stage ran with another micro-batch after an out-of-memory: its manifest says so."""


def judge(world: World) -> None:
    """
    Raises:
        Broken: a promise was broken; says which.
    """
    world.observe(thoroughly=True)
    _verify_is_clean(world)
    loose = _other_variants(world)
    _same_digests(world, loose)
    rows = _same_results(world, loose)
    _nothing_ran_twice(world)
    _nothing_is_left_to_run(world)
    ledger = world.looking()
    sync_grid(world.undisturbed.plan, ledger, world.direct_tracking or world.tracking)
    mlflow_shows_each_trial_once(world, rows)


def _verify_is_clean(world: World) -> None:
    """What was spoiled and not yet met is found, named and made again; after that there is nothing to find."""
    for _ in range(4):
        ledger = world.looking(look_only=False)
        wrong = [problem for problem in verify(ledger, repair=True) if problem.severity == "error"]
        gone = [leaf for leaf in world.undisturbed.plan.leaves() if ledger.manifest(*leaf.id) is None]
        for problem in wrong:
            world.tell(problem.what)
            if problem.kind and Paths.manifest(problem.kind, problem.key) not in world.spoiled:
                raise Broken(f"verify finds what nobody has spoiled: {problem}")
        for leaf in gone:
            if Paths.manifest(*leaf.id) not in world.spoiled:
                raise Broken(f"the grid is done, and {leaf.kind} {leaf.key} is not there")
        if not wrong and not gone:
            return
        world.command("run", world.grid, *world.arguments, "--json")
    raise Broken("verify still finds something after three repairs")


def _other_variants(world: World) -> set[str]:
    """Keys of stages that ran with another micro-batch, and of all that hangs on them."""
    ledger = world.looking()
    loose: set[str] = set()
    for node in world.undisturbed.plan.nodes():
        manifest = ledger.manifest(node.kind, node.key)
        if manifest is None and Paths.manifest(node.kind, node.key) not in world.spoiled:
            raise Broken(f"the grid is done, and {node.kind} {node.key} is not there")
        varied = manifest is not None and "micro_batch" in manifest.made
        if varied or any(parent.key in loose for _, parent in node.parents):
            loose.add(node.key)
    return loose


def _same_digests(world: World, loose: set[str]) -> None:
    """What is there is what an undisturbed run makes. A stage that was spoiled when all that needs it was done may be in quarantine."""
    ledger = world.looking()
    for node in world.undisturbed.plan.nodes():
        manifest = ledger.manifest(node.kind, node.key)
        expected = world.undisturbed.digests[Paths.manifest(node.kind, node.key)]
        if manifest is not None and manifest.digest != expected and node.key not in loose:
            raise Broken(f"{node.kind} {node.key} is not what an undisturbed run makes")


def _same_results(world: World, loose: set[str]) -> list[dict[str, Any]]:
    """The rows of results: the bytes of an undisturbed run, but for trials that ran in another variant."""
    ledger = world.looking()
    found = tables.write(results.table(world.undisturbed.plan, ledger), "json", color=False)
    now, then = json.loads(found), json.loads(world.undisturbed.results)
    trials = {trial.key for trial in world.undisturbed.plan.trials if any(leaf.key in loose for leaf in trial.leaves())}
    if not loose and found != world.undisturbed.results:
        raise Broken("the results are other bytes than those of an undisturbed run")
    if len(now) != len(then):
        raise Broken(f"{len(now)} rows of results, not {len(then)}")
    for row, expected in zip(now, then, strict=True):
        varied = row["trial_key"] in trials
        if not (_near(row, expected) if varied else row == expected):
            raise Broken(f"another result: {row}, not {expected}")
    return list(now)


def _near(row: dict[str, Any], expected: dict[str, Any]) -> bool:
    def alike(one: Any, other: Any) -> bool:
        numbers = isinstance(one, float) and isinstance(other, float)
        return abs(one - other) <= TOLERANCE if numbers else one == other

    return row.keys() == expected.keys() and all(alike(row[name], expected[name]) for name in row)


def _nothing_ran_twice(world: World) -> None:
    """Each stage is reported as done by one driver at most, and a driver's count is what it has reported."""
    reported: Counter[str] = Counter()
    spoiled = {node.key for node in world.undisturbed.plan.nodes() if f"manifests/{node.kind}/{node.key}.json" in world.spoiled}
    for driver in world.drivers:
        lines = re.findall(r"^\[\d+/\d+\] (.+)$", driver.log.read_text(), re.MULTILINE)
        reported.update(lines)
        named = len(set(lines))  # a stage that was spoiled meanwhile is made and named again, and counts once
        if driver.process.returncode == 0 and answer(driver)["stages"]["ran"] != named:
            raise Broken(f"a driver says that it ran {answer(driver)['stages']['ran']} stages, and has named {named}")
    twice = {name: times for name, times in reported.items() if times > 1}
    if sum(times - 1 for times in twice.values()) > _made_again(world, spoiled):
        raise Broken(f"stages ran twice: {twice}")


def _nothing_is_left_to_run(world: World) -> None:
    ledger = world.looking(look_only=False)
    options = RunOptions(store=world.store, local=True)
    again = run_plan(world.undisturbed.plan, ledger, options, Silent(), lambda trial, state: None)
    if again.ran or again.counts()["done"] != len(world.undisturbed.plan.trials):
        raise Broken(f"a second run found something to run: {again}")


def _made_again(world: World, spoiled: set[str]) -> int:
    """How many makes of spoiled stages there may be: one for each time one went to quarantine."""
    ledger = world.looking()
    names = [entry.name for entry in ledger.store.list("quarantine/manifests/")]
    return sum(name.endswith(".reason.json") and any(key in name for key in spoiled) for name in names)


def mlflow_shows_each_trial_once(world: World, rows: list[dict[str, Any]]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(world.direct_tracking or world.tracking)
    (experiment,) = [one for one in client.search_experiments() if one.name.startswith("s2l/")]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = {str(run.data.tags["s2l.trial_key"]): run for run in runs if "s2l.trial_key" in run.data.tags}
    parents = [run for run in runs if "s2l.trial_key" not in run.data.tags]
    trials = {trial.key for trial in world.undisturbed.plan.trials}
    if children.keys() != trials or len(children) + len(parents) != len(runs) or len(parents) != 1:
        raise Broken(f"MLflow has {len(parents)} parents and {len(runs) - len(parents)} children for {len(trials)} trials")
    for row in rows:
        _same_numbers(row, children[row["trial_key"]])


def _same_numbers(row: dict[str, Any], run: Any) -> None:
    for bound in BOUNDS:
        shown = run.data.metrics.get(f"{safe(row['attack'])}/{safe(row['metric'])}/{bound}")
        if shown != row[bound] and row[bound] is not None:
            raise Broken(
                f"MLflow shows {shown} for {row['attack']} {row['metric']} {bound} of {row['trial_key']}; the ledger has {row[bound]}"
            )
    if run.info.status != "FINISHED":
        raise Broken(f"the run of {row['trial_key']} is {run.info.status} in MLflow")
