"""Which caption an attack shows the model with an image: the same rule for members and non-members."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from s2l_core.specs.base import Spec


class OwnCaption(Spec):
    """Each image's own caption."""

    kind: Literal["own"] = "own"


class DomainPrompt(Spec):
    """One prompt for all images; `{name}` stands for the domain's name."""

    kind: Literal["domain"] = "domain"
    template: str = "photo of {name}"


class NullCaption(Spec):
    """The empty caption."""

    kind: Literal["null"] = "null"


class ReplaceName(Spec):
    """Each image's own caption with the domain's name replaced by the token that was learned for it."""

    kind: Literal["replace-name"] = "replace-name"
    name: Annotated[str, Field(min_length=1)]
    token: Annotated[str, Field(min_length=1)]


class AutomaticCaption(Spec):
    """What a captioner says of each image. Which one is said by the stage of the captions, not here."""

    kind: Literal["automatic"] = "automatic"


CaptionSpec = Annotated[OwnCaption | DomainPrompt | NullCaption | ReplaceName | AutomaticCaption, Field(discriminator="kind")]
