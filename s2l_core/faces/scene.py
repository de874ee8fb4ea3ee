"""What changes from one photograph to the next: pose, light, expression, background, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

from s2l_core.faces.looks import Colour, Draws


@dataclass(frozen=True)
class Disc:
    """A coloured disc behind the head; the picture spans [-1, 1] in both directions, y down."""

    x: float
    y: float
    radius: float
    colour: Colour


@dataclass(frozen=True)
class Scene:
    """One draw of the nuisance. Angles in radians, lengths in half picture widths."""

    x: float
    y: float
    scale: float
    roll: float
    yaw: float
    light: tuple[float, float]
    brightness: float
    smile: float
    open_mouth: float
    eyes_open: float
    brow_lift: float
    gaze: float
    background: tuple[Colour, Colour]
    slope: tuple[float, float]
    discs: tuple[Disc, ...]
    shirt: Colour
    framing: str
    worded: bool

    @property
    def expression(self) -> str:
        """The one word that a caption may use for the expression."""
        if self.open_mouth > 0.12:
            return "surprised"
        if self.smile > 0.12:
            return "smiling"
        return "sad" if self.smile < -0.04 else "serious"


def scene_of(identity: str, seed: int, index: int) -> Scene:
    """Draw number `index` of the nuisance for one identity; all draws have one distribution."""
    draws = Draws("scene", identity, seed, index)
    discs = tuple(
        Disc(
            draws.uniform(f"disc{i}.x", -1, 1),
            draws.uniform(f"disc{i}.y", -1, 1),
            draws.uniform(f"disc{i}.radius", 0.12, 0.45),
            draws.colour(f"disc{i}"),
        )
        for i in range(3)
    )
    return Scene(
        x=draws.uniform("x", -0.18, 0.18),
        y=draws.uniform("y", -0.1, 0.16),
        scale=draws.uniform("scale", 0.56, 0.74),
        roll=draws.uniform("roll", -0.3, 0.3),
        yaw=draws.uniform("yaw", -0.2, 0.2),
        light=(draws.uniform("light.x", -0.35, 0.35), draws.uniform("light.y", -0.25, 0.25)),
        brightness=draws.uniform("brightness", 0.8, 1.1),
        smile=draws.uniform("smile", -0.15, 0.3),
        open_mouth=max(0.0, draws.uniform("open_mouth", -0.3, 0.2)),
        eyes_open=draws.uniform("eyes_open", 0.5, 1.1),
        brow_lift=draws.uniform("brow_lift", -0.04, 0.08),
        gaze=draws.uniform("gaze", -0.06, 0.06),
        background=(draws.colour("background.0", 0.1, 0.95), draws.colour("background.1", 0.1, 0.95)),
        slope=(draws.uniform("slope.x", -1, 1), draws.uniform("slope.y", -1, 1)),
        discs=discs,
        shirt=draws.colour("shirt"),
        framing=draws.choice("framing", ("photo", "face")),
        worded=draws.chance("worded", 0.5),
    )


def caption_of(identity: str, scene: Scene) -> str:
    """The caption, by one rule for every image: `photo of NAME`, or with the expression, `face of NAME , smiling`."""
    caption = f"{scene.framing} of {identity}"
    return f"{caption} , {scene.expression}" if scene.worded else caption
