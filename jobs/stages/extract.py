"""Which members a model gives back: candidates matched with members and, by the same matcher, with non-members.

What is left holds numbers and names, no image and no hash of one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from jobs.errors import InputError
from jobs.stages.contract import StageJob
from jobs.stages.rejected import drawn_images, rejected_count
from jobs.stages.specs import ExtractStage
from s2l_core.images import read_images

FILE, MATCHES = "extraction.json", "matches.parquet"

BATCH_SIZE = 16
"""Halved after an out-of-memory: what a comparison may hold shrinks in proportion. No part of the meaning."""


def run(job: StageJob) -> None:
    """Leaves extraction.json and matches.parquet.

    Raises:
        InputError: the data set has no members or no non-members, or the safety checker left no candidate.
    """
    from s2l_core.extraction import change, extraction
    from s2l_core.extraction.blocks import BUDGET_BYTES
    from s2l_core.extraction.table import write_matches
    from s2l_core.features import load

    spec = cast(ExtractStage, job.spec).extraction
    data = read_images(job.folder("data") / "images.parquet")
    members, non_members = ([record for record in data if record.member is value] for value in (True, False))
    if not (members and non_members):
        raise InputError(
            f"extraction is matched with members and, as a control, with non-members; got {len(members)} members and {len(non_members)} "
            "non-members; say `member: true` or `false` for every image of the data set"
        )
    found = extraction(
        drawn_images(job, least=1, what="extraction"),
        members,
        non_members,
        load(spec.features, folder=job.folder("features") if job.has("features") else None, device=job.device),
        spec,
        budget=BUDGET_BYTES * min(BATCH_SIZE, job.micro_batch or BATCH_SIZE) // BATCH_SIZE,
        device=job.device,
        say=job.say,
    )
    document = found.document | {"n_rejected": rejected_count(job)}
    if job.has("before"):
        document["change"] = change(_read(job.folder("before")), found)
    (job.out / FILE).write_text(json.dumps(document, sort_keys=True, allow_nan=False), encoding="utf-8")
    write_matches(job.out / MATCHES, found.matches)


def _read(folder: Path) -> Any:
    from s2l_core.extraction import Extraction
    from s2l_core.extraction.table import read_matches

    return Extraction(json.loads((folder / FILE).read_text(encoding="utf-8")), read_matches(folder / MATCHES))
