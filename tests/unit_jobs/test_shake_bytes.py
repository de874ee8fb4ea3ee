"""The bytes of shakes' weights that `plan` tells, against files that are really written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.grid.presets import METHODS
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.ledger.retention import drop, droppable
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.plan.shake_bytes import BaseShapes, stored_bytes
from jobs.store.open import open_store
from s2l_core.adapters import attach, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, GaussianAdapter, HypernetworkAdapter, LoraAdapter, TextualInversionAdapter
from s2l_core.tiny import packaged
from tests.ledger_cases import leave

CASES: dict[str, tuple[AdapterSpec, ...]] = {
    **{name: preset.adapters for name, preset in METHODS.items() if name not in ("none", "gaussian")},
    "deep hypernetwork": (HypernetworkAdapter(widths=(0.5, 2.0), layer_norm=True),),
    "three tokens": (TextualInversionAdapter(tokens=("<a>", "<b>", "<c>")),),
    "lora everywhere": (LoraAdapter(rank=2, unet_targets=("to_q", "to_out.0", "conv1"), vae_targets=("to_q", "conv_in")),),
    "all at once": (TextualInversionAdapter(), DenseAdapter(modules=("unet",)), LoraAdapter(rank=3)),
    "noise": (GaussianAdapter(modules=("unet", "text_encoder", "vae")),),
}


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return StableDiffusion.load(packaged("tiny"))


@pytest.mark.parametrize("adapters", CASES.values(), ids=CASES)
def test_the_bytes_computed_from_headers_are_those_that_are_written(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...], tmp_path: Path
) -> None:
    with attach(model, adapters, seed=0) as on:
        save(on, tmp_path)
    files = list(tmp_path.rglob("*.safetensors"))
    dense = sum(path.stat().st_size for path in files if path.parent != tmp_path)
    small = sum(path.stat().st_size for path in files if path.parent == tmp_path)
    told = BaseShapes(packaged("tiny")).weights(adapters)
    assert told is not None
    assert told.dense == pytest.approx(dense, rel=0.02)
    assert told.small == pytest.approx(small, rel=0.1, abs=400)


GRID = """
name: kept
fixed: {model: tiny, data: tiny-faces, sp_size: 4, sp_steps: 2, steps: 2, batch: 2, alpha: rank, attacks: [pia]}
axes: {domain: [zorvik, mellune], method: [dreambooth, lora], seed: [0, 1]}
"""
FILES = {
    "dense": {"unet/diffusion_pytorch_model.safetensors": b"1" * 1000, "text_encoder/model.safetensors": b"2" * 500, "curve.json": b"{}"},
    "lora": {"pytorch_lora_weights.safetensors": b"3" * 70, "curve.json": b"{}"},
}


@pytest.fixture
def planned() -> Plan:
    return expand(parse_grid(GRID, "kept"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(str(tmp_path / "store")))


def shakes(plan: Plan, kind: str) -> Iterator[Node]:
    return (node for node in plan.nodes() if node.kind == "shake" and node.spec.adapters[0].kind == kind)  # type: ignore[attr-defined]


def commit(ledger: Ledger, folder: Path, node: Node) -> None:
    manifests: dict[str, Manifest] = {}
    for _, parent in node.parents:
        commit(ledger, folder, parent)
        manifests[parent.key] = ledger.manifest(*parent.id)  # type: ignore[assignment]
    files = FILES[node.spec.adapters[0].kind] if node.kind == "shake" else {"out": b""}  # type: ignore[attr-defined]
    ledger.commit(node, leave(folder, node.key, files), parents=manifests, made={})


def test_policies_are_told_before_anything_is_run(planned: Plan, ledger: Ledger) -> None:
    found = stored_bytes(planned, ledger)
    base = BaseShapes(packaged("tiny"))
    dense, lora = (base.weights(METHODS[name].adapters) for name in ("dreambooth", "lora"))
    assert dense is not None
    assert lora is not None
    assert (found.shakes, found.measured, found.unknown, found.none) == (8, 0, 0, 0)
    assert found.all == 4 * dense.dense + found.small
    assert found.small == 4 * lora.small > 0


def test_a_shake_that_is_done_tells_the_size_of_all_of_its_shape(planned: Plan, ledger: Ledger, tmp_path: Path) -> None:
    commit(ledger, tmp_path, next(shakes(planned, "dense")))
    computed = stored_bytes(planned, ledger)
    assert (computed.measured, computed.all - computed.small) == (4, 4 * 1500)
    commit(ledger, tmp_path, list(shakes(planned, "lora"))[-1])
    assert stored_bytes(planned, ledger) == type(computed)(none=0, small=4 * 70, all=4 * 1570, shakes=8, measured=8, unknown=0)


def test_what_is_told_is_what_the_policies_leave(planned: Plan, ledger: Ledger, tmp_path: Path) -> None:
    for node in planned.nodes():
        if node.kind == "shake":
            commit(ledger, tmp_path, node)
    manifests = [manifest for key in ledger.committed("shake") if (manifest := ledger.manifest("shake", key))]
    whole = sum(payload.size for manifest in manifests for payload in droppable(manifest, "none"))
    told = stored_bytes(planned, ledger)
    assert told.all == whole
    assert told.small == whole - sum(payload.size for manifest in manifests for payload in droppable(manifest, "small"))
    drop(ledger, [node for node in planned.nodes() if node.kind in ("shake", "base", "data")], "none")
    assert stored_bytes(planned, ledger) == told, "what was dropped is known by its manifest"


def test_a_base_that_is_not_here_is_unknown_and_counted(ledger: Ledger) -> None:
    hub = f"CompVis/stable-diffusion-v1-1@{'0' * 40}"
    plan = expand(parse_grid(GRID.replace("model: tiny", f"model: {hub}"), "kept"))
    found = stored_bytes(plan, ledger)
    assert (found.all, found.shakes, found.unknown) == (0, 8, 8)


def test_a_plan_without_shakes_asks_nothing(ledger: Ledger) -> None:
    found = stored_bytes(expand(parse_grid(GRID.replace("[dreambooth, lora]", "[none]").replace("alpha: rank, ", ""), "kept")), ledger)
    assert (found.all, found.shakes) == (0, 0)
