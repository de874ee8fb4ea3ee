"""`s2l`, whose workers take their stages from tests/chaos/stages: `python -m tests.chaos.driver run GRID`. All else is the real command."""

from __future__ import annotations

from functools import partial

from jobs.cli import main
from jobs.execute import options

if __name__ == "__main__":
    options.RunOptions = partial(options.RunOptions, stages="tests.chaos.stages")  # type: ignore[misc, assignment]
    main()
