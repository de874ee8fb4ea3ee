"""Adapters in a folder: one set of files for each, named as the ecosystem names them, and `adapter.json` (docs/decisions/0005)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from s2l_core.adapters.attached import Attached, attach, on_cpu
from s2l_core.adapters.base_marks import check_same_base
from s2l_core.adapters.part import WeightsFile
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import AdapterSpec
from s2l_core.specs.base import Spec

DESCRIPTION = "adapter.json"


class Description(Spec):
    """What `adapter.json` says: which adapters, the seed that Gaussian noise is drawn from again, and for which base they are.

    Without `base` (files of earlier versions) other shapes alone tell another base.
    """

    adapters: tuple[AdapterSpec, ...]
    seed: int
    base: dict[str, float] = Field(default_factory=dict)


def save(attached: Attached, folder: Path) -> None:
    """Write the adapters' files and `adapter.json`. Equal adapters give equal bytes."""
    for name, file in attached.files().items():
        assert len(file.header) <= 1
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({tensor: on_cpu(value) for tensor, value in file.tensors.items()}, folder / name, metadata=file.header or None)
    described = Description(adapters=attached.specs, seed=attached.seed, base=attached.base).model_dump(mode="json")
    (folder / DESCRIPTION).write_text(json.dumps(described, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def attach_saved(model: StableDiffusion, folder: Path) -> Attached:
    """Put saved adapters on a model.

    Raises:
        ValueError: a file was made for another base, is missing or broken, or is not what `adapter.json` says; the model is then as it was.
    """
    described = _description(folder)
    try:
        # Matched norms are not known here, and not needed: `load` takes the standard deviations from the file.
        found = attach(model, described.adapters, seed=described.seed, match_norms={})
    except ValueError as error:
        raise ValueError(f"{folder}: the weights are for another base model: {error}") from None
    try:
        targets = found.files()
        saved = {name: _read(folder, name) for name in targets}
        _check(targets, saved)
        found.load(saved)
        check_same_base(described.base, found.base)
    except ValueError as error:
        found.detach()
        raise ValueError(f"{folder}: {error}") from None
    except BaseException:
        found.detach()
        raise
    return found


@contextmanager
def attached(model: StableDiffusion, folder: Path | None) -> Iterator[StableDiffusion]:
    """The model with saved adapters on it, or as it is when there is no folder."""
    if folder is None:
        yield model
        return
    with attach_saved(model, folder):
        yield model


def _description(folder: Path) -> Description:
    try:
        return Description.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValueError) as error:
        first = " ".join(str(error).split())
        raise ValueError(f"{folder / DESCRIPTION} does not describe adapters as S2L saves them: {first}; make the shake again") from None


def _read(folder: Path, name: str) -> dict[str, Tensor]:
    if not (folder / name).is_file():
        raise ValueError(f"{name} is missing, which {DESCRIPTION} calls for; it was dropped or never written: make the shake again")
    try:
        return load_file(folder / name)
    except SafetensorError as error:
        raise ValueError(f"{name} is no safetensors file: {error}") from None


def _check(targets: Mapping[str, WeightsFile], saved: Mapping[str, Mapping[str, Tensor]]) -> None:
    for file, one in targets.items():
        wanted = {name: tuple(value.shape) for name, value in one.tensors.items()}
        got = {name: tuple(value.shape) for name, value in saved[file].items()}
        if odd := sorted(wanted.keys() ^ got.keys()):
            raise ValueError(f"the weights are for another base model: {file}: {len(odd)} names differ, such as {odd[0]}")
        for name, shape in got.items():
            if wanted[name] != shape:
                raise ValueError(f"the weights are for another base model: {file}: {name} is {shape}, the model's is {wanted[name]}")
