"""Scores of the un-shaken base, and attacks that are chosen by them on calibration domains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.grid.choose import ChooseAttack
from jobs.grid.model import Named
from jobs.plan.captions import CaptionBuilder, Parents
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import BaseModel, DomainStages, FoundInputs
from jobs.stages.specs import ChoiceStage, ScoreStage
from s2l_core.specs.attacks import AnyAttack, ScoredAttack
from s2l_core.specs.captions import DomainPrompt


class ChoiceBuilder:
    """Adds choices to a graph: one for each base, data set and caption policy, whatever is attacked."""

    def __init__(self, graph: Graph, found: FoundInputs, captions: CaptionBuilder) -> None:
        self._graph, self._found, self._captions = graph, found, captions

    def of(self, choice: ChooseAttack, attacks: Named, data: str, base: BaseModel, caption: Named) -> Node:
        """The stage that chooses.

        Args:
            attacks: the list that the choice is in, for messages.
        """
        scores = [self._score(attack, attacks, data, domain, base, caption) for attack in choice.among for domain in choice.on]
        return self._graph.add(ChoiceStage(candidates=choice.among), [("score", node) for node in scores])

    def _score(self, attack: AnyAttack, attacks: Named, data: str, domain: str, base: BaseModel, caption: Named) -> Node:
        found = self._found.domain(data, domain, "attacks", attacks)
        return unshaken_score(self._graph, self._captions, attack, caption, base, found)[1]


def unshaken_score(
    graph: Graph,
    captions: CaptionBuilder,
    attack: ScoredAttack,
    caption: Named,
    base: BaseModel,
    domain: DomainStages,
    choice: Parents = (),
) -> tuple[ScoreStage, Node]:
    """The scores of the un-shaken base on a domain: the same stage whether they are reported, or an attack is chosen by them.

    Args:
        choice: the parent that says which attack, where one does.
    """
    shown = caption.value.caption
    spec = ScoreStage(attack=attack, caption=shown, name=domain.found.name if isinstance(shown, DomainPrompt) else "")
    beside = (*captions.beside(caption, domain.data), *choice)
    return spec, graph.add(spec, (("base", base.node), ("data", domain.data), *beside))


def tried(attacks: Named) -> Iterator[tuple[str, AnyAttack]]:
    """All attacks of a list, candidates too, under the names that messages call them by."""
    for name, attack in attacks.value.items():
        several: tuple[Any, ...] = attack.among if isinstance(attack, ChooseAttack) else ()
        yield from ((f"{name} (candidate {number})", one) for number, one in enumerate(several, 1))
        if not several:
            yield name, attack
