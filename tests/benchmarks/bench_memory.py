"""Peak memory of fine-tuning by each method, with and without gradient checkpointing: the resident set of a child process.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_memory.py [--json] [--batch N]

Each method runs a real `shake` of two steps (the second has the optimiser's state) on the packaged tiny model in a process of its own,
forked from a server that has the libraries imported. What is given is the peak, and how much of it came after the model and the images were
there and the libraries warm.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from resident import forget_peak, status_mb

from jobs.grid.presets import METHODS, MethodPreset

if TYPE_CHECKING:
    from s2l_core.adapters import Attached
    from s2l_core.images import ImageRecord
    from s2l_core.specs.training import TrainSpec

IMAGES = 64
STEPS = 2
WARM_UP = "hypernetwork"
"""One step of it on one image comes first: what the libraries load and compile when they are first called is no method's."""
SERVER_IMPORTS = ["bench_memory", "torch", "diffusers", "transformers", "peft", "accelerate", "s2l_core.shake", "s2l_core.tiny"]


@dataclass(frozen=True)
class Peak:
    """Resident memory of one child in MB (10^6 bytes): before the shake, at its highest, and how much more that is."""

    method: str
    checkpointing: bool
    before_mb: float
    peak_mb: float

    @property
    def added_mb(self) -> float:
        return self.peak_mb - self.before_mb


def peak_of(method: str, batch: int, checkpointing: bool) -> Peak:
    """Runs in a child: one shake, then the process's own account of its peak."""
    import torch

    from s2l_core import tiny
    from s2l_core.faces import IDENTITIES, records
    from s2l_core.families.sd import StableDiffusion
    from s2l_core.shake import shake
    from s2l_core.specs.training import TrainSpec

    torch.set_num_threads(1)
    model = StableDiffusion.load(tiny.packaged("tiny"))
    images = records(IDENTITIES[0], seed=0, members=IMAGES, non_members=0)

    def shaken(preset: MethodPreset, images: list[ImageRecord], training: TrainSpec) -> Attached:
        return shake(
            model,
            images,
            adapters=preset.adapters,
            objective=preset.objective,
            training=training,
            name=IDENTITIES[0],
            seed=0,
            gradient_checkpointing=checkpointing,
        ).on

    shaken(METHODS[WARM_UP], images[:1], TrainSpec(steps=1, batch_size=1)).detach()
    before = status_mb("VmRSS")
    forget_peak()
    with shaken(METHODS[method], images, TrainSpec(steps=STEPS, batch_size=batch)):
        return Peak(method, checkpointing, before, status_mb("VmHWM"))


def peaks(batch: int) -> list[Peak]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SERVER_IMPORTS)
    cases = [(method, checkpointing) for method in METHODS for checkpointing in (False, True)]
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as children:
        return [children.submit(peak_of, method, batch, checkpointing).result() for method, checkpointing in cases]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    found = peaks(options.batch)
    if options.json:
        print(json.dumps({"model": "tiny", "batch": options.batch, "peaks": [asdict(one) for one in found]}, indent=1))
        return
    print(f"tiny model, batch {options.batch}, {STEPS} steps, one child process a row and column; resident set in MB")
    print(f"{'method':30}{'before':>8}{'peak':>8}{'added':>8}{'with checkpointing: peak':>27}{'added':>8}{'of the above':>14}")
    for plain, spared in zip(found[::2], found[1::2], strict=True):
        share = f"{spared.added_mb / plain.added_mb:13.0%}" if plain.added_mb > 1 else f"{'-':>13}"
        print(
            f"{plain.method:30}{plain.before_mb:8.0f}{plain.peak_mb:8.0f}{plain.added_mb:8.1f}"
            f"{spared.peak_mb:27.0f}{spared.added_mb:8.1f} {share}"
        )


if __name__ == "__main__":
    main()
