"""What MLflow's user `reader` can and cannot do to others: it may make experiments, and no driver writes where these say."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.services import mlflow as service
from jobs.tracker.session import mirrored
from tests.mirror_world import DONE, World


def test_an_experiment_that_a_reader_made_first_has_no_file_written_on_the_driver_s_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    server = service.start(tmp_path / "server", auth=True)
    world, chosen, notices = World(tmp_path, ranks=(1,)).finish(), tmp_path / "chosen", list[str]()
    try:
        for name, value in server.environment(reader=True).items():
            monkeypatch.setenv(name, value)
        MlflowClient(server.uri).create_experiment(f"s2l/{world.grid}", artifact_location=chosen.as_uri())
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        documents = {"report.html": b"<p>"}
        with mirrored(
            world.plan, world.ledger, server.uri, notices.append, artifacts=lambda _: documents, grid_artifacts=lambda: documents
        ) as on_trial:
            for trial in world.plan.trials:
                on_trial(trial, DONE)
    finally:
        service.stop(server, at_once=True)
    assert not chosen.exists()
    assert any("names a folder here; delete that experiment for good" in text for text in notices), notices
