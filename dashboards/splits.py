"""Splits that leak by themselves: where a classifier that never sees the model separates members, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.comparisons import LEVEL, Blind, holm
from dashboards.words import listed, plural
from s2l_core.metrics.intervals import binomial_quantile, logit
from s2l_core.metrics.roc import normal_quantile, two_sided_p

SURELY = 0.999
UPWARDS = 0.025
"""How often an interval of 95 % lies above 0.5 although nothing is there."""


def leaking(blinds: Sequence[Blind]) -> list[Blind]:
    """The domains that the blind classifier separates, where that is more than chance gives in as many domains; otherwise none.

    More than chance: one of them stands after Holm's correction over the domains, or there are more of them than intervals of 95 % allow.
    Of forty matched splits one is separated by chance; a report must not open with that.
    """
    separated = [blind for blind in blinds if blind.separates]
    stands = any(blind.separates and p <= LEVEL for blind, p in zip(blinds, holm([_p_value(blind) for blind in blinds]), strict=True))
    many = len(separated) > binomial_quantile(SURELY, len(blinds), UPWARDS)
    return separated if stands or many else []


def leaking_headline(found: Sequence[Blind], domains: int) -> str:
    """Says first what a reader must know before any other number.

    Args:
        domains: how many were looked at.
    """
    where = found[0].domain if domains == 1 else f"{len(found)} of {plural(domains, 'domain')}"
    return f"The split leaks by itself: members can be told from non-members without the model in {where}"


def separated_told(found: Sequence[Blind]) -> str:
    """What it means that a blind classifier separates these domains."""
    most = max(float(blind.document["auc"]) for blind in found)
    return (
        f"Beware of {listed([blind.domain for blind in found])}: a blind classifier that never sees the model tells members from "
        f"non-members there (AUC up to {most:.2f}), so the two sets of pictures differ by themselves. Every single AUC there says too "
        "much; the change from before to after is measured on the same pictures and suffers less."
    )


def _p_value(blind: Blind) -> float:
    """Two-sided, from the interval, which permuted labels have widened; the permutations themselves are too few to be corrected.

    At an AUC of 0 or 1 the interval is that of independent pairs of a member and a non-member, and so is this.
    """
    area, low = float(blind.document["auc"]), float(blind.document["auc_low"])
    if not 0 < area < 1:
        pairs = min(int(blind.document[count]) for count in ("n_member", "n_non_member"))
        return min(1.0, 0.5 ** (pairs - 1))
    error = (logit(area) - logit(low)) / normal_quantile(0.95) if 0 < low < area else 0.0
    return two_sided_p(logit(area) / error) if error else 1.0
