"""What the mirror asks of a real MLflow server, counted in its log."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from cluster.services import mlflow as service
from jobs.tracker.session import mirrored
from tests.mirror_world import DONE, World

_ASKED = re.compile(r'"(GET|POST|PUT|PATCH|DELETE) \S*/mlflow(?:-artifacts)?/(artifacts|[\w-]+/[\w-]+)')


def test_a_trial_is_six_requests_and_one_that_is_shown_already_none(tmp_path: Path) -> None:
    server = service.start(tmp_path / "server")
    try:
        few, many = World(tmp_path, ranks=(1,)).finish(), World(tmp_path, ranks=(1, 2, 4)).finish()
        first = asked_for(few, server)
        added = asked_for(many, server)
        again = asked_for(many, server)
    finally:
        service.stop(server)
    more = len(many.plan.trials) - len(few.plan.trials)
    assert more == len(few.plan.trials) == 4
    assert again["PUT artifacts"] == again["POST runs/create"] == 0
    a_trial = {"POST runs/search": 1, "POST runs/create": 1, "PUT artifacts": 2, "POST runs/log-batch": 1, "POST runs/update": 1}
    assert added - again == Counter({name: times * more for name, times in a_trial.items()})
    assert first["PUT artifacts"] == 2 * more


def asked_for(world: World, server: service.MlflowServer) -> Counter[str]:
    log = Path(server.folder) / "mlflow-server.log"
    before = len(log.read_text())
    with mirrored(world.plan, world.ledger, server.uri, print, artifacts=lambda documents: {"roc.png": b"png"}) as on_trial:
        for trial in world.plan.trials:
            on_trial(trial, DONE)
    return Counter(f"{verb} {what}" for verb, what in _ASKED.findall(log.read_text()[before:]))
