"""SecMI per image: our engine against the published protocol written plainly (one image at a time, 38 network calls).

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/bench_secmi.py [--json]

The published pipeline makes 38 calls an image at t = 140, k = 10; 16 of them enter the score. The baseline makes the same 38 calls, each on
one image, the 22 others at the timesteps of the walk. Both sides run one thread on one model and give one score. Times are CPU time of
this process, so that a busy machine disturbs them little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from math import sqrt

import torch
from torch import Tensor

T, K = 140, 10
PUBLISHED_CALLS = 38


class Counted:
    """The denoiser of a model under one prompt, counting its calls."""

    def __init__(self, unet: torch.nn.Module, context: Tensor) -> None:
        self.unet, self.context, self.calls = unet, context, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        eps: Tensor = self.unet(x, t, self.context.expand(len(x), -1, -1)).sample
        return eps


def step(x: Tensor, eps: Tensor, a: float, b: float) -> Tensor:
    """One deterministic DDIM step from alpha a to alpha b."""
    return sqrt(b) * (x - sqrt(1 - a) * eps) / sqrt(a) + sqrt(1 - b) * eps


def plain_secmi(eps: Counted, x0: Tensor, alphas: Tensor) -> float:
    """The t-error of one image [1, c, h, w] by the published protocol."""

    def ask(x: Tensor, t: int) -> Tensor:
        return eps(x, torch.tensor([t]))

    def alpha(t: int) -> float:
        return float(alphas[t])

    start, x = eps.calls, x0
    for s in range(0, T, K):  # 14 calls: the way out
        x = step(x, ask(x, s), alpha(s), alpha(s + K))
    beyond = step(x, ask(x, T), alpha(T), alpha(T + K))  # 1 call: one step further
    back = step(beyond, ask(beyond, T + K), alpha(T + K), alpha(T))  # 1 call: and back
    error = float((back - x).square().sum())
    y, s = back, T
    while eps.calls - start < PUBLISHED_CALLS:  # 22 calls whose answers are never read
        y = step(y, ask(y, s), alpha(s), alpha(max(s - K, 0)))
        s = s - K if s > K else T
    return error


def model(seed: int = 0) -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A UNet of the packaged tiny model's shape with random weights, a prompt, and Stable Diffusion's schedule."""
    from s2l_core.families.schedule import alphas_cumprod
    from s2l_core.specs.pretrain import SmallShape
    from s2l_core.tiny.architecture import SCHEDULER, untrained

    made = untrained(SmallShape(), ("photo", "of", "zorvik"), seed=seed)
    made.unet.eval()
    with torch.no_grad():
        return made.unet, made.encode_text(["photo of zorvik"]), alphas_cumprod(SCHEDULER)


def measure(images: int, repeats: int) -> dict[str, object]:
    """Median CPU seconds per image of both ways, interleaved, and how well their scores agree."""
    from s2l_core.attacks.engine import BATCH_SIZE, run_attacks
    from s2l_core.specs.attacks import SecMIAttack

    unet, context, alphas = model()
    x0 = torch.randn(images, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    counted = Counted(unet, context)
    keys, prompts = [str(i) for i in range(images)], {"secmi": ["photo of zorvik"] * images}

    def ours() -> Tensor:
        return run_attacks(
            {"secmi": SecMIAttack(t=T, k=K)},
            x0,
            keys,
            prompts,
            lambda texts: context.expand(len(texts), -1, -1),
            lambda x, t, c: unet(x, t, c).sample,
            alphas,
        ).scores["secmi"]

    def plain() -> Tensor:
        with torch.no_grad():
            return torch.tensor([-plain_secmi(counted, x0[i : i + 1], alphas) for i in range(images)], dtype=torch.float64)

    ours(), plain()  # warm up
    counted.calls = 0
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    scores: dict[str, Tensor] = {}
    for _ in range(repeats):
        for name, run in (("ours", ours), ("plain", plain)):
            start = time.process_time()
            scores[name] = run()
            seconds[name].append((time.process_time() - start) / images)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "images": images,
        "repeats": repeats,
        "batch_size": BATCH_SIZE,
        "threads": torch.get_num_threads(),
        "calls_per_image": {"ours": T // K + 2, "plain": counted.calls // (repeats * images)},
        "cpu_seconds_per_image": medians,
        "ratio": medians["plain"] / medians["ours"],
        "largest_relative_difference_of_scores": float((scores["ours"] / scores["plain"] - 1).abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.images, options.repeats)
    if options.json:
        json.dump(found, sys.stdout)
        return
    for name, value in found.items():
        print(f"{name:<40} {value}")


if __name__ == "__main__":
    main()
