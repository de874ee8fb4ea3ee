"""The real `data` stage."""

from jobs.stages.data import run

__all__ = ["run"]
