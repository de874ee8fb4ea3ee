"""Drawing one look in one scene, back to front: background, hair behind, head, features, hair in front, light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2l_core.faces.canvas import Canvas, Frame, Mask
from s2l_core.faces.looks import Colour, Look
from s2l_core.faces.scene import Scene

WHITE: Colour = (0.97, 0.97, 0.97)
BLACK: Colour = (0.06, 0.06, 0.08)


def portrait(look: Look, scene: Scene) -> NDArray[np.uint8]:
    """A 32x32 colour picture of `look` in `scene`, uint8 [32, 32, 3]."""
    canvas = Canvas()
    head = Frame(canvas, scene.x, scene.y, scene.scale, scene.roll)
    _background(canvas, scene)
    _hair_behind(canvas, head, look)
    _body(canvas, head, look, scene)
    face = head.ellipse(0, 0, look.width, 1.0) | (head.ellipse(0, 0.3, look.width * look.jaw, 0.7))
    canvas.paint(face, look.skin)
    _beard(canvas, head, look, face)
    _eyes(canvas, head, look, scene)
    _nose(canvas, head, look, scene)
    _mouth(canvas, head, look, scene)
    _hair_in_front(canvas, head, look, face)
    canvas.shade(scene.light, scene.brightness)
    return canvas.picture()


def _darker(colour: Colour, factor: float) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _background(canvas: Canvas, scene: Scene) -> None:
    canvas.gradient(*scene.background, scene.slope)
    upright = Frame(canvas, 0.0, 0.0, 1.0, 0.0)
    for disc in scene.discs:
        canvas.paint(upright.ellipse(disc.x, disc.y, disc.radius, disc.radius), disc.colour)


def _hair_behind(canvas: Canvas, head: Frame, look: Look) -> None:
    if look.style == "long":
        canvas.paint(head.ellipse(0, 0.2, look.width + 0.25, 1.35), look.hair)
    elif look.style == "bun":
        canvas.paint(head.ellipse(0, -1.15, 0.38, 0.36), look.hair)
    elif look.style == "curls":
        for x, y in ((-0.7, -0.5), (-0.45, -0.9), (0.0, -1.05), (0.45, -0.9), (0.7, -0.5), (-0.85, -0.1), (0.85, -0.1)):
            canvas.paint(head.ellipse(x * look.width / 0.8, y, 0.34, 0.34), look.hair)


def _body(canvas: Canvas, head: Frame, look: Look, scene: Scene) -> None:
    upright = Frame(canvas, scene.x * 0.6, 0.0, 1.0, 0.0)
    canvas.paint(upright.ellipse(0, 1.15, 0.75, 0.42), scene.shirt)
    canvas.paint(head.box(0, 1.0, look.width * 0.42, 0.32), _darker(look.skin, 0.82))


def _beard(canvas: Canvas, head: Frame, look: Look, face: Mask) -> None:
    if look.beard:
        below = face & (head.y > 0.32) & ~head.ellipse(0, 0.3, look.width * 0.62, 0.26)
        canvas.paint(below, look.hair)


def _eyes(canvas: Canvas, head: Frame, look: Look, scene: Scene) -> None:
    size = look.eye_size
    for side in (-1.0, 1.0):
        x = side * look.eye_gap + scene.yaw
        canvas.paint(head.ellipse(x, -0.15, size * 1.25, size * scene.eyes_open), WHITE)
        canvas.paint(head.ellipse(x + scene.gaze, -0.15, size * 0.7, size * 0.8 * scene.eyes_open), look.iris)
        canvas.paint(head.arc(x, -0.42 - scene.brow_lift, size * 1.4, -0.05, look.brow), _darker(look.hair, 0.6))
        if look.glasses:
            rim = head.ellipse(x, -0.15, 0.27, 0.24) & ~head.ellipse(x, -0.15, 0.2, 0.17)
            canvas.paint(rim, BLACK)
    if look.glasses:
        canvas.paint(head.box(scene.yaw, -0.17, look.eye_gap - 0.24, 0.035), BLACK)


def _nose(canvas: Canvas, head: Frame, look: Look, scene: Scene) -> None:
    x = 1.35 * scene.yaw
    canvas.paint(head.ellipse(x, 0.08 + look.nose / 2, 0.08, look.nose * 0.6), _darker(look.skin, 0.8))


def _mouth(canvas: Canvas, head: Frame, look: Look, scene: Scene) -> None:
    if scene.open_mouth > 0:
        canvas.paint(head.ellipse(scene.yaw, 0.58, look.mouth * 0.6, 0.05 + scene.open_mouth), _darker(look.lips, 0.4))
    canvas.paint(head.arc(scene.yaw, 0.55 + scene.smile * 0.5, look.mouth, scene.smile, 0.07), look.lips)


def _hair_in_front(canvas: Canvas, head: Frame, look: Look, face: Mask) -> None:
    crown = (face | head.ellipse(0, -0.3, look.width + 0.08, 0.8)) & (head.y < 0.1)
    if look.style in ("short", "bun", "curls", "long"):
        parting = 0.35 if look.style == "long" else 0.0
        canvas.paint(crown & (head.y < -0.62 + 0.35 * parting * head.x), look.hair)
        canvas.paint(crown & (abs(head.x) > look.width - 0.06) & (head.y < -0.1), look.hair)
    elif look.style == "fringe":
        canvas.paint(crown & (head.y < -0.48) & (head.y < -0.3 + 0.5 * head.x), look.hair)
        canvas.paint(crown & (head.y < -0.6), look.hair)
        canvas.paint(crown & (abs(head.x) > look.width - 0.1), look.hair)
    elif look.style == "crest":
        canvas.paint(head.ellipse(0, -1.0, 0.2, 0.5), look.hair)
    elif look.style == "cap":
        canvas.paint(crown & (head.y < -0.5), look.hair)
        canvas.paint(head.box(0.3, -0.5, look.width * 0.95, 0.09), _darker(look.hair, 0.7))
