"""The section `retry` of a grid file: what it says, what it refuses, and that it means nothing for keys."""

from __future__ import annotations

import pytest

from jobs.errors import GridError
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand
from jobs.policy import JITTER, RetryPolicy, Transient

GRID = "name: small\nfixed: {attacks: [loss]}\naxes: {domain: [zorvik], method: [none, lora]}\n"


def policy(text: str) -> RetryPolicy:
    return expand(parse_grid(f"{GRID}retry: {text}\n", "small.yaml")).retry


def test_what_a_grid_says_reaches_the_plan_and_the_rest_keeps_its_default() -> None:
    found = policy("{transient: {tries: 5, wait_s: 1}, hung: {after_s: 900}}")
    assert found.transient == Transient(tries=5, wait_s=1.0)
    assert (found.hung.after_s, found.hung.tries) == (900.0, RetryPolicy().hung.tries)
    assert found.oom == RetryPolicy().oom
    assert expand(parse_grid(GRID, "small.yaml")).retry == RetryPolicy()


def test_no_key_depends_on_what_is_tried_again() -> None:
    plain, patient = (expand(parse_grid(GRID + more, "small.yaml")) for more in ("", "retry: {oom: {tries: 9}}\n"))
    assert patient.grid_key == plain.grid_key
    assert [trial.key for trial in patient.trials] == [trial.key for trial in plain.trials]
    assert [node.key for node in patient.nodes()] == [node.key for node in plain.nodes()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{transint: {tries: 3}}", 'small.yaml:4: retry.transint: unknown class of failure "transint"; allowed: transient, oom,'),
        ("{transint: {tries: 3}}", 'did you mean "transient"'),
        ("{hung: {after: 3}}", 'hung: unknown key "after"; allowed: tries, after_s'),
        ("{oom: {tries: 0}}", "oom.tries: got 0; it must be at least 1"),
        ("{hung: {after_s: 0}}", "after_s: got 0; it must be greater than 0"),
        ("{oom: 3}", "oom: got 3; it must be a mapping with tries"),
        ("[oom]", "retry is a mapping"),
        ("{configuration: {tries: 2}}", "unknown class of failure"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(GridError) as caught:
        policy(text)
    assert said in str(caught.value)


def test_waits_double_up_to_the_longest_and_differ_from_key_to_key_but_not_from_time_to_time() -> None:
    transient = Transient(tries=8, wait_s=2.0, longest_wait_s=20.0)
    waits = list(transient.waits("a"))
    assert len(waits) == 7
    for found, whole in zip(waits, [2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0], strict=True):
        assert abs(found / whole - 1.0) <= JITTER
    assert waits == list(transient.waits("a"))
    assert len({next(transient.waits(f"key {number}")) for number in range(50)}) == 50


def test_the_default_outlasts_an_outage_of_two_minutes() -> None:
    assert min(sum(Transient().waits(f"key {number}")) for number in range(200)) > 120.0


def test_what_cannot_work_is_tried_once() -> None:
    default = RetryPolicy()
    assert [default.tries(name) for name in ("configuration", "data", "unknown", "numerical")] == [1, 1, 1, 2]
