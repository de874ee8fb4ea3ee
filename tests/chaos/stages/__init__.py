"""The real stages, some of which misbehave when a trigger says so (tests/chaos/misbehave.py). Other kinds than those here are real ones."""

import jobs.stages

__path__ = [*__path__, *jobs.stages.__path__]
