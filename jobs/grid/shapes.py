"""What planning needs to know of a model, from configuration files and safetensors headers alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from s2l_core.specs.adapters import LoraAdapter
from s2l_core.specs.attacks import AttackSpec, PIAAttack, SecMIAttack

MAX_HEADER_BYTES = 100_000_000


def weight_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of a safetensors file; no tensor is read.

    Raises:
        ValueError: the file is no safetensors file.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{file.name} is no safetensors file: its header would have {length:,} bytes")
        header = json.loads(stream.read(length))
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def largest_useful_rank(model: Path, adapter: LoraAdapter) -> int | None:
    """The smallest side of the matrices that a LoRA would update in a diffusers folder: beyond it a rank adds nothing.

    None where the folder tells nothing.
    """
    targets = {"unet": adapter.unet_targets, "text_encoder": adapter.text_encoder_targets}
    sides = [side for part, names in targets.items() for shape in _shapes(model / part, names) for side in shape]
    return min(sides, default=None)


def timesteps(model: Path) -> int | None:
    """How many timesteps the scheduler of a diffusers folder has; None where the folder does not tell."""
    try:
        found = json.loads((model / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")).get("num_train_timesteps")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def last_timestep(attack: AttackSpec) -> int:
    """The largest timestep at which an attack asks the model."""
    if isinstance(attack, SecMIAttack):
        return attack.t + attack.k
    return attack.t if isinstance(attack, PIAAttack) else max(attack.timesteps)


def _shapes(part: Path, targets: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    for file in sorted(part.glob("*.safetensors")):
        try:
            shapes = weight_shapes(file)
        except (OSError, ValueError):
            continue
        yield from (
            shape for name, shape in shapes.items() if name.removesuffix(".weight").rpartition(".")[2] in targets and len(shape) == 2
        )
