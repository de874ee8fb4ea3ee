"""The size of a committed base model, from its configs and the headers of its safetensors files: no weight is read."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator

from jobs.errors import Corrupt, NotFound
from jobs.execute.placement import ModelSize
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest, Payload
from jobs.ledger.paths import Paths

LARGEST_HEADER = 100 * 2**20
"""As safetensors itself allows."""
SIDE = 64
"""Of the latents, where a model's config does not say."""


def size_of_model(ledger: Ledger, manifest: Manifest) -> ModelSize | None:
    """What is known of a base; None of one without weights in safetensors.

    Raises:
        jobs.errors.OutOfReach: the store does not answer.
    """
    weights: dict[str, dict[str, tuple[int, ...]]] = {}
    for payload in manifest.payloads:
        if payload.name.endswith(".safetensors"):
            weights.setdefault(payload.name.partition("/")[0], {}).update(_shapes(ledger, payload))
    if not weights:
        return None
    unet, vae = _config(ledger, manifest, "unet"), _config(ledger, manifest, "vae")
    side, levels = unet.get("sample_size"), vae.get("block_out_channels")
    return ModelSize(weights, side if isinstance(side, int) else SIDE, 2 ** (len(levels) - 1) if isinstance(levels, list) else 8)


def _shapes(ledger: Ledger, payload: Payload) -> dict[str, tuple[int, ...]]:
    chunks = ledger.store.chunks(Paths.blob(payload.sha256))
    try:
        data = _first(chunks, b"", 8)
        length = int.from_bytes(data[:8], "little")
        if length > LARGEST_HEADER:
            return {}
        header = json.loads(_first(chunks, data, 8 + length)[8 : 8 + length])
    except (NotFound, ValueError):  # whoever computes with it will find out, and say so
        return {}
    return {name: tuple(found["shape"]) for name, found in header.items() if name != "__metadata__" and math.prod(found["shape"])}


def _first(chunks: Iterator[bytes], data: bytes, size: int) -> bytes:
    while len(data) < size:
        more = next(chunks, b"")
        if not more:
            break
        data += more
    return data


def _config(ledger: Ledger, manifest: Manifest, module: str) -> dict[str, object]:
    with contextlib.suppress(NotFound, Corrupt, ValueError):
        found = json.loads(ledger.read(manifest, f"{module}/config.json"))
        return found if isinstance(found, dict) else {}
    return {}
