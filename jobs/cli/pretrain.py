"""`s2l pretrain`: make a small base model from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.errors import InputError

if TYPE_CHECKING:
    from s2l_core.images import ImageRecord


@click.command(short_help="Make a small base model from nothing.")
@click.argument("source", metavar="SOURCE")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="A new folder.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="A YAML file with what differs from the standard recipe.")
@click.option("--unet-channels", metavar="N,N,...", help="The UNet's channels, outermost level first: the model's scale. [default: 64,64]")
@click.option("--autoencoder-from", metavar="MODEL", help="Take over the autoencoder of a packaged model or a diffusers folder.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of the denoiser. [default: the recipe's]")
@click.option("--autoencoder-steps", type=click.IntRange(min=1), help="Steps of the autoencoder. [default: the recipe's]")
@click.option("--seed", type=click.IntRange(min=0), help="[default: the recipe's, 0]")
@click.option("--device", default="cpu", show_default=True)
def pretrain(
    source: str,
    output: Path,
    config: Path | None,
    unet_channels: str | None,
    autoencoder_from: str | None,
    steps: int | None,
    autoencoder_steps: int | None,
    seed: int | None,
    device: str,
) -> None:
    """Train a small Stable-Diffusion-shaped model (32x32 pixels) and write it as a diffusers folder.

    SOURCE is a packaged model, which is made again (`tiny`: about half an hour on one core; `tiny-sm1`, `tiny-sm2`: less), or an
    imagefolder, whose members (and only they) are learned: a grid can then name the folder as its `model` and the images as its `data`.

    How an imagefolder is learned is a recipe: the standard one, changed by `--config`, changed by the other options.
    """
    from jobs.sources.recipe import read_recipe
    from jobs.worker.setup import pin_threads
    from s2l_core.tiny.recipe import RECIPES, make

    if output.exists():
        raise InputError(f"{output} exists already; give a new folder, so that no model is overwritten")
    pin_threads()
    if source in RECIPES:
        if any(given is not None for given in (config, unet_channels, autoencoder_from, steps, autoencoder_steps, seed)):
            raise InputError("the packaged models' recipes are fixed: give --output and --device alone, or an imagefolder")
        click.echo(str(make(source, output, device=device, say=_say)))
        return
    from s2l_core.pretrain import pretrain as train

    recipe = read_recipe(
        config,
        unet_channels=unet_channels,
        autoencoder_from=autoencoder_from,
        steps=steps,
        autoencoder_steps=autoencoder_steps,
        seed=seed,
    )
    train(_members(Path(source)), output, config=recipe.spec, autoencoder_from=recipe.autoencoder_from, device=device, say=_say)
    click.echo(str(output))


def _members(folder: Path) -> list[ImageRecord]:
    from jobs.sources.imagefolder import scan

    found = scan(folder)
    return [record for domain in found.domains for record in found.records(domain) if record.member]


def _say(fraction: float, words: str) -> None:
    click.echo(f"\r{100 * fraction:5.1f} % {words:60}", err=True, nl=fraction >= 1.0)
