"""Domain transfer: a model fine-tuned for one domain and attacked on another, as a matrix of changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboards.groups import Group, Groups, Line
from dashboards.places import Place, Role
from dashboards.tint import strength
from dashboards.words import plural, short
from jobs.plan.plan import Plan

MAX_SIDE = 40


@dataclass(frozen=True)
class MatrixCell:
    """The change of AUC of one pair of domains.

    Attributes:
        tint: strength of the colour, 0 to 100.
        verdict: where all trials of the pair (its seeds) agree on one beyond their intervals; else `none`.
    """

    delta: float
    tint: int
    verdict: str
    own: bool
    words: str


@dataclass(frozen=True)
class Matrix:
    """One attack and one way to change the model.

    Attributes:
        rows: (domain that the model was fine-tuned for, its cells under the attacked domains; None where nothing was measured).
        words: own domains against others.
    """

    attack: str
    title: str
    attacked: list[str]
    rows: list[tuple[str, list[MatrixCell | None]]]
    words: str


def matrices(plan: Plan, groups: Groups) -> list[Matrix]:
    """One for each attack and way that was attacked on other domains than its own."""
    return [_matrix(plan, attack, group, members) for attack, members in groups.items() for group in members if group.role == "transfer"]


def _matrix(plan: Plan, attack: str, group: Group, members: Iterable[Group]) -> Matrix:
    own = next((other for other in members if (other.role, other.variant) == _own(group.place)), None)
    lines = [*(own.lines if own else []), *group.lines]
    pairs: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        pairs.setdefault((line.place.trained_on or line.place.domain, line.place.domain), []).append(line)
    trained = _ordered(plan, "domain", [trained for trained, _ in pairs])
    attacked = _ordered(plan, "attack_domain", [attacked for _, attacked in pairs])
    reach = max(abs(_mean(found)) for found in pairs.values())
    cells = {pair: _cell(pair, found, reach) for pair, found in pairs.items()}
    rows = [(first, [cells.get((first, second)) for second in attacked[:MAX_SIDE]]) for first in trained[:MAX_SIDE]]
    cut = max(len(trained), len(attacked)) > MAX_SIDE
    words = _words(cells) + (f" Only the first {MAX_SIDE} domains are shown; the words speak of all." if cut else "")
    return Matrix(attack, group.variant, attacked[:MAX_SIDE], rows, words)


def _own(place: Place) -> tuple[Role, str]:
    """Part and variant of the same way, attacked on its own domain."""
    roles: Mapping[str, Role] = {"members": "members", "unrelated": "unrelated"}
    setting = place.setting("train_on")
    return roles.get(str(setting.value), "method") if setting else "method", place.without("train_on")


def _ordered(plan: Plan, axis: str, names: Sequence[str]) -> list[str]:
    """The names that occur, in the grid's order, then the rest."""
    known = [str(value) for value in plan.axes.get("domain", [])] + [str(value) for value in plan.axes.get(axis, [])]
    return sorted(dict.fromkeys(names), key=lambda name: known.index(name) if name in known else len(known))


def _mean(lines: Sequence[Line]) -> float:
    return sum(float(line.auc["delta"]) for line in lines) / len(lines)


def _cell(pair: tuple[str, str], lines: Sequence[Line], reach: float) -> MatrixCell:
    delta, verdicts = _mean(lines), {str(line.auc["verdict"]) for line in lines}
    verdict = verdicts.pop() if len(verdicts) == 1 else "none"
    told = f"fine-tuned for {pair[0]}, attacked on {pair[1]}: {short(delta)}"
    if len(lines) == 1:
        told += f" ({short(lines[0].auc['delta_low'])} to {short(lines[0].auc['delta_high'])})"
    else:
        told += f", mean of {plural(len(lines), 'trial')}"
    return MatrixCell(delta, strength(delta, reach), verdict, pair[0] == pair[1], f"{told}, {verdict}")


def _words(cells: Mapping[tuple[str, str], MatrixCell]) -> str:
    own, others = ([cell for cell in cells.values() if cell.own is mine] for mine in (True, False))
    told = [
        f"Mean change on {words}: {_mean_told(found)}." for words, found in (("the own domain", own), ("other domains", others)) if found
    ]
    return " ".join(told)


def _mean_told(cells: Sequence[MatrixCell]) -> str:
    mean, up = sum(cell.delta for cell in cells) / len(cells), sum(cell.verdict == "amplified" for cell in cells)
    return f"{short(mean)} over {plural(len(cells), 'pair')}, amplified in {up}"
