"""The real stages, some of which misbehave when a trigger says so (tests/chaos/misbehave.py). Kinds without a file here are the real ones."""

import jobs.stages

__path__ = [*__path__, *jobs.stages.__path__]
