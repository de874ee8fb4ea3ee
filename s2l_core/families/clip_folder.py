"""Which files make up a CLIP model's folder in the transformers layout, and whether they are there. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2l_core.families.sd_folder import TOKENIZER_FILES, read_json, required, weight_files

KINDS = ("clip", "clip_vision_model")
PROJECTED = ("CLIPModel", "CLIPVisionModelWithProjection")


@dataclass(frozen=True)
class ClipFolder:
    """The files of one CLIP.

    Attributes:
        names: relative names, sorted.
        variant: the weights' ("fp16") where the plain ones are absent.
        projected: whether there is a projection into the space that images share with texts; else the pooled output is what there is.
        text: whether there is a text encoder with its tokenizer.
    """

    folder: Path
    names: tuple[str, ...]
    variant: str | None
    projected: bool
    text: bool


def inspect(folder: Path) -> ClipFolder:
    """Find the files of a CLIPModel, a CLIPVisionModelWithProjection or a CLIPVisionModel.

    Raises:
        ValueError: the folder holds none, a file is missing, or the weights are not safetensors.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; a CLIP is a folder in the transformers layout, as `save_pretrained` writes it")
    config = read_json(folder, "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise ValueError(f"{folder} holds a model of type {kind!r}; allowed: {' or '.join(KINDS)}")
    weights, variant = weight_files(folder, "model")
    if not (folder / "preprocessor_config.json").is_file():
        raise ValueError(
            f"{folder} lacks preprocessor_config.json, which says how images are cut and scaled; save the model's CLIPImageProcessor there"
        )
    tokenizer = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    text = kind == "clip" and ("tokenizer.json" in tokenizer or {"vocab.json", "merges.txt"} <= set(tokenizer))
    names = {"config.json", required(folder, "preprocessor_config.json"), *weights, *(tokenizer if text else ())}
    projected = kind == "clip" or bool(set(PROJECTED) & set(config.get("architectures") or ()))
    return ClipFolder(folder, tuple(sorted(names)), variant, projected, text)
