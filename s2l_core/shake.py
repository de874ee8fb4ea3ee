"""The shake: fine-tuning a model on a set of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn

from s2l_core.adapters import Attached, attach
from s2l_core.defences import Scene, Setup, check_something_is_trained, defend
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord
from s2l_core.losses import loss_of_terms
from s2l_core.objectives import terms_of
from s2l_core.specs.adapters import AdapterSpec, Module, token_for
from s2l_core.specs.defences import DefenceSpec
from s2l_core.specs.objectives import ObjectiveSpec
from s2l_core.specs.training import TrainSpec
from s2l_core.training.fit import Checkpoint, Curve, Loss, fit
from s2l_core.training.group import ALONE, Group
from s2l_core.training.recomputing import recomputing


@dataclass(frozen=True)
class Shaken:
    """What a shake gives.

    Attributes:
        on: the adapters, on the model until they are detached.
        curve: of the fit; empty where nothing is trained.
        facts: what is to be said about the defence, as JSON values; empty without one.
    """

    on: Attached
    curve: Curve
    facts: dict[str, Any]


def shake(
    model: StableDiffusion,
    records: Sequence[ImageRecord],
    *,
    adapters: Sequence[AdapterSpec],
    objective: ObjectiveSpec,
    training: TrainSpec,
    name: str,
    seed: int,
    prior: Sequence[ImageRecord] | None = None,
    defence: DefenceSpec | None = None,
    public: Sequence[ImageRecord] | None = None,
    own: Sequence[ImageRecord] | None = None,
    match_norms: Mapping[Module, float] | None = None,
    micro_batch: int | None = None,
    gradient_checkpointing: bool = False,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
    say: Callable[[float, str], None] = lambda fraction, words: None,
) -> Shaken:
    """Fine-tune `model` on `records`; the result is on the model until it is detached.

    Adapters that train nothing (`none`, `gaussian`) need no images, and no objective is asked about them.

    Args:
        name: the domain's name, which takes the place of `{name}` in prompts; where a token is trained, the token does.
        prior: class images, for an objective with prior preservation.
        public: images of nobody concerned, for the defence `mix`.
        own: samples that the base drew itself, for the defence `reject`.
        match_norms: how long Gaussian noise with `sigma: match` is in each module.
        micro_batch: cut the effective batch into pieces of this size; the same result up to rounding.
        gradient_checkpointing: less memory for more time; the same bits on a CPU.
        checkpoint: where the fit keeps its state and resumes from.
        group: the processes that share each batch, each of which calls this with the same values; rank 0's result is the result.

    Raises:
        ValueError: no images, or an adapter, an objective or a defence that does not fit; the model is then as it was.
        s2l_core.defences.Refused: the defence `reject` does not let the set through; the model is then as it was.
        s2l_core.training.errors.NumericalFailure: loss or gradient is not finite; the model is then as it was.
        s2l_core.training.errors.GroupBroken: another process is gone; the model is then as it was.
    """
    on = attach(model, adapters, seed=seed, match_norms=match_norms)
    try:
        if not on.parameters():
            check_something_is_trained(defence, on)
            return Shaken(on, Curve(), {})
        _check_autoencoder(on, objective)
        terms = terms_of(objective, records, name=name, prior=prior, token=token_for(adapters))
        setup = defend(Setup(terms, training), defence, Scene(model, on, seed, micro_batch, tuple(public or ()), tuple(own or ())))
        on.train(True)
        with recomputing(_on_the_way_back(model, on)) if gradient_checkpointing else nullcontext():
            curve = fit(
                on.parameters(),
                _loss(model, on, setup),
                examples=len(setup.terms[0].records),
                training=setup.training,
                seed=seed,
                device=str(model.device),
                micro_batch=micro_batch,
                checkpoint=checkpoint,
                say=say,
                sampler=setup.sampler,
                gradient=setup.gradient,
                companions=setup.companions,
                group=group,
            )
        on.train(False)
    except BaseException:
        on.detach()
        raise
    return Shaken(on, curve, setup.report(curve) if group.rank == 0 else {})


def _loss(model: StableDiffusion, on: Attached, setup: Setup) -> Loss:
    loss = loss_of_terms(model, setup.terms, text_is_trained=on.trains("text_encoder"), snr_gamma=setup.training.snr_gamma)
    penalty = setup.penalty
    return loss if penalty is None else lambda batch: loss(batch) + penalty()


def _check_autoencoder(on: Attached, objective: ObjectiveSpec) -> None:
    """The autoencoder is trained exactly when the objective has a loss for it."""
    kinds = ", ".join(adapter.kind for adapter in on.specs)
    if objective.kind == "end-to-end" and not on.trains("vae"):
        raise ValueError(
            f"objective end-to-end trains the autoencoder, which the adapters ({kinds}) leave as it is; add vae to the modules of a dense "
            "adapter or vae_targets to a lora, or use objective denoise"
        )
    if objective.kind != "end-to-end" and on.trains("vae"):
        raise ValueError(
            f"the adapters ({kinds}) train the vae, for which objective {objective.kind} has no loss; use objective end-to-end, or leave "
            "the vae out"
        )


def _on_the_way_back(model: StableDiffusion, on: Attached) -> list[nn.Module]:
    """The networks that a gradient passes through."""
    networks: list[nn.Module] = [model.unet]
    return networks + [module for name, module in model.modules().items() if name != "unet" and on.trains(name)]
