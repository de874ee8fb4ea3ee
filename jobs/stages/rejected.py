"""A drawn set and what its safety checker rejected: counted beside what is measured, and the reason where too little is left."""

from __future__ import annotations

import json

from jobs.errors import InputError
from jobs.stages.contract import StageJob
from s2l_core.images import ImageRecord, read_images

FILE = "rejected.json"
REMEDY = "take other prompts (sp_prompts), or set safety_checker: false where you may look at what it rejects"


def drawn_images(job: StageJob, *, least: int, what: str) -> list[ImageRecord]:
    """The images of the parent `drawn`.

    Args:
        least: how many are needed; `what` needs them.

    Raises:
        InputError: the safety checker rejected so many that fewer are left.
    """
    drawn, rejected = read_images(job.folder("drawn") / "images.parquet"), rejected_count(job)
    if rejected and len(drawn) < least:
        left = f"{len(drawn) or 'none'} {'is' if len(drawn) < 2 else 'are'} left, and {what} needs {least} or more"
        raise InputError(f"the safety checker rejected {rejected} of {rejected + len(drawn)} drawn images: {left}; {REMEDY}")
    return drawn


def rejected_count(job: StageJob) -> int | None:
    """How many images of the drawn set its safety checker rejected; None where it was off."""
    path = job.folder("drawn") / FILE
    return len(json.loads(path.read_text(encoding="utf-8"))["rejected"]) if path.exists() else None
