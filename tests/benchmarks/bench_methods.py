"""Fine-tuning steps per second of each method, against the published loop's way and diffusers' recipe, beside what counting predicts.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_methods.py [--json] [--rounds N] [--steps N] [--batch N]

Ours and both loops of plain_loops.py train the same weights of the packaged tiny model, in turns, in one process and one thread: first with
the batch that the preset has (4 as published, 2 for lora+dreambooth), then with `--batch`. Before that, the loss and the gradient of their
first step are checked to be ours. Times are CPU seconds of this process, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_finetune import operations, seconds_per_step
from plain_loops import check_same, our_draws, plain_loss, published, published_steps, recipe_steps

from jobs.grid.presets import METHODS, MethodPreset
from s2l_core import tiny
from s2l_core.adapters import attach
from s2l_core.faces import IDENTITIES, records
from s2l_core.families.sd import StableDiffusion
from s2l_core.losses import loss_of_terms
from s2l_core.objectives import Term, terms_of
from s2l_core.randomness import generator
from s2l_core.specs.adapters import GaussianAdapter, token_for
from s2l_core.training.fit import Batch, Loss, examples_of

IMAGES = 64
COUNTED_STEPS = 4
"""How many distinct prompts a batch holds varies, and with it what a trained text encoder costs: the mean over these."""
UNTRAINED = ("none", "gaussian")


@dataclass(frozen=True)
class Speed:
    """One method at one batch size; ratios are baseline over ours, median and range over the rounds.

    Attributes:
        once_ms: what is encoded once, before the first step.
        gflop: of a step, forward and backward; plain_gflop: of either baseline's.
        loss_off, gradient_off: relative differences of the first step.
    """

    method: str
    batch: int
    ours_ms: float
    published_ms: float
    recipe_ms: float
    published_ratio: tuple[float, float, float]
    recipe_ratio: tuple[float, float, float]
    gflop: float
    plain_gflop: float
    predicted: float
    once_ms: float
    loss_off: float
    gradient_off: float


def batch_at(step: int, size: int) -> Batch:
    return Batch(step, examples_of(step, IMAGES, size, seed=0), torch.arange(size), size, seed=0)


def counted(loss: Loss, size: int, parameters: list[torch.nn.Parameter]) -> float:
    """Floating-point operations of a step, in billions. Attention goes by the plain route meanwhile, the only one a CPU's counter sees."""
    with sdpa_kernel(SDPBackend.MATH):
        found = [operations(lambda _, step=step: loss(batch_at(step, size)), size) for step in range(COUNTED_STEPS)]
    for parameter in parameters:
        parameter.grad = None
    return statistics.mean(found) / 1e9


def measured(model: StableDiffusion, name: str, preset: MethodPreset, batch: int, rounds: int, steps: int) -> Speed:
    images = records(IDENTITIES[0], seed=0, members=IMAGES, non_members=0)
    (term,) = terms_of(preset.objective, images, name=IDENTITIES[0], token=token_for(preset.adapters))
    with attach(model, preset.adapters, seed=0) as on:
        on.train(True)
        trained = list(on.parameters().values())
        start = time.process_time()
        ours = loss_of_terms(model, [term], text_is_trained=on.trains("text_encoder"))
        once = time.process_time() - start
        off = check_same(model, term, ours, trained, batch_at(0, batch))
        gflop, plain_gflop = counted(ours, batch, trained), counted(_plain(model, term), batch, trained)
        times: dict[str, list[float]] = {"ours": [], "published": [], "recipe": []}
        for _ in range(rounds):
            times["ours"].append(seconds_per_step(on.parameters(), ours, steps, batch, IMAGES))
            for way, run in (("published", published_steps), ("recipe", recipe_steps)):
                times[way].append(statistics.median(run(model, term, trained, steps=steps, batch=batch)))
    ms = {f"{way}_ms": round(1000 * statistics.median(found), 2) for way, found in times.items()}
    return Speed(
        method=name,
        batch=batch,
        **ms,
        published_ratio=_ratio(times["published"], times["ours"]),
        recipe_ratio=_ratio(times["recipe"], times["ours"]),
        gflop=round(gflop, 3),
        plain_gflop=round(plain_gflop, 3),
        predicted=round(plain_gflop / gflop, 3),
        once_ms=round(1000 * once, 1),
        loss_off=off["loss"],
        gradient_off=off["gradient"],
    )


def _plain(model: StableDiffusion, term: Term) -> Loss:
    shown = published(model, term)
    return lambda batch: plain_loss(model, term, shown(batch.indices.tolist()), our_draws(model, batch))


def _ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Median, least and most over the rounds."""
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    return round(statistics.median(ratios), 3), round(min(ratios), 3), round(max(ratios), 3)


def perturbing(model: StableDiffusion, rounds: int) -> dict[str, Any]:
    """CPU time of `gaussian`: noise on the UNet, ours (keyed, in float64, undone to the bit) and plain (`add_` of `randn_like`)."""
    times: dict[str, list[float]] = {"ours": [], "detach": [], "plain": []}
    draws = generator("bench", "gaussian")
    for _ in range(rounds):
        marks = [time.process_time()]
        on = attach(model, (GaussianAdapter(),), seed=0)
        marks.append(time.process_time())
        on.detach()
        marks.append(time.process_time())
        with torch.no_grad():
            changed = [weight + _noise(weight, draws) for weight in model.unet.parameters()]
        marks.append(time.process_time())
        for way, earlier, later in zip(times, marks, marks[1:], strict=False):
            times[way].append(later - earlier)
    weights = sum(weight.numel() for weight in changed)
    return {"weights": weights, **{f"{way}_ms": round(1000 * statistics.median(found), 1) for way, found in times.items()}}


def _noise(weight: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    rms = math.sqrt(float(weight.square().mean()))
    return GaussianAdapter().sigma * rms * torch.randn(weight.shape, generator=draws)  # type: ignore[operator, no-any-return]


def table(rows: list[Speed]) -> str:
    head = f"{'method':30}{'batch':>5}{'steps a second':>24}{'published / ours':>22}{'recipe / ours':>22}"
    head += f"{'counted, GF':>18}{'predicted':>10}{'once':>9}"
    return "\n".join([head, *(_line(row) for row in rows)])


def _line(row: Speed) -> str:
    speeds = "".join(f"{1000 / ms:8.1f}" for ms in (row.ours_ms, row.published_ms, row.recipe_ms))
    ratios = "".join(f"{middle:8.2f} ({low:.2f}..{high:.2f})" for middle, low, high in (row.published_ratio, row.recipe_ratio))
    work = f"{row.gflop:8.3f} / {row.plain_gflop:.3f}"
    return f"{row.method:30}{row.batch:5}{speeds}{ratios}{work:>18}{row.predicted:10.2f}{row.once_ms:6.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--rounds", type=int, default=7, help="turns of all three ways")
    parser.add_argument("--steps", type=int, default=3, help="steps a turn")
    parser.add_argument("--batch", type=int, default=16, help="of the second table, as the tiny grids have it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = StableDiffusion.load(tiny.packaged("tiny"))
    trained = {name: preset for name, preset in METHODS.items() if name not in UNTRAINED}
    rows = [
        [measured(model, name, preset, batch or preset.batch, options.rounds, options.steps) for name, preset in trained.items()]
        for batch in (None, options.batch)
    ]
    noise = perturbing(model, options.rounds)
    if options.json:
        settings = {"model": "tiny", "rounds": options.rounds, "steps": options.steps, "threads": 1, "torch": torch.__version__}
        print(json.dumps({**settings, "speed": [asdict(row) for block in rows for row in block], "gaussian": noise}, indent=1))
        return
    print(f"tiny model, {options.rounds} turns of {options.steps} steps, one thread, CPU time")
    print("steps a second: ours, published loop's way, recipe; ratios with their range over the turns; once: what ours encodes beforehand")
    for block in rows:
        print("\n" + table(block))
    worst = max(row.loss_off for block in rows for row in block), max(row.gradient_off for block in rows for row in block)
    print(f"\nfirst step: losses within {worst[0]:.0e}, gradients within {worst[1]:.0e} of ours (relative)")
    print(
        f"gaussian: {noise['weights']} weights, perturbed in {noise['ours_ms']} ms and undone in {noise['detach_ms']} ms; "
        f"plainly perturbed in {noise['plain_ms']} ms"
    )


if __name__ == "__main__":
    main()
