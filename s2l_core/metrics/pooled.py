"""One statement over several domains: domains are the unit that is drawn at random, not their images. Letters: D domains, B replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2l_core.metrics.compare import check_same_images, metric_name
from s2l_core.metrics.hierarchical import DomainChange, domain_change, hierarchical, in_order, these_domains
from s2l_core.metrics.intervals import stream
from s2l_core.metrics.roc import auc, tpr_at_fpr
from s2l_core.metrics.verdicts import verdict, warning
from s2l_core.scores import Scores
from s2l_core.specs.metrics import MetricsSpec

ENOUGH_FOR_WILCOXON = 6
"""With fewer domains the smallest possible two-sided p of the signed-rank test is above 0.05."""


@dataclass(frozen=True)
class _Domain:
    """A metric's means over the seeds of one domain."""

    name: str
    before: float
    after: float

    @property
    def delta(self) -> float:
        return self.after - self.before


def pool(pairs: Sequence[tuple[Scores, Scores]], spec: MetricsSpec) -> dict[str, Any]:
    """The mean change over domains, with an interval that speaks of domains not seen.

    Every pair is one trial: scores before and after of the same images. Trials of one domain (its seeds) are averaged first; then whole
    domains are resampled (cluster bootstrap). The interval is the mean plus or minus Student's t with D - 1 degrees of freedom times the
    bootstrap's standard error times sqrt(D / (D - 1)): percentiles of so few
    clusters are too narrow (of three domains they cannot leave the range of the three values).
    Scores are never mixed across domains: offsets between domains would pull a joint AUC to 0.5.

    Beside it stand two bootstraps that also resample what lies within a domain (`s2l_core.metrics.hierarchical`): `hierarchical`, of
    domains, images and seeds, and `these_domains`, of images and seeds, which speaks of exactly these domains.

    Raises:
        ValueError: fewer than two domains, or a pair is not of the same images.
    """
    for before, after in pairs:
        check_same_images(before, after)
    pairs = in_order(pairs)
    names = sorted({before.domain for before, _ in pairs})
    if len(names) < 2:
        raise ValueError(f"pooling needs at least two domains; got {names}")
    auc_before = 0.0
    metrics: dict[str, dict[str, Any]] = {}
    changes = [domain_change([pair for pair in pairs if pair[0].domain == domain], spec) for domain in names]
    nested = zip(hierarchical(changes, spec), these_domains(changes, spec), strict=True)
    for (name, measure), (everywhere, here) in zip(_measures(spec), nested, strict=True):
        domains = [_domain(domain, pairs, measure) for domain in names]
        auc_before = _mean(domains, "before") if name == "auc" else auc_before
        within = {"hierarchical": _ends(everywhere), "these_domains": _ends(here)}
        metrics[name] = _pooled(domains, auc_before, spec) | within
    return {
        "attack": pairs[0][1].attack.get("kind"),
        "domains": names,
        "trials": len(pairs),
        "metrics": metrics,
        "warnings": _warnings(changes, auc_before),
    }


def _ends(interval: tuple[float, float]) -> dict[str, float]:
    return {"low": interval[0], "high": interval[1]}


def _measures(spec: MetricsSpec) -> list[tuple[str, Any]]:
    def tpr(fpr: float) -> Any:
        return lambda scores: tpr_at_fpr(scores.members, scores.non_members, fpr)[0]

    return [("auc", lambda scores: auc(scores.members, scores.non_members)), *((metric_name(fpr), tpr(fpr)) for fpr in spec.fprs)]


def _domain(name: str, pairs: Sequence[tuple[Scores, Scores]], measure: Any) -> _Domain:
    values = [(measure(before), measure(after)) for before, after in pairs if before.domain == name]
    return _Domain(name, *(sum(column) / len(values) for column in zip(*values, strict=True)))


def _mean(domains: Sequence[_Domain], what: str) -> float:
    return float(np.mean([getattr(domain, what) for domain in domains]))


def _pooled(domains: Sequence[_Domain], auc_before: float, spec: MetricsSpec) -> dict[str, Any]:
    deltas = np.array([domain.delta for domain in domains])
    delta, low, high = cluster_interval(deltas, spec)
    enough = len(domains) >= ENOUGH_FOR_WILCOXON
    return {
        "before": _mean(domains, "before"),
        "after": _mean(domains, "after"),
        "delta": delta,
        "delta_low": low,
        "delta_high": high,
        "verdict": verdict(delta, low, high, auc_before),
        "wilcoxon_p": _wilcoxon(deltas) if enough else None,
        "smallest_p": smallest_p(len(domains)),
        "by_domain": {domain.name: {"before": domain.before, "after": domain.after, "delta": domain.delta} for domain in domains},
    }


def cluster_interval(deltas: NDArray[np.float64], spec: MetricsSpec) -> tuple[float, float, float]:
    """Mean of the domains' values [D] and its interval, cut to [-1, 1], by resampling whole domains.

    Equal values other than 0 have the interval (-1, 1): rates of few images are often equal by chance, and say nothing of their scatter.
    """
    from scipy.special import stdtrit

    count = len(deltas)
    random = stream(spec.seed, "domains")
    drawn = deltas[random.integers(0, count, size=(spec.bootstrap, count))].mean(axis=1)
    if deltas[0] != 0 and np.ptp(deltas) < 1e-12:
        return float(deltas.mean()), -1.0, 1.0
    mean, error = float(deltas.mean()), float(drawn.std()) * sqrt(count / (count - 1))
    half = float(stdtrit(count - 1, 0.5 + spec.level / 2)) * error
    return mean, max(-1.0, mean - half), min(1.0, mean + half)


def smallest_p(domains: int) -> float:
    """The smallest two-sided p that the signed-rank test can give for that many domains: all changes of one sign."""
    return float(2.0 ** (1 - domains))


def _wilcoxon(deltas: NDArray[np.float64]) -> float:
    from scipy.stats import wilcoxon

    moved = deltas[deltas != 0]
    return float(wilcoxon(moved).pvalue) if len(moved) else 1.0


def _warnings(changes: Sequence[DomainChange], auc_before: float) -> list[dict[str, str]]:
    warnings, domains = [], len(changes)
    if domains < ENOUGH_FOR_WILCOXON:
        message = (
            f"{domains} domains: a signed-rank test cannot reject (its smallest possible p is {smallest_p(domains):.3g}), and the "
            f"interval leans on the changes being roughly normal over domains; {ENOUGH_FOR_WILCOXON} domains or more say much more"
        )
        warnings.append(warning("few_domains", message))
    single = sum(each.seeds == 1 for each in changes)
    if single:
        message = (
            f"{single} of {domains} domains have one seed: how much a seed changes there cannot be told, and intervals that resample seeds "
            "(hierarchical, these domains) speak of this one; two seeds or more say more"
        )
        warnings.append(warning("one_seed", message))
    if auc_before < 0.5:
        message = f"the mean AUC before is {auc_before:.3f}: the attack ranks members below non-members"
        warnings.append(warning("inverted", message))
    return warnings
