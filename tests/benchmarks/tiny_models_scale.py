"""Measures the packaged models beside each other and writes what docs/results/tiny-models-scale.md quotes.

    .venv/bin/python tests/benchmarks/tiny_models_scale.py -o docs/results

Writes tiny-models-scale.json (figures), tiny-models-scale-curves.svg, and a contact sheet of each smaller model. All models are asked for
the same samples and attacked on the same images with the same noise, so that their differences are paired. About seven minutes of CPU time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from s2l_core import tiny
from s2l_core.faces import IDENTITIES, records
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord
from s2l_core.metrics.roc import delong
from s2l_core.synthesize import synthesize
from s2l_core.tiny.recipe import MEMBERS, RECIPES, SEED
from tests.benchmarks.tiny_model_report import (
    ATTACKS,
    NON_MEMBERS,
    SP_IMAGES,
    Scores,
    attacked,
    baseline,
    contact_sheet,
    recognition,
    synthesis,
)

INSIDE = np.arange(MEMBERS + NON_MEMBERS) < MEMBERS
LARGEST = "tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    data = {name: records(name, seed=SEED, members=MEMBERS, non_members=NON_MEMBERS) for name in IDENTITIES}
    scores: dict[str, Mapping[str, Scores]] = {}
    figures: dict[str, Any] = {}
    for name in RECIPES:
        figures[name], scores[name] = measure(name, data, options.output)
        print(f"{name}: measured", file=sys.stderr, flush=True)
    for name, theirs in scores.items():
        if name != LARGEST:
            figures[name][f"auc_minus_{LARGEST}"] = {attack: paired(scores[LARGEST], theirs, attack) for attack in ATTACKS}
    counts = {"members_per_identity": MEMBERS, "non_members_per_identity": NON_MEMBERS, "sp_per_identity": SP_IMAGES}
    written = json.dumps({"images": counts, "models": figures}, indent=1) + "\n"
    (options.output / "tiny-models-scale.json").write_text(written, encoding="utf-8")
    curves_figure(options.output / "tiny-models-scale-curves.svg")


def measure(name: str, data: Mapping[str, Sequence[ImageRecord]], output: Path) -> tuple[dict[str, Any], Mapping[str, Scores]]:
    """One model's figures, and the scores that they are made of."""
    folder = tiny.packaged(name)
    model = StableDiffusion.load(folder)
    sets = {person: list(synthesize(model, synthesis(person))) for person in IDENTITIES}
    if name != LARGEST:
        contact_sheet(data, sets, output / f"{name}-contact-sheet.png")
    before = {person: attacked(model, data[person]) for person in IDENTITIES}
    curve = json.loads((tiny.FOLDER / "curves" / f"{name}.json").read_text(encoding="utf-8"))["denoiser"]
    figures = {
        "content": tiny.digest_of(folder),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "unet_channels": list(RECIPES[name].shape.unet_channels),
        "parameters": {part: sum(weight.numel() for weight in module.parameters()) for part, module in model.modules().items()},
        "last_loss": float(np.mean(curve["loss"][-5:])),
        "recognition": recognition(sets),
        "baseline": {attack: baseline(before, attack, INSIDE) for attack in ATTACKS},
    }
    return figures, before


def paired(old: Mapping[str, Scores], new: Mapping[str, Scores], attack: str) -> dict[str, float]:
    """The difference in AUC over all identities together, by DeLong's test on the same images."""

    def pooled(scores: Mapping[str, Scores], which: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.concatenate([scores[person][attack][which] for person in IDENTITIES])

    delta, low, high, p_value = delong(pooled(old, INSIDE), pooled(old, ~INSIDE), pooled(new, INSIDE), pooled(new, ~INSIDE))
    return {"delta": delta, "low": low, "high": high, "p_value": p_value}


def curves_figure(path: Path) -> None:
    """The denoisers' training curves in one frame: same images, same noise, same steps."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "s2l"
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    for name in RECIPES:
        curve = json.loads((tiny.FOLDER / "curves" / f"{name}.json").read_text(encoding="utf-8"))["denoiser"]
        axis.plot(curve["step"], curve["loss"], linewidth=1, label=f"{name} {RECIPES[name].shape.unet_channels}")
    axis.set(title="denoiser", xlabel="step", ylabel="loss (mean of 20 steps)", yscale="log")
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
