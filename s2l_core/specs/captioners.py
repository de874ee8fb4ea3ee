"""What describes an image in words when an attacker has the image and not its caption."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from s2l_core.specs.base import Spec


class ColoursCaptioner(Spec):
    """Ours, no network and weak: how bright the image is and which colours most of it has (`dark photo in blue and grey`).

    Attributes:
        most: colours that are named at most.
        share: the part of the image that a colour fills before it is named; the largest is named in any case.
        dark, bright: mean brightness, of 0 to 255, below and from which the image is called so.
    """

    kind: Literal["colours"] = "colours"
    most: PositiveInt = 3
    share: Annotated[float, Field(ge=0, le=1)] = 0.1
    dark: Annotated[int, Field(ge=0, le=256)] = 85
    bright: Annotated[int, Field(ge=0, le=256)] = 170

    @model_validator(mode="after")
    def _in_order(self) -> ColoursCaptioner:
        if self.dark > self.bright:
            raise ValueError(f"an image cannot be dark and bright at once; got dark={self.dark}, bright={self.bright}; give dark <= bright")
        return self


class BlipCaptioner(Spec):
    """A BLIP (arXiv 2201.12086) by beam search, nothing drawn at random. Defaults: the published ones for COCO captions.

    Attributes:
        max_tokens, min_tokens: of prompt and caption together, as published.
        beams: 1 is greedy.
        prompt: the words that the caption goes on from; they are no part of it.
    """

    kind: Literal["blip"] = "blip"
    max_tokens: PositiveInt = 20
    min_tokens: PositiveInt = 5
    beams: PositiveInt = 3
    prompt: str = "a picture of"

    @model_validator(mode="after")
    def _in_order(self) -> BlipCaptioner:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens must be at most max_tokens; got min_tokens={self.min_tokens}, max_tokens={self.max_tokens}")
        return self


CaptionerSpec = Annotated[ColoursCaptioner | BlipCaptioner, Field(discriminator="kind")]

CAPTIONER_PRESETS: dict[str, ColoursCaptioner | BlipCaptioner] = {"colours": ColoursCaptioner()}
"""Those that need nothing but the images."""
