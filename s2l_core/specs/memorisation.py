"""How strongly a model knows a name, asked with prompts alone. The definition: docs/attacks.md, "Prompts that were memorised"."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from s2l_core.specs.base import Spec

INVENTED = (
    *("brindok", "calvessa", "dorquil", "fenwaro", "gralmit", "hesbolu", "jurvand", "kelstrum"),
    *("lomvarik", "nusperol", "ostrimel", "pavloque", "quendrat", "rislovan", "tumbekir", "wexolin"),
)
"""Words that we made up, in the form of a name: no training set should hold them."""

Template = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]


class MemorisationSpec(Spec):
    """The size of the text-conditional noise of a domain's prompts, beside the same of names that the model never saw.

    Attributes:
        prompts: texts that hold `{name}`; the score is their mean.
        noises, steps, measured, guidance: as `s2l_core.memorisation.memorisation_scores` has them; the defaults are published.
        controls: the names that the model never saw.
    """

    prompts: Annotated[tuple[Template, ...], Field(min_length=1)] = ("photo of {name}",)
    noises: PositiveInt = 4
    steps: PositiveInt = 50
    measured: PositiveInt = 1
    guidance: NonNegativeFloat = 7.5
    controls: Annotated[tuple[Name, ...], Field(min_length=1)] = INVENTED

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.measured > self.steps:
            raise ValueError(f"measured is {self.measured} and steps is {self.steps}; of `steps` timesteps at most all can be measured")
        for what, values in (("prompts", self.prompts), ("controls", self.controls)):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} holds one text twice; leave one out")
        return self

    def beside(self, name: str) -> MemorisationSpec:
        """The same with invented names of as many words as the name has; names that somebody chose stay."""
        words = len(name.split())
        if self.controls != INVENTED or words < 2:
            return self
        controls = tuple(" ".join(INVENTED[(start + word) % len(INVENTED)] for word in range(words)) for start in range(len(INVENTED)))
        return self.model_copy(update={"controls": controls})
