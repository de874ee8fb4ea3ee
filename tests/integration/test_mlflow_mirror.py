"""The mirror against real MLflow: a SQLite file and a server process. Killed, raced, out of reach, repeated."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ViewType

from cluster.services import mlflow as service
from jobs.errors import InputError, OutOfReach
from jobs.ledger.ledger import Ledger
from jobs.states import TrialState
from jobs.store.open import open_store
from jobs.tracker.database import ensure_database
from jobs.tracker.event import event_of
from jobs.tracker.mirror import THREAD, Mirror
from jobs.tracker.mlflow_writer import MlflowWriter
from jobs.tracker.rows import row_of, stages_of
from jobs.tracker.session import mirrored, probe_tracking, sync_grid
from jobs.tracker.spool import Spool
from tests.mirror_world import DONE, SECRET, Shown, World, measured_more, wait_until

ROOT = Path(__file__).resolve().parents[2]
CLOSED = "http://127.0.0.1:9"
"""An address where nothing answers."""

DRIVER = """
import sys, time
from pathlib import Path
from typing import Any
from jobs.tracker.mirror import Mirror
from tests.mirror_world import DONE, World
world = World(Path(sys.argv[1]), ranks=tuple(range(1, 11)))
mirror = Mirror(world.plan, world.ledger, sys.argv[2], Path(sys.argv[3]), lambda text: print(text, file=sys.stderr))
mirror.start()
for trial in world.plan.trials:
    mirror.trial_changed(trial, DONE)
print("told", flush=True)
report = mirror.finish(120)
print(report.written, report.unchanged, report.spooled, flush=True)
"""


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: it takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowWriter(f"sqlite:///{path}").ping()
    return path


@pytest.fixture
def world(tmp_path: Path, empty_database: Path) -> World:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return World(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[service.MlflowServer]:
    running = service.start(tmp_path_factory.mktemp("server"))
    yield running
    service.stop(running, at_once=True)


@contextmanager
def driver(world: World, uri: str) -> Iterator[subprocess.Popen[str]]:
    """A mirror in a process of its own, over a world of 22 trials."""
    command = [sys.executable, "-c", DRIVER, str(world.folder), uri, str(world.spool)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=world.folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def mirror_all(world: World, uri: str | None = None, **states: TrialState) -> list[str]:
    """Mirror a run in which every trial came to rest; the notices."""
    notices: list[str] = []
    with mirrored(world.plan, world.ledger, uri or world.uri, notices.append) as on_trial:
        for trial in world.plan.trials:
            on_trial(trial, states.get(trial.key, DONE))
    return notices


def test_the_delivery_under_way_ends_before_the_run_does_and_the_rest_waits_on_disk(world: World) -> None:
    """Python's end in the middle of drawing a plot, in compiled code, would abort the process of a grid that is complete."""
    drawing: list[str] = []

    def slow(documents: Mapping[str, Any]) -> dict[str, bytes]:
        drawing.extend(documents)
        time.sleep(1.0)
        return {}

    mirror = Mirror(world.finish().plan, world.ledger, world.uri, world.spool, print, artifacts=slow)
    mirror.start()
    for trial in world.plan.trials:
        mirror.trial_changed(trial, DONE)
    wait_until(lambda: drawing, "the first plot")
    report = mirror.finish(0.05)
    assert all(thread.name != THREAD for thread in threading.enumerate())
    assert len(drawing) == 2 * report.written
    assert report.written + report.spooled == len(world.plan.trials)
    assert report.spooled > 0
    assert report.command


def test_the_end_of_a_run_waits_for_an_mlflow_that_is_slow_but_takes_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage thousands of trials may be to go."""
    monkeypatch.setattr("jobs.tracker.mirror.TELL_S", 1.0)
    world, notices = World(tmp_path, ranks=tuple(range(1, 11))).finish(), list[str]()

    def slow(documents: Mapping[str, Any]) -> dict[str, bytes]:
        time.sleep(0.3)
        return {}

    mirror = Mirror(world.plan, world.ledger, world.uri, world.spool, notices.append, artifacts=slow)
    mirror.start()
    for trial in world.plan.trials:
        mirror.trial_changed(trial, DONE)
    began = time.monotonic()
    report = mirror.finish(5.0, 120.0)
    assert time.monotonic() - began > 5.0, "it was not slow enough to show anything"
    assert (report.written, report.spooled, report.command) == (22, 0, "")
    assert any("trials to go" in text and "s2l sync" in text for text in notices)


def test_ctrl_c_while_a_complete_grid_waits_for_mlflow_leaves_the_rest_to_sync_and_is_no_interruption(tmp_path: Path) -> None:
    world, notices = World(tmp_path, ranks=tuple(range(1, 11))).finish(), list[str]()

    def slow(documents: Mapping[str, Any]) -> dict[str, bytes]:
        time.sleep(1.0)
        return {}

    with mirrored(world.plan, world.ledger, world.uri, notices.append, artifacts=slow) as on_trial:
        for trial in world.plan.trials:
            on_trial(trial, DONE)
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert "trials wait on disk" in notices[-1]
    sync_grid(world.plan, world.ledger, world.uri)
    Shown(world.uri, "by-hand").assert_exact(world.plan)


# --- what is shown ---


def test_a_finished_grid_is_shown_whole_and_a_second_run_changes_nothing(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    notices = mirror_all(world.finish())
    assert notices == [f"MLflow is up to date; to look: mlflow ui --backend-store-uri {world.uri}"]
    first = Shown(world.uri)
    first.assert_exact(world.plan)
    (parent,) = first.parents
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["s2l.grid_key"] == world.plan.grid_key
    assert parent.data.metrics == {"trials/done": 6.0, "trials/failed": 0.0, "trials/blocked": 0.0, "trials/missing": 0.0}
    found = first.by_trial[world.plan.trials[2].key]
    assert found.data.metrics["secmi/auc/delta"] == pytest.approx(0.08)
    assert [file.path for file in first.client.list_artifacts(found.info.run_id)] == ["metrics.json"]
    mirror_all(world)
    second = Shown(world.uri)
    assert {run.info.run_id for run in second.children} == {run.info.run_id for run in first.children}
    assert second.content() == first.content()
    assert capfd.readouterr().out == "", "stdout is for the command's answer"
    assert not list(world.spool.rglob("*.jsonl"))


def test_a_mirror_that_an_older_version_wrote_gets_what_is_measured_beside_the_attacks(world: World) -> None:
    """The older version wrote the same trials without it."""
    mirror_all(world.finish())
    former = Shown(world.uri)
    assert not any(name.startswith(("extraction/", "fidelity/", "memorisation/")) for run in former.children for name in run.data.metrics)
    world.measure_more().finish()
    assert sync_grid(world.plan, world.ledger, world.uri)["written"] == len(world.plan.trials)
    seen = Shown(world.uri)
    seen.assert_exact(world.plan)
    assert {run.info.run_id for run in seen.children} == {run.info.run_id for run in former.children}, "the same runs, corrected"
    found = seen.by_trial[world.plan.trials[2].key]
    for name, value in (
        ("extraction/l2/members/delta", 4.0),
        ("fidelity/right_identity/delta_low", -0.5),
        ("memorisation/ratio/after", 3.0),
    ):
        assert found.data.metrics[name] == value
    assert sync_grid(world.plan, world.ledger, world.uri)["written"] == 0
    text = repr([(run.data.metrics, run.data.params, run.data.tags) for run in [*seen.children, *seen.parents]])
    assert SECRET not in text
    assert not any(SECRET.encode() in path.read_bytes() for path in (world.folder / "mlflow-artifacts").rglob("*") if path.is_file())


def test_a_document_that_is_made_again_with_other_numbers_corrects_its_run_alone(world: World) -> None:
    mirror_all(world.measure_more().finish())
    trial = world.plan.trials[2]
    node = trial.memorisation
    assert node is not None
    manifest = world.ledger.manifest(node.kind, node.key)
    assert manifest is not None
    world.ledger.retire(manifest, "test")
    folder = world.folder / "again"
    folder.mkdir()
    (folder / "memorisation.json").write_text(json.dumps(measured_more("memorisation", shaken=True) | {"score": 1.5}))
    parents = {parent.key: found for _, parent in node.parents if (found := world.ledger.manifest(parent.kind, parent.key))}
    world.ledger.commit(node, folder, parents=parents, made=manifest.made)
    assert sync_grid(world.plan, world.ledger, world.uri)["written"] == 1
    assert Shown(world.uri).by_trial[trial.key].data.metrics["memorisation/score/delta"] == 1.0


def test_failed_and_blocked_trials_are_seen_and_become_done_in_the_same_run(world: World) -> None:
    failed, blocked = world.plan.trials[1], world.plan.trials[4]
    world.finish([trial for trial in world.plan.trials if trial not in (failed, blocked)])
    state = world.fail(failed)
    mirror_all(world, **{failed.key: state, blocked.key: TrialState("blocked", state.cause, state.failure)})
    seen = Shown(world.uri)
    assert seen.parents[0].info.status == "FAILED"
    assert seen.by_trial[failed.key].info.status == "FAILED"
    assert seen.by_trial[failed.key].data.tags["s2l.failure.class"] == "numerical"
    assert seen.by_trial[failed.key].data.tags["s2l.failure.message"] == "loss is NaN at step 3"
    assert seen.by_trial[blocked.key].info.status == "KILLED"
    assert seen.by_trial[blocked.key].data.tags["s2l.state"] == "blocked"
    mirror_all(world.finish())
    later = Shown(world.uri)
    later.assert_exact(world.plan)
    assert later.by_trial[failed.key].info.run_id == seen.by_trial[failed.key].info.run_id
    assert "s2l.failure.class" not in later.by_trial[failed.key].data.tags


def test_plots_and_tables_become_artifacts_and_a_broken_plot_loses_no_number(world: World) -> None:
    notices: list[str] = []

    asked: list[list[str]] = []

    def plots(documents: Mapping[str, Any]) -> dict[str, bytes]:
        asked.append(sorted(documents))
        if len(asked) == 1:
            raise ZeroDivisionError("no points")
        return {"roc/loss.png": b"\x89PNG"}

    world.finish()
    tables = {"results.csv": b"a,b\n", "report.html": b"<html>"}
    with mirrored(world.plan, world.ledger, world.uri, notices.append, artifacts=plots, grid_artifacts=lambda: tables) as on_trial:
        for trial in world.plan.trials:
            on_trial(trial, DONE)
    seen = Shown(world.uri)
    seen.assert_exact(world.plan)
    assert "MLflow gets no plots or tables: ZeroDivisionError: no points" in notices
    names = {file.path for file in seen.client.list_artifacts(seen.by_trial[world.plan.trials[1].key].info.run_id, "roc")}
    assert names == {"roc/loss.png"}
    assert asked == [["loss", "secmi"]] * len(world.plan.trials)
    assert {file.path for file in seen.client.list_artifacts(seen.parents[0].info.run_id)} == set(tables)


def test_a_grown_grid_keeps_its_runs_and_its_parent(world: World) -> None:
    mirror_all(world.finish())
    before = Shown(world.uri)
    grown = World(world.folder, ranks=(1, 8, 64)).finish()
    mirror_all(grown)
    after = Shown(world.uri)
    after.assert_exact(grown.plan)
    assert {run.info.run_id for run in before.children} < {run.info.run_id for run in after.children}
    assert after.parents[0].info.run_id == before.parents[0].info.run_id
    assert after.parents[0].data.tags["s2l.grid_key"] == grown.plan.grid_key != world.plan.grid_key


def test_axes_with_other_labels_replace_the_run(world: World) -> None:
    mirror_all(world.finish())
    world.plan.trials[2] = replace(world.plan.trials[2], axes=world.plan.trials[2].axes | {"method": "lora-by-another-name"})
    mirror_all(world)
    seen = Shown(world.uri)
    seen.assert_exact(world.plan)
    assert seen.by_trial[world.plan.trials[2].key].data.params["method"] == "lora-by-another-name"


# --- rebuilt from the ledger ---


def test_sync_rebuilds_what_the_run_showed_and_is_idempotent(world: World, empty_database: Path, tmp_path: Path) -> None:
    mirror_all(world.finish())
    elsewhere = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'elsewhere.db')}"
    first = sync_grid(world.plan, world.ledger, elsewhere)
    assert (first["trials"], first["written"]) == (6, 6)
    assert Shown(elsewhere).content() == Shown(world.uri).content()
    second = sync_grid(world.plan, world.ledger, elsewhere)
    assert (second["written"], second["unchanged"], second["closed"]) == (0, 6, 0)
    Shown(elsewhere).assert_exact(world.plan)


def test_sync_leaves_one_of_each_and_nothing_running(world: World) -> None:
    open_trial, rest = world.plan.trials[0], world.plan.trials[1:]
    mirror_all(world.finish(rest), **{open_trial.key: world.fail(open_trial)})
    world.ledger.clear_failures(*next(iter(open_trial.metrics.values())).id)
    seen = Shown(world.uri)
    experiment, client = seen.experiment.experiment_id, seen.client
    other_parent = client.create_run(experiment, tags={"s2l.grid": world.plan.grid}).info.run_id
    for trial in rest[:3]:
        client.create_run(experiment, tags={"s2l.trial_key": trial.key, "mlflow.parentRunId": other_parent, "s2l.grid": "by-hand"})
    client.create_run(experiment, tags={"s2l.trial_key": "f" * 64, "mlflow.parentRunId": other_parent, "s2l.grid": "by-hand"})
    report = sync_grid(world.plan, world.ledger, world.uri)
    assert report["closed"] == 2  # the stranger, and the trial whose failure was cleared
    after = Shown(world.uri)
    assert len(after.parents) == 1
    assert len(after.children) == len(world.plan.trials) + 1
    assert {run.data.tags["mlflow.parentRunId"] for run in after.children} == {after.parents[0].info.run_id}
    assert after.by_trial["f" * 64].info.status == after.by_trial[open_trial.key].info.status == "KILLED"
    assert after.by_trial[open_trial.key].data.tags["s2l.state"] == "missing"
    assert {after.by_trial[trial.key].info.status for trial in rest} == {"FINISHED"}
    assert after.parents[0].info.status == "KILLED", "a trial is missing: the grid was stopped"
    assert sync_grid(world.plan, world.ledger, world.uri)["closed"] == 0


def test_sync_corrects_a_trial_that_was_made_again_with_other_numbers(world: World) -> None:
    mirror_all(world.finish())
    trial = world.plan.trials[0]
    node = trial.metrics["loss"]
    manifest = world.ledger.manifest(node.kind, node.key)
    assert manifest is not None
    world.ledger.retire(manifest, "test")
    folder = world.folder / "again"
    folder.mkdir()
    document = world.ledger.read(manifest, "metrics.json").replace(b'"delta": 0.0,', b'"delta": 0.25,')
    (folder / "metrics.json").write_bytes(document)
    parents = {parent.key: found for _, parent in node.parents if (found := world.ledger.manifest(parent.kind, parent.key))}
    world.ledger.commit(node, folder, parents=parents, made=manifest.made)
    assert sync_grid(world.plan, world.ledger, world.uri)["written"] == 1
    assert Shown(world.uri).by_trial[trial.key].data.metrics["loss/auc/delta"] == 0.25


def test_a_run_that_a_person_deleted_comes_back(world: World) -> None:
    world.finish()
    mirror = Mirror(world.plan, world.ledger, world.uri, world.spool, lambda text: None)
    mirror.start()
    trial = world.plan.trials[1]
    mirror.trial_changed(trial, world.fail(trial))
    wait_until(lambda: trial.key in Shown(world.uri).by_trial, "the run")
    time.sleep(0.3)
    seen = Shown(world.uri)
    seen.client.delete_run(seen.by_trial[trial.key].info.run_id)
    for one in world.plan.trials:
        mirror.trial_changed(one, DONE)
    assert mirror.finish().spooled == 0
    Shown(world.uri).assert_exact(world.plan)


def test_a_deleted_experiment_is_restored(world: World) -> None:
    mirror_all(world.finish())
    seen = Shown(world.uri)
    seen.client.delete_experiment(seen.experiment.experiment_id)
    mirror_all(world)
    Shown(world.uri).assert_exact(world.plan)


# --- out of reach ---


def test_an_unreachable_address_is_quick_told_once_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path).finish()
    started = time.monotonic()
    notices = mirror_all(world, CLOSED)
    assert time.monotonic() - started < 20  # the import of MLflow is most of it
    assert [text for text in notices if "the grid goes on" in text] == notices[:1]
    assert notices[-1].endswith("the results are complete without it; later: s2l sync by-hand")
    assert "6 trials wait on disk" in notices[-1]
    left = Spool(tmp_path / "s2l-data" / "mlflow-spool", world.plan.grid, CLOSED)
    assert {event.trial for event in left.adopt()} == {trial.key for trial in world.plan.trials}
    left.close()
    with pytest.raises(OutOfReach, match="s2l sync by-hand") as caught:
        sync_grid(world.plan, world.ledger, CLOSED)
    assert caught.value.exit_code == 4
    with pytest.raises(OutOfReach):
        probe_tracking(CLOSED)


def test_telling_the_mirror_never_waits_for_mlflow(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    mirror = Mirror(world.plan, world.ledger, CLOSED, world.spool, lambda text: None)
    mirror.start()
    started = time.monotonic()
    for _ in range(50):
        for trial in world.plan.trials:
            mirror.trial_changed(trial, DONE)
    assert time.monotonic() - started < 5
    assert mirror.finish(0.0).spooled == len(world.plan.trials)


def test_a_full_disk_under_the_spool_is_a_notice(tmp_path: Path, world: World) -> None:
    (tmp_path / "blocked").write_text("a file where the spool's folder should be")
    notices: list[str] = []
    mirror = Mirror(world.finish().plan, world.ledger, world.uri, tmp_path / "blocked", notices.append)
    mirror.start()
    for trial in world.plan.trials:
        mirror.trial_changed(trial, DONE)
    assert mirror.finish().spooled == 0
    Shown(world.uri).assert_exact(world.plan)
    assert any("cannot be" in text for text in notices)


def test_an_address_of_no_use_is_bad_input_before_anything_runs(world: World) -> None:
    with pytest.raises(InputError, match="plain folders"), mirrored(world.plan, world.ledger, "file:///tmp/mlruns", print):
        raise AssertionError("the run began")


def test_without_tracking_nothing_is_written(world: World) -> None:
    with mirrored(world.finish().plan, world.ledger, None, print) as on_trial:
        on_trial(world.plan.trials[0], DONE)
    assert Shown(world.uri).experiment is None


def test_an_interrupted_run_is_shown_as_stopped(world: World) -> None:
    world.finish()

    def stopped() -> None:
        with mirrored(world.plan, world.ledger, world.uri, print) as on_trial:
            on_trial(world.plan.trials[0], DONE)
            wait_until(lambda: Shown(world.uri).children, "the first run")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    (parent,) = Shown(world.uri).parents
    assert parent.info.status == "KILLED"


def test_a_server_killed_in_the_middle_gets_everything_when_it_is_back(server: service.MlflowServer, tmp_path: Path) -> None:
    world = World(tmp_path, ranks=tuple(range(1, 11)), grid="outage").finish()
    notices: list[str] = []
    mirror = Mirror(world.plan, world.ledger, server.uri, world.spool, notices.append)
    mirror.start()
    for trial in world.plan.trials[:8]:
        mirror.trial_changed(trial, DONE)
    wait_until(lambda: len(Shown(server.uri, "outage").children) >= 2, "the first runs")
    service.stop(server, at_once=True)
    for trial in world.plan.trials[8:]:
        mirror.trial_changed(trial, DONE)
    wait_until(lambda: any("the grid goes on" in text for text in notices), "the warning")
    again = service.start(Path(server.folder))
    assert again.uri == server.uri
    try:
        wait_until(lambda: any("answers again" in text for text in notices), "the recovery", 60)
        report = mirror.finish(60)
        assert (report.spooled, report.refused, report.command) == (0, 0, "")
        Shown(server.uri, "outage").assert_exact(world.plan)
        assert sum("the grid goes on" in text for text in notices) == 1
        assert sync_grid(world.plan, world.ledger, server.uri)["written"] == 0
    finally:
        service.stop(again, at_once=True)


# --- killed and raced ---


@pytest.mark.parametrize("runs", [0, 1, 9, 17])
def test_a_writer_killed_anywhere_is_completed_by_sync(runs: int, world: World) -> None:
    world = World(world.folder, ranks=tuple(range(1, 11))).finish()
    with driver(world, world.uri) as process:
        wait_until(lambda: len(Shown(world.uri).children) >= runs if runs else process.stdout, "the moment to kill", 60)
        process.kill()
    report = sync_grid(world.plan, world.ledger, world.uri)
    assert report["trials"] == 22
    Shown(world.uri).assert_exact(world.plan)
    assert not list(world.folder.rglob("*.jsonl")), "the dead writer's spool is taken over"


def test_two_mirrors_at_once_make_no_run_twice_and_build_one_database(tmp_path: Path) -> None:
    world = World(tmp_path, ranks=tuple(range(1, 11))).finish()
    with driver(world, world.uri) as one, driver(world, world.uri) as two:
        reports = [process.communicate(timeout=180)[0].splitlines()[-1].split() for process in (one, two)]
    assert [report[2] for report in reports] == ["0", "0"], "something is left in a spool"
    Shown(world.uri).assert_exact(world.plan)
    assert Shown(world.uri).parents[0].info.status == "FINISHED"


def test_a_writer_makes_one_run_too_many_at_most_before_it_looks_for_those_of_another(world: World) -> None:
    """Both have looked at the grid before either writes; the second then finds the first one's runs, and makes none of its own."""
    rows = []
    for trial in world.finish().plan.trials:
        event = event_of(trial, DONE)
        stages = stages_of(event, world.ledger)
        assert stages is not None
        rows.append(row_of(event, stages, world.ledger))
    writers = MlflowWriter(world.uri), MlflowWriter(world.uri)
    for writer in writers:
        writer.open_grid(world.plan.grid, {})
    for writer in writers:
        for row in rows:
            writer.put(row)
    seen = Shown(world.uri)
    seen.assert_exact(world.plan)
    deleted = seen.client.search_runs([seen.experiment.experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert [run.data.tags["s2l.trial_key"] for run in deleted] == [rows[0].trial]


def test_a_half_made_database_of_a_killed_builder_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".mlflow.db.new").write_bytes(b"half a database")
    ensure_database(tmp_path / "mlflow.db", lambda path: path.write_bytes(b"a whole one") and None)
    assert (tmp_path / "mlflow.db").read_bytes() == b"a whole one"
    assert not (tmp_path / ".mlflow.db.new").exists()


def test_usage_reporting_of_mlflow_is_off() -> None:
    code = "from jobs.tracker.mlflow_writer import MlflowWriter, _client; _client('http://127.0.0.1:9'); import mlflow.telemetry.utils as t"
    code += "; print(t.MLFLOW_DISABLE_TELEMETRY.get())"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "DO_NOT"))}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_ledger_of_another_process_is_enough(world: World) -> None:
    world.finish()
    fresh = World(world.folder)
    sync_grid(fresh.plan, Ledger(open_store(str(world.folder / "store"))), world.uri)
    Shown(world.uri).assert_exact(world.plan)
