"""What planning needs to know of a model, from configuration files and safetensors headers alone."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from jobs.grid.messages import listed
from s2l_core.specs.adapters import LoraAdapter, TextualInversionAdapter
from s2l_core.specs.attacks import AttackSpec, PIAAttack, SecMIAttack, SecMINNsAttack, SimAAttack

MAX_HEADER_BYTES = 100_000_000
WORD_END = "</w>"
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What old autoencoder files call the projections of their attention; diffusers renames them when it loads one."""


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


class ModelFolder:
    """A diffusers folder, asked without loading it; each file is read once. What it does not tell limits nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._projections: dict[str, dict[str, int]] = {}

    def refuse_lora(self, adapter: LoraAdapter) -> str | None:
        """Why a LoRA does not fit: a name that no projection has, or a rank larger than one; None when it fits."""
        targets = {"unet": adapter.unet_targets, "text_encoder": adapter.text_encoder_targets, "vae": adapter.vae_targets}
        problems = (self._refuse_targets(part, names, adapter.rank) for part, names in targets.items() if names)
        return next((problem for problem in problems if problem), None)

    def refuse_tokens(self, adapter: TextualInversionAdapter) -> str | None:
        """Why tokens cannot be learned: one that is known already, or a start that is no word; None when they can."""
        known = self._vocabulary
        if known is None:
            return None
        for token in adapter.tokens:
            if token in known or token + WORD_END in known:
                return f"the token {token} is in the model's vocabulary already, and no row that is there may move; choose another"
        start = adapter.start_from
        if start is not None and start.lower() + WORD_END not in known and start not in known:
            words = [word.removesuffix(WORD_END) for word in known if word.endswith(WORD_END)]
            near = difflib.get_close_matches(start.lower(), words, n=3, cutoff=0.0)
            return f"{start} is no single token of the model's vocabulary, so that no row begins there; the nearest are {listed(near)}"
        return None

    @cached_property
    def timesteps(self) -> int | None:
        """How many timesteps the scheduler has."""
        found = _json(self.folder / "scheduler" / "scheduler_config.json").get("num_train_timesteps")
        return found if isinstance(found, int) else None

    def _refuse_targets(self, part: str, targets: tuple[str, ...], rank: int) -> str | None:
        sides = self._sides(part)
        if not sides:
            return None
        for target in targets:
            matched = {path: side for path, side in sides.items() if path == target or path.endswith(f".{target}")}
            if not matched:
                known = sorted({path.rpartition(".")[2] for path in sides})
                near = difflib.get_close_matches(target, known, n=3, cutoff=0.0)
                return f"no projection of the {part} is called {target!r}; the nearest are {listed(near)}"
            path, side = min(matched.items(), key=lambda found: found[1])
            if rank > side:
                return f"rank {rank} is larger than {part}.{path}, whose rank is {side} at most; give a rank of 1 to {side}"
        return None

    def _sides(self, part: str) -> dict[str, int]:
        """Layer -> the largest rank of its matrix, for what a LoRA can update: linear layers, and convolutions as [out, in * h * w]."""
        if part not in self._projections:
            self._projections[part] = dict(self._read_sides(part))
        return self._projections[part]

    def _read_sides(self, part: str) -> Iterator[tuple[str, int]]:
        for file in sorted((self.folder / part).glob("*.safetensors")):
            try:
                shapes = weight_shapes(file)
            except (OSError, ValueError):
                continue
            for name, shape in shapes.items():
                layer, _, last = name.rpartition(".")
                if last == "weight" and len(shape) in (2, 4) and not layer.endswith("embedding"):
                    before, _, own = layer.rpartition(".")
                    yield f"{before}.{OLD_NAMES[own]}" if part == "vae" and own in OLD_NAMES else layer, min(shape[0], prod(shape[1:]))

    @cached_property
    def _vocabulary(self) -> frozenset[str] | None:
        folder = self.folder / "tokenizer"
        whole = _json(folder / "tokenizer.json")
        model = whole.get("model")
        words = (model.get("vocab") if isinstance(model, dict) else None) or _json(folder / "vocab.json")
        if not isinstance(words, dict) or not words:
            return None
        added = [entry["content"] for entry in whole.get("added_tokens") or () if isinstance(entry, dict) and "content" in entry]
        return frozenset([*words, *added, *_json(folder / "added_tokens.json")])


def last_timestep(attack: AttackSpec) -> int:
    """The largest timestep at which an attack asks the model."""
    if isinstance(attack, SecMIAttack | SecMINNsAttack):
        return attack.t + attack.k
    return attack.t if isinstance(attack, PIAAttack | SimAAttack) else max(attack.timesteps)


def _json(file: Path) -> dict[str, Any]:
    """A JSON mapping; empty where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
