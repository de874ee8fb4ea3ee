"""The setting `caption`, as a grid file spells it out: an automatic caption names its captioner, and a network's its folder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from s2l_core.specs.base import Spec
from s2l_core.specs.captioners import BlipCaptioner, ColoursCaptioner
from s2l_core.specs.captions import DomainPrompt, NullCaption, OwnCaption


class BlipNetwork(BlipCaptioner):
    """A BLIP (arXiv 2201.12086): `model` is a folder in the transformers layout, or a hub id with its commit. `max_tokens` counts the
    `prompt`, which the caption goes on from and which is no part of it; `beams: 1` is greedy."""

    model: Annotated[str, Field(min_length=1)]


CaptionerSetting = Annotated[ColoursCaptioner | BlipNetwork, Field(discriminator="kind")]


class AutomaticCaptions(Spec):
    """What a captioner says of each image, for an attacker who has the images alone: `colours`, or a mapping with a `kind`."""

    kind: Literal["automatic"] = "automatic"
    captioner: Literal["colours"] | CaptionerSetting


CaptionSetting = Annotated[OwnCaption | DomainPrompt | NullCaption | AutomaticCaptions, Field(discriminator="kind")]
