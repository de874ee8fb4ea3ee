"""Every fault there is, by the bed that it can be injected in."""

from __future__ import annotations

from tests.chaos.fault import Fault
from tests.chaos.faults.clocks import CLOCKS
from tests.chaos.faults.contents import CONTENTS
from tests.chaos.faults.nodes import NODES
from tests.chaos.faults.processes import PROCESSES
from tests.chaos.faults.stages import STAGES
from tests.chaos.faults.wires import store_faults, tracking_faults


def faults_of(bed: str, *, down_s: float = 60.0, bad_s: float = 15.0) -> list[Fault]:
    """The faults of a bed; those of a server last for as long as is said."""
    if bed == "folder":
        return [*PROCESSES, *CONTENTS, *CLOCKS, *STAGES]
    if bed == "nodes":
        return [*NODES, *PROCESSES[:2]]
    return [*store_faults(down_s, bad_s), *tracking_faults(bad_s), *PROCESSES[:1], *PROCESSES[2:3]]
