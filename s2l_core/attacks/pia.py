"""PIA (arXiv 2305.18355): the noise predicted for the clean image, predicted again after adding it up to timestep t.

Members agree with themselves better: a low error is member-like, so the score is minus the error.
"""

from __future__ import annotations

from collections.abc import Generator
from math import pi, sqrt

from torch import Tensor

from s2l_core.attacks.queries import Attack, EpsFn, Images, Query, answer, check_timestep, unconditioned
from s2l_core.specs.attacks import PIAAttack


def attack(spec: PIAAttack, images: Images) -> Attack:
    """Minus the PIA error of each image; 2 network calls, the first of which is also SecMI's first.

    Raises:
        ValueError: t is beyond the schedule.
    """
    return -(yield from errors(images, spec.t, spec.p, spec.normalized))


def pia_error(eps: EpsFn, x0: Tensor, alphas_cumprod: Tensor, *, t: int, p: float = 4, normalized: bool = False) -> Tensor:
    """The raw error of each image (low = member): the sum over elements of |eps(x0, 0) - eps(x_t, t)|^p, [n].

    Args:
        eps: the denoiser, closed over its prompt.
        x0: clean images [n, ...].
        alphas_cumprod: the schedule [T].
        t: where the second prediction is taken.
        p: the power (and the norm it belongs to).
        normalized: PIAN, which rescales eps(x0, 0) to the mean absolute value of standard normal noise.

    Raises:
        ValueError: t is beyond the schedule, or p is not positive.
    """
    if not p > 0:
        raise ValueError(f"pia_error needs a power greater than 0; got p={p}")
    return answer(errors(unconditioned(x0, alphas_cumprod), t, p, normalized), eps)


def errors(images: Images, t: int, p: float, normalized: bool) -> Generator[Query, Tensor, Tensor]:
    """Asks at the clean image and at x_t = sqrt(a) x0 + sqrt(1 - a) eps(x0, 0)."""
    check_timestep(images.alphas_cumprod, t, "pia")
    direction = yield images.ask(images.x0, 0)
    if normalized:
        direction = like_standard_noise(direction)
    a = images.alpha(t)
    eps = yield images.ask(sqrt(a) * images.x0 + sqrt(1 - a) * direction, t)
    return (direction - eps).flatten(1).abs().pow(p).sum(1)


def like_standard_noise(eps: Tensor) -> Tensor:
    """Each image's prediction rescaled to mean |eps| = sqrt(2 / pi), as standard normal noise has.

    The factor is the published code's. The paper's eq. 10 prints its inverse, sqrt(pi / 2), which does not give standard noise.
    """
    mean = eps.flatten(1).abs().mean(1).clamp_min(1e-12).reshape(-1, *(1,) * (eps.ndim - 1))
    return eps * (sqrt(2 / pi) / mean)
