"""SecMI_stat (arXiv 2302.01316): how far a deterministic DDIM step and its inverse miss each other at timestep t.

Members are reconstructed better: a low error is member-like, so the score is minus the error.
"""

from __future__ import annotations

from collections.abc import Generator
from math import sqrt

from torch import Tensor

from s2l_core.attacks.queries import Attack, EpsFn, Images, Query, answer, check_timestep, squared_l2, unconditioned
from s2l_core.specs.attacks import SecMIAttack


def attack(spec: SecMIAttack, images: Images) -> Attack:
    """Minus the t-error of each image; t/k + 2 network calls.

    Raises:
        ValueError: t + k is beyond the schedule.
    """
    return -(yield from t_errors(images, spec.t, spec.k))


def t_error(eps: EpsFn, x0: Tensor, alphas_cumprod: Tensor, *, t: int, k: int) -> Tensor:
    """The raw t-error of each image (low = member), compared at timestep `t` with DDIM steps of `k`.

    Args:
        eps: the denoiser, closed over its prompt.
        x0: clean images [n, ...]; they count as the states at timestep 0, with `alphas_cumprod[0]`.
        alphas_cumprod: the schedule [T].

    Returns:
        Squared L2 over all elements, [n].

    Raises:
        ValueError: t is no positive multiple of k, or t + k is beyond the schedule.
    """
    return answer(t_errors(unconditioned(x0, alphas_cumprod), t, k), eps)


def t_errors(images: Images, t: int, k: int) -> Generator[Query, Tensor, Tensor]:
    """The squared length of the miss of each image, [n]."""
    factor, difference = yield from miss(images, t, k)
    return factor**2 * squared_l2(difference)


def miss(images: Images, t: int, k: int) -> Generator[Query, Tensor, tuple[float, Tensor]]:
    """Walks x0 to x_t in steps of k, asks at t and once more at t + k: by how much the way back misses x_t, as factor * [n, ...]."""
    if k <= 0 or t <= 0 or t % k:
        raise ValueError(f"secmi: t must be a positive multiple of k; got t={t}, k={k}")
    check_timestep(images.alphas_cumprod, t + k, f"secmi with t={t} and k={k} looks at t + k")
    x = images.x0
    for step in range(0, t, k):
        eps = yield images.ask(x, step)
        x = ddim_step(x, eps, images.alpha(step), images.alpha(step + k))
    eps_t = yield images.ask(x, t)
    beyond = ddim_step(x, eps_t, images.alpha(t), images.alpha(t + k))
    eps_beyond = yield images.ask(beyond, t + k)
    # The way back from t + k to t misses x_t by (sqrt(a/b) sqrt(1-b) - sqrt(1-a)) (eps_t - eps_beyond) exactly.
    # Written so, no two nearly equal states are subtracted.
    a, b = images.alpha(t), images.alpha(t + k)
    return sqrt(a / b) * sqrt(1 - b) - sqrt(1 - a), eps_t - eps_beyond


def ddim_step(x: Tensor, eps: Tensor, alpha_from: float, alpha_to: float) -> Tensor:
    """The deterministic DDIM step (arXiv 2010.02502, eq. 12 with sigma 0), in either direction, x_0 not clipped."""
    x0 = (x - sqrt(1 - alpha_from) * eps) / sqrt(alpha_from)
    return sqrt(alpha_to) * x0 + sqrt(1 - alpha_to) * eps
