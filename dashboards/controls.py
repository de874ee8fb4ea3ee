"""What shows whether a measurement can be believed: what each control should do, and what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.comparisons import Blind, Comparison, as_themselves, largest, surviving
from dashboards.places import Role
from dashboards.results import Cell
from dashboards.splits import separated_told
from dashboards.words import listed, short
from s2l_core.metrics.intervals import binomial_quantile

SURELY = 0.999
BY_CHANCE = 0.05
"""Of intervals of 95 %, one in twenty does not hold the truth, half of them on the upper side."""


@dataclass(frozen=True)
class Card:
    """A control: what it should do, and what it did."""

    title: str
    state: Literal["good", "bad", "absent"]
    words: str


@dataclass(frozen=True)
class Shuffled:
    """The AUC of one attack on one domain when labels are shuffled, and where 95 % of such AUCs lie."""

    auc: float
    low: float
    high: float

    @property
    def outside(self) -> bool:
        return not self.low <= self.auc <= self.high


def shuffled(cells: Sequence[Cell]) -> list[Shuffled]:
    """One for each domain, model and attack, before fine-tuning: all trials of a domain share it."""
    nodes = [(cell, cell.trial.metrics[cell.attack].parent("before")) for cell in cells]
    found = {node.key: cell.document["chance"]["before"] for cell, node in nodes if node is not None}
    return [Shuffled(one["control"], one["low"], one["high"]) for one in found.values()]


def control_cards(
    compared: Sequence[Comparison],
    blinds: Sequence[Blind],
    amplified: Mapping[Role, Sequence[str]] | None = None,
    shuffles: Sequence[Shuffled] = (),
) -> list[Card]:
    """The controls: no fine-tuning, the members themselves, an unrelated domain, a classifier that never sees the model, noise, labels.

    Args:
        amplified: part -> where an attack became better over all domains together, in words: a pool sees what single domains do not.
    """
    together = amplified or {}
    counted = as_themselves(compared)
    none, members, unrelated, noise = (
        [each for each in counted if each.role == role] for role in ("no-shake", "members", "unrelated", "matched-noise")
    )
    return [
        _no_shake_card(none),
        _members_card(members),
        _unrelated_card(unrelated, together),
        _blind_card(blinds),
        _noise_card(noise, together),
        _shuffled_card(shuffles),
    ]


def moved(members: Sequence[Comparison]) -> bool | None:
    """True when training on the members themselves helped an attack, beyond what as many tries give by chance; None: not tried."""
    return bool(surviving(members)) if members else None


def quiet(found: Sequence[Comparison]) -> bool:
    """Whether attacks became better no more often than intervals of 95 % let them by chance in 97.5 % of grids."""
    up = sum(each.verdict == "amplified" for each in found)
    return not surviving(found) and up <= binomial_quantile(1 - BY_CHANCE / 2, len(found), BY_CHANCE / 2)


def within_chance(found: Sequence[Shuffled]) -> bool:
    """Whether AUCs of shuffled labels lie outside of their 95 % ranges no more often than chance puts them there."""
    return sum(each.outside for each in found) <= binomial_quantile(SURELY, len(found), BY_CHANCE)


# --- in sentences ---


def controls_told(members: Sequence[Comparison], blinds: Sequence[Blind]) -> list[str]:
    """What the positive control and the blind baseline say, for the report's first screen."""
    told = [_positive_control(members)] if members else []
    separated = [each for each in blinds if each.separates]
    if separated:
        told.append(separated_told(separated))
    elif blinds:
        told.append(
            "A blind classifier that never sees the model cannot tell members from non-members beyond chance: nothing says that "
            "the attacks see a difference between the two sets of pictures instead of the model."
        )
    return told


def _positive_control(members: Sequence[Comparison]) -> str:
    best = largest(surviving(members) or members)
    change = f"from {best.auc['before']:.2f} to {best.auc['after']:.2f} ({best.attack} attack, {best.domain})"
    if moved(members):
        return (
            "The measurement can see a leak: when the model was fine-tuned on the members themselves, as a positive control, "
            f"the AUC rose, at most {change}."
        )
    return (
        "The positive control did not move: even fine-tuned on the members themselves, no attack became better by more than chance can "
        f"explain ({_rise(best)})."
    )


def _rise(best: Comparison) -> str:
    where = f"{best.attack} attack, {best.domain}"
    return f"the largest rise is {short(best.delta)}: {where}" if best.delta > 0 else "none rose at all"


# --- on cards ---


def _no_shake_card(found: Sequence[Comparison]) -> Card:
    if not found:
        return Card("No fine-tuning", "absent", "Not in this grid. Add the method `none`: its change must be exactly zero.")
    same = all(each.delta == 0 for each in found)
    return Card(
        "No fine-tuning",
        "good" if same else "bad",
        "Before and after are the same, exactly." if same else "Before and after differ although nothing was trained.",
    )


def _members_card(found: Sequence[Comparison]) -> Card:
    if not found:
        words = "Not in this grid. Add `train_on: members` (the private oracle): an attack must become better there."
        return Card("Positive control", "absent", words)
    up, seen = sum(each.verdict == "amplified" for each in found), bool(moved(found))
    words = f"Trained on the members themselves (the private oracle): amplified in {up} of {len(found)} comparisons."
    if up and not seen:
        words += " That is no more than chance can explain."
    return Card("Positive control", "good" if seen else "bad", words + ("" if seen else " A test that cannot see this cannot see less."))


def _unrelated_card(found: Sequence[Comparison], together: Mapping[Role, Sequence[str]]) -> Card:
    if not found:
        return Card(
            "Unrelated pictures",
            "absent",
            "Not in this grid. Add `train_on: unrelated` to tell the domain's part from that of any fine-tuning.",
        )
    done, otherwise = "Trained on pictures of something else", "What is seen is not about the domain alone."
    return _quiet_card("Unrelated pictures", found, together.get("unrelated", ()), done, otherwise)


def _noise_card(found: Sequence[Comparison], together: Mapping[Role, Sequence[str]]) -> Card:
    if not found:
        return Card(
            "Noise of equal size",
            "absent",
            "Not in this grid. Add the method `gaussian` with `sigma: match` to tell what was learned from any change as large.",
        )
    done, otherwise = "Weights moved as far, in random directions", "What is seen is not what was learned alone."
    return _quiet_card("Noise of equal size", found, together.get("matched-noise", ()), done, otherwise)


def _quiet_card(title: str, found: Sequence[Comparison], together: Sequence[str], done: str, otherwise: str) -> Card:
    """A control in which attacks should not become better."""
    up = sum(each.verdict == "amplified" for each in found)
    words = f"{done}: amplified in {up} of {len(found)} comparisons."
    if together:
        return Card(title, "bad", f"{words} Over all domains together: {listed(together)}. {otherwise}")
    if not quiet(found):
        return Card(title, "bad", f"{words} {otherwise}")
    return Card(title, "good", words + (" That is no more than chance gives." if up else ""))


def _shuffled_card(found: Sequence[Shuffled]) -> Card:
    if not found:
        return Card("Shuffled labels", "absent", "Not computed yet.")
    outside, mean = sum(each.outside for each in found), sum(each.auc for each in found) / len(found)
    words = f"With members and others named at random the AUC is {mean:.3f} on average, beyond its 95 % range in {outside} of {len(found)}."
    if not within_chance(found):
        return Card("Shuffled labels", "bad", f"{words} The tests themselves see what is not there.")
    return Card("Shuffled labels", "good", words)


def _blind_card(blinds: Sequence[Blind]) -> Card:
    if not blinds:
        return Card("Blind baseline", "absent", "Not computed yet.")
    worst = max([blind for blind in blinds if blind.separates] or blinds, key=lambda blind: float(blind.document["auc"]))
    document = worst.document
    told = f"AUC {document['auc']:.2f} ({document['auc_low']:.2f} to {document['auc_high']:.2f}) at most, for {worst.domain}"
    if any(blind.separates for blind in blinds):
        return Card(
            "Blind baseline", "bad", f"Without the model, members and non-members can be told apart: {told}. The split leaks by itself."
        )
    return Card("Blind baseline", "good", f"Without the model, members and non-members cannot be told apart: {told}.")
