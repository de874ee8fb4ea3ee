"""Which files make up a Stable-Diffusion pipeline folder, and whether they are there. Imports no torch: planning asks here.

Only these files are hashed, copied and loaded; a safety checker, a pickled twin of the weights or a README change nothing.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIPELINE = "StableDiffusionPipeline"
PARTS = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
}
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
MAX_HEADER_BYTES = 100_000_000
PREDICTIONS = ("epsilon", "v_prediction", "sample")
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
CONVERT = (
    "convert them once with `diffusers.StableDiffusionPipeline.from_pretrained(FOLDER, use_safetensors=False)"
    ".save_pretrained(OUT, safe_serialization=True)`, on a machine where you trust them, and name OUT here"
)


@dataclass(frozen=True)
class SDFolder:
    """The files of one pipeline.

    Attributes:
        names: relative names with forward slashes, sorted.
        variants: part -> weight variant ("fp16") where the plain weights are absent.
    """

    folder: Path
    names: tuple[str, ...]
    variants: dict[str, str]


def inspect(folder: Path) -> SDFolder:
    """Find the files of a Stable-Diffusion 1.x or 2.x pipeline.

    Raises:
        ValueError: it is no such pipeline, a part is missing, or weights are not safetensors; the text says what was found and allowed.
    """
    index = _index(folder)
    found = index.get("_class_name")
    if found != PIPELINE:
        raise ValueError(f"{folder} holds a {found or 'pipeline without _class_name'}; allowed: {PIPELINE} (Stable Diffusion 1.x and 2.x)")
    names, variants = {"model_index.json"}, {}
    for part, cls in PARTS.items():
        _check_class(folder, index, part, cls)
        weights, variant = weight_files(folder, f"{part}/{WEIGHTS[part]}")
        names.update(weights)
        if variant:
            variants[part] = variant
        _check_config(folder, part)
        names.add(f"{part}/config.json")
    names.update(_tokenizer(folder))
    names.add(required(folder, "scheduler/scheduler_config.json"))
    _check_prediction(folder)
    _check_fit(folder)
    for name in sorted(names):
        if name.endswith(".safetensors"):
            _check_whole(folder / name)
    return SDFolder(folder, tuple(sorted(names)), variants)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A configuration file of the pipeline.

    Raises:
        ValueError: it is missing or no JSON mapping.
    """
    required(folder, name)
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder / name} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{folder / name} must hold a JSON mapping; got {type(value).__name__}")
    return value


def _index(folder: Path) -> dict[str, Any]:
    if folder.is_file():
        raise ValueError(f"{folder} is a file; a model is a folder in the diffusers layout, with model_index.json; {_single_file(folder)}")
    if not folder.is_dir():
        near = difflib.get_close_matches(folder.name, _siblings(folder), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no model folder {folder}{hint}")
    if not (folder / "model_index.json").is_file():
        loose = sorted(path.name for path in folder.iterdir() if path.suffix in (".ckpt", ".safetensors"))
        hint = f"; found {', '.join(loose[:3])}: {_single_file(folder / loose[0])}" if loose else ""
        raise ValueError(f"{folder} has no model_index.json, so it is no model in the diffusers layout{hint}")
    return read_json(folder, "model_index.json")


def _siblings(folder: Path) -> list[str]:
    return [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []


def _single_file(path: Path) -> str:
    return f"a single-file checkpoint becomes a folder with `StableDiffusionPipeline.from_single_file({path.name!r}).save_pretrained(OUT)`"


def _check_class(folder: Path, index: dict[str, Any], part: str, cls: tuple[str, str]) -> None:
    entry = index.get(part)
    if not isinstance(entry, list) or entry != [*cls]:
        got = ".".join(str(name) for name in entry) if isinstance(entry, list) else entry
        raise ValueError(f"{folder / 'model_index.json'}: {part} is {got}; allowed: {'.'.join(cls)} (remote code is never run)")


def required(folder: Path, name: str) -> str:
    """The name of a file that is there, or a ValueError."""
    if not (folder / name).is_file():
        raise ValueError(f"{folder} lacks {name}, a part that Stable Diffusion needs; complete the download or save the pipeline again")
    return name


def weight_files(folder: Path, stem: str, *, convert: str = CONVERT) -> tuple[list[str], str | None]:
    """The weight files of a network and their variant: plain before half-precision variant, whole before sharded.

    Args:
        stem: the file's relative name without its ending, such as `unet/diffusion_pytorch_model`.
        convert: how pickles are made safetensors, for the message.

    Raises:
        ValueError: there are none, or they are pickles.
    """
    for variant in (None, "fp16"):
        name = f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors"
        if (folder / name).is_file():
            return [name], variant
    index = f"{stem}.safetensors.index.json"
    if (folder / index).is_file():
        return [index, *_shards(folder, index)], None
    part = (folder / stem).parent
    pickled = sorted(path.name for path in part.glob("*") if path.suffix in PICKLED)
    if pickled:
        raise ValueError(f"{part / pickled[0]} is a pickle, which can run code when it is read; allowed: safetensors; {convert}")
    lacking = "its weights" if part == folder else f"the weights of {part.relative_to(folder).as_posix()}"
    raise ValueError(f"{folder} lacks {lacking}: no {stem}.safetensors; complete the download or save the model again")


def _check_whole(file: Path) -> None:
    """Whether a safetensors file is as long as its header says: what a broken download is not. Tensors lie one behind the other."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(length)) if length <= min(size, MAX_HEADER_BYTES) else {}
            places = sorted(tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__")
            ends = [0, *(end for _, end in places)]
            end = int(ends[-1]) if places and ends[:-1] == [begin for begin, _ in places] else -1
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            end = -1
    if end < 0 or size != 8 + length + end:
        expected = f"{8 + length + end:,} by its own header" if end >= 0 else "no readable header"
        raise ValueError(f"{file} is no whole safetensors file: {size:,} bytes, {expected}; download or save the model again")


def _shards(folder: Path, index: str) -> list[str]:
    shards = sorted({str(name) for name in read_json(folder, index).get("weight_map", {}).values()})
    outside = [name for name in shards if Path(name).name != name or not name.endswith(".safetensors")]
    if outside or not shards:
        raise ValueError(f"{folder / index} must name .safetensors files that lie beside it; got {outside[0] if outside else 'none'}")
    return [required(folder, (Path(index).parent / name).as_posix()) for name in shards]


def _check_config(folder: Path, part: str) -> None:
    config = read_json(folder, f"{part}/config.json")
    if config.get("quantization_config"):
        raise ValueError(
            f"{folder / part} holds quantised weights; allowed: fp32, fp16 or bf16 safetensors: leakage is measured on exact weights"
        )
    if (folder / part / "adapter_config.json").is_file():
        raise ValueError(f"{folder / part} holds an adapter beside its weights; merge it into the weights and save the pipeline again")


def _check_prediction(folder: Path) -> None:
    prediction = read_json(folder, "scheduler/scheduler_config.json").get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(f"{folder / 'scheduler'}: prediction_type is {prediction!r}; allowed: {', '.join(PREDICTIONS)}")


def _check_fit(folder: Path) -> None:
    """Whether the parts fit each other, by their configurations; absent values have the defaults of diffusers and transformers."""
    unet, vae, text = (read_json(folder, f"{part}/config.json") for part in PARTS)
    channels, made = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != made:
        raise ValueError(
            f"{folder}: the UNet takes {channels} channels and the autoencoder makes {made}, as in an inpainting or depth model; "
            "allowed: text-to-image models"
        )
    expected, width = unet.get("cross_attention_dim", 1280), text.get("hidden_size", 512)
    if expected != width:
        raise ValueError(f"{folder}: the UNet expects text of width {expected}, and the text encoder gives {width}: they are of two models")
    if not isinstance(unet.get("sample_size"), int):
        raise ValueError(f"{folder}: the UNet's sample_size must be one number, for square images; got {unet.get('sample_size')}")
    for name in ("class_embed_type", "addition_embed_type", "time_cond_proj_dim"):
        if unet.get(name) is not None:
            raise ValueError(
                f"{folder}: the UNet needs more than a prompt ({name}), as upscalers, SDXL and distilled models do; allowed: SD 1.x, 2.x"
            )


def _tokenizer(folder: Path) -> list[str]:
    names = [f"tokenizer/{name}" for name in TOKENIZER_FILES if (folder / "tokenizer" / name).is_file()]
    whole = {"tokenizer/tokenizer.json"}, {"tokenizer/vocab.json", "tokenizer/merges.txt"}
    if not any(needed <= set(names) for needed in whole):
        raise ValueError(
            f"{folder} lacks its tokenizer; needed: tokenizer/vocab.json and tokenizer/merges.txt, or tokenizer/tokenizer.json"
        )
    return names
