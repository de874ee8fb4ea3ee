"""Attacks that are chosen on calibration domains: each candidate's scores of the un-shaken base there, and the choice over them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.build_captions import CaptionBuilder
from jobs.build_inputs import BaseModel, FoundInputs
from jobs.graph import Graph, Node
from jobs.grid.choose import ChooseAttack
from jobs.grid.model import Named
from jobs.stages.specs import ChoiceStage, ScoreStage
from s2l_core.specs.attacks import AnyAttack
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
        """As any other attack on the un-shaken base: a grid that attacks this domain shares it."""
        found = self._found.domain(data, domain, "attacks", attacks)
        shown = caption.value.caption
        spec = ScoreStage(attack=attack, caption=shown, name=found.found.name if isinstance(shown, DomainPrompt) else "")
        return self._graph.add(spec, (("base", base.node), ("data", found.data), *self._captions.beside(caption, found.data)))


def tried(attacks: Named) -> Iterator[tuple[str, AnyAttack]]:
    """All attacks of a list, candidates too, under the names that messages call them by."""
    for name, attack in attacks.value.items():
        several: tuple[Any, ...] = attack.among if isinstance(attack, ChooseAttack) else ()
        yield from ((f"{name} (candidate {number})", one) for number, one in enumerate(several, 1))
        if not several:
            yield name, attack
