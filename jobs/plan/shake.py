"""The shake of a point: what it is trained on, in how many rounds, or what noise is as long as."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from jobs.errors import GridError
from jobs.grid.applies import matched_method
from jobs.grid.method import RECIPE_FIELDS, Recipe, perturbation, recipe
from jobs.grid.model import POSITION, Grid, columns
from jobs.grid.points import Row, as_method
from jobs.grid.read_method import trains
from jobs.plan.defence import DefenceBuilder
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import BaseModel, FoundInputs
from jobs.plan.sets import SP_FIELDS, SetBuilder
from jobs.stages.specs import ShakeStage, SpStage
from s2l_core.specs.adapters import LoraAdapter, TextualInversionAdapter
from s2l_core.specs.defences import DefenceSpec

T = TypeVar("T")


class Shaken(NamedTuple):
    """A shake, and how it was made."""

    node: Node
    how: Recipe


class TrainingImages(NamedTuple):
    """What a shake is trained on, what prompts call it, and what the base calls the person (a token is unknown to it)."""

    node: Node
    size: int
    name: str
    person: str


_DOMAIN = columns("data", "domain")
_SP = columns(*SP_FIELDS)
_RECIPE = columns(*RECIPE_FIELDS)
_MODEL, _SEED, _ROUNDS = (itemgetter(POSITION[name]) for name in ("model", "seed", "rounds"))
_TRAIN_ON, _METHOD = (itemgetter(POSITION[name]) for name in ("train_on", "method"))


class ShakeBuilder:
    """Adds the shakes of points, and the sets they are trained on, to a graph."""

    def __init__(self, grid: Grid, graph: Graph, found: FoundInputs, sets: SetBuilder) -> None:
        self._grid, self._graph, self._found, self._sets = grid, graph, found, sets
        self._defences = DefenceBuilder(grid, found, sets)
        self._memo: dict[tuple[Any, ...], Any] = {}

    def of(self, row: Row, given: frozenset[str], base: BaseModel) -> Shaken:
        """The last round's shake of a point whose method changes the model.

        Args:
            given: the fields that an axis or an `include` gave the point.
        """
        if not trains(_METHOD(row).value):
            return self._perturbed(row, given, base)
        shaken = self._trained(row, base, None)
        for _ in range(1, _ROUNDS(row) if _TRAIN_ON(row) != "members" else 1):
            shaken = self._trained(row, base, shaken)
        return shaken

    def _once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        if key in self._memo:
            return self._memo[key]  # type: ignore[no-any-return]
        value = self._memo[key] = make()
        return value

    def _perturbed(self, row: Row, given: frozenset[str], base: BaseModel) -> Shaken:
        """Noise: no images, and no name, so that all domains share it unless it is as long as another shake of the domain."""
        how: Recipe = self._once(("noise", _RECIPE(row)), lambda: perturbation(self._grid, row))
        parents = [("base", base.node)]
        if how.matched:
            other = as_method(self._grid, row, given, matched_method(row))
            length = self.of(other, given, base)
            parents.append(("match", length.node))
            try:
                how = how.matched_to(length.how)
            except ValueError as error:
                raise GridError(
                    f"{self._grid.place_of('method', _METHOD(row))}: {error}; name one of those, or leave modules out"
                ) from None
        return self._added(row, how, "", parents, None)

    def _trained(self, row: Row, base: BaseModel, drawer: Shaken | None) -> Shaken:
        # the model beside its key: two with equal weights may have safety checkers of their own
        key = ("train", _TRAIN_ON(row), _DOMAIN(row), _MODEL(row), base.node.key, _SP(row), drawer and drawer.node.key)
        train = self._once(key, lambda: self._training_images(row, base, drawer))
        how: Recipe = self._once(("recipe", _MODEL(row), _RECIPE(row), train.size), lambda: self._recipe(row, train.size, base))
        self._check_named(row, how, train)
        parents = [("base", base.node), ("train", train.node)]
        if how.prior is not None:
            parents.append(("prior", self._sets.prior(row, base, how.prior)))
        defence, more = self._defences.of(row, base, how, images=train.size, name=train.person)
        return self._added(row, how, train.name if self._shows_name(how, train) else "", [*parents, *more], defence)

    def _shows_name(self, how: Recipe, train: TrainingImages) -> bool:
        """Whether the name is in any prompt: without it, shakes on a set that shows nobody's name are one for all domains."""
        drawn = train.node.spec
        nameless = isinstance(drawn, SpStage) and not drawn.synthesis.name
        return how.token is not None or how.objective.kind in ("dreambooth", "templates") or not nameless

    def _added(self, row: Row, how: Recipe, name: str, parents: list[tuple[str, Node]], defence: DefenceSpec | None) -> Shaken:
        spec = ShakeStage(
            adapters=how.adapters, objective=how.objective, training=how.training, name=name, seed=_SEED(row), defence=defence
        )
        return Shaken(self._graph.add(spec, parents), how)

    def _recipe(self, row: Row, images: int, base: BaseModel) -> Recipe:
        how = recipe(self._grid, row, images)
        for adapter in how.adapters if base.folder else ():
            assert base.folder is not None
            if isinstance(adapter, LoraAdapter):
                self._refuse(row, "rank", base.folder.refuse_lora(adapter))
            if isinstance(adapter, TextualInversionAdapter):
                problem = base.folder.refuse_tokens(adapter)
                self._refuse(row, "start_from" if problem and problem.startswith(f"{adapter.start_from} ") else "tokens", problem)
        return how

    def _refuse(self, row: Row, name: str, problem: str | None) -> None:
        if problem:
            value = row[POSITION[name]]
            where = self._grid.place_of(name, value) if value is not None else self._grid.place_of("method", _METHOD(row))
            raise GridError(f"{where}: the model {_MODEL(row)}: {problem}")

    def _check_named(self, row: Row, how: Recipe, train: TrainingImages) -> None:
        """A token takes the name's place in the prompts of the set, unless the objective brings prompts of its own."""
        own_prompts = how.objective.kind in ("dreambooth", "templates")
        drawn = train.node.spec
        if how.token is None or own_prompts or not isinstance(drawn, SpStage) or drawn.synthesis.name:
            return
        prompts = row[POSITION["sp_prompts"]]
        where = self._grid.place_of("sp_prompts", prompts)
        lost = f"the token {how.token} of the method {_METHOD(row).label} has no place in them"
        remedy = "add a prompt with {name}, or take the objective templates"
        raise GridError(f"{where}: no prompt of {prompts.label} holds {{name}}, so that {lost}; {remedy}")

    # --- what it is trained on ---

    def _training_images(self, row: Row, base: BaseModel, drawer: Shaken | None) -> TrainingImages:
        data, domain = _DOMAIN(row)
        if _TRAIN_ON(row) == "members":
            own = self._found.domain(data, domain)
            return TrainingImages(own.data, own.found.members, own.found.name, own.found.name)
        name = person = self._found.domain(data, domain if _TRAIN_ON(row) == "sp" else self._found.unrelated(data, domain)).found.name
        if drawer is not None:
            name = drawer.how.token or name  # the name that the drawer has learned
        drawn, synthesis = self._sets.drawn(row, base, name, drawer and drawer.node)
        return TrainingImages(drawn, synthesis.images, name, person)
