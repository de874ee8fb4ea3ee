"""One network from its folder, whole and sound, or an error that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def load_network(cls: Any, folder: Path, *, variant: str | None = None, **precision: torch.dtype) -> Any:
    """A network of diffusers or transformers with every weight from its file, in eval mode, without gradients.

    Args:
        variant: of the weights' file name, such as "fp16".
        precision: the dtype, under the name that the library gives it.

    Raises:
        ValueError: a weight is missing, of another shape, NaN or infinite, or the folder cannot be read.
    """
    module, info = reading(
        folder,
        lambda: cls.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, variant=variant, **precision
        ),
    )
    missing = sorted(info["missing_keys"])
    if missing or info["mismatched_keys"]:
        bad = missing or sorted(str(key) for key in info["mismatched_keys"])
        raise ValueError(f"the weights in {folder} do not fit its config.json: {len(bad)} missing or of another shape, first {bad[0]}")
    broken = next((name for name, weight in module.state_dict().items() if not torch.isfinite(weight).all()), None)
    if broken:
        raise ValueError(f"the weights in {folder} hold NaN or infinity, first in {broken}; download or save the model again")
    return module.eval().requires_grad_(False)


def reading(path: Path, read: Callable[[], T]) -> T:
    """What `read` gives, with the libraries' many errors told as one ValueError that names the path."""
    from safetensors import SafetensorError

    try:
        return read()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
        ) from error
