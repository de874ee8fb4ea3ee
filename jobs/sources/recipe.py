"""How a small base model is made: the standard recipe, what a file changes in it, and what options change then. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from jobs.grid.document import read_yaml
from jobs.grid.messages import listed, nearest, show
from jobs.grid.read_spec import read_spec
from s2l_core.families import sd_folder
from s2l_core.specs.base import Spec
from s2l_core.specs.pretrain import PretrainSpec, SmallShape
from s2l_core.specs.training import TrainSpec

_PARTS: dict[str, type[Spec]] = {"shape": SmallShape, "autoencoder": TrainSpec, "denoiser": TrainSpec}


@dataclass(frozen=True)
class Recipe:
    """What `s2l_core.pretrain.pretrain` is given.

    Attributes:
        autoencoder_from: the model folder whose autoencoder is taken over; None where one is trained.
    """

    spec: PretrainSpec
    autoencoder_from: Path | None = None


def read_recipe(
    file: Path | None = None,
    *,
    unet_channels: str | None = None,
    autoencoder_from: str | None = None,
    steps: int | None = None,
    autoencoder_steps: int | None = None,
    seed: int | None = None,
) -> Recipe:
    """The recipe of a file and options; what neither says is the standard one's (`PretrainSpec()`).

    Args:
        file: YAML, a mapping with fields of `PretrainSpec`, each as far as it differs.
        unet_channels: as written on the command line, such as "32,32".
        autoencoder_from: a packaged model's name or a diffusers folder.

    Raises:
        InputError: a value that is not allowed, or a model whose autoencoder cannot be taken over; named with its place.
    """
    changes = _read(file) if file else {}
    source = None if autoencoder_from is None else _model_folder(autoencoder_from)
    _check_autoencoder(changes, source, autoencoder_steps)
    options: dict[str, Any] = {} if unet_channels is None else {"shape": {"unet_channels": _channels(unet_channels)}}
    options |= {"denoiser": {"steps": steps}} if steps else {}
    options |= {"autoencoder": {"steps": autoencoder_steps}} if autoencoder_steps else {}
    options |= {"seed": seed} if seed is not None else {}
    standard = PretrainSpec().model_dump(mode="json")
    if source:
        standard = _merged(standard, {"shape": _autoencoder_shape(source)})
        options["autoencoder"] = None
    try:
        spec = _checked(_merged(_merged(standard, changes), options))
        if source:
            _check_channels(spec.shape, source)
    except ValueError as error:
        raise InputError(f"{file}: {error}" if file else str(error)) from error
    return Recipe(spec, source)


def _checked(raw: Mapping[str, Any]) -> PretrainSpec:
    """Part by part, so that a wrong key is told with the keys that its part has."""
    parts = {name: read_spec(cls, raw[name], f"recipe.{name}") for name, cls in _PARTS.items() if raw[name] is not None}
    spec: PretrainSpec = read_spec(PretrainSpec, {**raw, **parts}, "recipe")
    return spec


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the recipe {file} cannot be read: {error}") from error
    value = read_yaml(text, str(file)).value
    if not isinstance(value, dict):
        raise InputError(f"{file}: got {show(value)}; a recipe is a mapping with {listed(PretrainSpec.model_fields)}")
    return value


def _channels(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--unet-channels: got {show(text)}; it must be whole numbers with commas between them, outermost level first, such as 32,32"
        ) from None


def _check_autoencoder(changes: Mapping[str, Any], source: Path | None, steps: int | None) -> None:
    """It is either trained or taken over. Options win over the file, so one file serves a model that trains it and those that take it."""
    if source and steps:
        raise InputError("--autoencoder-from takes a trained autoencoder as it is: leave --autoencoder-steps out")
    if source is None and changes.get("autoencoder", {}) is None:
        raise InputError("the recipe trains no autoencoder (`autoencoder: null`): name the model it is taken from with --autoencoder-from")


def _check_channels(shape: SmallShape, source: Path) -> None:
    taken = _autoencoder_shape(source)
    for name in ("vae_channels", "latent_channels"):
        got = shape.model_dump(mode="json")[name]
        if got != taken[name]:
            raise ValueError(f"shape.{name}: got {show(got)}, and the autoencoder of {source} has {show(taken[name])}; leave it out")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, mapping by mapping: `denoiser: {steps: 10}` leaves the rest of `denoiser` alone."""
    shared = [key for key, value in changes.items() if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)]
    both = {key: _merged(base[key], changes[key]) for key in shared}
    return {**base, **changes, **both}


def _model_folder(value: str) -> Path:
    from s2l_core import tiny

    folder = tiny.packaged(value) if value in tiny.catalog() else Path(value).expanduser()
    try:
        sd_folder.inspect(folder)
    except ValueError as error:
        allowed = f"allowed: {listed(tiny.catalog())}, or a folder in the diffusers layout"
        raise InputError(f"--autoencoder-from: {error}; {allowed}{nearest(value, tiny.catalog())}") from error
    return folder


def _autoencoder_shape(folder: Path) -> dict[str, Any]:
    """The part of the shape that comes with a taken autoencoder: its channels, and the size of the images it was made for."""
    config = sd_folder.read_json(folder, "vae/config.json")
    channels = config.get("block_out_channels", [64])  # absent values have diffusers' defaults
    latent_side = sd_folder.read_json(folder, "unet/config.json")["sample_size"]
    size = latent_side << (len(channels) - 1)
    return {"vae_channels": channels, "latent_channels": config.get("latent_channels", 4), "image_size": size}
