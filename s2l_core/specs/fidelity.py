"""How near a drawn set is to members and to non-members: the features it is measured in, and the intervals."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from s2l_core.specs.base import Spec


class PixelFeatures(Spec):
    """The colours of the image itself, averaged down to `side` x `side`. No network: it knows colours and places, not what is shown."""

    kind: Literal["pixels"] = "pixels"
    side: PositiveInt = 16


class HogFeatures(Spec):
    """Histograms of oriented gradients (Dalal and Triggs, 2005) of the grey image. No network: it knows edges, not what is shown.

    Attributes:
        side: the image is averaged down (or scaled up) to `side` x `side`.
        cell: pixels to a side of a cell; each cell has one histogram.
        orientations: bins over 180 degrees.
    """

    kind: Literal["hog"] = "hog"
    side: PositiveInt = 32
    cell: PositiveInt = 8
    orientations: Annotated[int, Field(ge=2)] = 9

    @model_validator(mode="after")
    def _two_cells(self) -> HogFeatures:
        if self.side % self.cell or self.side < 2 * self.cell:
            raise ValueError(f"side must hold at least two whole cells; got side={self.side}, cell={self.cell}")
        return self


class ClipFeatures(Spec):
    """The image embedding of a CLIP model (arXiv 2103.00020), a folder in the transformers layout that the user names."""

    kind: Literal["clip"] = "clip"


FeatureSpec = Annotated[PixelFeatures | HogFeatures | ClipFeatures, Field(discriminator="kind")]

FEATURE_PRESETS: dict[str, PixelFeatures | HogFeatures | ClipFeatures] = {"pixels": PixelFeatures(), "hog": HogFeatures()}
"""Those that need nothing but the images."""


class FidelitySpec(Spec):
    """Distances and similarities of a drawn set to members and to non-members.

    Attributes:
        bootstrap: replicates over the drawn images.
        permutations: of the labels member and non-member.
        draws: how often a larger set is cut down at random to the smallest one's size for the Frechet distance.
        folds: of the cross-validation that says how good the judge of identities is.
    """

    features: FeatureSpec = PixelFeatures()
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    permutations: Annotated[int, Field(ge=99)] = 499
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    draws: PositiveInt = 16
    folds: Annotated[int, Field(ge=2)] = 5
    seed: NonNegativeInt = 0
