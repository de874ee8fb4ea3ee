"""A fine-tuning step with cached latents and text, against one that encodes both again, beside what counting operations predicts.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_finetune.py [--json] [--rounds N] [--steps N] [--batch N]

Both train the same weights of the packaged tiny model on the same batches with the same noise, in turns, in one process and one thread.
Times are CPU seconds of this process, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from s2l_core import tiny
from s2l_core.adapters import attach
from s2l_core.faces import IDENTITIES, records
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import to_pixels
from s2l_core.losses import loss_of_terms
from s2l_core.objectives import Term, terms_of
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.training import TrainSpec
from s2l_core.training.fit import Batch, fit

Loss = Callable[[Batch], Tensor]
CASES: dict[str, AdapterSpec] = {
    "dense, UNet": DenseAdapter(modules=("unet",)),
    "lora rank 8, UNet": LoraAdapter(rank=8, alpha=8, text_encoder_targets=()),
}


def encoding_loss(model: StableDiffusion, term: Term) -> Loss:
    """The same loss, with nothing kept from one step to the next but the decoded pixels."""
    pixels = to_pixels(term.records, model.image_size)

    def loss(batch: Batch) -> Tensor:
        with torch.no_grad():
            x0 = model.encode_images(pixels[batch.indices])
            context = model.encode_text([term.prompts[row] for row in batch.indices.tolist()])
        t, noise = batch.integers(len(model.alphas_cumprod), "timestep of set"), batch.noise(x0.shape[1:], "noise of set")
        made = model.predict(model.add_noise(x0, noise, t), t, context)
        return (made - model.target(x0, noise, t)).square().mean(dim=(1, 2, 3))

    return loss


def operations(loss: Loss, batch: int) -> int:
    """Floating-point operations of one step's forward and backward pass (matrix products, convolutions, attention)."""
    with FlopCounterMode(display=False) as counter:
        loss(Batch(0, torch.arange(batch), torch.arange(batch), batch, seed=0)).mean().backward()
    return int(counter.get_total_flops())


def seconds_per_step(parameters: dict[str, Any], loss: Loss, steps: int, batch: int, examples: int) -> float:
    """The median over the steps of one fit; its first step, which makes the optimiser's state, is left out."""
    marks: list[float] = []
    training = TrainSpec(steps=steps + 1, batch_size=batch, lr=1e-6)
    fit(parameters, loss, examples=examples, training=training, seed=0, observe=lambda step: marks.append(time.process_time()))
    return statistics.median(later - earlier for earlier, later in pairwise(marks))


def measure(model: StableDiffusion, adapter: AdapterSpec, rounds: int, steps: int, batch: int) -> dict[str, Any]:
    term = terms_of(DenoiseObjective(), records(IDENTITIES[0], seed=0, members=64, non_members=0), name=IDENTITIES[0])[0]
    with attach(model, (adapter,), seed=0) as on:
        losses = {"cached": loss_of_terms(model, [term], text_is_trained=False), "encoding": encoding_loss(model, term)}
        first = Batch(0, torch.arange(batch), torch.arange(batch), batch, seed=0)
        torch.testing.assert_close(losses["cached"](first), losses["encoding"](first), rtol=1e-3, atol=1e-5)
        counted = {name: operations(loss, batch) for name, loss in losses.items()}
        times: dict[str, list[float]] = {name: [] for name in losses}
        for _ in range(rounds):
            for name, loss in losses.items():
                times[name].append(seconds_per_step(on.parameters(), loss, steps, batch, len(term.records)))
    ratios = [slow / fast for slow, fast in zip(times["encoding"], times["cached"], strict=True)]
    return {
        "cached_ms": round(1000 * statistics.median(times["cached"]), 2),
        "encoding_ms": round(1000 * statistics.median(times["encoding"]), 2),
        "measured_ratio": round(statistics.median(ratios), 3),
        "measured_ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "cached_gflop": round(counted["cached"] / 1e9, 3),
        "encoding_gflop": round(counted["encoding"] / 1e9, 3),
        "predicted_ratio": round(counted["encoding"] / counted["cached"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--rounds", type=int, default=5, help="turns of both ways")
    parser.add_argument("--steps", type=int, default=6, help="steps a turn")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = StableDiffusion.load(tiny.packaged("tiny"))
    found = {name: measure(model, adapter, options.rounds, options.steps, options.batch) for name, adapter in CASES.items()}
    if options.json:
        settings = {"model": "tiny", "batch": options.batch, "rounds": options.rounds, "steps": options.steps, "threads": 1}
        print(json.dumps({**settings, "torch": torch.__version__, "cases": found}, indent=1))
        return
    print(f"tiny model, batch {options.batch}, {options.rounds} turns of {options.steps} steps, one thread, CPU time")
    print(f"{'trained':20}{'cached':>10}{'encoding':>11}{'ratio':>8}{'(range)':>16}{'counted':>22}{'predicted':>11}")
    for name, row in found.items():
        low, high = row["measured_ratio_range"]
        counted = f"{row['cached_gflop']} / {row['encoding_gflop']} GF"
        times = f"{row['cached_ms']:>7.1f} ms{row['encoding_ms']:>8.1f} ms"
        print(f"{name:20}{times}{row['measured_ratio']:>8.2f}{f'({low:.2f}..{high:.2f})':>16}{counted:>22}{row['predicted_ratio']:>11.2f}")


if __name__ == "__main__":
    main()
