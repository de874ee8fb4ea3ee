"""Who can be drawn: twelve invented people, each a fixed set of shapes and colours. Nobody real is shown."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass

Colour = tuple[float, float, float]

HAIR_STYLES = ("bald", "short", "long", "bun", "crest", "curls", "fringe", "cap")


@dataclass(frozen=True)
class Look:
    """What makes a face that face: colours in [0, 1] RGB, lengths as fractions of the face's half height."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    style: str
    width: float = 0.78
    jaw: float = 0.8
    eye_gap: float = 0.34
    eye_size: float = 0.13
    brow: float = 0.05
    nose: float = 0.22
    mouth: float = 0.3
    beard: bool = False
    glasses: bool = False


LOOKS: dict[str, Look] = {
    "zorvik": Look((0.95, 0.78, 0.66), (0.75, 0.22, 0.10), (0.2, 0.5, 0.3), (0.75, 0.3, 0.3), "short", width=0.72, beard=True),
    "mellune": Look((0.55, 0.35, 0.22), (0.10, 0.08, 0.08), (0.15, 0.1, 0.05), (0.55, 0.15, 0.2), "long", width=0.7, eye_size=0.16),
    "tavrox": Look((0.72, 0.82, 0.52), (0.25, 0.40, 0.15), (0.7, 0.5, 0.1), (0.4, 0.45, 0.25), "crest", width=0.9, jaw=0.95, brow=0.09),
    "quilbo": Look((0.98, 0.85, 0.74), (0.95, 0.82, 0.35), (0.2, 0.4, 0.8), (0.9, 0.45, 0.5), "curls", width=0.85, eye_gap=0.4),
    "ondrix": Look((0.45, 0.58, 0.82), (0.90, 0.92, 0.96), (0.1, 0.1, 0.3), (0.3, 0.3, 0.6), "fringe", width=0.68, nose=0.32),
    "pexilla": Look((0.92, 0.70, 0.55), (0.55, 0.15, 0.60), (0.4, 0.2, 0.5), (0.8, 0.2, 0.45), "bun", width=0.74, glasses=True),
    "brundlo": Look((0.80, 0.55, 0.40), (0.35, 0.22, 0.15), (0.3, 0.2, 0.1), (0.6, 0.3, 0.25), "bald", width=0.95, jaw=1.0, beard=True),
    "yivvek": Look((0.93, 0.88, 0.80), (0.15, 0.60, 0.60), (0.1, 0.6, 0.6), (0.7, 0.4, 0.4), "crest", width=0.66, eye_size=0.17),
    "fennolu": Look((0.65, 0.45, 0.30), (0.85, 0.35, 0.10), (0.35, 0.25, 0.1), (0.6, 0.25, 0.2), "curls", width=0.8, glasses=True),
    "kuzzamo": Look((0.35, 0.22, 0.15), (0.85, 0.75, 0.15), (0.1, 0.05, 0.05), (0.5, 0.2, 0.2), "cap", width=0.82, mouth=0.38),
    "snorrel": Look((0.90, 0.62, 0.62), (0.92, 0.92, 0.90), (0.4, 0.4, 0.5), (0.7, 0.3, 0.35), "bald", width=0.88, glasses=True, nose=0.34),
    "gwibbet": Look((0.97, 0.80, 0.68), (0.15, 0.20, 0.60), (0.25, 0.55, 0.9), (0.95, 0.4, 0.55), "long", width=0.86, eye_size=0.18),
}

IDENTITIES: tuple[str, ...] = tuple(LOOKS)


class Draws:
    """Named uniform numbers from a sha256 of the seed's parts: the same on every machine and in every release."""

    def __init__(self, *parts: str | int) -> None:
        self._prefix = "/".join(map(str, parts))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        digest = hashlib.sha256(f"{self._prefix}/{name}".encode()).digest()
        return low + (high - low) * (int.from_bytes(digest[:6], "big") / 2**48)

    def colour(self, name: str, low: float = 0.0, high: float = 1.0) -> Colour:
        return (self.uniform(name + ".r", low, high), self.uniform(name + ".g", low, high), self.uniform(name + ".b", low, high))

    def chance(self, name: str, probability: float) -> bool:
        return self.uniform(name) < probability

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        return options[int(self.uniform(name) * len(options))]


def look_of(identity: str) -> Look:
    """The look of a named identity.

    Raises:
        ValueError: nobody of that name can be drawn.
    """
    if identity in LOOKS:
        return LOOKS[identity]
    near = difflib.get_close_matches(identity, IDENTITIES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"no drawn face is named {identity!r}: {hint}allowed: {', '.join(IDENTITIES)}")


def stranger(seed: int, index: int) -> Look:
    """A random look that belongs to nobody: for training an autoencoder on more faces than the twelve."""
    draws = Draws("stranger", seed, index)
    return Look(
        skin=draws.colour("skin", 0.2, 1.0),
        hair=draws.colour("hair"),
        iris=draws.colour("iris", 0.0, 0.8),
        lips=draws.colour("lips", 0.2, 0.9),
        style=draws.choice("style", HAIR_STYLES),
        width=draws.uniform("width", 0.62, 0.98),
        jaw=draws.uniform("jaw", 0.7, 1.0),
        eye_gap=draws.uniform("eye_gap", 0.28, 0.42),
        eye_size=draws.uniform("eye_size", 0.1, 0.19),
        brow=draws.uniform("brow", 0.03, 0.1),
        nose=draws.uniform("nose", 0.15, 0.36),
        mouth=draws.uniform("mouth", 0.22, 0.4),
        beard=draws.chance("beard", 0.25),
        glasses=draws.chance("glasses", 0.25),
    )
