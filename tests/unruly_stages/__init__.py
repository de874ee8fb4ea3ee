"""Stages that do nothing, but for shakes: those die, hang, or take their time, as the test says."""

from pathlib import Path

__path__ = [*__path__, str(Path(__file__).resolve().parents[1] / "benchmarks" / "noop_stages")]
