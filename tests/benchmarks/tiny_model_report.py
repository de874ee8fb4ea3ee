"""Measures a packaged model; for `tiny` it writes what docs/results/tiny-model.md quotes.

    .venv/bin/python tests/benchmarks/tiny_model_report.py -o docs/results

Writes tiny-model.json (figures), tiny-model-contact-sheet.png and tiny-model-curves.svg (for another model its name stands in place of
tiny-model). About ten minutes on one core. All packaged models beside each other: tiny_models_scale.py.
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
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from s2l_core import tiny
from s2l_core.attacks.engine import run_attacks
from s2l_core.faces import IDENTITIES, draw, records
from s2l_core.families.sd import StableDiffusion
from s2l_core.features.pixels import averaged
from s2l_core.fidelity import Judge
from s2l_core.images import ImageRecord, decode, to_pixels
from s2l_core.metrics.intervals import auc_interval, clopper_pearson
from s2l_core.metrics.roc import auc, delong
from s2l_core.shake import shake
from s2l_core.specs.adapters import DenseAdapter
from s2l_core.specs.attacks import ATTACK_PRESETS
from s2l_core.specs.objectives import DreamBoothObjective
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.specs.training import TrainSpec
from s2l_core.synthesize import synthesize
from s2l_core.tiny.recipe import MEMBERS, SEED

NON_MEMBERS = 128
SP_IMAGES = 64
ATTACKS = {name: ATTACK_PRESETS[name] for name in ("loss", "secmi", "pia")}
SHAKES = {
    "lr 2e-4, batch 16, 100 steps": TrainSpec(steps=100, batch_size=16, lr=2e-4),
    "lr 1e-3, batch 4, 60 steps": TrainSpec(steps=60, batch_size=4, lr=1e-3),
}
"""A gentle DreamBooth, in which what is learned again outweighs what is shaken loose, and a rough one, in which it does not."""
Scores = dict[str, NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="tiny", help="a packaged model's name, or a diffusers folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = tiny.packaged(options.model) if options.model in tiny.catalog() else Path(options.model)
    stem = "tiny-model" if options.model == "tiny" else folder.name
    options.output.mkdir(parents=True, exist_ok=True)
    figures = measure(folder, options.output / f"{stem}-contact-sheet.png")
    (options.output / f"{stem}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    curves_figure(folder.parent.parent / "curves" / f"{folder.name}.json", options.output / f"{stem}-curves.svg")


def measure(folder: Path, sheet: Path) -> dict[str, Any]:
    """All figures; the contact sheet is written on the way."""
    model = StableDiffusion.load(folder)
    data = {name: records(name, seed=SEED, members=MEMBERS, non_members=NON_MEMBERS) for name in IDENTITIES}
    sets = {name: list(synthesize(model, synthesis(name))) for name in IDENTITIES}
    contact_sheet(data, sets, sheet)
    before = {name: attacked(model, data[name]) for name in IDENTITIES}
    member = np.arange(MEMBERS + NON_MEMBERS) < MEMBERS
    members_only = {name: images[:MEMBERS] for name, images in data.items()}
    return {
        "content": tiny.digest_of(folder),
        "images": {"members_per_identity": MEMBERS, "non_members_per_identity": NON_MEMBERS, "sp_per_identity": SP_IMAGES},
        "recognition": recognition(sets),
        "autoencoder": reconstruction(model, data),
        "baseline": {attack: baseline(before, attack, member) for attack in ATTACKS},
        "dreambooth": {
            how: {
                "true members": changes(model, before, members_only, data, training),
                "own SP set": changes(model, before, sets, data, training),
            }
            for how, training in SHAKES.items()
        },
    }


def synthesis(name: str) -> SynthesisSpec:
    """The SP set of the shipped grids."""
    return SynthesisSpec(images=SP_IMAGES, prompts=(PromptTemplate(text="photo of {name}"),), name=name, steps=20, guidance=2.0)


# --- who is on the SP images ---


def recognition(sets: Mapping[str, Sequence[ImageRecord]]) -> dict[str, Any]:
    """Shares of SP images that the judge of the fidelity stage assigns to the right identity, on 16x16 pixels.

    It has seen 128 drawings of each identity from another seed: no member, no non-member, no sample.
    """

    def drawings(seed: int, number: int) -> NDArray[np.float64]:
        return halved([draw(name, seed, index) for name in IDENTITIES for index in range(number)])

    judge = Judge.fit(drawings(101, 128), np.repeat(IDENTITIES, 128).tolist())
    held_out = float(np.mean(np.array(judge.assign(drawings(102, 64))) == np.repeat(IDENTITIES, 64)))
    right = {name: np.array(judge.assign(halved([decode(record.image) for record in sets[name]]))) == name for name in IDENTITIES}
    whole = np.concatenate(list(right.values()))
    low, high = clopper_pearson(int(whole.sum()), len(whole))
    return {
        "accuracy_on_held_out_drawings": held_out,
        "right": float(whole.mean()),
        "right_low": low,
        "right_high": high,
        "right_by_identity": {name: float(hits.mean()) for name, hits in right.items()},
    }


def halved(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Means over 2x2 pixels of 32x32, flat: the `pixels` features."""
    return np.array([averaged(picture, 16).ravel() for picture in pictures])


@torch.no_grad()
def reconstruction(model: StableDiffusion, data: Mapping[str, Sequence[ImageRecord]]) -> dict[str, float]:
    """How well the autoencoder alone gives images back, and whether it alone tells members from non-members."""
    everybody = [record for images in data.values() for record in images]
    errors = []
    for part in torch.split(to_pixels(everybody, model.image_size), 64):
        made = model.decode(model.encode_images(part))
        errors.append(((made - part) / 2).square().mean(dim=(1, 2, 3)))
    error = torch.cat(errors).double().numpy()
    inside = np.array([bool(record.member) for record in everybody])
    low, high = auc_interval(-error[inside], -error[~inside])
    return {
        "psnr_members": float(-10 * np.log10(error[inside].mean())),
        "psnr_non_members": float(-10 * np.log10(error[~inside].mean())),
        "auc_of_reconstruction_error": auc(-error[inside], -error[~inside]),
        "auc_low": low,
        "auc_high": high,
    }


# --- attacks before and after ---


@torch.no_grad()
def attacked(model: StableDiffusion, images: Sequence[ImageRecord]) -> Scores:
    """Scores of each attack, every image with its own caption."""
    x0 = torch.cat([model.encode_images(part) for part in torch.split(to_pixels(images, model.image_size), 64)])
    captions = [record.text for record in images]
    run = run_attacks(
        ATTACKS,
        x0,
        [record.content for record in images],
        dict.fromkeys(ATTACKS, captions),
        model.encode_text,
        model.eps,
        model.alphas_cumprod,
    )
    return {attack: values.numpy() for attack, values in run.scores.items()}


def changes(
    model: StableDiffusion,
    before: Mapping[str, Scores],
    train: Mapping[str, Sequence[ImageRecord]],
    data: Mapping[str, Sequence[ImageRecord]],
    training: TrainSpec,
) -> dict[str, Any]:
    """What DreamBooth (dense UNet and text encoder) on each identity's `train` does to the attacks on that identity."""
    after = {}
    for name in IDENTITIES:
        shaken = shake(model, train[name], adapters=[DenseAdapter()], objective=DreamBoothObjective(), training=training, name=name, seed=0)
        with shaken.on:
            after[name] = attacked(model, data[name])
    member = np.arange(MEMBERS + NON_MEMBERS) < MEMBERS
    return {attack: change(before, after, attack, member) for attack in ATTACKS}


def baseline(scores: Mapping[str, Scores], attack: str, member: NDArray[np.bool_]) -> dict[str, Any]:
    """AUC over all identities together with DeLong's interval, and each identity's own."""
    inside = np.concatenate([values[attack][member] for values in scores.values()])
    outside = np.concatenate([values[attack][~member] for values in scores.values()])
    low, high = auc_interval(inside, outside)
    by_identity = {name: auc(values[attack][member], values[attack][~member]) for name, values in scores.items()}
    return {"auc": auc(inside, outside), "low": low, "high": high, "auc_by_identity": by_identity}


def change(before: Mapping[str, Scores], after: Mapping[str, Scores], attack: str, member: NDArray[np.bool_]) -> dict[str, Any]:
    """Each identity's AUC before and after; the mean change with a t-interval over the identities."""
    from scipy.stats import t as student

    rows = {}
    for name in IDENTITIES:
        old, new = before[name][attack], after[name][attack]
        delta, low, high, p_value = delong(old[member], old[~member], new[member], new[~member])
        rows[name] = {"before": auc(old[member], old[~member]), "after": auc(new[member], new[~member]), "delta": delta}
        rows[name] |= {"low": low, "high": high, "p_value": p_value}
    deltas = np.array([row["delta"] for row in rows.values()])
    half = float(student.ppf(0.975, len(deltas) - 1) * deltas.std(ddof=1) / np.sqrt(len(deltas)))
    mean = float(deltas.mean())
    return {
        "before": float(np.mean([row["before"] for row in rows.values()])),
        "after": float(np.mean([row["after"] for row in rows.values()])),
        "delta": mean,
        "low": mean - half,
        "high": mean + half,
        "raised_for": int((deltas > 0).sum()),
        "by_identity": rows,
    }


# --- pictures ---


def contact_sheet(data: Mapping[str, Sequence[ImageRecord]], sets: Mapping[str, Sequence[ImageRecord]], path: Path) -> None:
    """A row for each identity: eight members, a gap, eight samples."""
    side, shown, gap, label = 64, 8, 16, 72
    sheet = Image.new("RGB", (label + 2 * shown * side + gap, 20 + side * len(IDENTITIES)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((label, 4), "members (drawn)", fill="black")
    pen.text((label + shown * side + gap, 4), 'samples of the model, "photo of NAME"', fill="black")
    for row, name in enumerate(IDENTITIES):
        pen.text((4, 20 + row * side + side // 2 - 6), name, fill="black")
        for start, images in ((label, data[name]), (label + shown * side + gap, sets[name])):
            for column, record in enumerate(images[:shown]):
                tile = Image.fromarray(decode(record.image)).resize((side, side), Image.Resampling.NEAREST)
                sheet.paste(tile, (start + column * side, 20 + row * side))
    sheet.save(path, optimize=True)


def curves_figure(curves: Path, path: Path) -> None:
    """The training curves that ship beside the weights: of the denoiser, and of the autoencoder where it was trained."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "s2l"
    from matplotlib import pyplot

    if not curves.exists():
        print(f"no {curves}: the curves are not drawn", file=sys.stderr)
        return
    drawn = json.loads(curves.read_text(encoding="utf-8"))
    figure, axes = pyplot.subplots(1, len(drawn), figsize=(4.5 * len(drawn), 3), layout="constrained", squeeze=False)
    for axis, (name, curve) in zip(axes[0], drawn.items(), strict=True):
        axis.plot(curve["step"], curve["loss"], linewidth=1)
        axis.set(title=name, xlabel="step", ylabel="loss (mean of 20 steps)", yscale="log")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
