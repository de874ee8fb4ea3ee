"""Class images for prior preservation: drawn as an SP set is, with the class prompt in place of the domain's."""

from __future__ import annotations

from jobs.stages.sp import RESUMES, run

__all__ = ["RESUMES", "run"]
