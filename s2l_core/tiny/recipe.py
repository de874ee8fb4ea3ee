"""What the packaged tiny models are made of: 64 drawings of each of the twelve faces, and more faces for the autoencoder.

`tiny` is trained whole. The others have narrower UNets on `tiny`'s autoencoder, with its seed, images and steps: the denoiser differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2l_core.faces import IDENTITIES, records, stranger_records
from s2l_core.specs.pretrain import PretrainSpec, SmallShape
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny import content, digest_of, packaged
from s2l_core.tiny.vocabulary import words_of

if TYPE_CHECKING:
    from s2l_core.images import ImageRecord
    from s2l_core.training.fit import Curve

SEED = 0
MEMBERS = 64
STRANGERS = 1536

PROMPT_WORDS = """
a an the and of with in on by to for is no not photo face picture portrait image person people man woman style painting drawing sketch
smiling serious sad surprised happy angry young old red green blue yellow white black dark bright light background colour color
detailed sharp high low best worst quality good bad blurry ugly deformed distorted cropped noisy grainy realistic professional
beautiful studio camera close up front side left right 4 k hd one two three new sks toy thing . , : ; - ! ? ( )
"""

TINY = PretrainSpec(
    seed=SEED,
    words=tuple(words_of([PROMPT_WORDS])),
    autoencoder=TrainSpec(steps=5000, batch_size=16, lr=2e-3, schedule="cosine", warmup_steps=50, weight_decay=0.0),
    denoiser=TrainSpec(steps=2500, batch_size=32, lr=1e-3, schedule="cosine", warmup_steps=100),
)


AUTOENCODER_OF = "tiny"
"""Whose autoencoder a packaged model uses that trains none of its own."""


def _narrower(*channels: int) -> PretrainSpec:
    return TINY.model_copy(update={"shape": SmallShape(unet_channels=channels), "autoencoder": None})


RECIPES = {"tiny": TINY, "tiny-sm1": _narrower(48, 48), "tiny-sm2": _narrower(32, 32)}


def members() -> list[ImageRecord]:
    """The packaged models' training images: the members of every identity."""
    return [record for identity in IDENTITIES for record in records(identity, seed=SEED, members=MEMBERS, non_members=0)]


def strangers() -> list[ImageRecord]:
    """Faces of nobody, for the autoencoder alone."""
    return stranger_records(seed=SEED, images=STRANGERS)


def make(name: str, out: Path, *, device: str = "cpu", say: Callable[[float, str], None] = lambda fraction, message: None) -> Path:
    """Train a packaged model again; with `out` = `s2l_core/tiny` it takes the place of the one that ships.

    Writes `weights/NAME/` (a diffusers folder) and `curves/NAME.json` under `out`, and the model's entry in its `catalog.json`.

    Returns:
        The diffusers folder.
    """
    from s2l_core.pretrain import pretrain

    folder, config = out / "weights" / name, RECIPES[name]
    if config.autoencoder is None:
        trained = pretrain(members(), folder, config=config, autoencoder_from=packaged(AUTOENCODER_OF), device=device, say=say)
    else:
        trained = pretrain(members(), folder, config=config, autoencoder_only=strangers(), device=device, say=say)
    halves = {"autoencoder": trained.autoencoder, "denoiser": trained.denoiser}
    _write(out / "curves" / f"{name}.json", {half: _thinned(curve) for half, curve in halves.items() if curve})
    _enter(out / "catalog.json", name, _entry(folder, config))
    return folder


def _entry(folder: Path, config: PretrainSpec) -> dict[str, Any]:
    borrowed = {"autoencoder_of": {"name": AUTOENCODER_OF, "content": content(AUTOENCODER_OF)}}
    return {
        "content": digest_of(folder),
        "image_size": config.shape.image_size,
        "domains": list(IDENTITIES),
        "made": {
            "data": "drawn-faces",
            "data_seed": SEED,
            "members_per_domain": MEMBERS,
            **({"autoencoder_strangers": STRANGERS} if config.autoencoder else borrowed),
            "spec": config.model_dump(mode="json"),
            "versions": {package: version(package) for package in ("torch", "diffusers", "transformers")},
        },
    }


def _enter(catalog: Path, name: str, entry: dict[str, Any]) -> None:
    """Set one model's entry; the others stay as they are."""
    models = json.loads(catalog.read_text(encoding="utf-8"))["models"] if catalog.exists() else {}
    _write(catalog, {"models": models | {name: entry}})


def _thinned(curve: Curve, every: int = 20) -> dict[str, list[float]]:
    """Means over `every` steps: what a plot can show."""
    starts = range(0, len(curve.step), every)
    losses = [curve.loss[start : start + every] for start in starts]
    return {"step": [curve.step[start] for start in starts], "loss": [round(sum(part) / len(part), 5) for part in losses]}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
