"""Stable Diffusion 1.x and 2.x as diffusers and transformers parts: text, latents, and eps whatever the UNet predicts.

Letters: n images, L tokens, D text width, c latent channels, h, w latent sides, T training timesteps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor, nn

from s2l_core.families import sd_folder
from s2l_core.families.networks import load_network, reading
from s2l_core.families.schedule import alphas_cumprod, with_defaults
from s2l_core.randomness import keyed_noise

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer


class StableDiffusion:
    """A latent diffusion model conditioned on text. Nothing in it requires gradients until somebody asks for them.

    Attributes:
        scheduler_config: the pipeline's scheduler_config.json.
        alphas_cumprod: float64 [T], on the model's device.
        prediction_type: what the UNet's output means: "epsilon", "v_prediction" or "sample".
    """

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        vae: AutoencoderKL,
        tokenizer: CLIPTokenizer,
        scheduler_config: dict[str, Any],
    ) -> None:
        """Put parts together that fit each other.

        Raises:
            ValueError: the scheduler's configuration cannot be used.
        """
        self.unet, self.text_encoder, self.vae, self.tokenizer = unet, text_encoder, vae, tokenizer
        self.scheduler_config = dict(scheduler_config)
        whole = with_defaults(scheduler_config)
        self.prediction_type: str = whole["prediction_type"]
        self.alphas_cumprod = alphas_cumprod(whole).to(self.device)

    # --- folders ---

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Self:
        """Read a diffusers folder: safetensors only, no remote code, nothing from the network.

        Raises:
            ValueError: the folder is no Stable-Diffusion pipeline, a part is missing or broken, or its weights are not safetensors.
        """
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        found = sd_folder.inspect(folder)
        model = cls(
            unet=load_network(UNet2DConditionModel, folder / "unet", variant=found.variants.get("unet"), torch_dtype=dtype),
            text_encoder=load_network(CLIPTextModel, folder / "text_encoder", variant=found.variants.get("text_encoder"), dtype=dtype),
            vae=load_network(AutoencoderKL, folder / "vae", variant=found.variants.get("vae"), torch_dtype=dtype),
            tokenizer=reading(folder / "tokenizer", lambda: CLIPTokenizer.from_pretrained(folder / "tokenizer")),
            scheduler_config=sd_folder.read_json(folder, "scheduler/scheduler_config.json"),
        )
        return model.to(device)

    def save(self, folder: Path) -> None:
        """Write the folder that `load` and diffusers' `StableDiffusionPipeline.from_pretrained` read. Equal models give equal bytes."""
        for name, part in self.modules().items():
            part.save_pretrained(folder / name, safe_serialization=True)  # type: ignore[operator]
            config = sd_folder.read_json(folder, f"{name}/config.json")
            config.pop("_name_or_path", None)  # where it was loaded from is no part of the model
            _write_json(folder / name / "config.json", config)
        self.tokenizer.backend_tokenizer.no_padding()  # what the last call asked for is no part of the model
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.save_pretrained(folder / "tokenizer")
        _write_json(folder / "scheduler" / "scheduler_config.json", self.scheduler_config)
        _write_json(folder / "model_index.json", _pipeline_index(self.scheduler_config))

    # --- where it is ---

    def modules(self) -> dict[str, nn.Module]:
        """The networks by the name of their folder."""
        return {"unet": self.unet, "text_encoder": self.text_encoder, "vae": self.vae}

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the networks in place."""
        for part in self.modules().values():
            nn.Module.to(part, device=device, dtype=dtype)
        self.alphas_cumprod = self.alphas_cumprod.to(self.device)
        return self

    @property
    def device(self) -> torch.device:
        return next(iter(self.unet.parameters())).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.unet.parameters())).dtype  # type: ignore[no-any-return]

    @property
    def image_size(self) -> int:
        """The side in pixels of the images it was made for."""
        return int(self.unet.config.sample_size) << (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w)"""
        side = int(self.unet.config.sample_size)
        return int(self.unet.config.in_channels), side, side

    # --- text and images ---

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids, int64 [n, L] on the model's device; longer prompts are cut, as diffusers cuts them."""
        length = min(int(self.tokenizer.model_max_length), int(self.text_encoder.config.max_position_embeddings))
        ids: Tensor = self.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        return ids.to(self.device)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """What the UNet is conditioned on, [n, L, D]."""
        ids = self.tokenize(prompts)
        mask = (ids != self.tokenizer.pad_token_id).long() if getattr(self.text_encoder.config, "use_attention_mask", False) else None
        encoded: Tensor = self.text_encoder(ids, attention_mask=mask).last_hidden_state
        return encoded

    def encode_images(self, pixels: Tensor, *, mode: Literal["mode", "sample"] = "mode", keys: Sequence[str] | None = None) -> Tensor:
        """Scaled latents [n, c, h, w] of pixels [n, 3, H, W] in [-1, 1].

        Args:
            mode: the posterior's mode, or a sample of it with noise that depends on the image's key alone.
            keys: one an image; needed for "sample".

        Raises:
            ValueError: "sample" without one key an image.
        """
        posterior = self.vae.encode(pixels.to(self.device, self.dtype)).latent_dist
        latents: Tensor = posterior.mean
        if mode == "sample":
            if keys is None or len(keys) != len(latents):
                raise ValueError(f"sampled latents need one key an image; got {len(keys or ())} keys for {len(latents)} images")
            noise = torch.stack([keyed_noise(latents.shape[1:], "latents", key) for key in keys])
            latents = latents + posterior.std * noise.to(latents)
        return latents * float(self.vae.config.scaling_factor)

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [n, 3, H, W] in [-1, 1] of scaled latents [n, c, h, w]."""
        pixels: Tensor = self.vae.decode(latents.to(self.device, self.dtype) / float(self.vae.config.scaling_factor)).sample
        return pixels.clamp(-1, 1)

    # --- diffusion ---

    def predict(self, latents: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The UNet's own output [n, c, h, w], whatever it means, in the latents' precision."""
        made: Tensor = self.unet(latents.to(self.dtype), t, context.to(self.dtype)).sample
        return made.to(latents.dtype)

    def eps(self, latents: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The predicted noise [n, c, h, w] in the latents' precision.

        Args:
            latents: [n, c, h, w], noisy.
            t: int64 [n] or a single timestep.
            context: [n, L, D].
        """
        made = self.predict(latents, t, context)
        if self.prediction_type == "epsilon":
            return made
        signal, noise = self._scales(latents, t)
        if self.prediction_type == "v_prediction":  # v = sqrt(abar) eps - sqrt(1 - abar) x_0 (arXiv 2202.00512, appendix D)
            return signal * made + noise * latents
        return (latents - signal * made) / noise

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise."""
        signal, spread = self._scales(x0, t)
        return signal * x0 + spread * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the UNet should answer for `add_noise(x0, noise, t)`."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, spread = self._scales(x0, t)
        return signal * noise - spread * x0

    def _scales(self, like: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_t) and sqrt(1 - abar_t), rounded once to the tensor's precision, shaped to multiply it."""
        abar = self.alphas_cumprod[t.to(self.alphas_cumprod.device)].reshape(-1, *[1] * (like.ndim - 1))
        return abar.sqrt().to(like), (1 - abar).sqrt().to(like)


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """The autoencoder alone of a diffusers folder, in fp32.

    Raises:
        ValueError: as `StableDiffusion.load`.
    """
    from diffusers import AutoencoderKL

    variant = sd_folder.inspect(folder).variants.get("vae")
    loaded: AutoencoderKL = load_network(AutoencoderKL, folder / "vae", variant=variant, torch_dtype=torch.float32)
    return loaded


def _pipeline_index(scheduler_config: dict[str, Any]) -> dict[str, Any]:
    import diffusers

    return {
        "_class_name": sd_folder.PIPELINE,
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler_config["_class_name"]],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        **{part: [*cls] for part, cls in sd_folder.PARTS.items()},
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
