"""How right an attacker is who trusts the matcher, repetition or likeness: precision, cliques and retrieval, beside the counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dashboards.comparisons import LEVEL
from dashboards.words import plural
from jobs.plan.plan import Plan
from jobs.stages.specs import ExtractStage
from s2l_core.specs.extraction import ExtractionSpec

Document = Mapping[str, Any]


@dataclass
class Side:
    """Before, or after: of all trials of one way under one rule.

    Attributes:
        flagged, right: candidates near to any compared image, and those of them that show a member alone.
        cliques, matched, members: of near-identical candidates; those with a candidate that shows a member; the members that these show.
        retrieved: each trial's share of members among the nearest images.
        nearest, nearest_others: the smallest distance of any candidate to a member, and to a non-member.
    """

    flagged: int = 0
    right: int = 0
    cliques: int = 0
    matched: int = 0
    members: int = 0
    retrieved: list[float] = field(default_factory=list)
    nearest: float = 1.0
    nearest_others: float = 1.0

    def add(self, document: Document, rule: str) -> None:
        precision, cliques = document["rules"][rule]["precision"], document["cliques"]
        self.flagged += int(precision["flagged"])
        self.right += int(precision["members"])
        self.cliques += int(cliques["found"])
        self.matched += int(cliques[rule]["matched"])
        self.members += int(cliques[rule]["members"])
        self.retrieved.append(float(document["retrieval"]["value"]))
        self.nearest = min(self.nearest, float(document["nearest"]["members"][rule]["least"]))
        self.nearest_others = min(self.nearest_others, float(document["nearest"]["non_members"][rule]["least"]))

    @property
    def mean_retrieved(self) -> float:
        return sum(self.retrieved) / len(self.retrieved)


@dataclass
class Precision:
    """Both sides. `sure`: trials whose retrieval precision, after, is above a half, p below 0.05 (not corrected)."""

    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    sure: int = 0

    def add(self, before: Document, after: Document, rule: str) -> None:
        self.before.add(before, rule)
        self.after.add(after, rule)
        found = after["retrieval"]
        self.sure += found["value"] > 0.5 and found["p_value"] is not None and found["p_value"] < LEVEL


def matcher_words(plan: Plan) -> list[str]:
    """How candidates were matched, a sentence for each way that the grid asks for."""
    asked = [trial.extraction.spec for trial in plan.trials if trial.extraction is not None]
    return list(dict.fromkeys(_matcher(spec.extraction) for spec in asked if isinstance(spec, ExtractStage)))


def _matcher(spec: ExtractionSpec) -> str:
    features, shift = spec.features.kind, spec.alignment.shift
    kept = f"with the {spec.keep} members and {spec.keep} non-members most like it in {features}" if spec.keep else "with all images"
    moved = f"moved by up to {plural(shift, 'pixel')}" if shift else "not moved"
    size = f"{spec.side} x {spec.side} pixels" if spec.side else "the candidates' size"
    cliques = f"cliques of at least {spec.cliques.size} candidates within {spec.cliques.threshold:g}"
    return (
        f"{plural(spec.candidates, 'candidate')} a model, each compared {kept}; near is a distance below {spec.threshold:g} on [0, 1] at "
        f"{size}, the candidate {moved}{', also mirrored' if spec.alignment.flip else ''}; {spec.tiles} x {spec.tiles} tiles; {cliques}; "
        f"retrieval of the {spec.retrieved} nearest in {features}."
    )
