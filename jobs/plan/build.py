"""The stages of one point, after another: every part of a point's meaning is worked out once per distinct value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jobs.errors import GridError
from jobs.grid.choose import ChooseAttack
from jobs.grid.inputs import Inputs
from jobs.grid.messages import show
from jobs.grid.method import changes
from jobs.grid.model import POSITION, Grid, columns
from jobs.grid.points import Row
from jobs.grid.shapes import last_timestep
from jobs.plan.captions import CaptionBuilder
from jobs.plan.choice import ChoiceBuilder, tried, unshaken_score
from jobs.plan.extraction import ExtractionBuilder
from jobs.plan.fidelity import FidelityBuilder
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import BaseModel, DomainStages, FoundInputs
from jobs.plan.memorisation import MemorisationBuilder
from jobs.plan.sets import SetBuilder
from jobs.plan.shake import ShakeBuilder
from jobs.stages.specs import MetricsStage, PooledStage, ScoreStage
from s2l_core.specs.attacks import ChosenAttack, ClidAttack
from s2l_core.specs.captions import CaptionSpec, DomainPrompt, NullCaption, OwnCaption, ReplaceName
from s2l_core.specs.metrics import MetricsSpec

T = TypeVar("T")


class TrialStages(NamedTuple):
    """What one trial hangs on."""

    metrics: dict[str, Node]
    shake: Node | None
    blind: Node
    fidelity: Node | None
    extraction: Node | None
    memorisation: Node | None


class Measure(NamedTuple):
    """One attack of a point: its specs, and the stages of the un-shaken base; `choice`: the parent that says which attack, if one does."""

    name: str
    score: ScoreStage
    before: Node
    metrics: MetricsStage
    unshaken: Node
    choice: tuple[tuple[str, Node], ...]


_MODEL = itemgetter(POSITION["model"])
_DATA = itemgetter(POSITION["data"])
_MEASURE = columns("attacks", "caption", "fprs", "bootstrap")
_CAPTION = POSITION["caption"]
_METHOD = itemgetter(POSITION["method"])
_ATTACKED = columns("data", "domain", "attack_domain")


class StageBuilder:
    """Adds the stages of points to one graph."""

    def __init__(self, grid: Grid, inputs: Inputs) -> None:
        self.grid = grid
        self.graph = Graph()
        self._found = FoundInputs(grid, inputs, self.graph)
        self._sets = SetBuilder(self.graph, self._found)
        self._shakes = ShakeBuilder(grid, self.graph, self._found, self._sets)
        self._fidelity = FidelityBuilder(self.graph, self._found, self._sets)
        self._extraction = ExtractionBuilder(self.graph, self._found, self._sets)
        self._memorisation = MemorisationBuilder(grid, self.graph, self._found)
        self._captions = CaptionBuilder(self.graph, self._found)
        self._choices = ChoiceBuilder(self.graph, self._found, self._captions)
        self._memo: dict[tuple[Any, ...], Any] = {}

    @property
    def folders(self) -> dict[str, Path]:
        return self._found.folders

    @property
    def notices(self) -> list[str]:
        return [*self._sets.notices, *self._captions.notices]

    def of(self, row: Row, given: frozenset[str]) -> TrialStages:
        """The stages of a point.

        Args:
            given: the fields that an axis or an `include` gave the point.
        """
        domain = self._attacked(row)
        base = self._found.base(_MODEL(row))
        shaken = self._shakes.of(row, given, base) if changes(_METHOD(row).value) else None
        token, own_vae = (None, False) if shaken is None else (shaken.how.token, shaken.how.own_vae)
        measures: list[Measure] = self._once(
            (domain.data.key, _DATA(row), base.node.key, _MEASURE(row), token, own_vae),
            lambda: list(self._measures(row, domain, base, token, own_vae)),
        )
        beside = [builder.of(row, base, shaken) for builder in (self._fidelity, self._extraction, self._memorisation)]
        if shaken is None:
            return TrialStages({one.name: one.unshaken for one in measures}, None, domain.blind, *beside)
        add = self.graph.add
        parents = (("base", base.node), ("shake", shaken.node), ("data", domain.data), *self._captions.beside(row[_CAPTION], domain.data))
        metrics = {
            one.name: add(one.metrics, (("before", one.before), ("after", add(one.score, (*parents, *one.choice))))) for one in measures
        }
        return TrialStages(metrics, shaken.node, domain.blind, *beside)

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

    def _attacked(self, row: Row) -> DomainStages:
        """The domain whose images are attacked. The one the model is fine-tuned on must be there too."""
        data, domain, attacked = _ATTACKED(row)
        own = self._found.domain(data, domain)
        return own if attacked is None else self._found.domain(data, attacked, "attack_domain")

    # --- measuring ---

    def _measures(self, row: Row, domain: DomainStages, base: BaseModel, token: str | None, own_vae: bool) -> Iterator[Measure]:
        attacks, caption, fprs, bootstrap = _MEASURE(row)
        metrics = MetricsStage(metrics=MetricsSpec(fprs=fprs.value, bootstrap=bootstrap))
        self._check_timesteps(row, attacks, base)
        self._check_captions(attacks, caption)
        if token is not None:
            self._captions.tell_of_token(caption, token)
        for attack_name, attack in attacks.value.items():
            choice = self._choice(row, attack, attacks, base)
            asked = ChosenAttack() if choice else attack
            plain, before = unshaken_score(self.graph, self._captions, asked, caption, base, domain, choice)
            unshaken = self.graph.add(metrics, (("before", before), ("after", before)))
            if token is not None and isinstance(caption.value.caption, OwnCaption):
                self._check_named(row, token, domain)
            for variant, score in _variants(plain, domain.found.name, token, own_vae):
                yield Measure(attack_name + variant, score, before, metrics, unshaken, choice)

    def _choice(self, row: Row, attack: Any, attacks: Any, base: BaseModel) -> tuple[tuple[str, Node], ...]:
        if not isinstance(attack, ChooseAttack):
            return ()
        caption = row[_CAPTION]
        key = ("choice", _DATA(row), base.node.key, attacks.label, attack, caption)
        return self._once(key, lambda: (("choice", self._choices.of(attack, attacks, _DATA(row), base, caption)),))

    def _check_named(self, row: Row, token: str, domain: DomainStages) -> None:
        """In an attack's captions a token takes the name's place, which one of them at least must have."""
        if domain.found.unnamed is None:
            return
        where, told = self.grid.place_of("method", row[POSITION["method"]]), f"no caption of {domain.found.name} holds that name"
        raise GridError(
            f"{where}: {told} (the first: {show(domain.found.unnamed)}), so that the token {token} of the method would be in none; "
            "attack with a domain prompt (caption: {kind: domain}), or name the domain in its captions"
        )

    def _check_timesteps(self, row: Row, attacks: Any, base: BaseModel) -> None:
        count = base.folder.timesteps if base.folder else None
        for name, attack in tried(attacks):
            last = last_timestep(attack)
            if count is not None and last >= count:
                where, model = self.grid.place_of("attacks", attacks), _MODEL(row)
                raise GridError(f"{where}: the attack {name} asks at timestep {last}; the model {model} has timesteps 0 to {count - 1}")

    def _check_captions(self, attacks: Any, caption: Any) -> None:
        """What compares captions needs one."""
        name = next((name for name, attack in tried(attacks) if isinstance(attack, ClidAttack)), None)
        if name is not None and isinstance(caption.value.caption, NullCaption):
            raise GridError(
                f"{self.grid.place_of('caption', caption)}: the attack {name} compares an image's caption with parts of it, "
                "and the null caption has none; attack with `own` or `domain`, or leave that attack out"
            )


OWN_CAPTION, BASE_VAE = "@own-caption", "@base-vae"
"""What is put behind an attack's name where a shaken model is attacked in a second way (docs/decisions/0005)."""


def _variants(plain: ScoreStage, name: str, token: str | None, own_vae: bool) -> Iterator[tuple[str, ScoreStage]]:
    """The ways in which one attack is run on a shaken model: what is put behind its name, and the score.

    Args:
        token: what took the domain's name's place, where a token was trained.
        own_vae: whether the shaken model's autoencoder is another than the base's.
    """
    with_token = _with_token(plain, name, token)
    yield "", with_token or plain
    if with_token is not None:
        yield OWN_CAPTION, plain
    if own_vae:
        yield BASE_VAE, (with_token or plain).model_copy(update={"autoencoder": "base"})


def _with_token(plain: ScoreStage, name: str, token: str | None) -> ScoreStage | None:
    """The score with the token in the name's place; None where no name is shown, or no token was trained."""
    caption: CaptionSpec = plain.caption
    if token is None:
        return None
    if isinstance(caption, OwnCaption):
        return plain.model_copy(update={"caption": ReplaceName(name=name, token=token)})
    return plain.model_copy(update={"name": token}) if isinstance(caption, DomainPrompt) else None
