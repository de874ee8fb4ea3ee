"""The stages that read the user's own folders, committed here, so that the rest of a grid can run anywhere."""

from __future__ import annotations

from dataclasses import replace

from jobs.errors import InputError
from jobs.execute.limits import Gate, Limits
from jobs.execute.options import RunOptions
from jobs.execute.progress import Reporter
from jobs.execute.run import run_plan
from jobs.execute.units import Unit, make_units
from jobs.ledger.ledger import Ledger
from jobs.plan.demand import missing_nodes
from jobs.plan.plan import Plan


class _InputsOnly(Gate):
    """Lets through what only this machine can do."""

    def admits(self, unit: Unit) -> bool:
        return unit.here


def commit_inputs(plan: Plan, ledger: Ledger, options: RunOptions, reporter: Reporter) -> None:
    """Run, in this process, what reads folders that only this machine is sure to see.

    Raises:
        InputError: some of it cannot be committed now; the message says what.
    """
    if not _left(plan, ledger):
        return
    here = replace(options, local=True, address=None, gpu_share=0.0, limits=Limits())
    result = run_plan(plan, ledger, here, reporter, lambda trial, state: None, _InputsOnly())
    if left := _left(plan, ledger):
        told = [message for node in left[0].nodes if (message := result.failed.get(node.key, ("", ""))[1])]
        why = told[0] if told else "another driver is at it"
        raise InputError(f"the grid's own folders could not be put into the store, so that nothing was submitted: {why}")


def _left(plan: Plan, ledger: Ledger) -> list[Unit]:
    wanted = missing_nodes(plan, ledger)
    return [unit for unit in make_units(node for node in plan.nodes() if node in wanted) if unit.here]
