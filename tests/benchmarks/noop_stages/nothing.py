"""What every kind of stage does when only the driver is measured: one small payload of the right name and shape."""

from __future__ import annotations

import json
from collections.abc import Sequence

from jobs.stages.contract import StageJob

NUMBERS = "before before_low before_high after after_low after_high delta delta_low delta_high p_value"
METRIC = dict.fromkeys(NUMBERS.split(), 0.5)
METRICS = {
    "attack": "loss",
    "n_member": 1,
    "n_non_member": 1,
    "metrics": {"auc": METRIC | {"verdict": "none"}},
    "roc": {when: {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]} for when in ("before", "after")},
    "warnings": [],
}


def run(job: StageJob) -> None:
    kind = str(getattr(job.spec, "kind", ""))
    content = (METRICS if kind == "metrics" else {"kind": kind}) | {"key": job.key}  # as of real stages, no two are the same bytes
    (job.out / f"{kind}.json").write_text(json.dumps(content))
    if kind == "shake":  # as a LoRA leaves: weights and a curve
        (job.out / "lora.safetensors").write_bytes(job.key.encode())
        (job.out / "curve.json").write_text(json.dumps({"step": list(range(64)), "loss": [int(job.key[:8], 16)] * 64}))


def run_fused(jobs: Sequence[StageJob]) -> None:
    for job in jobs:
        run(job)
