"""Which files make up a pipeline folder's safety checker, and whether they are there. Imports no torch: planning asks here.

They are no part of the model's own files, so that a model has one key whether its checker is used or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2l_core.families.sd_folder import read_json, required, weight_files

CHECKER = ("stable_diffusion", "StableDiffusionSafetyChecker")
EXTRACTORS = (("transformers", "CLIPImageProcessor"), ("transformers", "CLIPFeatureExtractor"))
OFF = "choose a model that has one, or leave the safety checker off"


@dataclass(frozen=True)
class CheckerFolder:
    """The files of one safety checker, by relative names with forward slashes, sorted; `variant` is the weights'."""

    folder: Path
    names: tuple[str, ...]
    variant: str | None


def inspect(folder: Path) -> CheckerFolder:
    """Find the files of the safety checker beside a pipeline's other parts.

    Raises:
        ValueError: the pipeline has none, or a file of it is missing or no safetensors.
    """
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{folder} has no model_index.json, so it is no model in the diffusers layout, and has no safety checker; {OFF}")
    index = read_json(folder, "model_index.json")
    _check_class(folder, index, "safety_checker", (CHECKER,))
    _check_class(folder, index, "feature_extractor", EXTRACTORS)
    weights, variant = weight_files(folder, "safety_checker/model")
    settings = ("safety_checker/config.json", "feature_extractor/preprocessor_config.json")
    names = {"model_index.json", *weights, *(required(folder, name) for name in settings)}
    return CheckerFolder(folder, tuple(sorted(names)), variant)


def _check_class(folder: Path, index: dict[str, Any], part: str, allowed: tuple[tuple[str, str], ...]) -> None:
    entry = index.get(part)
    if not isinstance(entry, list) or not any(entry):
        raise ValueError(f"the model {folder} has no {part.replace('_', ' ')}; {OFF}")
    if tuple(entry) not in allowed:
        names = " or ".join(".".join(name) for name in allowed)
        raise ValueError(f"{folder / 'model_index.json'}: {part} is {'.'.join(map(str, entry))}; allowed: {names}; {OFF}")
