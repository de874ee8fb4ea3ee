"""A `score` stage that does nothing."""

from tests.benchmarks.noop_stages.nothing import run, run_fused

__all__ = ["run", "run_fused"]
