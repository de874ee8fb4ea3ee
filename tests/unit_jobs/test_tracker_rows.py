"""What a trial's run shows, and how it is cut into calls. No MLflow."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.states import TrialState
from jobs.tracker.batches import batches
from jobs.tracker.event import event_from_line, event_of
from jobs.tracker.location import artifact_location, resolved, shown, spool_folder, ui_command
from jobs.tracker.rows import MAX_CURVE_POINTS, MAX_PARAM, Row, fingerprint, row_of, safe, stages_of
from jobs.tracker.session import probe_tracking
from jobs.tracker.view import view_state
from tests.mirror_world import DONE, World


def row(world: World, index: int, state: TrialState = DONE) -> Row:
    event = event_of(world.plan.trials[index], state)
    stages = stages_of(event, world.ledger)
    assert stages is not None
    return row_of(event, stages, world.ledger)


def test_a_run_shows_axes_bounds_curve_verdicts_and_keys(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    trial = world.plan.trials[2]
    found = row(world, 2)
    assert found.name == "zorvik · lora · rank=8 · seed=0"
    assert found.params == {"domain": "zorvik", "method": "lora", "rank": "8", "seed": "0"}
    metrics = {name: value for name, value, step in found.metrics if step == 0 and not name.startswith("train/")}
    assert len(metrics) == 2 * 2 * 5
    assert metrics["secmi/auc/delta"] == pytest.approx(0.08)
    assert found.tags["s2l.verdict.secmi"] == "amplified"
    assert trial.shake is not None
    assert found.tags["s2l.key.shake"] == trial.shake.key
    assert found.tags["s2l.uri.shake"].endswith(f"store/manifests/shake/{trial.shake.key}.json")
    assert found.tags["s2l.warnings"] == "loss:few-non-members, secmi:few-non-members"
    curve = [(step, value) for name, value, step in found.metrics if name == "train/loss"]
    assert MAX_CURVE_POINTS / 2 < len(curve) <= MAX_CURVE_POINTS
    assert curve[-1] == (499, 1 / 500)
    assert found.end_ms - found.start_ms == 5 * 2500  # two scores, two metrics, one shake


def test_absent_axes_are_a_dash_and_unnamed_in_the_run_name(tmp_path: Path) -> None:
    found = row(World(tmp_path).finish(), 0)
    assert found.params["rank"] == "-"
    assert found.name == "zorvik · none · seed=0"


def test_no_curve_of_scores_no_traceback_and_no_host_path_leaves_the_ledger(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    assert "roc" not in json.loads(row(world, 2).files["metrics/loss.json"])
    failed = row(World(tmp_path / "b"), 1, World(tmp_path / "b").fail(world.plan.trials[1], "loss is NaN\nsecret second line"))
    assert failed.status == "FAILED"
    assert failed.tags["s2l.failure.class"] == "numerical"
    assert failed.tags["s2l.failure.message"] == "loss is NaN"
    assert "secret" not in repr(failed)


def test_the_fingerprint_follows_the_content_and_not_the_clock(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    event = event_of(world.plan.trials[0], DONE)
    stages = stages_of(event, world.ledger)
    assert stages is not None
    assert fingerprint(event, stages) == fingerprint(replace(event, at_ms=1), stages)
    assert fingerprint(event, stages) != fingerprint(replace(event, axes={"domain": "other"}), stages)
    made_again = replace(stages, metrics={**stages.metrics, "loss": stages.metrics["loss"].model_copy(update={"digest": "0" * 64})})
    assert fingerprint(event, stages) != fingerprint(event, made_again)


def test_a_done_trial_whose_stage_left_the_ledger_has_nothing_to_show(tmp_path: Path) -> None:
    world = World(tmp_path).finish(World(tmp_path).plan.trials[1:])
    assert stages_of(event_of(world.plan.trials[0], DONE), world.ledger) is None


def test_long_values_are_cut_visibly_and_names_made_legal(tmp_path: Path) -> None:
    world = World(tmp_path, domains=("x" * 2000,)).finish()
    value = row(world, 0).params["domain"]
    assert len(value) == MAX_PARAM
    assert value.endswith("…")
    assert safe("secmi@token (own)") == "secmi_token _own_"


def test_events_survive_the_way_through_a_line_and_a_cut_line_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    event = event_of(world.plan.trials[1], world.fail(world.plan.trials[1], "ünlucky"))
    assert event_from_line(event.to_line()) == event
    assert event_from_line(event.to_line()[:-20]) is None


def test_batches_hold_the_limits_and_lose_nothing() -> None:
    calls = list(batches((list(range(2500)), 1000), (list("ab"), 100), ([], 100)))
    assert [len(metrics) for metrics, _, _ in calls] == [1000, 1000, 500]
    assert [params for _, params, _ in calls] == [[], [], ["a", "b"]]
    assert [value for metrics, _, _ in calls for value in metrics] == list(range(2500))
    assert list(batches(([], 10), ([], 10))) == []


def test_the_view_has_the_axes_that_vary_and_few_metrics(tmp_path: Path) -> None:
    state = json.loads(view_state(World(tmp_path).plan))
    assert len(state["selectedColumns"]) == 3 + 2 * 3 + 2
    assert state["selectedColumns"][:4] == ["params.`domain`", "params.`method`", "params.`rank`", "metrics.`loss/auc/before`"]
    assert "params.`seed`" not in state["selectedColumns"]  # one value only


def test_sqlite_is_absolute_with_artifacts_and_spool_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = resolved("sqlite:///s2l-data/mlflow.db")
    assert uri == f"sqlite:///{tmp_path}/s2l-data/mlflow.db"
    assert artifact_location(uri) == f"file://{tmp_path}/s2l-data/mlflow-artifacts"
    assert spool_folder(uri) == tmp_path / "s2l-data" / "mlflow-spool"
    assert ui_command("sqlite:///s2l-data/mlflow.db") == f"mlflow ui --backend-store-uri {uri}"
    assert ui_command("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert artifact_location("http://127.0.0.1:5000") is None


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql+psycopg2://me:hush@db/x") == "postgresql+psycopg2://me:***@db/x"
    assert "hush" not in ui_command("postgresql+psycopg2://me:hush@db/x")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", "no store in plain folders"),
        ("file:///tmp/mlruns", "no store in plain folders"),
        ("ftp://host/x", "unknown kind 'ftp'"),
        ("sqlite://", "names no file"),
        ("http://", "names no host"),
    ],
)
def test_addresses_that_cannot_work_are_refused_with_what_would(uri: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        resolved(uri)
    assert "sqlite:///s2l-data/mlflow.db" in str(caught.value)


def test_looking_for_a_database_makes_none(tmp_path: Path) -> None:
    assert "first run makes it" in probe_tracking(f"sqlite:///{tmp_path}/data/mlflow.db")
    assert not (tmp_path / "data").exists()


def test_the_mirror_is_imported_without_mlflow() -> None:
    import subprocess

    code = "import sys, jobs.tracker.session; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
