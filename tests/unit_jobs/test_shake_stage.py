"""The shake stage: which images it takes, what it leaves, and that a stopped one goes on to the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from jobs.errors import InputError, Preempted
from jobs.execute.failures import classify
from jobs.execute.warm import Warm
from jobs.policy import RetryPolicy
from jobs.stages import checkpoints
from jobs.stages import shake as stage
from jobs.stages.contract import StageJob
from jobs.stages.specs import ShakeStage
from s2l_core.adapters import attach_saved
from s2l_core.defences import Refused
from s2l_core.defences.dp import PROTECTS_MEMBERS
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, encode_png, write_images
from s2l_core.randomness import keyed_noise
from s2l_core.shake import shake
from s2l_core.specs.adapters import GaussianAdapter, LoraAdapter
from s2l_core.specs.defences import ClipNoiseDefence, DefenceSpec, DpDefence, MixDefence, RejectDefence
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, ObjectiveSpec, PriorPreservation
from s2l_core.specs.pretrain import SmallShape
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny.architecture import untrained

SHAPE = SmallShape(image_size=16, vae_channels=(8, 16), unet_channels=(16, 32), heads=2, text_width=16, text_layers=1, tokens=8)


class Kept:
    """Progress in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, into: Path) -> bool:
        if self.folder.exists():
            shutil.copytree(self.folder, into, dirs_exist_ok=True)
        return self.folder.exists()

    def save(self, folder: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(folder, self.folder)


def record(number: int, member: bool | None) -> ImageRecord:
    pixels = (keyed_noise((16, 16, 3), "pixels", number) * 50 + 128).clamp(0, 255).byte().numpy()
    return ImageRecord(f"image-{number}", encode_png(pixels), "photo of ada", "ada", member)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("base")
    untrained(SHAPE, ["photo", "of", "ada"], seed=0).save(folder)
    return folder


def job(
    base: Path,
    where: Path,
    records: list[ImageRecord],
    *,
    objective: ObjectiveSpec | None = None,
    defence: DefenceSpec | None = None,
    steps: int = 8,
    say: Callable[[float, str], None] | None = None,
    **more: Any,
) -> StageJob:
    for name in ("train", "prior", "out"):
        (where / name).mkdir(parents=True, exist_ok=True)
    write_images(where / "train" / "images.parquet", records)
    write_images(where / "prior" / "images.parquet", [record(50, None), record(51, None)])
    spec = ShakeStage(
        adapters=(LoraAdapter(rank=2, alpha=2),),
        objective=objective or DenoiseObjective(),
        training=TrainSpec(steps=steps, batch_size=4, lr=1e-3),
        name="ada",
        seed=3,
        defence=defence,
    )
    parents = [("base", "base-key", base), ("train", "train-key", where / "train")]
    parents += [(role, f"{role}-key", where / role) for role in ("public", "own") if (where / role).exists()]
    if objective is not None:
        parents.append(("prior", "prior-key", where / "prior"))
    return StageJob(
        spec=spec,
        key="key",
        parents=tuple(parents),
        out=where / "out",
        progress=Kept(where / "progress"),
        cache=WARM,
        device="cpu",
        say=say or (lambda fraction, words: None),
        **more,
    )


WARM = Warm()


def made(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (where / "out").iterdir()}


def noise(base: Path, out: Path, sigma: float | Literal["match"], match: Path | None = None) -> StageJob:
    """Gaussian noise: no images, and a parent to be as long as where it is matched."""
    out.mkdir(parents=True)
    spec = ShakeStage(adapters=(GaussianAdapter(sigma=sigma),), objective=DenoiseObjective(), training=TrainSpec(steps=0), name="", seed=3)
    parents = [("base", "base-key", base), *([("match", "match-key", match)] if match is not None else [])]
    progress = Kept(out.parent / "progress")
    return StageJob(spec, "key", tuple(parents), out, progress, WARM, "cpu", lambda fraction, words: None)


def test_it_leaves_adapter_description_and_curve(base: Path, tmp_path: Path) -> None:
    stage.run(job(base, tmp_path, [record(number, None) for number in range(4)]))
    assert set(made(tmp_path)) == {"pytorch_lora_weights.safetensors", "adapter.json", "curve.json"}
    curve = json.loads(made(tmp_path)["curve.json"])
    assert curve["step"] == list(range(8))
    assert set(curve) == {"step", "loss", "lr", "grad_norm"}


def test_of_a_data_set_only_the_members_are_trained_on(base: Path, tmp_path: Path) -> None:
    members = [record(number, True) for number in range(4)]
    stage.run(job(base, tmp_path / "mixed", [record(9, False), *members, record(8, False)]))
    stage.run(job(base, tmp_path / "members", members))
    assert made(tmp_path / "mixed") == made(tmp_path / "members")


def test_class_images_come_from_the_prior(base: Path, tmp_path: Path) -> None:
    records = [record(number, None) for number in range(4)]
    stage.run(job(base, tmp_path / "with", records, objective=DreamBoothObjective(prior=PriorPreservation(class_prompt="photo"))))
    with pytest.raises(ValueError, match="2 class images have no place"):
        stage.run(job(base, tmp_path / "without", records, objective=DreamBoothObjective()))


def test_noise_needs_no_images_and_leaves_an_empty_curve(base: Path, tmp_path: Path) -> None:
    stage.run(noise(base, tmp_path / "noise" / "out", 0.1))
    left = made(tmp_path / "noise")
    assert set(left) == {"gaussian.safetensors", "adapter.json", "curve.json"}
    assert json.loads(left["curve.json"])["step"] == []


def test_matched_noise_is_as_long_as_what_the_other_shake_changed(base: Path, tmp_path: Path) -> None:
    stage.run(job(base, tmp_path / "other", [record(number, None) for number in range(4)]))
    stage.run(noise(base, tmp_path / "noise" / "out", "match", tmp_path / "other" / "out"))
    model = StableDiffusion.load(base)
    lengths = []
    for name in ("other", "noise"):
        with attach_saved(model, tmp_path / name / "out") as on:
            lengths.append(on.change_norms())
    assert lengths[0].keys() == {"unet", "text_encoder"}
    assert lengths[1] == {"unet": pytest.approx(lengths[0]["unet"], rel=1e-2)}


def test_noise_as_long_as_a_change_of_nothing_is_refused(base: Path, tmp_path: Path) -> None:
    stage.run(job(base, tmp_path / "other", [record(number, None) for number in range(4)], steps=0))
    with pytest.raises(InputError, match="changed no weight of unet, so that there would be no noise; match another one"):
        stage.run(noise(base, tmp_path / "noise" / "out", "match", tmp_path / "other" / "out"))


def test_gradient_checkpointing_changes_no_byte(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record(number, None) for number in range(4)]
    asked: list[bool] = []
    monkeypatch.setattr(stage, "shake", lambda *args, **more: asked.append(more["gradient_checkpointing"]) or shake(*args, **more))
    stage.run(job(base, tmp_path / "whole", records))
    stage.run(job(base, tmp_path / "less-memory", records, gradient_checkpointing=True))
    assert asked == [False, True]
    assert made(tmp_path / "whole") == made(tmp_path / "less-memory")


def test_a_stopped_stage_goes_on_to_the_same_bytes_on_a_warm_base(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record(number, None) for number in range(5)]
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)

    def stop(fraction: float, words: str) -> None:
        if fraction > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(job(base, tmp_path / "stopped", records, say=stop, checkpoint_every_s=0.0))
    assert (tmp_path / "stopped" / "progress" / "fit.safetensors").exists()
    told: list[float] = []
    stage.run(job(base, tmp_path / "stopped", records, say=lambda fraction, words: told.append(fraction)))
    stage.run(job(base, tmp_path / "whole", records))
    assert told[0] > 0.6
    assert made(tmp_path / "stopped") == made(tmp_path / "whole")


def test_a_fit_whose_machine_is_taken_away_is_kept_after_the_step_and_goes_on_to_the_same_bytes(base: Path, tmp_path: Path) -> None:
    records = [record(number, None) for number in range(5)]
    told: list[float] = []

    def say(fraction: float, words: str) -> None:
        told.append(fraction)

    with pytest.raises(Preempted):
        stage.run(job(base, tmp_path / "left", records, say=say, leaving=lambda: len(told) == 3))
    assert len(told) == 3
    stage.run(job(base, tmp_path / "left", records, say=say))
    assert len(told) == 8, "no step was made twice"
    stage.run(job(base, tmp_path / "whole", records))
    assert made(tmp_path / "left") == made(tmp_path / "whole")


# --- defences ---


def beside(where: Path, role: str, numbers: list[int]) -> None:
    """Images in another role."""
    (where / role).mkdir(parents=True)
    write_images(where / role / "images.parquet", [record(number, None) for number in numbers])


def facts(where: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made(where)["defence.json"])
    return found


def test_a_defended_shake_leaves_what_its_defence_did(base: Path, tmp_path: Path) -> None:
    defence = DpDefence(epsilon=8, delta=1e-3)
    stage.run(job(base, tmp_path, [record(number, None) for number in range(8)], defence=defence))
    assert facts(tmp_path)["epsilon"] <= 8
    assert (facts(tmp_path)["kind"], facts(tmp_path)["images"], facts(tmp_path)["steps"]) == ("dp", 8, 8)
    assert "says nothing about the images that the base model was pre-trained on" in facts(tmp_path)["protects"]


def test_an_epsilon_of_true_members_says_that_it_protects_them_from_this_fine_tuning_alone(base: Path, tmp_path: Path) -> None:
    for name, member in (("members", True), ("drawn", None)):
        records = [record(number, member) for number in range(8)]
        stage.run(job(base, tmp_path / name, records, defence=DpDefence(epsilon=8, delta=1e-3)))
    assert facts(tmp_path / "members") == facts(tmp_path / "drawn") | {"protects": PROTECTS_MEMBERS}
    assert "nothing about what the base model knew of them already" in PROTECTS_MEMBERS
    noisy = job(base, tmp_path / "noisy", [record(number, True) for number in range(4)], defence=ClipNoiseDefence())
    stage.run(noisy)
    assert "members" not in facts(tmp_path / "noisy").get("protects", "")


def test_a_defence_changes_the_weights_and_without_one_no_facts_are_left(base: Path, tmp_path: Path) -> None:
    records = [record(number, None) for number in range(4)]
    stage.run(job(base, tmp_path / "plain", records))
    stage.run(job(base, tmp_path / "noisy", records, defence=ClipNoiseDefence()))
    weights = [made(tmp_path / name)["pytorch_lora_weights.safetensors"] for name in ("plain", "noisy")]
    assert weights[0] != weights[1]
    assert "defence.json" not in made(tmp_path / "plain")
    assert facts(tmp_path / "noisy")["epsilon"] is None


def test_public_images_are_mixed_in(base: Path, tmp_path: Path) -> None:
    beside(tmp_path, "public", [90, 91, 92])
    stage.run(job(base, tmp_path, [record(number, None) for number in range(4)], defence=MixDefence()))
    assert facts(tmp_path)["public_images"] == 3


def test_a_set_that_the_base_could_have_drawn_is_refused_with_its_numbers_and_never_tried_again(base: Path, tmp_path: Path) -> None:
    beside(tmp_path / "same", "own", [0, 1, 2, 3])
    beside(tmp_path / "other", "own", [90, 91, 92, 93])
    records = [record(number, None) for number in range(4)]
    guard = RejectDefence(distance=0.01)
    with pytest.raises(Refused, match=r"the set is refused: 4 of 4 images \(100%\)") as caught:
        stage.run(job(base, tmp_path / "same", records, defence=guard))
    assert made(tmp_path / "same") == {}
    assert RetryPolicy().tries(classify(caught.value)) == 1
    stage.run(job(base, tmp_path / "other", records, defence=guard))
    assert facts(tmp_path / "other")["share"] == 0
