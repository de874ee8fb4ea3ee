"""Small random CLIPs and a safety checker that tests build themselves: real classes, few channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tests.sd_models import clip_tokenizer

VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 24,
    "patch_size": 8,
    "projection_dim": 12,
}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 12}


def save_clip(folder: Path, kind: str, *, seed: int = 0) -> Any:
    """Write a CLIPVisionModel, a CLIPVisionModelWithProjection or a CLIPModel with its tokenizer; gives the network."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "CLIPModel":
            config = transformers.CLIPConfig(text_config={**TEXT, "vocab_size": 49408}, vision_config=VISION, projection_dim=12)
            clip_tokenizer().save_pretrained(folder)
        else:
            config = transformers.CLIPVisionConfig(**VISION)
        network = getattr(transformers, kind)(config).eval()
    network.save_pretrained(folder)
    processor().save_pretrained(folder)
    return network


def processor() -> Any:
    """CLIP's own cutting and scaling, to 24 pixels."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})


def add_checker(folder: Path, *, threshold: float = 10.0, seed: int = 0) -> Any:
    """Give a saved pipeline a safety checker whose 17 concepts are random and reached at a cosine of `threshold`; gives the network."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StableDiffusionSafetyChecker(CLIPConfig(text_config={**TEXT, "vocab_size": 10}, vision_config=VISION, projection_dim=12))
        network.concept_embeds.data = torch.randn(17, 12)
        network.special_care_embeds.data = torch.randn(3, 12)
    network.concept_embeds_weights.data.fill_(threshold)
    network.special_care_embeds_weights.data.fill_(10.0)
    network.eval().save_pretrained(folder / "safety_checker")
    processor().save_pretrained(folder / "feature_extractor")
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    path.write_text(json.dumps(index))
    return network


def closest(network: Any, pixels: Any) -> torch.Tensor:
    """The cosine of each picture's embedding to the checker's nearest concept."""
    seen = processor()([Image.fromarray(one) for one in pixels], return_tensors="pt").pixel_values
    with torch.no_grad():
        embedded = torch.nn.functional.normalize(network.visual_projection(network.vision_model(seen)[1]))
    return (embedded @ torch.nn.functional.normalize(network.concept_embeds).T).max(dim=1).values
