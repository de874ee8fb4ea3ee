"""The stages of one point, after another: every part of a point's meaning is worked out once per distinct value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jobs.errors import GridError, InputError
from jobs.graph import Graph, Node
from jobs.grid.inputs import DomainData, Inputs
from jobs.grid.method import RECIPE_FIELDS, Recipe, recipe, trains
from jobs.grid.model import POSITION, Grid
from jobs.grid.points import Row
from jobs.grid.shapes import largest_useful_rank, last_timestep, timesteps
from jobs.stages.specs import BlindStage, MetricsStage, PooledStage, PriorStage, ScoreStage, ShakeStage, SpStage
from s2l_core.specs.adapters import LoraAdapter
from s2l_core.specs.captions import DomainPrompt
from s2l_core.specs.metrics import MetricsSpec
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec

T = TypeVar("T")


class TrialStages(NamedTuple):
    """What one trial hangs on."""

    metrics: dict[str, Node]
    shake: Node | None
    blind: Node


class Measure(NamedTuple):
    """One attack of a point: its specs, and the stages of the un-shaken base."""

    name: str
    score: ScoreStage
    before: Node
    metrics: MetricsStage
    unshaken: Node


class DomainStages(NamedTuple):
    """A domain's images, as a stage and as facts."""

    found: DomainData
    data: Node
    blind: Node


class TrainingImages(NamedTuple):
    """What a shake is trained on, and what prompts call it."""

    node: Node
    size: int
    name: str


def _of(*names: str) -> Callable[[Row], tuple[Any, ...]]:
    return itemgetter(*(POSITION[name] for name in names))


_DOMAIN = _of("data", "domain")
_MODEL = itemgetter(POSITION["model"])
_SEED = itemgetter(POSITION["seed"])
_SP = _of("sp_size", "sp_prompts", "negative_prompt", "sp_steps", "guidance", "sp_seed", "sp_precision")
_RECIPE = _of(*RECIPE_FIELDS)
_MEASURE = _of("attacks", "caption", "fprs", "bootstrap")
_TRAIN_ON = itemgetter(POSITION["train_on"])
_METHOD = itemgetter(POSITION["method"])


class StageBuilder:
    """Adds the stages of points to one graph."""

    def __init__(self, grid: Grid, inputs: Inputs) -> None:
        self.grid, self.inputs = grid, inputs
        self.graph = Graph()
        self.folders: dict[str, Path] = {}
        self.notices: dict[str, None] = {}
        self._weights: dict[str, Path | None] = {}
        self._memo: dict[tuple[Any, ...], Any] = {}

    def of(self, row: Row) -> TrialStages:
        """The stages of a point."""
        domain = self._domain(*_DOMAIN(row))
        base = self._base(_MODEL(row))
        shake = self._shake(row, base) if trains(_METHOD(row).value) else None
        measures: list[Measure] = self._once((_DOMAIN(row), base.key, _MEASURE(row)), lambda: list(self._measures(row, domain, base)))
        if shake is None:
            return TrialStages({one.name: one.unshaken for one in measures}, None, domain.blind)
        add = self.graph.add
        parents = (("base", base), ("shake", shake), ("data", domain.data))
        metrics = {one.name: add(one.metrics, (("before", one.before), ("after", add(one.score, parents)))) for one in measures}
        return TrialStages(metrics, shake, domain.blind)

    def pooled(self, leaf: Node, leaves: list[Node]) -> Node:
        """The pooled stage over metrics stages, with the intervals of `leaf`."""
        spec = leaf.spec
        assert isinstance(spec, MetricsStage)
        pairs = [pair for node in leaves for pair in node.parents]
        return self.graph.add(self._once(("pooled", spec.metrics), lambda: PooledStage(metrics=spec.metrics)), pairs)

    def _once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        if key in self._memo:
            return self._memo[key]  # type: ignore[no-any-return]
        value = self._memo[key] = make()
        return value

    # --- inputs ---

    def _domain(self, data: str, domain: str) -> DomainStages:
        return self._once(("domain", data, domain), lambda: self._find_domain(data, domain))

    def _find_domain(self, data: str, domain: str) -> DomainStages:
        self._once(("domains", data), lambda: self._placed("data", data, lambda: self.inputs.domains(data)))
        found = self._placed("domain", domain, lambda: self.inputs.domain(data, domain))
        self.folders |= found.folder
        node = self.graph.add(found.stage)
        return DomainStages(found, node, self.graph.add(BlindStage(), (("data", node),)))

    def _placed(self, name: str, value: str, look_up: Callable[[], T]) -> T:
        """What is looked up; when it is not there, the error says where the grid asks for it."""
        try:
            return look_up()
        except InputError as error:
            raise GridError(f"{self.grid.place_of(name, value)}: {error}") from None

    def _base(self, model: str) -> Node:
        return self._once(("model", model), lambda: self._find_base(model))

    def _find_base(self, model: str) -> Node:
        found = self._placed("model", model, lambda: self.inputs.model(model))
        self.folders |= found.folder
        self._weights[model] = found.weights
        return self.graph.add(found.stage)

    # --- the shake and what it is trained on ---

    def _shake(self, row: Row, base: Node) -> Node:
        train = self._once(("train", _TRAIN_ON(row), _DOMAIN(row), base.key, _SP(row)), lambda: self._training_images(row, base))
        how: Recipe = self._once(("recipe", _MODEL(row), _RECIPE(row), train.size), lambda: self._recipe(row, train.size))
        parents = [("base", base), ("train", train.node)]
        if how.prior is not None:
            parents.append(("prior", self._prior(row, how, base)))
        spec = ShakeStage(adapters=how.adapters, objective=how.objective, training=how.training, name=train.name, seed=_SEED(row))
        return self.graph.add(spec, parents)

    def _recipe(self, row: Row, images: int) -> Recipe:
        how, model = recipe(self.grid, row, images), _MODEL(row)
        folder = self._weights[model]
        for adapter in how.adapters:
            if not isinstance(adapter, LoraAdapter) or folder is None:
                continue
            limit = largest_useful_rank(folder, adapter)
            if limit is not None and adapter.rank > limit:
                self.notices[
                    f"the LoRA rank {adapter.rank} is beyond the smallest matrix it updates in the model {model} (side {limit})"
                ] = None
        return how

    def _training_images(self, row: Row, base: Node) -> TrainingImages:
        data, domain = _DOMAIN(row)
        if _TRAIN_ON(row) == "members":
            own = self._domain(data, domain)
            return TrainingImages(own.data, own.found.members, own.found.name)
        drawn = self._domain(data, domain if _TRAIN_ON(row) == "sp" else self._unrelated(data, domain))
        spec = SpStage(synthesis=self._synthesis(row, drawn.found.name))
        return TrainingImages(self.graph.add(spec, (("base", base),)), spec.synthesis.images, drawn.found.name)

    def _unrelated(self, data: str, domain: str) -> str:
        """The next domain of the data set, not of the grid: adding a domain to a grid re-keys nothing."""
        domains = sorted(self.inputs.domains(data))
        if len(domains) < 2:
            where = self.grid.place_of("train_on", "unrelated")
            raise GridError(f"{where}: the data set {data} has one domain only, so that no SP set is unrelated; leave it out")
        return domains[(domains.index(domain) + 1) % len(domains)]

    def _synthesis(self, row: Row, name: str) -> SynthesisSpec:
        images, prompts, negative, steps, guidance, seed, precision = _SP(row)
        return SynthesisSpec(
            images=images,
            prompts=prompts.value,
            name=name,
            negative_prompt=negative,
            steps=steps,
            guidance=guidance,
            seed=seed,
            precision=precision,
        )

    def _prior(self, row: Row, how: Recipe, base: Node) -> Node:
        prior = how.prior
        assert prior is not None
        update = {"images": prior.images, "prompts": (PromptTemplate(text=prior.class_prompt),)}
        spec = PriorStage(synthesis=self._synthesis(row, "").model_copy(update=update))
        return self.graph.add(spec, (("base", base),))

    # --- measuring ---

    def _measures(self, row: Row, domain: DomainStages, base: Node) -> Iterator[Measure]:
        attacks, caption, fprs, bootstrap = _MEASURE(row)
        metrics = MetricsStage(metrics=MetricsSpec(fprs=fprs.value, bootstrap=bootstrap))
        name = domain.found.name if isinstance(caption.value, DomainPrompt) else ""
        self._check_timesteps(row, attacks)
        for attack_name, attack in attacks.value.items():
            score = ScoreStage(attack=attack, caption=caption.value, name=name)
            before = self.graph.add(score, (("base", base), ("data", domain.data)))
            yield Measure(attack_name, score, before, metrics, self.graph.add(metrics, (("before", before), ("after", before))))

    def _check_timesteps(self, row: Row, attacks: Any) -> None:
        model = _MODEL(row)
        folder = self._weights[model]
        count = timesteps(folder) if folder else None
        for name, attack in attacks.value.items():
            last = last_timestep(attack)
            if count is not None and last >= count:
                where = self.grid.place_of("attacks", attacks)
                raise GridError(f"{where}: the attack {name} asks at timestep {last}; the model {model} has timesteps 0 to {count - 1}")
