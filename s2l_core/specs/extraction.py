"""How generated candidates are matched with the images a model was trained on. The definitions: docs/extraction.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from s2l_core.specs.base import Spec
from s2l_core.specs.fidelity import ClipFeatures, FeatureSpec


class AlignmentSpec(Spec):
    """What is tried to bring a candidate over an image: every shift by up to `shift` pixels down and across, each also mirrored.

    Only what overlaps is compared. The published protocol aligns and does not say how; these are ours.
    """

    shift: Annotated[int, Field(ge=0, le=8)] = 2
    flip: bool = True


class CliqueSpec(Spec):
    """Near-duplicates among the candidates themselves (arXiv 2301.13188): what a model says over and over, it may know by heart.

    Attributes:
        threshold: two candidates are near-duplicates where their largest tile distance is below this. Ours; the rest is published.
        size: the smallest clique that counts.
    """

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.15
    size: Annotated[int, Field(ge=2)] = 10


class MatchingSpec(Spec):
    """Candidates, the pre-filter, the distance, and the controls. The defaults are the published protocol where it is known.

    Attributes:
        candidates: images generated for the domain.
        keep: a candidate is compared with this many images, the most similar ones in the features; None: with all.
        threshold: an image is extracted where the distance is below this, on [0, 1] pixels.
        tiles: an image is cut into `tiles` x `tiles` tiles for the tile distance; published: 16 tiles.
        side: images are compared at this size; None: at the candidates' own.
        retrieved: the k of the retrieval precision at k (CLIP-RP), our own measure.
        permutations: of the labels member and non-member, for p-values.
        seed: of the draws that bring members and non-members to one number, and of permutations.
    """

    candidates: PositiveInt = 5000
    keep: PositiveInt | None = 10
    alignment: AlignmentSpec = AlignmentSpec()
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.15
    tiles: Annotated[int, Field(ge=1, le=16)] = 4
    side: Annotated[int, Field(ge=4)] | None = None
    cliques: CliqueSpec = CliqueSpec()
    retrieved: PositiveInt = 10
    permutations: Annotated[int, Field(ge=99)] = 499
    seed: NonNegativeInt = 0


class ExtractionSpec(MatchingSpec):
    """All of it, with the features of the pre-filter and of the retrieval precision. Published: CLIP ViT-B/32."""

    features: FeatureSpec = ClipFeatures()
