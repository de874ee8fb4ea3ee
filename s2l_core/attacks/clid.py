"""CLiD (arXiv 2405.14800): how much better an image is denoised with its whole caption than with parts of it, or with none.

Text-to-image models overfit to image given caption before they overfit to images. What its own caption is worth to an image is therefore
larger for members: a large discrepancy is member-like, and it is the score.
"""

from __future__ import annotations

from itertools import pairwise

from s2l_core.attacks.noising import denoising_loss, noise_of, noisy
from s2l_core.attacks.queries import Attack, Images, check_timestep
from s2l_core.specs.attacks import ClidAttack

NULL = ""


def attack(spec: ClidAttack, images: Images) -> Attack:
    """The mean rise of the denoising loss from the whole caption to each of its pieces and to none, minus `loss_weight` times the loss.

    All captions are shown with the same noisy images, so that what differs is the caption: timesteps x draws x (2 + pieces) network calls,
    and fewer where captions have fewer words than pieces. The questions with the whole caption are the loss attack's.

    Raises:
        ValueError: a timestep is beyond the schedule, or an image has no caption, of which nothing can be left out.
    """
    _check_captions(images)
    shortened = [*_pieces(images.prompts, spec.pieces), (NULL,) * len(images.prompts)]
    rise = images.x0.new_zeros(len(images.x0))
    loss = images.x0.new_zeros(len(images.x0))
    for t in spec.timesteps:
        check_timestep(images.alphas_cumprod, t, "clid")
        for draw in range(spec.draws):
            noise = noise_of(images, t, draw)
            x = noisy(images, images.x0, noise, t)
            whole = denoising_loss((yield images.ask(x, t)), noise)
            loss = loss + whole
            for captions in shortened:
                rise = rise + denoising_loss((yield images.ask(x, t, captions)), noise) - whole
    number = len(spec.timesteps) * spec.draws
    return rise / (number * len(shortened)) - spec.loss_weight * loss / number


def pieces_of(caption: str, number: int) -> list[str]:
    """The caption cut into consecutive pieces of nearly equally many words; empty ones where it has fewer words than pieces."""
    words = caption.split()
    ends = (len(words) * end // number for end in range(number + 1))
    return [" ".join(words[start:end]) for start, end in pairwise(ends)]


def _pieces(prompts: tuple[str, ...], number: int) -> list[tuple[str, ...]]:
    """First, second, ... pieces of all prompts; nothing where the caption is not cut."""
    return [] if number == 0 else [*zip(*(pieces_of(prompt, number) for prompt in prompts), strict=True)]


def _check_captions(images: Images) -> None:
    without = sum(not prompt.split() for prompt in images.prompts)
    if without:
        raise ValueError(
            f"clid compares an image's caption with parts of it; {without} of {len(images.prompts)} images have an empty one; "
            "attack with the images' own captions or a domain prompt (caption: own or domain), and give every image its caption"
        )
