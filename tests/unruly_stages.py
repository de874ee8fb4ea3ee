"""Stages that do nothing, but for shakes: those die, hang, or take their time, as the test says. A package, though without a folder."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
__path__ = [str(_HERE / "unruly"), str(_HERE / "benchmarks" / "noop_stages")]
