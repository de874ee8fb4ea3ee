"""What a fit with clipped, noisy gradients of Poisson samples costs in differential privacy. The accountants are Opacus's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Accountant = Literal["rdp", "prv"]

MOST_FOR_PRV = 50.0
"""Above this epsilon the prv accountant takes minutes to hours, or overflows."""


def epsilon_of(noise_multiplier: float, *, delta: float, sample_rate: float, steps: int, accountant: Accountant) -> float:
    """The epsilon that `steps` steps spend at `delta`.

    Raises:
        ValueError: it is too large for the accountant.
    """
    from opacus.accountants import create_accountant

    if not steps:
        return 0.0
    if accountant == "prv":
        _check_for_prv(epsilon_of(noise_multiplier, delta=delta, sample_rate=sample_rate, steps=steps, accountant="rdp"))
    found = create_accountant(mechanism=accountant)
    found.history = [(noise_multiplier, sample_rate, steps)]
    with _quiet():
        epsilon = float(found.get_epsilon(delta=delta))
    if not math.isfinite(epsilon):
        raise ValueError(f"noise_multiplier {noise_multiplier:g} is so small that the {accountant} accountant finds no epsilon; give more")
    return epsilon


def noise_multiplier_for(epsilon: float, *, delta: float, sample_rate: float, steps: int, accountant: Accountant) -> float:
    """The noise multiplier with which `steps` steps spend at most `epsilon`, to within 0.01 of it.

    Raises:
        ValueError: no noise is enough, or epsilon is too large for the accountant.
    """
    from opacus.accountants.utils import get_noise_multiplier

    if accountant == "prv":
        _check_for_prv(epsilon)
    tolerance = min(0.01, epsilon / 100)
    try:
        with _quiet():
            found = get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant=accountant,
                epsilon_tolerance=tolerance,
            )
    except ValueError as error:
        raise ValueError(
            f"no noise reaches epsilon {epsilon:g} at delta {delta:g} in {steps} steps with a sample rate of {sample_rate:g} ({error}); "
            "allow more epsilon, or take fewer steps or smaller batches"
        ) from error
    return float(found)


def _check_for_prv(epsilon: float) -> None:
    if epsilon > MOST_FOR_PRV:
        raise ValueError(f"epsilon is {epsilon:.4g}; the prv accountant is for at most {MOST_FOR_PRV:g}; use accountant rdp, or more noise")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the accountants' warnings that a bound is not the tightest, and of overflows in places that they do not use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
