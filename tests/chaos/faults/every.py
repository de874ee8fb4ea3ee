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
    """The faults of a bed; those of a server last for as long as is said.

    Args:
        bed: `folder` and `services` run on Ray with two workers; `folder-local` and `services-local` in the driver's process, which is
            quicker to start again; `nodes` on a Ray cluster of hosts.
    """
    workers_die, drivers_die = PROCESSES[:2], PROCESSES[2:]
    within, deadly = STAGES[:3], STAGES[3:]
    wires = [*store_faults(down_s, bad_s), *tracking_faults(bad_s)]
    return {
        "folder": [*workers_die, *deadly, *drivers_die, *within],
        "folder-local": [*drivers_die, *CONTENTS, *CLOCKS, *within],
        "services": [*wires, workers_die[0], drivers_die[0]],
        "services-local": [*wires, drivers_die[0]],
        "nodes": [*NODES, *workers_die],
    }[bed]
