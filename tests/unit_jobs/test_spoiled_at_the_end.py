"""A result that proves spoiled when the mirror reads it and its trial was done: told, by exit code too, and made again by the next run."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.cli import artifacts
from jobs.cli.main import s2l
from jobs.execute import options
from jobs.execute import run as execution
from jobs.execute.result import RunResult
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.store.open import open_store

GRID = "name: nothing\nfixed: {attacks: [loss], alpha: rank}\naxes: {domain: [zorvik, mellune], method: [none, lora]}\n"


def spoil(store: Path, key: str) -> str:
    """Change a byte of a trial's metrics in the store; the stage's key."""
    manifest = Ledger(open_store(str(store))).manifest("metrics", key)
    assert manifest is not None
    blob = store / Paths.blob(manifest.payload("metrics.json").sha256)
    blob.write_bytes(b"!" + blob.read_bytes()[1:])
    return key


def test_a_result_that_is_spoiled_when_the_mirror_reads_it_ends_the_run_with_3_and_the_next_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "RunOptions", functools.partial(options.RunOptions, stages="tests.benchmarks.noop_stages"))
    store, grid = tmp_path / "store", tmp_path / "grid.yaml"
    grid.write_text(GRID)
    real, run_plan, spoiled, over = artifacts.trial_artifacts, execution.run_plan, list[str](), threading.Event()

    def spoiling() -> Callable[[Mapping[str, Any]], Mapping[str, bytes]]:
        """Draws a trial's plot; while it draws the first, all is run, and then a result goes bad that the mirror has still to read."""
        draw = real()

        def make(documents: Mapping[str, Any]) -> Mapping[str, bytes]:
            if not spoiled:
                assert over.wait(60)
                results = Ledger(open_store(str(store))).committed("metrics")
                spoiled.append(spoil(store, min(results - {documents["loss"]["key"]})))
            return draw(documents)

        return make

    def run_all(*given: Any) -> RunResult:
        try:
            return run_plan(*given)
        finally:
            over.set()

    def run(*words: str) -> Result:
        tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
        return CliRunner().invoke(
            s2l, ["run", str(grid), "--local", "--store", str(store), "--tracking", tracking, *words], standalone_mode=False
        )

    monkeypatch.setattr(artifacts, "trial_artifacts", spoiling)
    monkeypatch.setattr(execution, "run_plan", run_all)
    done = run()
    assert (done.return_value, len(spoiled)) == (3, 1), done.output
    assert "proved spoiled when they were read, to be made again: results of 1 trials" in done.stdout
    assert done.stdout.endswith(f"next: s2l run {grid} --store {store}\n")

    monkeypatch.setattr(artifacts, "trial_artifacts", real)
    again: dict[str, Any] = json.loads(run("--json").stdout)
    assert again["trials"] == {"done": 4, "failed": 0, "blocked": 0}
    assert again["stages"]["ran"] >= 1
    assert spoiled[0] in Ledger(open_store(str(store))).committed("metrics")
    assert run("--json").return_value == 0
