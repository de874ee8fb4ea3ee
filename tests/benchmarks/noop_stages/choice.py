"""A `choice` stage that does nothing."""

from tests.benchmarks.noop_stages.nothing import run

__all__ = ["run"]
