"""Where a grid stands: counts, failures in groups, next steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dashboards import status

MakeWorld = Callable[..., Any]


def node_of_kind(world: Any, kind: str, domain: str) -> Any:
    from jobs.plan.graph import ancestors

    trial = next(trial for trial in world.plan.trials if trial.axes["domain"] == domain and trial.axes["train_on"] == "sp" and trial.shake)
    return next(node for node in ancestors(trial.leaves()) if node.kind == kind)


def test_an_untouched_grid_misses_every_trial(make_world: MakeWorld) -> None:
    world = make_world()
    assert status.status(world.plan, world.ledger) == {"trials": {"done": 0, "failed": 0, "blocked": 0, "missing": 10}, "failures": []}


def test_a_finished_grid_is_done(quiet: Any) -> None:
    assert status.status(quiet.plan, quiet.ledger)["trials"] == {"done": 15, "failed": 0, "blocked": 0, "missing": 0}


def test_a_failed_shake_fails_its_trial_and_a_failed_sp_set_blocks_all_that_hang_on_it(make_world: MakeWorld) -> None:
    world = make_world()
    lora = next(trial for trial in world.plan.trials if trial.axes["rank"] == 8 and trial.axes["domain"] == "alba")
    world.finish(except_for=lambda trial: trial is lora or trial.axes["domain"] == "bruno")
    world.fail(lora.shake, "oom", "no memory left\nsecond line")
    sp = node_of_kind(world, "sp", "bruno")
    world.fail(sp, "data", "image 3 cannot be read")
    found = status.status(world.plan, world.ledger)
    assert found["trials"] == {"done": 4, "failed": 1, "blocked": 3, "missing": 2}
    groups = {group["class"]: group for group in found["failures"]}
    assert groups["oom"] == {"class": "oom", "message": "no memory left\nsecond line", "count": 1, "trials": [lora.key]}
    assert len(groups["data"]["trials"]) == 3
    assert groups["data"]["count"] == 1


def test_equal_messages_of_several_stages_are_one_group(make_world: MakeWorld) -> None:
    world = make_world()
    for trial in world.plan.trials:
        if trial.axes["rank"] == 1:
            world.fail(trial.shake, "numerical", "the loss is no number at step 3")
    (group,) = status.status(world.plan, world.ledger)["failures"]
    assert (group["class"], group["count"], len(group["trials"])) == ("numerical", 2, 2)


def test_a_failure_that_was_mended_is_forgotten(make_world: MakeWorld) -> None:
    world = make_world()
    shake = next(trial.shake for trial in world.plan.trials if trial.shake)
    world.fail(shake, "transient", "the store did not answer")
    world.commit(shake, "adapter.json", b"{}")
    assert status.status(world.plan, world.ledger)["failures"] == []


def test_the_newest_of_several_attempts_counts(make_world: MakeWorld) -> None:
    world = make_world()
    shake = next(trial.shake for trial in world.plan.trials if trial.shake)
    world.fail(shake, "transient", "first")
    world.fail(shake, "oom", "second")
    assert [group["message"] for group in status.status(world.plan, world.ledger)["failures"]] == ["second"]


def test_people_are_told_the_first_line_and_the_next_step(make_world: MakeWorld) -> None:
    world = make_world()
    shake = next(trial.shake for trial in world.plan.trials if trial.shake)
    world.fail(shake, "oom", "no memory left\nsecond line")
    text = status.text(world.plan, status.status(world.plan, world.ledger))
    assert "by-hand: 10 trials: 0 done, 1 failed, 9 missing" in text
    assert "oom: 1 stage failed, 1 trial without a result" in text
    assert "    no memory left\n" in text
    assert "second line" not in text
    assert status.NEXT_STEPS["oom"].replace("GRID", "by-hand") in text


def test_people_are_told_how_often_a_stage_was_tried_and_when_last_and_scripts_keep_their_shape(make_world: MakeWorld) -> None:
    from jobs.ledger.failures import Failure

    world = make_world()
    shake = next(trial.shake for trial in world.plan.trials if trial.shake)
    for at, tries in (("2026-01-01T00:00:00Z", 2), ("2026-01-02T00:00:00Z", 3)):
        record = Failure(kind="shake", key=shake.key, error_class="oom", message="no memory left", at=at, tries=tries)
        world.ledger.record_failure(record)
    committed, failures = status.committed_keys(world.plan, world.ledger), world.ledger.failures()
    found = status.standing(world.plan, committed, failures)
    text = status.text(world.plan, found, status.histories(failures, committed))
    assert "2 failed attempts, 5 tries in all, the last one at 2026-01-02T00:00:00Z" in text
    assert f"s2l retry {world.plan.grid} --only oom" in text, "the next step names another grid than this one"
    assert "s2l retry mine.yaml --set seed=0 runs again what failed" in status.text(world.plan, found, asked="mine.yaml --set seed=0")
    assert "GRID" not in text
    assert set(found["failures"][0]) == {"class", "message", "count", "trials"}


def test_what_is_taken_up_again_counts_as_missing(make_world: MakeWorld) -> None:
    world = make_world()
    world.fail(next(trial.shake for trial in world.plan.trials if trial.shake), "oom", "no memory left")
    world.ledger.mark_tried_again(world.ledger.failures()[0])
    assert status.status(world.plan, world.ledger) == {"trials": {"done": 0, "failed": 0, "blocked": 0, "missing": 10}, "failures": []}


def test_every_class_of_failure_has_a_next_step() -> None:
    from typing import get_args

    from jobs.ledger.failures import ErrorClass

    assert set(get_args(ErrorClass)) == set(status.NEXT_STEPS)
