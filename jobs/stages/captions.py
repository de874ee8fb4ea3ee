"""What a captioner says of a data set's images: made once for each data set and captioner. The text is private, as the images are."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from jobs.stages.contract import StageJob
from jobs.stages.specs import CaptionsStage
from s2l_core.images import read_images

FILE = "captions.parquet"

BATCH_SIZE = 16
"""Images that a captioner sees at once; halved after an out-of-memory. Captions do not depend on it."""


def run(job: StageJob) -> None:
    """Leaves captions.parquet.

    Raises:
        ValueError: the captioner cannot be loaded, or an image cannot be decoded; no message holds a caption.
    """
    from s2l_core.captioners import load
    from s2l_core.captioners.table import write_captions

    spec = cast(CaptionsStage, job.spec).captioner
    records = read_images(job.folder("data") / "images.parquet")
    captioner = load(spec, folder=_network(job), device=job.device)
    size = min(BATCH_SIZE, job.micro_batch or BATCH_SIZE)
    texts: list[str] = []
    for first in range(0, len(records), size):
        texts += captioner(records[first : first + size])
        job.say(len(texts) / len(records), f"{len(texts)} of {len(records)} images captioned")
    write_captions(job.out / FILE, spec, records, texts)
    job.made["batch_size"] = size


def _network(job: StageJob) -> Path | None:
    if not job.has("captioner"):
        return None
    from transformers.utils import logging

    logging.disable_progress_bar()  # a worker has its own way to say how far it is
    return job.folder("captioner")
