"""Faces that nobody has: 32x32 colour drawings of twelve invented people, as many of each as anybody wants.

An identity fixes geometry and colours; pose, light, expression and background vary. Every drawing is a function of (identity, seed, index)
alone. Members and non-members are different indices of one and the same distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2l_core.faces.looks import IDENTITIES, look_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from s2l_core.images import ImageRecord

FIRST_NON_MEMBER = 1_000_000
"""Members are indices 0, 1, ...; non-members start here, so that asking for fewer members never makes a member a non-member."""


def draw(identity: str, seed: int, index: int) -> NDArray[np.uint8]:
    """Drawing number `index` of an identity, uint8 [32, 32, 3].

    Raises:
        ValueError: nobody of that name can be drawn.
    """
    from s2l_core.faces.drawing import portrait
    from s2l_core.faces.scene import scene_of

    return portrait(look_of(identity), scene_of(identity, seed, index))


def records(identity: str, *, seed: int, members: int, non_members: int) -> list[ImageRecord]:
    """Members, then non-members, of one identity, as PNG with captions and provenance.

    Raises:
        ValueError: nobody of that name can be drawn, or more members are asked for than there are indices before the first non-member.
    """
    if members > FIRST_NON_MEMBER:
        raise ValueError(f"at most {FIRST_NON_MEMBER} members can be drawn of one identity; got {members}")
    inside = [_record(identity, seed, index, member=True) for index in range(members)]
    outside = [_record(identity, seed, FIRST_NON_MEMBER + index, member=False) for index in range(non_members)]
    return inside + outside


def stranger_records(*, seed: int, images: int) -> list[ImageRecord]:
    """Images of faces that belong to nobody, a new face in each; no attack ever meets them."""
    from s2l_core.faces.drawing import portrait
    from s2l_core.faces.looks import stranger
    from s2l_core.faces.scene import scene_of
    from s2l_core.images import ImageRecord, encode_png

    return [
        ImageRecord(
            image_id=f"stranger-{seed}-{index:07d}",
            image=encode_png(portrait(stranger(seed, index), scene_of("stranger", seed, index))),
            text="face",
            domain="stranger",
            member=None,
            provenance={"source": "drawn-faces", "identity": None, "seed": seed, "index": index},
        )
        for index in range(images)
    ]


def _record(identity: str, seed: int, index: int, *, member: bool) -> ImageRecord:
    from s2l_core.faces.scene import caption_of, scene_of
    from s2l_core.images import ImageRecord, encode_png

    return ImageRecord(
        image_id=f"{identity}-{seed}-{index:07d}",
        image=encode_png(draw(identity, seed, index)),
        text=caption_of(identity, scene_of(identity, seed, index)),
        domain=identity,
        member=member,
        provenance={"source": "drawn-faces", "identity": identity, "seed": seed, "index": index},
    )


__all__ = ["FIRST_NON_MEMBER", "IDENTITIES", "draw", "records", "stranger_records"]
