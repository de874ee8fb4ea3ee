"""Membership attacks, from images to scores: the engine against the same attacks written plainly, on the packaged tiny model.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/bench_attacks.py [--images N] [--repeats N] [--json]

The two baselines of `plain_attacks.py` run one attack after another, each with the calls of its own definition and no more: `one` with one
image in a call, as published pipelines for Stable Diffusion do, `batched` with as many as the engine. Times are CPU time of this process on
one thread, all ways in turn. The peaks are the resident memory that each adds, in a process of its own. SecMI against the 38 calls of its
published pipeline is in bench_secmi.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import plain_attacks
from resident import added_mb

from jobs.stages.score import Contexts
from s2l_core import tiny
from s2l_core.attacks.engine import BATCH_SIZE, run_attacks
from s2l_core.faces import IDENTITIES, records
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, to_pixels
from s2l_core.specs.attacks import ATTACK_PRESETS

GROUPS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in plain_attacks.SCRIPTS},
    "secmi, pia, sima": ("secmi", "pia", "sima"),
    "all seven": tuple(plain_attacks.SCRIPTS),
}
WAYS = ("ours", "batched", "one")
Found = tuple[dict[str, Tensor], int]


def ours(model: StableDiffusion, images: list[ImageRecord], attacks: tuple[str, ...]) -> Found:
    """As the `score` stage does: images encoded alone, prompts once, all attacks in one pass."""
    x0 = torch.cat([model.encode_images(to_pixels([image], model.image_size)) for image in images])
    texts = [image.text for image in images]
    found = run_attacks(
        {name: ATTACK_PRESETS[name] for name in attacks},
        x0,
        [image.content for image in images],
        dict.fromkeys(attacks, texts),
        Contexts(model),
        model.eps,
        model.alphas_cumprod,
    )
    return found.scores, found.network_calls


def run(way: str, model: StableDiffusion, images: list[ImageRecord], attacks: tuple[str, ...]) -> Found:
    if way == "ours":
        return ours(model, images, attacks)
    return plain_attacks.run(model, images, attacks, 1 if way == "one" else BATCH_SIZE)


def world(count: int) -> tuple[StableDiffusion, list[ImageRecord]]:
    torch.set_num_threads(1)
    return StableDiffusion.load(tiny.packaged("tiny")), records(IDENTITIES[0], seed=0, members=count // 2, non_members=count - count // 2)


def measure(count: int, repeats: int, groups: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """For each group of attacks the median seconds per image of all ways, ratios, calls, and how well scores agree."""
    model, images = world(count)
    rows = []
    for name, attacks in groups.items():
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        found: dict[str, Found] = {}
        for number in range(repeats + 1):  # the first warms up
            for way in WAYS:
                start = time.process_time()
                found[way] = run(way, model, images, attacks)
                if number:
                    seconds[way].append((time.process_time() - start) / count)
        medians = {way: statistics.median(values) for way, values in seconds.items()}
        rows.append(
            {
                "attacks": name,
                "calls": {way: found[way][1] for way in WAYS},
                "cpu_ms_per_image": {way: 1000 * value for way, value in medians.items()},
                "ratio": {way: medians[way] / medians["ours"] for way in WAYS},
                "added_mb": {way: _in_a_process(way, name, count) for way in WAYS},
                "disagreement": max(_disagreement(found["ours"][0][one], found["one"][0][one]) for one in attacks),
            }
        )
    return rows


def _disagreement(ours: Tensor, plain: Tensor) -> float:
    """The largest difference of two scores, as a share of the standard deviation over the images."""
    return float((ours - plain).abs().max() / ours.std())


def peak_of(way: str, group: str, count: int) -> float:
    """Resident memory in MB that a way adds at its highest over what the process holds after a first run of a few images."""
    model, images = world(count)
    run(way, model, images[:4], GROUPS[group])
    return added_mb(lambda: run(way, model, images, GROUPS[group]))


def _in_a_process(way: str, group: str, count: int) -> float:
    arguments = [sys.executable, __file__, "--peak", way, group, "--images", str(count)]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), help="these groups of attacks")
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "GROUP"), help="instead: print the memory in MB that one way adds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.peak:
        print(peak_of(*options.peak, options.images))
        return
    found = measure(options.images, options.repeats, {name: GROUPS[name] for name in options.only or GROUPS})
    if options.json:
        print(json.dumps({"model": "tiny", "images": options.images, "batch_size": BATCH_SIZE, "rows": found}, indent=1))
        return
    print(f"tiny model, {options.images} images, batches of {BATCH_SIZE}, median CPU time of {options.repeats}")
    print(f"{'attacks':18}{'calls':>7}{'plain':>7}{'ms/image':>10}{'batched':>9}{'one':>7}{'MB':>7}{'batched':>9}{'one':>7}{'differ':>10}")
    for row in found:
        print(
            f"{row['attacks']:18}{row['calls']['ours']:7}{row['calls']['one']:7}{row['cpu_ms_per_image']['ours']:10.1f}"
            f"{row['ratio']['batched']:8.2f}x{row['ratio']['one']:6.2f}x"
            f"{row['added_mb']['ours']:7.0f}{row['added_mb']['batched']:9.0f}{row['added_mb']['one']:7.0f}{row['disagreement']:10.1e}"
        )


if __name__ == "__main__":
    main()
