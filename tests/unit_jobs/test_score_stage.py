"""The score, metrics and pooled stages on a small real model: fused and alone give the same bytes, adapters leave no trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from jobs.errors import InputError
from jobs.stages import metrics, pooled, score
from jobs.stages.contract import StageJob
from jobs.stages.specs import MetricsStage, PooledStage, ScoreStage, StageSpec
from s2l_core.adapters import attach, save
from s2l_core.attacks.calibration import calibration_part
from s2l_core.faces import records
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, write_images
from s2l_core.metrics.compare import compare
from s2l_core.scores import read_scores
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter, TextualInversionAdapter
from s2l_core.specs.attacks import (
    ATTACK_PRESETS,
    ChosenAttack,
    ClidAttack,
    LossAttack,
    PFAMIAttack,
    PIAAttack,
    SecMIAttack,
    SecMINNsAttack,
    SimAAttack,
)
from s2l_core.specs.captions import DomainPrompt, NullCaption, ReplaceName
from s2l_core.specs.metrics import MetricsSpec
from s2l_core.specs.pretrain import SmallShape
from s2l_core.tiny.architecture import untrained

T = TypeVar("T")
SHAPE = SmallShape(vae_channels=(8, 8, 8), unet_channels=(16, 16), text_width=16, text_layers=1)
MEMBERS, NON_MEMBERS = 20, 25


class Cache:
    """Keeps the model, as a worker does."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        if key not in self.values:
            self.values[key] = make()
        value: T = self.values[key]
        return value


class NoProgress:
    """A stage that never was interrupted."""

    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None:
        raise AssertionError("a short stage needs no checkpoint")


@dataclass
class Place:
    """Parents on disk, and a warm worker."""

    root: Path
    cache: Cache = field(default_factory=Cache)

    def job(self, spec: StageSpec, parents: Mapping[str, Path] | Sequence[tuple[str, Path]], name: str, **more: Any) -> StageJob:
        pairs = parents.items() if isinstance(parents, Mapping) else parents
        out = self.root / name
        out.mkdir(parents=True)
        return StageJob(
            spec=spec,
            key=name,
            parents=tuple((role, f"{folder}", folder) for role, folder in pairs),
            out=out,
            progress=NoProgress(),
            cache=self.cache,
            device="cpu",
            say=lambda fraction, words: None,
            **more,
        )


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model, the data of two domains, and two shakes."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("parents")
    folders = {name: root / name for name in ("base", "data", "other", "lora", "dense", "vae", "token")}
    for folder in folders.values():
        folder.mkdir()
    model = untrained(SHAPE, ("photo", "of", "zorvik", "mellune"), seed=0)
    model.save(folders["base"])
    write_images(folders["data"] / "images.parquet", records("zorvik", seed=0, members=MEMBERS, non_members=NON_MEMBERS))
    write_images(folders["other"] / "images.parquet", records("mellune", seed=0, members=MEMBERS, non_members=NON_MEMBERS))
    shakes: dict[str, AdapterSpec] = {
        "lora": LoraAdapter(rank=2, alpha=2),
        "dense": DenseAdapter(modules=("unet",)),
        "vae": DenseAdapter(modules=("vae",)),
        "token": TextualInversionAdapter(),
    }
    for name, spec in shakes.items():
        with attach(model, [spec], seed=1) as on:
            for parameter in on.parameters().values():
                parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
            save(on, folders[name])
    return folders


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def the(parents: dict[str, Path], *roles: str, **named: str) -> dict[str, Path]:
    return {role: parents[role] for role in roles} | {role: parents[name] for role, name in named.items()}


def scored(place: Place, spec: ScoreStage, parents: Mapping[str, Path], name: str, **more: Any) -> StageJob:
    job = place.job(spec, parents, name, **more)
    score.run(job)
    return job


SPECS = {
    "loss": ScoreStage(attack=LossAttack(timesteps=(50, 200), draws=1)),
    "secmi": ScoreStage(attack=SecMIAttack(t=50, k=10)),
    "secmi_nns": ScoreStage(attack=SecMINNsAttack(t=50, k=10, steps=20)),
    "pia": ScoreStage(attack=PIAAttack()),
    "sima": ScoreStage(attack=SimAAttack()),
    "pfami": ScoreStage(attack=PFAMIAttack(timesteps=(200,), crops=(0.8,))),
    "clid": ScoreStage(attack=ClidAttack(timesteps=(200,))),
    "clid-domain": ScoreStage(attack=ClidAttack(timesteps=(200,)), caption=DomainPrompt(), name="zorvik"),
    "pia-null": ScoreStage(attack=PIAAttack(), caption=NullCaption()),
    "pia-sample": ScoreStage(attack=PIAAttack(), latents="sample"),
    "pia-fp64": ScoreStage(attack=PIAAttack(), precision="fp64"),
    "pia-base-vae": ScoreStage(attack=PIAAttack(), autoencoder="base"),
    "pia-base-vae-fp64": ScoreStage(attack=PIAAttack(), autoencoder="base", precision="fp64"),
}


@pytest.mark.parametrize("shake", [None, "lora", "dense", "vae"])
def test_fused_scores_are_the_bytes_of_scores_made_one_by_one(place: Place, parents: dict[str, Path], shake: str | None) -> None:
    given = the(parents, "base", "data") if shake is None else the(parents, "base", "data", shake=shake)
    together = [place.job(spec, given, f"fused-{name}") for name, spec in SPECS.items()]
    score.run_fused(together)
    for (name, spec), fused in zip(SPECS.items(), together, strict=True):
        alone = scored(Place(place.root), spec, given, f"alone-{name}")  # a worker of its own
        assert (alone.out / "scores.parquet").read_bytes() == (fused.out / "scores.parquet").read_bytes(), name


def test_a_chosen_attack_is_run_as_the_choice_says_in_the_bytes_of_that_attack(place: Place, parents: dict[str, Path]) -> None:
    made = place.root / "choice"
    made.mkdir()
    (made / "choice.json").write_text(json.dumps({"attack": {"kind": "secmi", "access": "eps", "t": 50, "k": 10}}))
    given = the(parents, "base", "data", shake="lora")
    chosen = place.job(ScoreStage(attack=ChosenAttack()), {**given, "choice": made}, "chosen")
    beside = place.job(SPECS["pia"], given, "beside")
    score.run_fused([chosen, beside])
    for job, name in ((chosen, "secmi"), (beside, "pia")):
        alone = scored(place, SPECS[name], given, f"alone-{name}")
        assert (alone.out / "scores.parquet").read_bytes() == (job.out / "scores.parquet").read_bytes()
    assert chosen.made == {"batch_size": 32, "network_calls": 8, "attacks_together": 2}


def test_scores_are_in_the_data_sets_order_and_say_where_they_come_from(place: Place, parents: dict[str, Path]) -> None:
    job = scored(place, SPECS["secmi"], the(parents, "base", "data"), "it")
    found = read_scores(job.out / "scores.parquet")
    data = records("zorvik", seed=0, members=MEMBERS, non_members=NON_MEMBERS)
    assert found.image_ids == tuple(record.image_id for record in data)
    assert found.member.tolist() == [record.member for record in data]
    assert (found.attack["kind"], found.domain, found.network_calls) == ("secmi", "zorvik", 7)
    assert np.isfinite(found.score).all()
    assert [path.name for path in job.out.iterdir()] == ["scores.parquet"]


SHARED = [
    ([SPECS["secmi"], SPECS["pia"]], 8, [7, 2]),
    ([ScoreStage(attack=ATTACK_PRESETS[name]) for name in ("secmi", "pia", "sima")], 14, [12, 2, 1]),
    # at timestep 200: one call is the loss, five more are PFAMI's crop and CLiD's four other captions
    ([SPECS["pfami"], SPECS["clid"], ScoreStage(attack=LossAttack(timesteps=(200,), draws=1))], 6, [2, 5, 1]),
]


@pytest.mark.parametrize(("specs", "together", "alone"), SHARED, ids=["shorter", "fourteen", "noised"])
def test_fused_attacks_share_network_calls_and_say_so(
    place: Place, parents: dict[str, Path], specs: list[ScoreStage], together: int, alone: list[int]
) -> None:
    jobs = [place.job(spec, the(parents, "base", "data"), f"{number}") for number, spec in enumerate(specs)]
    score.run_fused(jobs)
    assert [job.made["network_calls"] for job in jobs] == [together] * len(jobs)
    assert [read_scores(job.out / "scores.parquet").network_calls for job in jobs] == alone


def test_an_attack_that_learns_scores_what_it_did_not_learn_from_before_and_after(place: Place, parents: dict[str, Path]) -> None:
    before = scored(place, SPECS["secmi_nns"], the(parents, "base", "data"), "before")
    after = scored(place, SPECS["secmi_nns"], the(parents, "base", "data", shake="lora"), "after")
    first, second = (read_scores(job.out / "scores.parquet") for job in (before, after))
    data = records("zorvik", seed=0, members=MEMBERS, non_members=NON_MEMBERS)
    part = calibration_part([record.content for record in data], [bool(record.member) for record in data], 0.5, 0)
    rest = [record for record, one in zip(data, part, strict=True) if not one]
    assert first.image_ids == second.image_ids == tuple(record.image_id for record in rest)
    assert first.member.tolist() == [record.member for record in rest]
    assert (len(first.members), len(first.non_members), first.network_calls) == (10, 13, 7)
    assert (first.facts["calibration_members"], first.facts["calibration_non_members"]) == (10, 12)
    measured = compare(first, second, MetricsSpec(bootstrap=100))
    assert (measured["attack"], measured["n_member"], measured["n_non_member"]) == ("secmi_nns", 10, 13)


@pytest.mark.parametrize("shake", ["lora", "dense"])
def test_a_shake_changes_scores_and_leaves_the_warm_model_as_it_was(place: Place, parents: dict[str, Path], shake: str) -> None:
    before = scored(place, SPECS["loss"], the(parents, "base", "data"), "before")
    after = scored(place, SPECS["loss"], the(parents, "base", "data", shake=shake), "after")
    again = scored(place, SPECS["loss"], the(parents, "base", "data"), "again")
    assert len(place.cache.values) == 1
    assert (before.out / "scores.parquet").read_bytes() == (again.out / "scores.parquet").read_bytes()
    assert (read_scores(before.out / "scores.parquet").score != read_scores(after.out / "scores.parquet").score).all()


def test_the_base_s_autoencoder_shows_the_rest_of_the_shaken_model_the_images_as_before(place: Place, parents: dict[str, Path]) -> None:
    before = scored(place, SPECS["pia"], the(parents, "base", "data"), "before")
    own, base = (scored(place, SPECS[name], the(parents, "base", "data", shake="vae"), name) for name in ("pia", "pia-base-vae"))
    scores = [read_scores(job.out / "scores.parquet") for job in (before, own, base)]
    assert (scores[1].score != scores[0].score).all(), "encoded by the trained autoencoder"
    assert (scores[2].score == scores[0].score).all(), "nothing but the autoencoder was trained"
    assert [one.facts["autoencoder"] for one in scores] == ["own", "own", "base"]


def test_a_token_is_seen_by_an_attack_that_shows_it_and_by_no_other(place: Place, parents: dict[str, Path]) -> None:
    shown = ScoreStage(attack=PIAAttack(), caption=ReplaceName(name="zorvik", token="<s2l>"))
    before = scored(place, SPECS["pia"], the(parents, "base", "data"), "before")
    own, token = (scored(place, spec, the(parents, "base", "data", shake="token"), f"{n}") for n, spec in enumerate((SPECS["pia"], shown)))
    scores = [read_scores(job.out / "scores.parquet").score for job in (before, own, token)]
    assert (scores[1] == scores[0]).all()
    assert (scores[2] != scores[0]).all()


def test_double_precision_leaves_the_warm_model_as_it_was(place: Place, parents: dict[str, Path]) -> None:
    single = scored(place, SPECS["pia"], the(parents, "base", "data", shake="lora"), "single")
    double = scored(place, SPECS["pia-fp64"], the(parents, "base", "data", shake="lora"), "double")
    again = scored(place, SPECS["pia"], the(parents, "base", "data", shake="lora"), "again")
    assert (single.out / "scores.parquet").read_bytes() == (again.out / "scores.parquet").read_bytes()
    values = [read_scores(job.out / "scores.parquet").score for job in (single, double)]
    assert 0 < np.abs(values[0] / values[1] - 1).max() < 1e-3


@pytest.mark.parametrize(("name", "tolerance"), [("secmi", 1e-3), ("loss", 1e-5), ("pia", 1e-5)])
def test_a_smaller_batch_after_an_out_of_memory_changes_rounding_only(
    place: Place, parents: dict[str, Path], name: str, tolerance: float
) -> None:
    whole = scored(place, SPECS[name], the(parents, "base", "data"), "whole")
    cut = scored(place, SPECS[name], the(parents, "base", "data"), "cut", micro_batch=4)
    values = [read_scores(job.out / "scores.parquet").score for job in (whole, cut)]
    assert np.abs(values[1] / values[0] - 1).max() <= tolerance
    assert (whole.made["batch_size"], cut.made["batch_size"]) == (score.BATCH_SIZE, 4)


def test_one_image_scores_alike_in_any_data_set(place: Place, parents: dict[str, Path], tmp_path: Path) -> None:
    data = records("zorvik", seed=0, members=MEMBERS, non_members=NON_MEMBERS)
    write_images(tmp_path / "images.parquet", data[5:30][::-1])
    whole = read_scores(scored(place, SPECS["loss"], the(parents, "base", "data"), "whole").out / "scores.parquet")
    part = read_scores(scored(place, SPECS["loss"], {"base": parents["base"], "data": tmp_path}, "part").out / "scores.parquet")
    np.testing.assert_allclose(part.score, whole.score[5:30][::-1], rtol=1e-5)


def test_images_of_unknown_membership_are_refused_with_what_to_do(place: Place, parents: dict[str, Path], tmp_path: Path) -> None:
    data = records("zorvik", seed=0, members=2, non_members=0)
    data.append(ImageRecord("x", data[0].image, "photo", "zorvik", None))
    write_images(tmp_path / "images.parquet", data)
    with pytest.raises(InputError, match="got 2 members, 0 non-members and 1 images of which that is not known; say `member: true`"):
        scored(place, SPECS["loss"], {"base": parents["base"], "data": tmp_path}, "it")


def test_a_model_that_answers_nan_is_a_numerical_failure(place: Place, parents: dict[str, Path], tmp_path: Path) -> None:
    broken = StableDiffusion.load(parents["base"])
    with attach(broken, [LoraAdapter(rank=2, alpha=2)], seed=1) as on:
        for parameter in on.parameters().values():
            parameter.data.fill_(1e30)
        save(on, tmp_path)
    with pytest.raises(FloatingPointError, match="not finite for 45 of 45 images"):
        scored(place, SPECS["pia"], {**the(parents, "base", "data"), "shake": tmp_path}, "it")
    assert scored(place, SPECS["pia"], the(parents, "base", "data"), "still").made["batch_size"] == score.BATCH_SIZE


def test_metrics_and_pooled_stages_read_what_score_stages_wrote(place: Place, parents: dict[str, Path]) -> None:
    jobs = {
        (data, shake): scored(
            place,
            SPECS["loss"],
            {"base": parents["base"], "data": parents[data]} | ({"shake": parents["lora"]} if shake else {}),
            f"{data}-{shake}",
        )
        for data in ("data", "other")
        for shake in (False, True)
    }
    spec = MetricsSpec(bootstrap=100)
    one = place.job(MetricsStage(metrics=spec), {"before": jobs["data", False].out, "after": jobs["data", True].out}, "metrics")
    metrics.run(one)
    document = json.loads((one.out / "metrics.json").read_text())
    assert (document["attack"], document["n_member"], document["n_non_member"]) == ("loss", MEMBERS, NON_MEMBERS)
    pairs = [(role, jobs[data, role == "after"].out) for data in ("data", "other") for role in ("before", "after")]
    both = place.job(PooledStage(metrics=spec), pairs, "pooled")
    pooled.run(both)
    over = json.loads((both.out / "pooled.json").read_text())
    assert (over["domains"], over["trials"]) == (["mellune", "zorvik"], 2)
    assert over["metrics"]["auc"]["by_domain"]["zorvik"]["delta"] == document["metrics"]["auc"]["delta"]
