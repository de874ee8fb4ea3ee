"""A method: a preset's name, or adapters and objective spelled out and checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.grid.messages import listed, show, unknown
from jobs.grid.model import MethodSpec, Named
from jobs.grid.presets import METHODS
from jobs.grid.read_spec import check_template, kinds_of, read_member, read_spec, told_spec
from s2l_core.specs.adapters import AdapterSpec, GaussianAdapter, LoraAdapter, NoAdapter, changed_modules, check_together
from s2l_core.specs.objectives import DreamBoothObjective, EndToEndObjective, ObjectiveSpec, TemplatesObjective


def read_method(raw: Any) -> Named:
    """The method of a preset's name or of a mapping.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    if isinstance(raw, Mapping):
        spec = _spelled_method(raw)
        return Named(spec.name or "+".join(map(told_spec, (*spec.adapters, spec.objective))), spec)
    if not isinstance(raw, str) or raw not in METHODS:
        raise ValueError(unknown("method", raw, METHODS) + ("" if isinstance(raw, str) else "; or a mapping with adapters and objective"))
    preset = METHODS[raw]
    return Named(raw, MethodSpec(name=raw, adapters=preset.adapters, objective=preset.objective))


def read_match_method(raw: Any) -> Named:
    """The method whose change noise is matched to: one that trains something."""
    method = read_method(raw)
    if not trains(method.value) or not changed_modules(method.value.adapters):
        raise ValueError(f"got {show(raw)}, which changes no weight of the base: name a method whose change the noise can be as long as")
    return method


def trains(method: MethodSpec) -> bool:
    """Whether the method trains something, and so needs images; noise does not."""
    return not all(isinstance(adapter, NoAdapter | GaussianAdapter) for adapter in method.adapters)


def trains_vae(adapters: Sequence[AdapterSpec]) -> bool:
    """Whether weights of the autoencoder are trained."""
    return any("vae" in changed_modules([one]) for one in adapters if not isinstance(one, GaussianAdapter))


def _spelled_method(raw: Mapping[str, Any]) -> MethodSpec:
    for key in raw:
        if key not in MethodSpec.model_fields:
            raise ValueError(unknown("key of a method", key, MethodSpec.model_fields))
    name = raw.get("name")
    if isinstance(name, str) and name in METHODS:
        raise ValueError(f"name: got {show(raw['name'])}, which is a preset's name; choose another")
    adapters = raw.get("adapters")
    if not isinstance(adapters, list) or not adapters:
        raise ValueError(f"adapters: got {show(adapters)}; it must be a list of mappings with a `kind`: {listed(kinds_of(AdapterSpec))}")
    read: dict[str, Any] = {"adapters": tuple(read_member(AdapterSpec, one, f"adapters[{number}]") for number, one in enumerate(adapters))}
    _check_adapters(read["adapters"])
    if "objective" in raw:
        read["objective"] = _objective(raw["objective"], read["adapters"])
    spec: MethodSpec = read_spec(MethodSpec, {**raw, **read}, "method")
    _check_autoencoder(spec)
    return spec


def _objective(raw: Any, adapters: tuple[AdapterSpec, ...]) -> ObjectiveSpec:
    alone = adapters[0].kind
    if alone in ("none", "gaussian"):
        raise ValueError(f"objective: {alone} trains nothing, so that no objective applies; leave it out")
    objective: ObjectiveSpec = read_member(ObjectiveSpec, raw, "objective")
    if isinstance(objective, DreamBoothObjective):
        check_template(objective.instance_prompt, "objective.instance_prompt")
    if isinstance(objective, TemplatesObjective):
        for number, template in enumerate(objective.templates):
            check_template(template, f"objective.templates[{number}]")
    return objective


def _check_adapters(adapters: tuple[AdapterSpec, ...]) -> None:
    try:
        check_together(adapters)
    except ValueError as error:
        raise ValueError(f"adapters: {error}") from None
    for number, adapter in enumerate(adapters):
        if isinstance(adapter, LoraAdapter) and not (adapter.unet_targets or adapter.text_encoder_targets or adapter.vae_targets):
            raise ValueError(f"adapters[{number}]: a LoRA needs a target; name projections under unet_targets, such as [to_q, to_v]")


def _check_autoencoder(spec: MethodSpec) -> None:
    """The autoencoder's own loss and its trained weights come together."""
    trained, lost = trains_vae(spec.adapters), isinstance(spec.objective, EndToEndObjective)
    if lost and not trained:
        raise ValueError(
            "objective: end-to-end trains the autoencoder on its own loss, and these adapters leave it as it is; "
            "train it (dense with modules: [unet, text_encoder, vae], or a LoRA with vae_targets), or take the objective denoise"
        )
    if trained and not lost:
        raise ValueError(
            f"objective: {spec.objective.kind} sends the autoencoder no gradient, and these adapters train it; "
            "take the objective end-to-end, or leave the vae out"
        )
