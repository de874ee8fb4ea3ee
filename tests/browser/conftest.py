"""A real MLflow server for those who look at its pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.services import mlflow as service


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[service.MlflowServer]:
    running = service.start(tmp_path_factory.mktemp("server"))
    yield running
    service.stop(running, at_once=True)
