"""The loss attack (arXiv 2302.03262): members are denoised better. The score is minus the mean squared error."""

from __future__ import annotations

from s2l_core.attacks.noising import noise_of, noisy
from s2l_core.attacks.queries import Attack, Images, check_timestep, squared_l2
from s2l_core.specs.attacks import LossAttack


def attack(spec: LossAttack, images: Images) -> Attack:
    """Minus ||eps(x_t, t) - noise||^2 per element, averaged over the timesteps and draws; timesteps x draws network calls.

    The noise of an image is fixed by its key, the timestep and the draw: before and after fine-tuning see the same.

    Raises:
        ValueError: a timestep is beyond the schedule.
    """
    total = images.x0.new_zeros(len(images.x0))
    for t in spec.timesteps:
        check_timestep(images.alphas_cumprod, t, "loss attack")
        for draw in range(spec.draws):
            noise = noise_of(images, t, draw)
            eps = yield images.ask(noisy(images, images.x0, noise, t), t)
            total = total + squared_l2(eps - noise)
    return -total / (len(spec.timesteps) * spec.draws * images.x0[0].numel())
