"""What every kind of stage does when only the driver is measured: one payload of the right name, shape and size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from jobs.stages.contract import StageJob
from s2l_core.metrics.compare import compare
from s2l_core.metrics.pooled import pool
from s2l_core.scores import Scores
from s2l_core.specs.metrics import MetricsSpec

DOMAINS = tuple(f"domain-{number:02d}" for number in range(12))
N_MEMBER, N_NON_MEMBER = 64, 128


def run(job: StageJob) -> None:
    kind = str(getattr(job.spec, "kind", ""))
    content = _documents().get(kind, {"kind": kind}) | {"key": job.key}  # as of real stages, no two are the same bytes
    (job.out / f"{kind}.json").write_text(json.dumps(content))
    if kind == "shake":  # as a LoRA leaves: weights and a curve
        (job.out / "lora.safetensors").write_bytes(job.key.encode())
        (job.out / "curve.json").write_text(json.dumps({"step": list(range(64)), "loss": [int(job.key[:8], 16)] * 64}))


def run_fused(jobs: Sequence[StageJob]) -> None:
    for job in jobs:
        run(job)


@cache
def _documents() -> dict[str, dict[str, Any]]:
    """Kind -> what a real stage of it writes, of the same scores whoever asks; made once a worker."""
    pairs, spec = [_scores(domain) for domain in DOMAINS], MetricsSpec(bootstrap=100)
    sizes = {"features": ["mean colour"], "n_member": N_MEMBER, "n_non_member": N_NON_MEMBER}
    blind = {"auc": 0.51, "auc_low": 0.42, "auc_high": 0.6, "p_value": 0.8, "separates": False, **sizes}
    return {"metrics": compare(*pairs[0], spec), "pooled": pool(pairs, spec), "blind": blind}


def _scores(domain: str) -> tuple[Scores, Scores]:
    random = np.random.default_rng(DOMAINS.index(domain))
    ids = tuple(map(str, range(N_MEMBER + N_NON_MEMBER)))
    member = np.arange(len(ids)) < N_MEMBER
    before = random.normal(size=len(ids)) + 0.5 * member
    after = before + 0.2 * random.normal(size=len(ids))
    attack = {"kind": "loss"}
    return Scores(attack, domain, ids, member, before), Scores(attack, domain, ids, member, after)
