"""Which files make up a captioning BLIP's folder in the transformers layout, and whether they are there. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2l_core.families.sd_folder import read_json, weight_files

ARCHITECTURE = "BlipForConditionalGeneration"
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json")
CONVERT = (
    f"convert them once with `transformers.{ARCHITECTURE}.from_pretrained(FOLDER, use_safetensors=False).save_pretrained(OUT)`, "
    "on a machine where you trust them, and copy the other files beside them"
)


@dataclass(frozen=True)
class BlipFolder:
    """The files of one BLIP, by relative names, sorted; `variant` is the weights' ("fp16") where the plain ones are absent."""

    folder: Path
    names: tuple[str, ...]
    variant: str | None


def inspect(folder: Path) -> BlipFolder:
    """Find the files of a BLIP that captions.

    Raises:
        ValueError: the folder holds none, a file is missing, or the weights are not safetensors.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; a captioner is a folder in the transformers layout, as `save_pretrained` writes it")
    config = read_json(folder, "config.json")
    kind, architectures = config.get("model_type"), config.get("architectures") or [ARCHITECTURE]
    if kind != "blip" or ARCHITECTURE not in architectures:
        got = f"a model of type {kind!r}" if kind != "blip" else f"a BLIP that does not caption ({', '.join(map(str, architectures))})"
        raise ValueError(f"{folder} holds {got}; allowed: blip ({ARCHITECTURE}), such as Salesforce/blip-image-captioning-base")
    weights, variant = weight_files(folder, "model", convert=CONVERT)
    processor = [name for name in PROCESSOR_FILES if (folder / name).is_file()]
    if not processor:
        raise ValueError(f"{folder} lacks {PROCESSOR_FILES[0]}, which says how images are scaled; save the model's BlipProcessor there")
    tokenizer = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not {"tokenizer.json", "vocab.txt"} & set(tokenizer):
        raise ValueError(f"{folder} lacks tokenizer.json and vocab.txt, which hold the words; save the model's BlipProcessor there")
    return BlipFolder(folder, tuple(sorted({"config.json", *weights, *processor, *tokenizer})), variant)
