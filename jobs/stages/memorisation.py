"""How strongly a model knows a name, asked with prompts alone. What is left holds names and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from jobs.stages.contract import StageJob
from jobs.stages.models import load_base
from jobs.stages.specs import MemorisationStage

FILE = "memorisation.json"
BATCH_SIZE = 32
"""Pictures in one network call. Scores depend on it by rounding: all runs take the same but after an out-of-memory."""
CHANGED = ("score", "control_mean", "ratio")


def run(job: StageJob) -> None:
    """Leaves memorisation.json."""
    import torch

    from jobs.stages.score import Contexts
    from s2l_core.adapters import attached
    from s2l_core.memorisation import memorisation

    stage = cast(MemorisationStage, job.spec)
    model = load_base(job)
    prompts = (1 + len(stage.memorisation.controls)) * len(stage.memorisation.prompts)
    together = min(BATCH_SIZE, job.micro_batch or BATCH_SIZE)
    with attached(model, job.folder("shake") if job.has("shake") else None), torch.no_grad():
        document = memorisation(
            stage.name,
            stage.memorisation,
            model.latent_shape,
            Contexts(model),
            model.eps,
            model.alphas_cumprod,
            batch_size=together,
            dtype=model.dtype,
            say=lambda done: job.say(done, f"{int(done * prompts)} of {prompts} prompts asked"),
        )
    if job.has("before"):
        document["change"] = _change(_read(job.folder("before")), document)
    job.made["batch_size"] = together
    (job.out / FILE).write_text(json.dumps(document, sort_keys=True, allow_nan=False), encoding="utf-8")


def _read(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return document


def _change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """After minus before, where both have a value."""
    return {name: after[name] - before[name] for name in CHANGED if before[name] is not None and after[name] is not None}
