"""The one engine that answers all attacks on one model: equal queries are evaluated once.

A network batch always holds one fixed-size chunk of images, in their order, of one query. Running attacks together only removes
equal batches and never mixes rows of two attacks into one, so that scores do not depend, to the bit, on which other attacks run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module

import torch
from torch import Tensor

from s2l_core.attacks.precision import exact_arithmetic
from s2l_core.attacks.queries import Attack, Images, Query
from s2l_core.specs.attacks import AttackSpec

BATCH_SIZE = 32

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(noisy images [n, ...], timesteps [n], contexts [n, ...]) -> predicted noise [n, ...]."""
ContextFor = Callable[[Sequence[str]], Tensor]
"""Prompts -> contexts [n, ...]."""


@dataclass(frozen=True)
class AttackRun:
    """What the attacks found.

    Attributes:
        scores: attack's name -> float64 [n] on the CPU, higher = more member-like.
        calls: attack's name -> network calls per image that it needs when it runs alone, equal ones counted once.
        network_calls: network calls per image of this run, equal ones counted once.
        Where chunks of images need different numbers, the largest.
        readings: name of an attack that learns -> float64 [n, ...] on the CPU: what its classifier reads. It has no scores here, for those
            need to know who is a member (`s2l_core.attacks.calibration`).
    """

    scores: dict[str, Tensor]
    calls: dict[str, int]
    network_calls: int
    readings: dict[str, Tensor] = field(default_factory=dict)


def run_attacks(
    attacks: Mapping[str, AttackSpec],
    x0: Tensor,
    image_keys: Sequence[str],
    prompts: Mapping[str, Sequence[str]],
    context_for: ContextFor,
    denoise: Denoise,
    alphas_cumprod: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    dtype: torch.dtype = torch.float32,
    say: Callable[[float], None] | None = None,
) -> AttackRun:
    """Scores of every attack for every image, or the readings of an attack that learns.

    Args:
        attacks: name -> spec.
        x0: clean images or latents [n, ...], on the model's device.
        image_keys: one content key an image, for the attacks' own noise.
        prompts: attack's name -> one prompt an image.
        context_for: encodes prompts; its answer must not depend on which prompts are asked for together.
        denoise: the model; sees tensors of `dtype`.
        alphas_cumprod: the schedule [T].
        batch_size: images in a network call. It changes scores by rounding only.
        dtype: what the network computes in. The attacks' own arithmetic is float64.
        say: told the fraction done after each chunk.

    Raises:
        ValueError: lengths do not match, an attack does not fit the schedule, or it needs more than eps.
        FloatingPointError: a score is not finite; the text names attack and image.
    """
    _check(attacks, x0, image_keys, prompts)
    values: dict[str, list[Tensor]] = defaultdict(list)
    calls: dict[str, int] = dict.fromkeys(attacks, 0)
    evaluated = 0
    with exact_arithmetic(x0.device.type):
        for start in range(0, len(x0), batch_size):
            rows = slice(start, start + batch_size)
            network = _Network(denoise, context_for, dtype)
            for name, spec in attacks.items():
                images = Images(x0[rows].double(), tuple(image_keys[rows]), tuple(prompts[name][rows]), alphas_cumprod.double())
                chunk, asked = network.run(_implementation(spec)(spec, images))
                values[name].append(chunk.double().cpu())
                calls[name] = max(calls[name], asked)
            evaluated = max(evaluated, network.calls)
            if say is not None:
                say(min(1.0, (start + batch_size) / len(x0)))
    whole = {name: torch.cat(chunks) for name, chunks in values.items()}
    _check_finite(whole)
    scores = {name: found for name, found in whole.items() if not attacks[name].learns}
    return AttackRun(scores, calls, evaluated, {name: found for name, found in whole.items() if name not in scores})


@dataclass
class _Network:
    """Answers the queries about one chunk of images, and remembers its answers."""

    denoise: Denoise
    context_for: ContextFor
    dtype: torch.dtype
    calls: int = 0
    known: dict[int, list[tuple[Query, Tensor]]] = field(default_factory=lambda: defaultdict(list))

    def run(self, attack: Attack) -> tuple[Tensor, int]:
        """The attack's per-image values, and how many different questions it asked."""
        asked: set[int] = set()
        try:
            query = next(attack)
            while True:
                eps = self.answer(query)
                asked.add(id(eps))  # one object per different question, all of them kept
                query = attack.send(eps)
        except StopIteration as end:
            return end.value, len(asked)

    def answer(self, query: Query) -> Tensor:
        nearby = self.known[int(query.t[0])]
        for other, eps in nearby:
            if query.same(other):
                return eps
        eps = self.denoise(query.x.to(self.dtype), query.t, self.context_for(query.condition)).double()
        nearby.append((query, eps))
        self.calls += 1
        return eps


def _implementation(spec: AttackSpec) -> Callable[[AttackSpec, Images], Attack]:
    """The generator function of the file named like the spec's kind."""
    module = import_module(f"s2l_core.attacks.{spec.kind}")
    return module.attack  # type: ignore[no-any-return]


def _check(attacks: Mapping[str, AttackSpec], x0: Tensor, image_keys: Sequence[str], prompts: Mapping[str, Sequence[str]]) -> None:
    if len(image_keys) != len(x0):
        raise ValueError(f"run_attacks needs one key an image; got {len(image_keys)} keys for {len(x0)} images")
    for name, spec in attacks.items():
        if spec.access != "eps":
            raise ValueError(f"attack {name!r} needs access to {spec.access}; this engine gives eps only")
        if len(prompts[name]) != len(x0):
            raise ValueError(f"attack {name!r} needs one prompt an image; got {len(prompts[name])} prompts for {len(x0)} images")


def _check_finite(found: Mapping[str, Tensor]) -> None:
    for name, values in found.items():
        bad = (~torch.isfinite(values.reshape(len(values), -1)).all(1)).nonzero().flatten().tolist()
        if bad:
            raise FloatingPointError(
                f"attack {name!r} gave a score that is not finite for {len(bad)} of {len(values)} images, first for image number {bad[0]}: "
                "the model answers NaN or infinity; look at the shake's loss curve, or lower its learning rate"
            )
