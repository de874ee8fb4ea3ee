"""The judge convicts: each promise, broken on purpose in a grid that is done, is named. A judge that finds nothing would prove nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import beds
from tests.chaos.fault import Fault, Injected
from tests.chaos.grid import Undisturbed, undisturbed
from tests.chaos.judge import judge, mlflow_shows_each_trial_once
from tests.chaos.play import Play, what_was_told
from tests.chaos.world import Broken, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A grid that has come to its end, and was found good."""
    folder = tmp_path_factory.mktemp("judge")
    with beds.in_a_folder(folder / "world", undisturbed(folder / "undisturbed", seeds=1), "--local") as world:
        Play(world, [], random.Random(0)).run()
        judge(world)
        yield world


def a_manifest(world: World, kind: str) -> Path:
    return next((Path(world.store) / "manifests" / kind).glob("*.json"))


def test_a_committed_stage_that_is_gone_is_seen_at_the_next_look(done: World) -> None:
    path = a_manifest(done, "metrics")
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(Broken, match="is gone"):
        done.observe(thoroughly=True)
    path.write_bytes(kept)


def test_a_committed_stage_that_was_made_again_is_seen_at_the_next_look(done: World) -> None:
    path = a_manifest(done, "score")
    kept = path.read_bytes()
    path.write_bytes(json.dumps(json.loads(kept) | {"made": {"at": "later"}}).encode())
    with pytest.raises(Broken, match="has other bytes now"):
        done.observe(thoroughly=True)
    path.write_bytes(kept)


def test_results_of_other_bytes_are_named(done: World) -> None:
    honest = done.undisturbed
    done.undisturbed = Undisturbed(honest.grid, honest.results.replace(b'"auc"', b'"AUC"'), honest.digests)
    with pytest.raises(Broken, match="other bytes"):
        judge(done)
    done.undisturbed = honest


def test_a_stage_of_another_digest_is_named(done: World) -> None:
    honest = done.undisturbed
    done.undisturbed = Undisturbed(honest.grid, honest.results, dict.fromkeys(honest.digests, "0" * 64))
    with pytest.raises(Broken, match="is not what an undisturbed run makes"):
        judge(done)
    done.undisturbed = honest


def test_a_stage_that_ran_twice_is_named(done: World) -> None:
    log = done.drivers[-1].log
    kept = log.read_text()
    line = next(line for line in kept.splitlines() if line.startswith("[1/"))
    log.write_text(f"{kept}{line}\n")
    with pytest.raises(Broken, match="stages"):
        judge(done)
    log.write_text(kept)


def test_a_doubled_mlflow_run_is_named(done: World) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(done.tracking)
    experiment = next(one for one in client.search_experiments() if one.name.startswith("s2l/"))
    child = next(run for run in client.search_runs([experiment.experiment_id]) if "s2l.trial_key" in run.data.tags)
    twin = client.create_run(experiment.experiment_id, tags=dict(child.data.tags))
    with pytest.raises(Broken, match="MLflow has"):
        mlflow_shows_each_trial_once(done, [])
    client.delete_run(twin.info.run_id)
    mlflow_shows_each_trial_once(done, [])


def test_a_fault_of_which_nobody_was_told_is_named(done: World) -> None:
    fault = Fault("silent", "a silent fault", lambda world, rng: Injected("nothing"), told=r"\d+ stages to run")
    assert "stages to run, 0 already done" in what_was_told(fault, Injected("it"), done.told())
    with pytest.raises(Broken, match="nobody was told"):
        what_was_told(fault, Injected("it"), done.told(done.marks()))
