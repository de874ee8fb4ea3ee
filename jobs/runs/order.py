"""What a detached run's driver is to run: read from the store by the cluster, written by whoever submitted it. No secret is in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from jobs.errors import InputError
from jobs.execute.limits import Limits
from jobs.execute.options import RunOptions
from jobs.grid.read import grid_of
from jobs.grid.recorded import InputsRecord, RecordedInputs
from jobs.plan.expand import expand
from jobs.plan.plan import Plan

_OF_THE_PLACE = ("store", "workers", "local", "address")
"""Options that the driver's own place decides."""


class RunOrder(BaseModel):
    """A grid as it was planned, and how to run it.

    Attributes:
        document: the grid after its profile and `--set`.
        inputs: what its `data` and `model` stood for; their stages are committed.
        shown: the grid as it is given to another command.
        tracking: an MLflow URI; None: what the cluster's environment says.
        options: of `RunOptions`, but for what the driver's place decides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    grid_key: str
    document: dict[str, Any]
    inputs: InputsRecord
    shown: str
    tracking: str | None = None
    no_tracking: bool = False
    options: dict[str, Any] = {}

    def plan(self) -> Plan:
        """The plan, without any folder of whoever submitted it.

        Raises:
            InputError: this version of s2l plans the grid differently.
        """
        found = expand(grid_of(self.document, f"grid {self.shown}"), inputs=RecordedInputs(self.inputs))
        if found.grid_key != self.grid_key:
            raise InputError(
                f"the grid {found.grid} is planned differently here than where it was submitted (key {found.grid_key[:12]}, "
                f"there {self.grid_key[:12]}): install the same version of s2l on the cluster, then submit again"
            )
        return found

    def run_options(self, store: str, address: str | None) -> RunOptions:
        """How to run it, here."""
        given = dict(self.options)
        return RunOptions(store=store, address=address, limits=Limits(**given.pop("limits", {})), **given)


def portable(options: RunOptions) -> dict[str, Any]:
    """The options as a JSON value that means the same elsewhere."""
    return {name: value for name, value in asdict(options).items() if name not in _OF_THE_PLACE}
