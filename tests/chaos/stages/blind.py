"""The real `blind` stage."""

from jobs.stages.blind import run

__all__ = ["run"]
