"""What a plan still asks its user for: it plans with stand-ins, and does not run with them."""

from __future__ import annotations

from jobs.errors import InputError
from jobs.grid.placeholders import how_to_give
from jobs.plan.plan import Plan
from jobs.stages.specs import BaseStage, DataStage, GivenImages, GivenModel


def refuse_stand_ins(plan: Plan) -> None:
    """Raise an InputError that names each setting to give, when the plan has stages that stand for what only the user has."""
    specs = (node.spec for node in plan.nodes())
    sources = (spec.source for spec in specs if isinstance(spec, DataStage | BaseStage))
    asked = dict.fromkeys(how_to_give(source) for source in sources if isinstance(source, GivenImages | GivenModel))
    if asked:
        told = "; ".join(asked)
        raise InputError(f"the grid {plan.grid} can be planned, and cannot run before you give what it stands for: {told}")
