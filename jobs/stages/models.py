"""The base model of a stage, kept warm by its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.stages.contract import StageJob

if TYPE_CHECKING:
    from s2l_core.families.sd import StableDiffusion


def load_base(job: StageJob) -> StableDiffusion:
    """The model of the stage's `base` parent in fp32 on the job's device; loaded once a worker."""
    from s2l_core.families.sd import StableDiffusion

    def load() -> StableDiffusion:
        from transformers.utils import logging

        logging.disable_progress_bar()  # a worker has its own way to say how far it is
        return StableDiffusion.load(job.folder("base"), device=job.device)

    return job.cache.get(f"{job.parent_key('base')}@{job.device}", load)
