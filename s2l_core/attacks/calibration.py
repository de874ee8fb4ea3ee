"""Scores that are learnt: a small classifier, trained on the calibration part of the images, reads what an attack gives of the others.

No image that trains the classifier gets a score, and no image that gets one trains it, chooses a setting or ends the training.

Letters: n images, m of them in the test part; c channels, h, w sides of what the attack gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from s2l_core.randomness import keyed_noise, keyed_uniform
from s2l_core.specs.attacks import SecMINNsAttack
from s2l_core.specs.training import TrainSpec
from s2l_core.training.batch import Batch
from s2l_core.training.fit import fit

FEWEST = 2
"""Members, and non-members, that each part needs."""
BATCH_SIZE = 32
WIDTHS = (8, 16)
SMALLEST_ERROR = 1e-30


class Learnt(NamedTuple):
    """Scores of the test part.

    Attributes:
        rows: int64 [m], which images they are of, in order.
        scores: float64 [m], the classifier's logit for member.
        members, non_members: how many of each trained it.
    """

    rows: Tensor
    scores: Tensor
    members: int
    non_members: int


def learnt_scores(spec: SecMINNsAttack, errors: Tensor, keys: Sequence[str], member: Sequence[bool]) -> Learnt:
    """Scores of the test part from a classifier that the calibration part trained. The same errors give the same bytes.

    Args:
        errors: non-negative, float64 [n, c, h, w] on the CPU.
        keys: one content key an image, which with the seed decides the part it is in.
        member: of each image.

    Raises:
        ValueError: a part would have too few members or non-members.
        NumericalFailure: the training ends in NaN.
    """
    chosen = calibration_part(keys, member, spec.calibration, spec.seed)
    _check(spec, errors, chosen, member)
    seen = torch.tensor(chosen)
    labels = torch.tensor(list(member))[seen].float()
    order = torch.tensor(sorted(range(len(labels)), key=[key for key, one in zip(keys, chosen, strict=True) if one].__getitem__))
    inputs = _standardised(errors, seen)
    with torch.enable_grad():
        classifier = _trained(spec, inputs[seen][order], labels[order])
    with torch.no_grad():
        logits = classifier(inputs[~seen]).flatten().double()
    return Learnt((~seen).nonzero().flatten(), logits, int(labels.sum()), int((1 - labels).sum()))


def calibration_part(keys: Sequence[str], member: Sequence[bool], share: float, seed: int) -> list[bool]:
    """Whether each image is in the calibration part: the share of members' keys and of non-members', drawn by key and seed.

    Equal images have equal keys, and are in one part. Who is drawn does not depend on the images' order.
    """
    drawn: set[str] = set()
    for kind in (True, False):
        own = sorted({key for key, one in zip(keys, member, strict=True) if one is kind}, key=lambda key: _place(key, seed))
        drawn.update(own[: round(share * len(own))])
    return [key in drawn for key in keys]


def _place(key: str, seed: int) -> tuple[float, str]:
    return keyed_uniform("calibration", seed, key), key


def _standardised(errors: Tensor, seen: Tensor) -> Tensor:
    """Logarithms of the errors, float32, each channel with mean 0 and standard deviation 1 over the calibration part."""
    logs = errors.clamp_min(SMALLEST_ERROR).log()
    channels = (0, 2, 3)
    mean, spread = logs[seen].mean(channels, keepdim=True), logs[seen].std(channels, keepdim=True).clamp_min(1e-6)
    return ((logs - mean) / spread).float()


def _trained(spec: SecMINNsAttack, inputs: Tensor, labels: Tensor) -> nn.Module:
    """A classifier after a fixed number of steps. Members and non-members weigh the same, however many there are."""
    classifier = _classifier(inputs.shape[1], spec.seed)
    share = labels.mean()
    weights = torch.where(labels > 0, 0.5 / share, 0.5 / (1 - share))

    def loss(batch: Batch) -> Tensor:
        logits = classifier(inputs[batch.indices]).flatten()
        return nn.functional.binary_cross_entropy_with_logits(logits, labels[batch.indices], reduction="none") * weights[batch.indices]

    training = TrainSpec(steps=spec.steps, batch_size=min(BATCH_SIZE, len(inputs)), lr=spec.lr)
    fit(dict(classifier.named_parameters()), loss, examples=len(inputs), training=training, seed=spec.seed)
    return classifier


def _classifier(channels: int, seed: int) -> nn.Module:
    """Two convolutions, their mean over all places, one number: small enough for tens of images, and for any size of them."""
    first, second = WIDTHS
    with torch.device("meta"):  # made without a draw of torch's own
        network = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(first, second, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(second, 1),
        )
    network.to_empty(device="cpu")
    for name, parameter in network.named_parameters():
        parameter.data.copy_(_first_weights(parameter.shape, "classifier", seed, name))
    return network


def _first_weights(shape: torch.Size, *key: str | int) -> Tensor:
    """Keyed normal weights that keep the size of what passes (arXiv 1502.01852); zeros for a bias."""
    return keyed_noise(shape, *key) * (2 / shape[1:].numel()) ** 0.5 if len(shape) > 1 else torch.zeros(shape)


def _check(spec: SecMINNsAttack, errors: Tensor, chosen: Sequence[bool], member: Sequence[bool]) -> None:
    if errors.ndim != 4:
        raise ValueError(f"{spec.kind} reads errors of the shape [n, c, h, w]; got {list(errors.shape)}")
    counts = Counter(zip(member, chosen, strict=True))
    seen, scored = ([counts[kind, part] for kind in (True, False)] for part in (True, False))
    if min(*seen, *scored) < FEWEST:
        raise ValueError(
            f"{spec.kind} trains a classifier on the share {spec.calibration} of the images and scores the others; that would be {seen[0]} "
            f"members and {seen[1]} non-members to train on, {scored[0]} and {scored[1]} to score; each must be at least {FEWEST}: give "
            "more images, or another calibration"
        )
