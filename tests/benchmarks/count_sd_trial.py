"""What one trial on Stable Diffusion v1 costs by method, from counted operations and parameters at the published size. Nothing is computed.

    python tests/benchmarks/count_sd_trial.py [--sustained 100] [--images 400]

GPU-hours are operations over what a GPU sustains (`--sustained`, in TFLOP/s; about a third of its data sheet's figure for the precision):
an estimate and no measurement. Stored bytes are the trained parameters at 4 bytes; the training state is weights, gradients and AdamW's two
moments at 4 bytes each, without activations. Textual inversion trains rows of 768 numbers (3 KB) and takes the time of a LoRA.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jobs.grid.presets import METHODS
from s2l_core.adapters import attach
from tests.benchmarks.count_published_size import LATENTS, PIXELS, pieces, sd_v1, teraflop

SP_IMAGES, SP_STEPS, GUIDED = 2000, 50, 2
EPOCHS = 100
CALLS = 14
"""SecMI (t = 100, k = 10), PIA and SimA together."""
CANDIDATES = 5000
COUNTED = ("dreambooth", "end2end", "lora", "lora+dreambooth", "hypernetwork", "hypernetwork+dreambooth")


def parameters(name: str) -> tuple[int, int]:
    """How many are trained, and how many the whole model has."""
    model = sd_v1()
    whole = sum(p.numel() for module in (model.unet, model.text_encoder, model.vae) for p in module.parameters())
    with attach(model, METHODS[name].adapters, seed=0) as on:
        return sum(p.numel() for p in on.parameters().values()), whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sustained", type=float, default=100.0, help="TFLOP/s that the GPU sustains [default: 100]")
    parser.add_argument("--images", type=int, default=400, help="members and non-members attacked [default: 400]")
    args = parser.parse_args()
    model = sd_v1()
    for module in (model.unet, model.text_encoder, model.vae):
        module.requires_grad_(False)
    step, _, encoding = pieces(model)
    decoding = teraflop(lambda: model.vae.decode(torch.empty(1, 4, LATENTS, LATENTS, device="meta")).sample)

    def hours(teraflops: float) -> float:
        return teraflops / args.sustained / 3600

    drawn = SP_STEPS * GUIDED * step + decoding
    print(f"UNet forward {step:.3f}, encoding an image {encoding:.3f}, decoding one {decoding:.3f} (10^12 operations)")
    print(f"SP set, {SP_IMAGES} images, once a domain     {hours(SP_IMAGES * drawn):6.2f} GPU-hours")
    print(f"three attacks on {args.images} images, each model {hours(args.images * (CALLS * step + encoding)):6.2f} GPU-hours")
    print(f"extraction, {CANDIDATES} candidates, each model {hours(CANDIDATES * drawn):6.2f} GPU-hours\n")
    print(f"{'method':26}{'trained':>12}{'stored':>11}{'training state':>16}{'shake, GPU-hours':>18}")
    for name in COUNTED:
        model = sd_v1()
        with attach(model, METHODS[name].adapters, seed=0):
            unet, text, _ = pieces(model)
            shown = torch.empty(1, 3, PIXELS, PIXELS, device="meta")
            rebuilt = teraflop(lambda: model.vae(shown).sample) if METHODS[name].objective.kind == "end-to-end" else 0.0  # noqa: B023
        trained, whole = parameters(name)
        state = 4 * whole + 12 * trained
        shake = SP_IMAGES * (EPOCHS * (unet + text + rebuilt) + encoding)
        print(f"{name:26}{trained:12,}{_size(4 * trained):>11}{_size(state):>16}{hours(shake):18.2f}")


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


if __name__ == "__main__":
    main()
