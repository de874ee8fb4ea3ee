"""The real `base` stage."""

from jobs.stages.base import run

__all__ = ["run"]
