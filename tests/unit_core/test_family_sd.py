"""Stable-Diffusion folders: what is loaded equals what diffusers computes, and what cannot be loaded says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from s2l_core.families import sd_folder
from s2l_core.families.schedule import alphas_cumprod, with_defaults
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from tests.sd_models import SCHEDULER, sd_model

torch.set_num_threads(1)
PREDICTIONS = ("epsilon", "v_prediction", "sample")


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return sd_model()


@pytest.fixture(scope="module")
def saved(model: StableDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd") / "model"
    model.save(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# --- loading and saving ---


def test_a_saved_model_loads_with_equal_weights_and_answers(model: StableDiffusion, saved: Path) -> None:
    loaded = StableDiffusion.load(saved)
    for name, part in model.modules().items():
        for key, value in part.state_dict().items():
            assert torch.equal(loaded.modules()[name].state_dict()[key], value), (name, key)
    assert torch.equal(loaded.encode_text(["a photo of a cat"]), model.encode_text(["a photo of a cat"]))
    assert (loaded.image_size, loaded.latent_shape, loaded.dtype) == (16, (4, 8, 8), torch.float32)
    assert not any(weight.requires_grad for part in loaded.modules().values() for weight in part.parameters())


def test_saving_again_writes_the_same_bytes_and_no_path(saved: Path, tmp_path: Path) -> None:
    loaded = StableDiffusion.load(saved)
    loaded.encode_text(["one", "two words"])
    loaded.save(tmp_path / "again")
    names = sorted(path.relative_to(saved) for path in saved.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file())
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name
        assert str(saved).encode() not in (saved / name).read_bytes()


def test_diffusers_loads_what_is_saved_and_gives_the_same_text_and_noise(model: StableDiffusion, saved: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(saved, local_files_only=True)
    prompts = ["a photo of a cat", "a very long prompt " * 40]
    expected = torch.cat([pipeline.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in prompts])
    assert torch.allclose(model.encode_text(prompts), expected, atol=1e-6)
    latents = keyed_noise((2, 4, 8, 8), "test")
    made = pipeline.unet(latents, torch.tensor([3, 700]), expected).sample
    assert torch.allclose(model.eps(latents, torch.tensor([3, 700]), expected), made, atol=1e-5)


def test_the_real_tokenizer_gives_the_published_ids(model: StableDiffusion) -> None:
    ids = model.tokenize(["a photo of a cat"])
    assert ids.shape == (1, 77)
    assert ids[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]


def test_a_pipeline_saved_by_diffusers_in_half_precision_loads_in_float32(saved: Path, tmp_path: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(saved, local_files_only=True, torch_dtype=torch.float16)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    half = StableDiffusion.load(tmp_path / "half")
    assert sd_folder.inspect(tmp_path / "half").variants == {"unet": "fp16", "vae": "fp16", "text_encoder": "fp16"}
    assert {weight.dtype for part in half.modules().values() for weight in part.parameters()} == {torch.float32}
    assert half.encode_text(["cat"]).dtype == torch.float32


def test_sharded_weights_load(saved: Path, tmp_path: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(saved, local_files_only=True)
    pipeline.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    assert len(list((tmp_path / "sharded" / "unet").glob("*-of-*.safetensors"))) > 1
    whole, parts = StableDiffusion.load(saved), StableDiffusion.load(tmp_path / "sharded")
    assert all(torch.equal(parts.unet.state_dict()[key], value) for key, value in whole.unet.state_dict().items())


def test_another_text_width_and_v_prediction_as_in_sd2_works(tmp_path: Path) -> None:
    sd_model(width=48, act="gelu", prediction_type="v_prediction").save(tmp_path / "sd2")
    loaded = StableDiffusion.load(tmp_path / "sd2")
    assert loaded.prediction_type == "v_prediction"
    assert loaded.encode_text(["a cat"]).shape == (1, 77, 48)


def test_weights_with_the_names_of_2022_load(saved: Path, folder: Path) -> None:
    """The published SD v1 has other names for the autoencoder's attention, and position ids among the text encoder's weights."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    renamed = {}
    for key, value in weights.items():
        for new, name in old.items():
            key = key.replace(f".{new}.", f".{name}.") if "mid_block.attentions" in key else key
        renamed[key] = value
    assert set(renamed) != set(weights)
    save_file(renamed, path, metadata={"format": "pt"})
    path = folder / "text_encoder" / "model.safetensors"
    plain = {key.removeprefix("text_model."): value for key, value in load_file(path).items()}
    text = {f"text_model.{key}": value for key, value in plain.items()}
    text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(text, path, metadata={"format": "pt"})
    loaded, expected = StableDiffusion.load(folder), StableDiffusion.load(saved)
    for name, part in expected.modules().items():
        for key, value in part.state_dict().items():
            assert torch.equal(loaded.modules()[name].state_dict()[key], value), (name, key)


# --- the schedule and what the UNet predicts ---


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2", "_class_name": "DDIMScheduler"},
        {"trained_betas": [0.01, 0.02, 0.03], "num_train_timesteps": 3, "_class_name": "DDIMScheduler"},
        {"rescale_betas_zero_snr": True, "_class_name": "DDIMScheduler"},
    ],
    ids=["sd", "linear", "cosine", "trained", "zero-snr"],
)
def test_the_schedule_is_diffusers_schedule_in_float64(settings: dict[str, Any]) -> None:
    config = with_defaults({**SCHEDULER, **settings})
    ours = alphas_cumprod(config)
    theirs = DDIMScheduler.from_config(config).alphas_cumprod
    assert ours.dtype == torch.float64
    assert torch.allclose(ours, theirs.double(), atol=2e-6, rtol=2e-5)


def test_defaults_of_the_scheduler_class_are_filled_in() -> None:
    assert with_defaults({"_class_name": "DDIMScheduler"})["beta_end"] == 0.02
    assert with_defaults({"_class_name": "EulerDiscreteScheduler"})["prediction_type"] == "epsilon"


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eps_of_a_perfect_unet_is_the_noise_whatever_it_predicts(
    prediction: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sd_model(prediction_type=prediction)
    x0, noise = keyed_noise((5, 4, 8, 8), "x0").to(dtype), keyed_noise((5, 4, 8, 8), "noise").to(dtype)
    t = torch.tensor([1, 100, 400, 700, 999])
    answer = model.target(x0, noise, t)
    monkeypatch.setattr(model, "predict", lambda latents, t, context: answer)
    eps = model.eps(model.add_noise(x0, noise, t), t, torch.zeros(5, 77, 32))
    assert eps.dtype == dtype
    assert (eps - noise).abs().max() < (1e-12 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_targets_and_noising_equal_diffusers(prediction: str) -> None:
    model = sd_model(prediction_type=prediction)
    x0, noise, t = keyed_noise((3, 4, 8, 8), "x0"), keyed_noise((3, 4, 8, 8), "noise"), torch.tensor([0, 300, 999])
    scheduler = DDPMScheduler.from_config(with_defaults(model.scheduler_config))
    assert torch.allclose(model.add_noise(x0, noise, t), scheduler.add_noise(x0, noise, t), atol=1e-5)
    expected = {"epsilon": noise, "v_prediction": scheduler.get_velocity(x0, noise, t), "sample": x0}[prediction]
    assert torch.allclose(model.target(x0, noise, t), expected, atol=1e-5)


def test_in_double_precision_a_batch_gives_each_image_its_own_answer() -> None:
    model = sd_model(prediction_type="v_prediction").to(dtype=torch.float64)
    latents, t = keyed_noise((4, 4, 8, 8), "x").double(), torch.tensor([0, 10, 500, 999])
    context = model.encode_text(["a", "cat", "dog", ""])
    whole = model.eps(latents, t, context)
    assert whole.dtype == torch.float64
    for row in range(4):
        alone = model.eps(latents[row : row + 1], t[row : row + 1], context[row : row + 1])
        assert torch.allclose(whole[row], alone[0], rtol=1e-10, atol=1e-12)


# --- latents ---


def test_latents_equal_diffusers_and_sampled_ones_depend_on_the_key_alone(model: StableDiffusion) -> None:
    pixels = keyed_noise((3, 3, 16, 16), "pixels").clamp(-1, 1)
    posterior = model.vae.encode(pixels).latent_dist
    assert torch.allclose(model.encode_images(pixels), posterior.mode() * model.vae.config.scaling_factor, atol=1e-6)
    drawn = model.encode_images(pixels, mode="sample", keys=["a", "b", "c"])
    alone = model.encode_images(pixels[1:2], mode="sample", keys=["b"])
    assert torch.allclose(drawn[1:2], alone, atol=1e-5)
    z = (drawn / model.vae.config.scaling_factor - posterior.mean) / posterior.std
    assert 0.8 < float(z.std()) < 1.2
    assert not torch.allclose(z[0], z[1])


def test_sampled_latents_without_keys_are_refused(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="one key an image; got 0 keys for 2 images"):
        model.encode_images(torch.zeros(2, 3, 16, 16), mode="sample")


def test_decoding_inverts_the_scale_and_stays_in_range(model: StableDiffusion) -> None:
    latents = keyed_noise((2, 4, 8, 8), "z") * 3
    expected = model.vae.decode(latents / model.vae.config.scaling_factor).sample.clamp(-1, 1)
    assert torch.equal(model.decode(latents), expected)
    assert float(model.decode(latents * 100).abs().max()) <= 1


# --- what cannot be loaded ---


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def other_pipeline(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(_class_name="StableDiffusionXLPipeline"))


def remote_code(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(unet=["my_unet", "MyUNet"]))


def inpainting(folder: Path) -> None:
    edit(folder / "unet" / "config.json", lambda config: config.update(in_channels=9))
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    weights["conv_in.weight"] = torch.zeros(16, 9, 3, 3)
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")


def truncated(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def one_weight_less(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(name for name in sorted(weights) if "k_proj.weight" in name))
    save_file(weights, path, metadata={"format": "pt"})


def one_unet_weight_less(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights.pop("conv_in.bias")
    save_file(weights, path, metadata={"format": "pt"})


def one_nan(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_in.bias"][0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})


def sharded_elsewhere(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": {"conv_in.weight": "../../secret.safetensors"}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (pickled, r"unet/diffusion_pytorch_model.bin is a pickle.*allowed: safetensors; convert them once with"),
    "other pipeline": (other_pipeline, r"holds a StableDiffusionXLPipeline; allowed: StableDiffusionPipeline"),
    "remote code": (remote_code, r"unet is my_unet.MyUNet; allowed: diffusers.UNet2DConditionModel \(remote code is never run\)"),
    "no index": (remove("model_index.json"), r"has no model_index.json"),
    "no unet": (
        remove("unet/diffusion_pytorch_model.safetensors"),
        r"lacks the weights of unet: no unet/diffusion_pytorch_model.safetensors",
    ),
    "no vae config": (remove("vae/config.json"), r"lacks vae/config.json"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), r"lacks its tokenizer; needed: tokenizer/vocab.json"),
    "no scheduler": (remove("scheduler/scheduler_config.json"), r"lacks scheduler/scheduler_config.json"),
    "not json": (lambda folder: (folder / "unet" / "config.json").write_text("{"), r"unet/config.json is not readable JSON"),
    "inpainting": (inpainting, r"takes 9 channels and the autoencoder makes 4, as in an inpainting"),
    "text width": (
        lambda folder: edit(folder / "unet" / "config.json", lambda config: config.update(cross_attention_dim=64)),
        r"the UNet expects text of width 64, and the text encoder gives 32",
    ),
    "truncated": (truncated, r"unet/\S+ is no whole safetensors file: 5,000 bytes, no readable header; download or save"),
    "a weight is missing": (one_weight_less, r"text_encoder do not fit its config.json: 1 missing"),
    "a weight of the UNet is missing": (one_unet_weight_less, r"unet do not fit its config.json: 1 missing .*, first conv_in.bias"),
    "nan": (one_nan, r"vae hold NaN or infinity, first in decoder.conv_in.bias"),
    "shards elsewhere": (sharded_elsewhere, r"must name .safetensors files that lie beside it; got ../../secret.safetensors"),
    "quantised": (
        lambda folder: edit(folder / "unet" / "config.json", lambda config: config.update(quantization_config={"bits": 4})),
        r"unet holds quantised weights",
    ),
    "adapter": (lambda folder: (folder / "text_encoder" / "adapter_config.json").write_text("{}"), r"holds an adapter beside its weights"),
    "scheduler class": (
        lambda folder: edit(folder / "scheduler" / "scheduler_config.json", lambda config: config.update(_class_name="NoScheduler")),
        r"names 'NoScheduler', which diffusers does not have",
    ),
    "prediction": (
        lambda folder: edit(folder / "scheduler" / "scheduler_config.json", lambda config: config.update(prediction_type="flow")),
        r"prediction_type is 'flow'; allowed: epsilon, v_prediction, sample",
    ),
    "upscaler": (
        lambda folder: edit(folder / "unet" / "config.json", lambda config: config.update(class_embed_type="timestep")),
        r"the UNet needs more than a prompt \(class_embed_type\), as upscalers",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_with_its_reason(case: str, folder: Path) -> None:
    break_it, message = BROKEN[case]
    break_it(folder)
    with pytest.raises(ValueError, match=message):
        StableDiffusion.load(folder)


@pytest.mark.parametrize("case", ["inpainting", "text width", "prediction", "upscaler", "quantised", "adapter"])
def test_what_a_configuration_tells_is_refused_before_any_weight_is_read(case: str, folder: Path) -> None:
    break_it, message = BROKEN[case]
    break_it(folder)
    for path in folder.glob("*/*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        sd_folder.inspect(folder)


def test_a_missing_folder_names_its_neighbour_and_a_file_says_how_to_convert_it(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no model folder .*modle; did you mean 'model'"):
        sd_folder.inspect(folder.parent / "modle")
    single = folder.parent / "v1-5.safetensors"
    single.write_bytes(b"")
    with pytest.raises(ValueError, match=r"is a file.*from_single_file\('v1-5.safetensors'\)"):
        sd_folder.inspect(single)


def test_only_the_files_of_the_pipeline_are_part_of_it(folder: Path) -> None:
    before = sd_folder.inspect(folder).names
    (folder / "README.md").write_text("mine")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"")
    assert sd_folder.inspect(folder).names == before
    assert {name.split("/")[0] for name in before} == {"model_index.json", "unet", "vae", "text_encoder", "tokenizer", "scheduler"}


def test_a_scheduler_of_another_class_keeps_the_models_own_prediction(model: StableDiffusion) -> None:
    euler = dict(EulerDiscreteScheduler(prediction_type="v_prediction").config)
    whole = with_defaults({**euler, "_class_name": "EulerDiscreteScheduler"})
    assert whole["prediction_type"] == "v_prediction"
