"""Where an experiment's files may go, by the word of a tracking server. No MLflow server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.tracker import mlflow_writer
from jobs.tracker.answers import Refused
from jobs.tracker.mlflow_writer import MlflowWriter

SERVER = "http://user:secret@tracking:5000"


class Client:
    """MLflow's client over one experiment, which is there already or is made; it goes on to runs only when the place was taken."""

    def __init__(self, place: str, there: bool) -> None:
        self.experiment = SimpleNamespace(experiment_id="7", artifact_location=place, lifecycle_stage="active")
        self.there = there

    def get_experiment_by_name(self, name: str) -> Any:
        return self.experiment if self.there else None

    def create_experiment(self, name: str, place: str | None, tags: dict[str, str]) -> str:
        self.there = True
        return "7"

    def get_experiment(self, number: str) -> Any:
        return self.experiment


def experiment(monkeypatch: pytest.MonkeyPatch, uri: str, place: str, there: bool = True) -> str:
    monkeypatch.setattr(mlflow_writer, "_client", lambda uri: Client(place, there))
    return MlflowWriter(uri)._find_experiment("s2l/by-hand")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "place",
    ["file:///chosen/path", "FILE:///chosen/path", "/chosen/path", "./mlruns/7", "c:/chosen/path", "", "runs:/8/path", "models:/m-8"],
)
def test_a_server_cannot_have_a_folder_of_this_machine_written_to(monkeypatch: pytest.MonkeyPatch, place: str, there: bool) -> None:
    with pytest.raises(Refused, match=r"^http://user:\*\*\*@tracking:5000: files of experiment 's2l/by-hand' would go to .* a folder here"):
        experiment(monkeypatch, SERVER, place, there)


@pytest.mark.parametrize("place", ["http://elsewhere/7", "https://elsewhere:5000/7", "mlflow-artifacts://elsewhere:5000/7"])
def test_a_server_cannot_have_its_password_sent_to_another_host(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    with pytest.raises(Refused, match="which is another host, which would be told the password for this one; delete that experiment"):
        experiment(monkeypatch, SERVER, place)


@pytest.mark.parametrize("place", ["http://tracking:5000/api/2.0/mlflow-artifacts/artifacts/7", "mlflow-artifacts://tracking:5000/7"])
def test_the_server_s_own_address_is_no_other_host(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    assert experiment(monkeypatch, SERVER, place) == "7"


@pytest.mark.parametrize("place", ["mlflow-artifacts:/7", "s3://bucket/7", "gs://bucket/7", "abfss://container@account/7", "dbfs:/7"])
def test_places_that_lie_elsewhere_are_the_server_s_to_choose(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    assert experiment(monkeypatch, SERVER, place) == "7"
    assert experiment(monkeypatch, SERVER, place, there=False) == "7"


def test_with_a_database_the_folder_beside_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiment(monkeypatch, "sqlite:////d/mlflow.db", "file:///d/mlflow-artifacts") == "7"
