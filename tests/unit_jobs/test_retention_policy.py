"""Which files of a shake a policy lets go: dense weights lie in folders of their own beside what other adapters left."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.execute import ongoing
from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.run import run_plan
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.retention import Keep, drop, droppable
from jobs.plan.expand import expand
from jobs.plan.graph import Graph, Node
from jobs.plan.plan import Trial
from jobs.stages.specs import BaseStage, PackagedModel, ShakeStage
from jobs.states import TrialState
from jobs.store.open import open_store
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter, TextualInversionAdapter
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.training import TrainSpec
from tests.ledger_cases import leave

SMALL = ("learned_embeds.safetensors", "pytorch_lora_weights.safetensors")
DENSE = ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors")
REST = ("adapter.json", "curve.json")


class Committed:
    """A ledger with shakes of the files one names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(open_store(str(folder / "store")))
        self.graph = Graph()
        self.base = self.graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64)))
        self.ledger.commit(self.base, leave(folder, "base", {"model_index.json": b"{}"}), parents={}, made={})

    def shake(self, seed: int, files: tuple[str, ...], *adapters: AdapterSpec, content: str = "") -> Node:
        spec = ShakeStage(adapters=adapters, objective=DenoiseObjective(), training=TrainSpec(), name="ada", seed=seed)
        node = self.graph.add(spec, [("base", self.base)])
        left = leave(self.folder, f"shake-{seed}", {name: f"{name}{content or seed}".encode() for name in files})
        parents = {self.base.key: self.ledger.manifest(*self.base.id)}
        self.ledger.commit(node, left, parents=parents, made={})  # type: ignore[arg-type]
        return node


@pytest.fixture
def committed(tmp_path: Path) -> Committed:
    return Committed(tmp_path)


@pytest.mark.parametrize(("keep", "gone"), [("all", ()), ("small", DENSE), ("none", (*SMALL, *DENSE))])
def test_small_keeps_what_lies_beside_dense_weights(committed: Committed, keep: Keep, gone: tuple[str, ...]) -> None:
    node = committed.shake(0, (*SMALL, *DENSE, *REST), TextualInversionAdapter(), DenseAdapter(), LoraAdapter())
    manifest = committed.ledger.manifest(*node.id)
    assert manifest is not None
    assert {payload.name for payload in droppable(manifest, keep)} == set(gone)


def test_shakes_are_counted_not_their_files(committed: Committed) -> None:
    nodes = [committed.shake(seed, (*DENSE, *REST), DenseAdapter()) for seed in (0, 1)]
    dropped = drop(committed.ledger, nodes, "small")
    assert (dropped.shakes, dropped.blobs) == (2, 6)
    assert drop(committed.ledger, nodes, "small").shakes == 0


def test_a_file_that_another_grid_s_shake_names_too_stays(committed: Committed) -> None:
    ours, theirs = (committed.shake(seed, DENSE, DenseAdapter(), content="same") for seed in (0, 1))
    assert drop(committed.ledger, [ours], "small").blobs == 0
    assert drop(committed.ledger, [ours, theirs], "small").blobs == 3


def test_a_run_drops_weights_while_it_runs_and_not_only_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ongoing, "RETAIN_EVERY_S", 0.0)
    text = "name: many\nfixed: {attacks: [loss], alpha: rank, method: lora, domain: zorvik}\naxes: {seed: [0, 1, 2, 3]}\n"
    plan, store = expand(parse_grid(text, "many.yaml")), str(tmp_path / "store")
    ledger = Ledger(open_store(store))
    kept = []

    def weights(trial: Trial, state: TrialState) -> None:
        shakes = [ledger.manifest("shake", key) for key in ledger.committed("shake")]
        blobs = [payload.sha256 for shake in shakes if shake is not None for payload in droppable(shake, "none")]
        kept.append(sum(ledger.store.size(Paths.blob(sha256)) is not None for sha256 in blobs))

    options = RunOptions(store, local=True, keep="none", stages="tests.benchmarks.noop_stages")
    assert run_plan(plan, ledger, options, Silent(), weights).counts()["done"] == len(kept) == 4
    assert max(kept) == 1
