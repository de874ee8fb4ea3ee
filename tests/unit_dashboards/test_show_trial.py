"""All that is known of one trial, found by the beginning of its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dashboards import show
from jobs.errors import InputError

MakeWorld = Callable[..., Any]


def test_a_done_trial_shows_axes_stages_digests_and_metrics(quiet: Any) -> None:
    trial = next(trial for trial in quiet.plan.trials if trial.axes["rank"] == 8)
    found = show.show(quiet.plan, quiet.ledger, trial.key[:12])
    assert found["trial_key"] == trial.key
    assert found["axes"] == trial.axes
    assert found["state"] == "done"
    assert {stage["kind"] for stage in found["stages"]} == {"base", "data", "sp", "shake", "score", "metrics", "blind"}
    shake = next(stage for stage in found["stages"] if stage["kind"] == "shake")
    manifest = quiet.ledger.manifest("shake", trial.shake.key)
    assert (shake["key"], shake["digest"], shake["size"]) == (trial.shake.key, manifest.digest, 64)
    assert shake["made"]["host"] == "node-1"
    assert found["metrics"]["loss"]["metrics"] == quiet.measured(trial, "loss")["metrics"]
    json.dumps(found)


def test_a_failed_trial_shows_the_failure_with_its_traceback(make_world: MakeWorld) -> None:
    world = make_world()
    trial = next(trial for trial in world.plan.trials if trial.shake)
    world.fail(trial.shake, "unknown", "it broke")
    found = show.show(world.plan, world.ledger, trial.key)
    assert found["state"] == "failed"
    assert [stage["committed"] for stage in found["stages"]] == [False] * len(found["stages"])
    (failure,) = found["failures"]
    assert (failure["class"], failure["message"], failure["host"], failure["attempt"]) == ("unknown", "it broke", "node-2", 1)
    text = show.text(found)
    assert "Traceback: here" in text
    assert "it broke" in text
    assert "not there yet" in text


def test_the_view_for_people_names_sizes_times_and_verdicts(quiet: Any) -> None:
    trial = next(trial for trial in quiet.plan.trials if trial.axes["train_on"] == "members")
    text = show.text(show.show(quiet.plan, quiet.ledger, trial.key))
    assert "node-1, cpu, 1.2 s" in text
    assert "64 B" in text
    assert "▲ amplified" in text


def test_the_view_for_people_says_what_one_is_looking_at(quiet: Any) -> None:
    trial = next(trial for trial in quiet.plan.trials if trial.axes["train_on"] == "members")
    lines = show.text(show.show(quiet.plan, quiet.ledger, trial.key[:8])).splitlines()
    assert lines[0] == f"trial {trial.key[:10]} of the grid {quiet.plan.grid}: done"
    assert f"  key          {trial.key}" in lines
    head = lines[lines.index("stages that it is made of") + 1]
    stage = lines[lines.index("stages that it is made of") + 2]
    assert head.split() == ["kind", "key", "digest", "size", "made"]
    assert [head.index(word) for word in ("kind", "key", "digest", "made")] == [2, 15, 29, head.index("made")]
    assert stage[head.index("made") - 2 : head.index("made")] == "  "
    assert lines.index("attacks: before → after fine-tuning, difference (95 % interval), verdict") < lines.index(
        next(line for line in lines if line.endswith("non-members"))
    )


def test_long_lines_wrap_at_the_width_of_a_terminal_and_tracebacks_stay(quiet: Any, make_world: MakeWorld) -> None:
    world = make_world()
    trial = next(trial for trial in world.plan.trials if trial.shake)
    world.fail(trial.shake, "unknown", "it broke " + "so " * 60)
    for found in (show.show(quiet.plan, quiet.ledger, quiet.plan.trials[0].key), show.show(world.plan, world.ledger, trial.key)):
        whole, narrow = show.text(found), show.text(found, 80)
        assert max(map(len, whole.splitlines())) > 80
        assert max(map(len, narrow.splitlines())) <= 80
        assert narrow.split() == whole.split()
        assert [line for line in whole.splitlines() if line.startswith("    ")] == [
            line for line in narrow.splitlines() if line in whole.splitlines() and line.startswith("    ")
        ]


def test_an_unknown_key_is_answered_with_the_nearest(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.plan.trials[0].key
    wrong = key[:9] + ("0" if key[9] != "0" else "1")
    with pytest.raises(InputError, match=rf"no trial of 'by-hand' has a key that begins with '{wrong}'; nearest: {key[:10]}.*s2l results"):
        show.show(world.plan, world.ledger, wrong)


@pytest.mark.parametrize("prefix", ["", "zz", "../etc/passwd"])
def test_nonsense_is_no_trial(make_world: MakeWorld, prefix: str) -> None:
    world = make_world()
    with pytest.raises(InputError, match="no trial of 'by-hand'"):
        show.show(world.plan, world.ledger, prefix)


def test_an_ambiguous_key_is_answered_with_those_it_may_mean(make_world: MakeWorld) -> None:
    world = make_world(domains=tuple(f"domain-{index}" for index in range(8)))
    first = [trial.key[0] for trial in world.plan.trials]
    shared = next(letter for letter in first if first.count(letter) > 1)
    with pytest.raises(InputError, match=rf"trial key '{shared}' is ambiguous: {first.count(shared)} trials .* give more of the key"):
        show.show(world.plan, world.ledger, shared)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 KB"), (4_200_000, "4.2 MB"), (7e9, "7.0 GB")])
def test_sizes_read_well(count: float, text: str) -> None:
    assert show.size(count) == text


def test_each_stage_of_an_attack_says_which_and_on_which_side(make_world: MakeWorld) -> None:
    world = make_world().finish()
    shaken = next(trial for trial in world.plan.trials if trial.shake is not None)
    found = show.show(world.plan, world.ledger, shaken.key)
    attacks = set(shaken.metrics)
    assert {stage["attack"] for stage in found["stages"] if stage["kind"] == "metrics"} == attacks
    scores = {stage["attack"] for stage in found["stages"] if stage["kind"] == "score"}
    assert scores == {f"{name} {side}" for name in attacks for side in ("before", "after")}
    name = min(attacks)
    assert any(f"{name} after" in line for line in show.text(found).splitlines() if line.strip().startswith("score"))
