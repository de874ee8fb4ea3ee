"""What shows whether a measurement can be believed: what each control should do, and what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.findings import Blind, Comparison, surviving


@dataclass(frozen=True)
class Card:
    """A control: what it should do, and what it did."""

    title: str
    state: Literal["good", "bad", "absent"]
    words: str


def control_cards(compared: Sequence[Comparison], blinds: Sequence[Blind]) -> list[Card]:
    """The four controls: no fine-tuning, the members themselves, an unrelated domain, and a classifier that never sees the model."""
    return [
        _no_shake_card([each for each in compared if each.role == "no-shake"]),
        _members_card([each for each in compared if each.role == "members"]),
        _unrelated_card([each for each in compared if each.role == "unrelated"]),
        _blind_card(blinds),
    ]


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
        return Card("Positive control", "absent", "Not in this grid. Add `train_on: members`: an attack must become better there.")
    up, moved = sum(each.verdict == "amplified" for each in found), bool(surviving(found))
    words = f"Trained on the members themselves: amplified in {up} of {len(found)} comparisons."
    if up and not moved:
        words += " That is no more than chance can explain."
    return Card("Positive control", "good" if moved else "bad", words + ("" if moved else " A test that cannot see this cannot see less."))


def _unrelated_card(found: Sequence[Comparison]) -> Card:
    if not found:
        return Card(
            "Unrelated domain",
            "absent",
            "Not in this grid. Add `train_on: unrelated` to tell the domain's part from that of any fine-tuning.",
        )
    up = sum(each.verdict == "amplified" for each in found)
    words = f"Trained on another domain's pictures: amplified in {up} of {len(found)} comparisons."
    return Card("Unrelated domain", "bad" if up else "good", words + (" What is seen is not about the domain alone." if up else ""))


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
