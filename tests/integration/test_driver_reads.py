"""What `s2l run` asks of its store with the MLflow mirror on: each document once, whoever of run, mirror and report needs it; counted."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli.main import s2l
from jobs.execute import options
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.plan.expand import expand
from jobs.plan.plan import Plan
from jobs.stages.contract import StageJob
from jobs.store import open as opening
from jobs.store.open import open_store
from jobs.tracker.mlflow_writer import MlflowWriter
from jobs.worker import setup as worker_setup
from tests.benchmarks.noop_stages import metrics as metrics_stage
from tests.failing_store import FailingStore
from tests.mirror_world import Shown

GRID = """\
name: counted
fixed: {attacks: [loss, pia], alpha: rank}
axes:
  domain: [zorvik, mellune]
  method: [lora]
  seed: [SEEDS]
"""


class Driven:
    """Runs of one grid as a person starts them, each driver's calls of the store counted."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.store = folder, folder / "store"
        self.calls = Counter[str]()
        patch.setattr(opening, "open_store", self._counted)
        patch.setattr(worker_setup, "open_store", open_store)
        patch.setattr(options, "RunOptions", functools.partial(options.RunOptions, stages="tests.benchmarks.noop_stages"))
        self._drivers: list[FailingStore] = []

    def _counted(self, url: str) -> FailingStore:
        self._drivers.append(FailingStore(open_store(url)))
        return self._drivers[-1]

    @property
    def tracking(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def run(self, seeds: int) -> dict[str, Any]:
        self._drivers.clear()
        grid = self.folder / "counted.yaml"
        grid.write_text(self._text(seeds))
        given = ["--local", "--store", str(self.store), "--tracking", self.tracking, "--json"]
        done = CliRunner().invoke(s2l, ["run", str(grid), *given], standalone_mode=False)
        assert done.return_value == 0, done.output
        self.calls = Counter(call for driver in self._drivers for call in driver.calls)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def plan(self, seeds: int) -> Plan:
        return expand(parse_grid(self._text(seeds), "counted.yaml"))

    def reads(self, part: str) -> Counter[str]:
        return Counter({call: times for call, times in self.calls.items() if call.startswith(f"get {part}/")})

    @property
    def ledger(self) -> Ledger:
        return Ledger(open_store(str(self.store)))

    @staticmethod
    def _text(seeds: int) -> str:
        return GRID.replace("SEEDS", ", ".join(map(str, range(seeds))))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """MLflow's tables, made once: it takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowWriter(f"sqlite:///{path}").ping()
    return path.read_bytes()


@pytest.fixture
def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: bytes) -> Callable[[str], Driven]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def made(name: str) -> Driven:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(empty_database)
        return Driven(folder, monkeypatch)

    return made


def test_a_trial_with_mirror_and_report_is_one_read_a_document_and_none_a_manifest(driven: Callable[[str], Driven]) -> None:
    few = driven("few")
    few.run(2)
    many = driven("many")
    many.run(5)
    more = len(many.plan(5).trials) - len(few.plan(2).trials)
    assert more == 6
    assert many.reads("manifests") == few.reads("manifests") == Counter()
    assert set(many.reads("blobs").values()) == {1}
    assert many.reads("blobs").total() - few.reads("blobs").total() == 3 * more  # two attacks and a curve; as many pools, only larger
    assert Shown(many.tracking, "counted").by_trial.keys() == {trial.key for trial in many.plan(5).trials}


def test_a_run_with_nothing_left_reads_every_result_once(driven: Callable[[str], Driven]) -> None:
    bed = driven("bed")
    bed.run(3)
    bed.run(3)
    plan = bed.plan(3)
    beside = [node for node in plan.nodes() if node.kind in ("shake", "sp")]  # told of in the mirror and in the report
    asked = {*plan.leaves(), *beside}
    assert bed.reads("manifests") == Counter(f"get {Paths.manifest(*node.id)}" for node in asked)
    found = [bed.ledger.manifest(*leaf.id) for leaf in set(plan.leaves())]
    blobs = {payload.sha256 for manifest in found if manifest is not None for payload in manifest.payloads}
    assert bed.reads("blobs") == Counter(f"get {Paths.blob(sha256)}" for sha256 in blobs)


def test_a_result_that_is_made_again_with_other_numbers_is_shown_with_these(
    driven: Callable[[str], Driven], monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = driven("bed")
    bed.run(1)
    trial = bed.plan(1).trials[0]
    manifest = bed.ledger.manifest(*trial.metrics["pia"].id)
    assert manifest is not None
    blob = bed.store / Paths.blob(manifest.payloads[0].sha256)
    blob.write_bytes(b"!" + blob.read_bytes()[1:])
    made = metrics_stage.run

    def other(job: StageJob) -> None:
        made(job)
        path = job.out / "metrics.json"
        document = json.loads(path.read_text())
        document["metrics"]["auc"]["after"] = 0.875
        path.write_text(json.dumps(document))

    monkeypatch.setattr(metrics_stage, "run", other)
    assert bed.run(1)["stages"]["ran"] == 1
    seen = Shown(bed.tracking, "counted")
    metrics = seen.by_trial[trial.key].data.metrics
    assert metrics["pia/auc/after"] == 0.875
    assert metrics["loss/auc/after"] != 0.875
    table = seen.client.download_artifacts(seen.parents[0].info.run_id, "results.csv", str(bed.folder))
    assert ",0.875," in Path(table).read_text()
