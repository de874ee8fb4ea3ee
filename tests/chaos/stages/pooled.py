"""The real `pooled` stage."""

from jobs.stages.pooled import run

__all__ = ["run"]
