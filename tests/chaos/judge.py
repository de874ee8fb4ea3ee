"""What must hold when a grid has come through: the same results, nothing lost, nothing twice, one MLflow run a trial, a clean store."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from jobs.tracker.rows import BOUNDS, safe
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
    _same_results(world, loose)
    _nothing_ran_twice(world)
    again = json.loads(world.command("run", world.grid, *world.arguments, "--json").stdout)
    if again["stages"]["ran"]:
        raise Broken(f"a second run found something to run: {again}")
    world.command("sync", world.grid)
    _mlflow_shows_each_trial_once(world)


def _verify_is_clean(world: World) -> None:
    """What was spoiled and not yet met is found, named and made again; after that there is nothing to find."""
    for _ in range(3):
        found = world.command("verify", "--repair", "--json", codes=(0, 3))
        wrong = [problem for problem in json.loads(found.stdout)["problems"] if problem["severity"] == "error"]
        if not wrong:
            return
        for problem in wrong:
            name = f"manifests/{problem['kind']}/{problem['key']}.json"
            if problem["kind"] and name not in world.spoiled:
                raise Broken(f"verify finds what nobody has spoiled: {problem}")
        world.command("run", world.grid, *world.arguments, "--json")
    raise Broken("verify still finds something after two repairs")


def _other_variants(world: World) -> set[str]:
    """Keys of stages that ran with another micro-batch, and of all that hangs on them."""
    with world.looking() as ledger:
        loose: set[str] = set()
        for node in world.undisturbed.plan.nodes():
            manifest = ledger.manifest(node.kind, node.key)
            if manifest is None:
                raise Broken(f"the grid is done, and {node.kind} {node.key} is not there")
            if "micro_batch" in manifest.made or any(parent.key in loose for _, parent in node.parents):
                loose.add(node.key)
        return loose


def _same_digests(world: World, loose: set[str]) -> None:
    with world.looking() as ledger:
        for name, digest in world.undisturbed.digests.items():
            _, kind, file = name.split("/")
            key = file.removesuffix(".json")
            manifest = ledger.manifest(kind, key)
            if manifest is None or (manifest.digest != digest and key not in loose):
                raise Broken(f"{kind} {key} is not what an undisturbed run makes")


def _same_results(world: World, loose: set[str]) -> None:
    bytes_now = world.command("results", world.grid, "--format", "json").stdout.encode()
    if bytes_now == world.undisturbed.results:
        return
    now, then = json.loads(bytes_now), json.loads(world.undisturbed.results)
    trials = {trial.key for trial in world.undisturbed.plan.trials if any(leaf.key in loose for leaf in trial.leaves())}
    if len(now) != len(then):
        raise Broken(f"{len(now)} rows of results, not {len(then)}")
    for row, expected in zip(now, then, strict=True):
        if (row != expected and not (row["trial_key"] in trials or row["trial_key"] is None)) or not _near(row, expected):
            raise Broken(f"another result: {row}, not {expected}")


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
        if driver.process.returncode == 0 and answer(driver)["stages"]["ran"] != len(lines):
            raise Broken(f"a driver says that it ran {answer(driver)['stages']['ran']} stages, and has named {len(lines)}")
    twice = {name: times for name, times in reported.items() if times > 1}
    if sum(times - 1 for times in twice.values()) > _made_again(world, spoiled):
        raise Broken(f"stages ran twice: {twice}")


def _made_again(world: World, spoiled: set[str]) -> int:
    """How many makes of spoiled stages there may be: one for each time one went to quarantine."""
    with world.looking() as ledger:
        names = [entry.name for entry in ledger.store.list("quarantine/manifests/")]
    return sum(name.endswith(".reason.json") and any(key in name for key in spoiled) for name in names)


def _mlflow_shows_each_trial_once(world: World) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(world.direct_tracking or world.tracking)
    (experiment,) = [one for one in client.search_experiments() if one.name.startswith("s2l/")]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = {str(run.data.tags["s2l.trial_key"]): run for run in runs if "s2l.trial_key" in run.data.tags}
    parents = [run for run in runs if "s2l.trial_key" not in run.data.tags]
    trials = {trial.key for trial in world.undisturbed.plan.trials}
    if children.keys() != trials or len(children) + len(parents) != len(runs) or len(parents) != 1:
        raise Broken(f"MLflow has {len(parents)} parents and {len(runs) - len(parents)} children for {len(trials)} trials")
    for row in json.loads(world.command("results", world.grid, "--format", "json").stdout):
        if row["trial_key"] in children:
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
