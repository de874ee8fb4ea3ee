"""`s2l`, whose workers take their stages from tests/chaos/stages: `python -m tests.chaos.driver run GRID`. All else is the real command."""

from __future__ import annotations

from functools import partial

from jobs.cli import main
from jobs.execute import options

CHECKPOINT_EVERY_S = 0.2
"""So that kills fall between two checkpoints of these short stages."""


def drive() -> None:
    """What `s2l` does with `sys.argv`; ends the process."""
    changed = partial(options.RunOptions, stages="tests.chaos.stages", checkpoint_every_s=CHECKPOINT_EVERY_S)
    options.RunOptions = changed  # type: ignore[misc, assignment]
    main()


if __name__ == "__main__":
    drive()
