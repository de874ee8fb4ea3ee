"""An attack whose knobs are chosen on calibration domains, as a grid file has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from s2l_core.specs.attacks import AnyAttack, AttackSpec
from s2l_core.specs.base import Spec


class ChooseAttack(Spec):
    """The attack, of those in `among`, with the largest AUC of the un-shaken model, in the mean over the domains `on`; the first of equals.

    `on` are domains of the data set that the grid does not attack. `of`, an attack, with one of its knobs as a list of values is short for
    an `among` of attacks that differ in that knob.
    """

    kind: Literal["choose"] = "choose"
    among: Annotated[tuple[AttackSpec, ...], Field(min_length=2)]
    on: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


GridAttack = Annotated[AnyAttack | ChooseAttack, Field(discriminator="kind")]
