"""What the packaged tiny model is made of: 64 drawings of each of the twelve faces, and more faces for its autoencoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2l_core.faces import IDENTITIES, records, stranger_records
from s2l_core.specs.pretrain import PretrainSpec
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny import digest_of
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


def members() -> list[ImageRecord]:
    """The packaged model's training images: the members of every identity."""
    return [record for identity in IDENTITIES for record in records(identity, seed=SEED, members=MEMBERS, non_members=0)]


def strangers() -> list[ImageRecord]:
    """Faces of nobody, for the autoencoder alone."""
    return stranger_records(seed=SEED, images=STRANGERS)


def make(out: Path, *, device: str = "cpu", say: Callable[[float, str], None] = lambda fraction, message: None) -> Path:
    """Train the packaged model again; with `out` = `s2l_core/tiny` it takes the place of the one that ships.

    Writes `weights/tiny/` (a diffusers folder), `curves/tiny.json` and `catalog.json` under `out`.

    Returns:
        The diffusers folder.
    """
    from s2l_core.pretrain import pretrain

    folder = out / "weights" / "tiny"
    trained = pretrain(members(), folder, config=TINY, autoencoder_only=strangers(), device=device, say=say)
    curves = {"autoencoder": _thinned(trained.autoencoder), "denoiser": _thinned(trained.denoiser)}
    _write(out / "curves" / "tiny.json", curves)
    _write(out / "catalog.json", {"models": {"tiny": _entry(folder)}})
    return folder


def _entry(folder: Path) -> dict[str, Any]:
    return {
        "content": digest_of(folder),
        "image_size": TINY.shape.image_size,
        "domains": list(IDENTITIES),
        "made": {
            "data": "drawn-faces",
            "data_seed": SEED,
            "members_per_domain": MEMBERS,
            "autoencoder_strangers": STRANGERS,
            "spec": TINY.model_dump(mode="json"),
            "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        },
    }


def _thinned(curve: Curve, every: int = 20) -> dict[str, list[float]]:
    """Means over `every` steps: what a plot can show."""
    starts = range(0, len(curve.step), every)
    losses = [curve.loss[start : start + every] for start in starts]
    return {"step": [curve.step[start] for start in starts], "loss": [round(sum(part) / len(part), 5) for part in losses]}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
