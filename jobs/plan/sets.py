"""The sets that models draw: SP sets, what a shaken model draws instead, class images."""

from __future__ import annotations

from typing import Any

from jobs.grid.model import POSITION, columns
from jobs.grid.points import Row
from jobs.grid.presets import PROMPTS
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import BaseModel, FoundInputs
from jobs.stages.specs import PriorStage, SpStage
from s2l_core.specs.objectives import PriorPreservation
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec

SP_FIELDS = (
    "sp_size",
    "sp_prompts",
    "negative_prompt",
    "sp_scheduler",
    "sp_steps",
    "guidance",
    "sp_seed",
    "sp_precision",
    "safety_checker",
)
_SP = columns(*SP_FIELDS)

CANDIDATES_SEED = 2_000_003
"""Added to the seed of candidates for extraction, so that the images a model was fine-tuned on are not among those it starts from."""

GUARD_SEED = 1_000_003
"""Of the samples that the defence `reject` compares with: it does not know the seed of the set that it is given."""


class SetBuilder:
    """Adds the sets of points to a graph.

    Attributes:
        notices: what the user should be told of the points.
    """

    def __init__(self, graph: Graph, found: FoundInputs) -> None:
        self._graph, self._found = graph, found
        self.notices: dict[str, None] = {}

    def meaning(self, row: Row) -> tuple[Any, ...]:
        """The settings of a point that its sets depend on."""
        return _SP(row)

    def drawn(self, row: Row, base: BaseModel, name: str, shake: Node | None = None) -> tuple[Node, SynthesisSpec]:
        """The set that the base, or the base with a shake on it, draws for a name."""
        spec = SpStage(synthesis=self._synthesis(row, name))
        shaken = [] if shake is None else [("shake", shake)]
        return self._graph.add(spec, [("base", base.node), *shaken, *self._checker(row)]), spec.synthesis

    def own(self, row: Row, base: BaseModel, name: str) -> Node:
        """The set that a guarded service draws for a name itself: as the point's own, with another seed."""
        synthesis = self._synthesis(row, name)
        seed = GUARD_SEED + (synthesis.seed == GUARD_SEED)
        spec = SpStage(synthesis=synthesis.model_copy(update={"seed": seed}))
        return self._graph.add(spec, [("base", base.node), *self._checker(row)])

    def candidates(self, row: Row, base: BaseModel, name: str, images: int, shake: Node | None = None) -> Node:
        """As many images as extraction asks for, drawn as the point's own set is, from other noise."""
        synthesis = self._synthesis(row, name)
        seed = CANDIDATES_SEED + row[POSITION["extract_seed"]]
        update = {"images": images, "seed": seed + (seed == synthesis.seed)}
        spec = SpStage(synthesis=synthesis.model_copy(update=update))
        shaken = [] if shake is None else [("shake", shake)]
        return self._graph.add(spec, [("base", base.node), *shaken, *self._checker(row)])

    def prior(self, row: Row, base: BaseModel, prior: PriorPreservation) -> Node:
        """The class images that the base draws."""
        update = {"images": prior.images, "prompts": (PromptTemplate(text=prior.class_prompt),), "name": ""}
        spec = PriorStage(synthesis=self._synthesis(row, "").model_copy(update=update))
        return self._graph.add(spec, [("base", base.node), *self._checker(row)])

    def _checker(self, row: Row) -> list[tuple[str, Node]]:
        """The model's own safety checker, where it is on."""
        if not row[POSITION["safety_checker"]]:
            return []
        return [("checker", self._found.network("safety_checker", row[POSITION["model"]], "safety-checker"))]

    def _synthesis(self, row: Row, name: str) -> SynthesisSpec:
        """How a set is drawn. Without `{name}` in any prompt the name is left out, so that all domains share the set."""
        images, prompts, negative, scheduler, steps, guidance, seed, precision, safety_checker = _SP(row)
        if not any("{name}" in prompt.text for prompt in prompts.value):
            self.notices[f"no prompt of sp_prompts={prompts.label} holds {{name}}: all domains share one SP set"] = None
            name = ""
        if negative is None:
            negative = PROMPTS[prompts.label].negative if prompts.label in PROMPTS else ""
        return SynthesisSpec(
            images=images,
            prompts=prompts.value,
            name=name,
            negative_prompt=negative,
            scheduler=scheduler,
            steps=steps,
            guidance=guidance,
            seed=seed,
            precision=precision,
            safety_checker=safety_checker,
        )
