"""`s2l`, whose workers take their stages from tests/chaos/stages: `python -m tests.chaos.driver run GRID`. All else is the real command."""

from __future__ import annotations

from functools import partial

from jobs.cli import main
from jobs.execute import options


def drive() -> None:
    """What `s2l` does with `sys.argv`; ends the process."""
    options.RunOptions = partial(options.RunOptions, stages="tests.chaos.stages")  # type: ignore[misc, assignment]
    main()


if __name__ == "__main__":
    drive()
