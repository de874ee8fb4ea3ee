"""Leakage beside utility: what a way to change the model does to an attack's AUC, and to what the model draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards.defended import defence_of, defence_words, facts_of, is_refusal, protects
from dashboards.drawn import documents_of, frechet_of
from dashboards.groups import ROLE_ORDER, ROLE_WORDS, Groups, Summary, Way, with_role
from dashboards.places import Place, places
from dashboards.words import plural
from jobs.ledger.ledger import Ledger
from jobs.plan.names import trial_name
from jobs.plan.plan import Plan, Trial

MAX_TRIALS = 240
IDENTITY, PIXELS, FEATURES = "right_identity", "nearest_member_pixel_l2", "nearest_member_feature_l2"


@dataclass(frozen=True)
class Change:
    """One measure before and after; `low` and `high` of the difference, None where trials are averaged or there is no interval."""

    before: float
    after: float
    delta: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Drawn:
    """What became of a model's drawing: the share that shows the right person, nearest-member distances, and the Frechet distance."""

    identity: Change | None
    pixels: Change
    features: Change
    frechet: Change | None


@dataclass
class UtilityRow:
    """A way to change the model.

    Attributes:
        leakage: attack -> the change of its AUC; no entry where nothing was measured.
        drawn: the mean over trials, with the interval where there is one trial only.
        trials: (key, name, what became of its drawing).
        defence: what the defence did, in words.
        refused: how many of the way's trials a guard refused to train, of `asked`.
    """

    place: Place
    leakage: dict[str, Summary] = field(default_factory=dict)
    drawn: Drawn | None = None
    trials: list[tuple[str, str, Drawn]] = field(default_factory=list)
    defence: str = ""
    refused: int = 0
    asked: int = 0

    @property
    def variant(self) -> str:
        return self.place.variant

    @property
    def told(self) -> list[str]:
        """What part it plays, what its defence did, and of how many trials its drawing is the mean."""
        refused = f"refused: {self.refused} of {plural(self.asked, 'set')}" if self.refused else ""
        mean = f"drawing: mean of {len(self.trials)} trials" if len(self.trials) > 1 else ""
        return [words for words in (ROLE_WORDS[self.place.role], self.defence, refused, mean) if words]


@dataclass(frozen=True)
class Utility:
    """The table.

    Attributes:
        protects: what epsilons are about, in sentences, each with the rows that it is said of.
    """

    attacks: list[str]
    rows: list[UtilityRow]
    protects: dict[str, list[str]]
    left_out: int = 0

    @property
    def measured(self) -> bool:
        return any(row.drawn for row in self.rows)

    @property
    def identified(self) -> bool:
        return any(row.drawn and row.drawn.identity for row in self.rows)


def utility(plan: Plan, ledger: Ledger, groups: Groups, failures: Sequence[Mapping[str, Any]]) -> Utility | None:
    """The table of all ways that were measured for fidelity or defended; None where there is none.

    Args:
        failures: groups of equal failures with `message` and the keys of `trials`, as `status` gives them.
    """
    refused = {key for group in failures if is_refusal(group["message"]) for key in group["trials"]}
    where = places(plan)
    ways: dict[Way, list[Trial]] = {}
    for trial in plan.trials:
        if trial.shake is not None:
            ways.setdefault((where[trial.key].role, where[trial.key].variant), []).append(trial)
    leakage = {(group.way, attack): group.summary() for attack, members in groups.items() for group in members}
    sentences: dict[str, list[str]] = {}
    rows = []
    for way, trials in sorted(ways.items(), key=lambda item: ROLE_ORDER.index(item[0][0])):
        facts = [found for trial in trials if (found := facts_of(ledger, trial)) is not None]
        row = UtilityRow(where[trials[0].key], defence=defence_words(facts), asked=len(trials))
        row.leakage = {attack: summary for attack in groups if (summary := leakage.get((way, attack))) is not None}
        row.refused = sum(trial.key in refused and defence_of(trial) is not None for trial in trials)
        row.trials = [(trial.key, trial_name(trial.axes), drawn) for trial in trials if (drawn := _drawn(ledger, trial)) is not None]
        row.drawn = _mean([drawn for _, _, drawn in row.trials])
        for sentence in protects(facts):
            sentences.setdefault(sentence, []).append(with_role(row.variant, row.place.role))
        rows.append(row)
    if not any(row.drawn or row.defence or row.refused for row in rows):
        return None
    return _cut(Utility(list(groups), rows, sentences))


def _cut(whole: Utility) -> Utility:
    """With the first trials alone where there are very many."""
    room, left_out = MAX_TRIALS, 0
    for row in whole.rows:
        left_out += max(0, len(row.trials) - room)
        row.trials = row.trials[:room]
        room -= len(row.trials)
    return Utility(whole.attacks, whole.rows, whole.protects, left_out)


def _drawn(ledger: Ledger, trial: Trial) -> Drawn | None:
    documents = documents_of(ledger, trial)
    if documents is None:
        return None
    change, frechet = documents[1]["change"], frechet_of(*documents, "members")
    identity = _change(change[IDENTITY]) if IDENTITY in change else None
    return Drawn(identity, _change(change[PIXELS]), _change(change[FEATURES]), frechet and Change(*frechet))


def _change(found: Mapping[str, float]) -> Change:
    return Change(found["before"], found["after"], found["delta"], found["low"], found["high"])


def _mean(found: Sequence[Drawn]) -> Drawn | None:
    if len(found) < 2:
        return found[0] if found else None
    pixels, features = _mean_change([one.pixels for one in found]), _mean_change([one.features for one in found])
    return Drawn(_mean_of_some([one.identity for one in found]), pixels, features, _mean_of_some([one.frechet for one in found]))


def _mean_of_some(found: Sequence[Change | None]) -> Change | None:
    some = [one for one in found if one is not None]
    return _mean_change(some) if some else None


def _mean_change(found: Sequence[Change]) -> Change:
    before, after, delta = (sum(getattr(one, name) for one in found) / len(found) for name in ("before", "after", "delta"))
    return Change(before, after, delta)
