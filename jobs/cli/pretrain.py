"""`s2l pretrain`: make a small base model from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.errors import InputError

if TYPE_CHECKING:
    from s2l_core.images import ImageRecord


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="A new folder.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of the denoiser. [default: the recipe's]")
@click.option("--autoencoder-steps", type=click.IntRange(min=1), help="Steps of the autoencoder. [default: the recipe's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def pretrain(source: str, output: Path, steps: int | None, autoencoder_steps: int | None, seed: int, device: str) -> None:
    """Train a small Stable-Diffusion-shaped model (32x32 pixels) and write it as a diffusers folder.

    SOURCE is `tiny`, which makes the packaged model again (about an hour on one core), or an imagefolder, whose members (and only they) are
    learned: a grid can then name the folder as its `model` and the imagefolder as its `data`.
    """
    from jobs.execute.worker_setup import pin_threads

    if output.exists():
        raise InputError(f"{output} exists already; give a new folder, so that no model is overwritten")
    pin_threads()
    from s2l_core.tiny.recipe import RECIPES, make

    if source in RECIPES:
        if steps or autoencoder_steps or seed:
            raise InputError("the packaged model's recipe is fixed: leave --steps, --autoencoder-steps, --seed out, or give an imagefolder")
        click.echo(str(make(source, output, device=device, say=_say)))
        return
    from s2l_core.pretrain import pretrain as train
    from s2l_core.specs.pretrain import PretrainSpec

    spec = PretrainSpec(seed=seed)
    if steps:
        spec = spec.model_copy(update={"denoiser": spec.denoiser.model_copy(update={"steps": steps})})
    if autoencoder_steps:
        spec = spec.model_copy(update={"autoencoder": spec.autoencoder.model_copy(update={"steps": autoencoder_steps})})
    train(_members(Path(source)), output, config=spec, device=device, say=_say)
    click.echo(str(output))


def _members(folder: Path) -> list[ImageRecord]:
    from jobs.sources.imagefolder import scan

    found = scan(folder)
    return [record for domain in found.domains for record in found.records(domain) if record.member]


def _say(fraction: float, words: str) -> None:
    click.echo(f"\r{100 * fraction:5.1f} % {words:60}", err=True, nl=fraction >= 1.0)
