"""What a design can see, told before anything is run: the least change of an AUC that it would find, and the least p that can come out.

Letters: m members, n non-members, D domains, r the correlation of an attack's AUC before and after, over draws of the images.
"""

from __future__ import annotations

from math import ceil, log2, sqrt

from s2l_core.metrics.pooled import smallest_p
from s2l_core.metrics.roc import normal_quantile

LEAST_KNOWN_AREA = 0.5
"""Where an AUC's standard error is largest (of very unequal classes within 4 % of that): a change found from here is found anywhere."""


def auc_error(area: float, members: int, non_members: int) -> float:
    """The standard error of an AUC of that size, under Hanley and McNeil's exponential model (Radiology 143, 1982).

    Raises:
        ValueError: the AUC is not strictly between 0 and 1, or a class is empty.
    """
    if not 0 < area < 1 or min(members, non_members) < 1:
        raise ValueError(f"an AUC's error needs 0 < AUC < 1 and an image of each class; got {area}, {members} and {non_members}")
    both_members, both_others = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (members - 1) * (both_members - area**2) + (non_members - 1) * (both_others - area**2)
    return sqrt(spread / (members * non_members))


def detectable_change(
    members: int, non_members: int, *, correlation: float, area: float = LEAST_KNOWN_AREA, level: float = 0.95, power: float = 0.8
) -> float:
    """The change of an AUC that the paired test at `1 - level` finds with probability `power`, on one domain.

    (z_level + z_power) sqrt(2 (1 - r)) times the error of one AUC.

    Args:
        correlation: r, below 1. Before and after are measured on the same images, so that it is high; 0 is what unpaired sets would have.

    Raises:
        ValueError: as `auc_error`; or the correlation is not from 0 to below 1.
    """
    return _quantiles(level, power) * change_error(members, non_members, correlation=correlation, area=area)


def detectable_mean_change(
    domains: int,
    members: int,
    non_members: int,
    *,
    correlation: float,
    area: float = LEAST_KNOWN_AREA,
    level: float = 0.95,
    power: float = 0.8,
) -> float:
    """The same for the mean over D domains, if the change is the same in each: domains that differ hide more.

    Student's t with D - 1 degrees of freedom takes the normal's place, as in the pooled interval; its power is the noncentral t's.

    Raises:
        ValueError: as `detectable_change`; or fewer than two domains.
    """
    from scipy.optimize import brentq
    from scipy.special import nctdtr, stdtrit

    if domains < 2:
        raise ValueError(f"a mean over domains needs at least two of them; got {domains}")
    beyond = float(stdtrit(domains - 1, 0.5 + level / 2))
    most = 2 * beyond + 12  # enough for any power below .99; far beyond, nctdtr is NaN
    away = float(brentq(lambda shift: 1.0 - nctdtr(domains - 1, shift, beyond) - power, 0.0, most))
    return away * change_error(members, non_members, correlation=correlation, area=area) / sqrt(domains)


def change_error(members: int, non_members: int, *, correlation: float, area: float = LEAST_KNOWN_AREA) -> float:
    """The standard error of the change of an AUC on one domain.

    Raises:
        ValueError: as `detectable_change`.
    """
    if not 0 <= correlation < 1:
        raise ValueError(f"the correlation of an AUC before and after is from 0 to below 1; got {correlation}")
    return sqrt(2 * (1 - correlation)) * auc_error(area, members, non_members)


def smallest_corrected_p(domains: int, tests: int) -> float:
    """The least p that Holm's correction for so many tests leaves of a signed-rank test over D domains."""
    return min(1.0, tests * smallest_p(domains))


def domains_needed(tests: int, *, level: float = 0.95) -> int:
    """The fewest domains with which one of so many signed-rank tests can reject after Holm's correction."""
    return max(1, ceil(1 + log2(max(1, tests) / (1 - level)) - 1e-9))


def _quantiles(level: float, power: float) -> float:
    from scipy.special import ndtri

    return normal_quantile(level) + float(ndtri(power))
