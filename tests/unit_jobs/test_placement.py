"""Shares of GPUs: what a unit needs, what was measured, and the sizes it is rounded up to."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from jobs.cli.options import Bytes
from jobs.errors import InputError
from jobs.execute.options import RunOptions
from jobs.execute.units import Unit, make_units
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.placement.estimate import GIB, ModelSize, Peak, Shape, Variant, calibrated, estimate, share_of, trains
from jobs.placement.model_size import size_of_model
from jobs.placement.shapes import FixedShapes, ShapesByMemory, check_there_is_room, in_words
from jobs.plan.expand import expand
from jobs.plan.graph import ancestors
from jobs.plan.plan import Plan
from jobs.stages.specs import BlindStage, MetricsStage, PackagedModel, ScoreStage, ShakeStage, SpStage
from jobs.store.open import open_store
from s2l_core import tiny
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, GaussianAdapter, HypernetworkAdapter, LoraAdapter, TextualInversionAdapter
from s2l_core.specs.attacks import PIAAttack
from s2l_core.specs.defences import ClipNoiseDefence, DefenceSpec
from s2l_core.specs.objectives import DenoiseObjective, EndToEndObjective
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.specs.training import TrainSpec

SD = ModelSize(
    {
        "unet": {"conv_in.weight": (320, 4, 3, 3), "attn.to_q.weight": (320, 320), "rest": (859_406_884,)},
        "text_encoder": {"embeddings.token_embedding.weight": (49408, 768), "rest": (85_115_136,)},
        "vae": {"encoder.conv_in.weight": (128, 3, 3, 3), "rest": (83_650_407,)},
    },
    latent_side=64,
    factor=8,
)
"""About as large as Stable Diffusion v1."""


def shake(*adapters: AdapterSpec, end_to_end: bool = False, defence: DefenceSpec | None = None, **training: object) -> ShakeStage:
    objective = EndToEndObjective() if end_to_end else DenoiseObjective()
    return ShakeStage(adapters=adapters, objective=objective, training=TrainSpec(**training), name="x", defence=defence)  # type: ignore[arg-type]


LORA, DENSE = LoraAdapter(rank=8), DenseAdapter()
SP = SpStage(synthesis=SynthesisSpec(name="x", prompts=(PromptTemplate(text="x"),)))


@pytest.mark.parametrize(
    ("needed", "share"),
    [(0, 0.0), (1, 0.125), (3 * GIB, 0.125), (3 * GIB + 1, 0.25), (6 * GIB, 0.25), (7 * GIB, 0.5), (13 * GIB, 1.0), (25 * GIB, 1.0)],
)
def test_a_need_is_rounded_up_to_one_of_four_sizes(needed: int, share: float) -> None:
    assert share_of(needed, 24 * GIB) == share


@pytest.mark.parametrize(
    ("spec", "variant", "least", "most"),
    [
        (shake(LORA, batch_size=1), Variant(), 6, 11),
        (shake(LORA, batch_size=1), Variant(gradient_checkpointing=True), 5, 8),
        (shake(TextualInversionAdapter(), batch_size=1), Variant(), 6, 11),
        (shake(HypernetworkAdapter(), batch_size=1), Variant(), 6, 11),
        (shake(DENSE, batch_size=4), Variant(), 30, 45),
        (shake(DENSE, batch_size=4), Variant(processes=4), 20, 35),
        (shake(DENSE, batch_size=4), Variant(micro_batch=1), 20, 35),
        (shake(DENSE, batch_size=1, optimizer="adamw8bit"), Variant(), 15, 28),
        (shake(DenseAdapter(modules=("unet", "text_encoder", "vae")), end_to_end=True, batch_size=1), Variant(), 35, 50),
        (shake(GaussianAdapter()), Variant(), 4, 6),
        (SP, Variant(), 10, 24),
        (ScoreStage(attack=PIAAttack()), Variant(), 10, 30),
        (ScoreStage(attack=PIAAttack()), Variant(micro_batch=1), 5, 25),
        (MetricsStage(), Variant(), 0, 0),
        (BlindStage(), Variant(), 0, 0),
    ],
)
def test_estimates_for_a_model_of_the_size_of_stable_diffusion_lie_where_its_users_report_them(
    spec: ShakeStage, variant: Variant, least: float, most: float
) -> None:
    assert least * GIB <= estimate(spec, SD, variant) <= most * GIB


def test_more_costs_more() -> None:
    def of(spec: ShakeStage, **how: object) -> int:
        return estimate(spec, SD, Variant(**how))  # type: ignore[arg-type]

    plain = of(shake(LORA, batch_size=4))
    assert of(shake(LORA, batch_size=8)) > plain
    assert of(shake(DENSE, batch_size=4)) > plain
    assert of(shake(DENSE, batch_size=4, ema=0.9)) > of(shake(DENSE, batch_size=4))
    assert of(shake(LoraAdapter(rank=64), batch_size=4)) > plain
    assert of(shake(LORA, batch_size=4, defence=ClipNoiseDefence(noise_multiplier=1, clip=1))) < plain  # one example passes at a time
    assert of(shake(LORA, batch_size=4), processes=2) < plain
    assert of(shake(LORA, batch_size=4), gradient_checkpointing=True) < plain
    assert of(shake(LORA, batch_size=4, precision="bf16")) < plain
    assert estimate(SP, SD, Variant(), models_kept=2) > estimate(SP, SD, Variant())


def test_nothing_is_chosen_for_a_model_of_which_nothing_is_known() -> None:
    assert estimate(shake(LORA), None, Variant()) == 0


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ([], 1000),
        ([Peak("score", 1000, 5000)], 1000),
        ([Peak("shake", 1000, 400), Peak("shake", 1000, 600)], 690),
        ([Peak("shake", 1000, 2000), Peak("shake", 500, 100)], 2300),
        ([Peak("shake", 2000, 4000)], 2300),
        ([Peak("shake", 2000, 4000), Peak("shake", 4000, 4000)], 2300),
        ([Peak("shake", 2000, 100)], 500),
        ([Peak("shake", 0, 100)], 1000),
    ],
)
def test_what_like_stages_took_takes_the_place_of_the_estimate_and_others_correct_it(peaks: list[Peak], expected: int) -> None:
    assert calibrated("shake", 1000, peaks) == expected


def test_what_needs_no_gpu_is_not_corrected_into_needing_one() -> None:
    assert calibrated("shake", 0, [Peak("shake", 1000, 2000)]) == 0


def test_a_shake_that_only_adds_noise_trains_nothing() -> None:
    assert trains(shake(LORA))
    assert not trains(shake(GaussianAdapter()))
    assert not trains(SP)


# --- of a plan, and a committed model ---

GRID = """\
name: small
fixed: {domain: zorvik, attacks: [pia], alpha: rank}
axes: {method: [none, lora, gaussian]}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return expand(parse_grid(GRID, "small.yaml"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(str(tmp_path / "store")))


def unit_with(plan: Plan, kind: str, *, trained: bool = True) -> Unit:
    return next(
        unit
        for unit in make_units(plan.nodes())
        for node in unit.nodes
        if node.kind == kind and (kind != "shake" or trains(node.spec) == trained)
    )


def with_base(plan: Plan, ledger: Ledger) -> None:
    (base,) = [node for node in plan.nodes() if node.kind == "base"]
    assert isinstance(base.spec.source, PackagedModel)  # type: ignore[attr-defined]
    ledger.commit(base, tiny.packaged("tiny"), parents={}, made={})


def test_a_models_size_is_read_from_headers_alone(plan: Plan, ledger: Ledger) -> None:
    with_base(plan, ledger)
    (base,) = [node for node in plan.nodes() if node.kind == "base"]
    manifest = ledger.manifest("base", base.key)
    assert manifest is not None
    size = size_of_model(ledger, manifest)
    assert size is not None
    weights = sum(payload.size for payload in manifest.payloads if payload.name.endswith(".safetensors"))
    assert weights * 0.9 < 2 * size.count() <= weights  # they are stored in half precision
    assert (size.latent_side, size.factor, size.width("unet")) == (8, 4, 64)


def test_each_unit_takes_what_its_largest_stage_needs_and_says_so_once(plan: Plan, ledger: Ledger) -> None:
    with_base(plan, ledger)
    told: list[str] = []
    shapes = ShapesByMemory(ledger, plan.nodes(), RunOptions("", processes=3), 6 * GIB, told.append)
    assert shapes.of(unit_with(plan, "shake")) == Shape(3, 0.25)
    assert shapes.of(unit_with(plan, "shake")) == Shape(3, 0.25)
    assert shapes.of(unit_with(plan, "shake", trained=False)) == Shape(1, 0.25)
    assert shapes.of(unit_with(plan, "data")) == Shape(1, 0.0)
    assert told[0] == "units whose largest stage is score take 3 x 1/4 GPU: about 1.0 of 6.0 GiB"
    assert "units whose largest stage is data take no GPU" in told
    assert len(told) == len(set(told)) == 3


def test_what_earlier_shakes_took_is_read_from_their_manifests(plan: Plan, ledger: Ledger, tmp_path: Path) -> None:
    with_base(plan, ledger)
    shake_node = next(node for node in unit_with(plan, "shake").nodes if node.kind == "shake")
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "curve.json").write_text("{}")
    found: dict[str, Manifest] = {}
    for node in ancestors([shake_node]):
        made = {"peak_gpu_memory_bytes": 2 * GIB} if node is shake_node else {}
        found[node.key] = ledger.manifest(node.kind, node.key) or ledger.commit(node, tmp_path / "left", parents=found, made=made)
    shapes = ShapesByMemory(ledger, plan.nodes(), RunOptions(""), 6 * GIB, lambda _: None)
    assert shapes.of(unit_with(plan, "shake")) == Shape(1, 0.5)


def test_a_share_that_is_asked_for_is_every_units_share(plan: Plan) -> None:
    shapes = FixedShapes(0.5, 2)
    assert shapes.of(unit_with(plan, "shake")) == Shape(2, 0.5)
    assert shapes.of(unit_with(plan, "data")) == Shape(1, 0.5)
    assert Shape(2, 0.5).bundles() == [{"CPU": 1, "GPU": 0.5}] * 2


# --- what there is room for ---


@pytest.mark.parametrize(
    ("shape", "nodes", "room"),
    [
        (Shape(2, 1.0), [(8, 1.0)], 1),
        (Shape(4, 0.5), [(8, 1.0)], 2),
        (Shape(5, 0.5), [(2, 2.0), (2, 2.0)], 4),
        (Shape(3, 0.0), [(2, 0.0)], 2),
        (Shape(2, 2.0), [(8, 3.0)], 1),
    ],
)
def test_more_processes_than_any_placement_group_could_hold_are_refused(shape: Shape, nodes: list[tuple[float, float]], room: int) -> None:
    with pytest.raises(
        InputError, match=rf"run in {shape.processes} processes.* there is room for {room} .*give --processes {room} or less"
    ):
        check_there_is_room(shape, nodes)
    check_there_is_room(Shape(room, shape.gpu_share), nodes)


def test_processes_may_be_spread_over_nodes() -> None:
    check_there_is_room(Shape(2, 1.0), [(4, 1.0), (4, 1.0)])


@pytest.mark.parametrize(
    ("shape", "words"),
    [(Shape(1, 0.0), "no GPU"), (Shape(2, 0.0), "2 processes"), (Shape(1, 0.125), "1/8 GPU"), (Shape(2, 0.3), "2 x 0.3 GPU")],
)
def test_a_shape_in_words(shape: Shape, words: str) -> None:
    assert in_words(shape) == words


@pytest.mark.parametrize(
    ("text", "size"), [("24G", 24 * GIB), ("24GiB", 24 * GIB), ("1.5g", 3 * GIB // 2), ("512M", GIB // 2), ("1000", 1000)]
)
def test_sizes_are_read_in_powers_of_1024(text: str, size: int) -> None:
    assert Bytes().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "24 apples", "0"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="such as 24G"):
        Bytes().convert(text, None, None)
