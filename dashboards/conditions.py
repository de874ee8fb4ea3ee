"""Attacks that were run once more under another condition, as a control of themselves: `secmi@own-caption` (docs/decisions/0005)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """What sets a second run of an attack apart.

    Attributes:
        short: in a table, beside the attack's name.
        words: what was done, and how to read it.
    """

    short: str
    words: str


CONDITIONS = {
    "own-caption": Condition(
        "captions as they are",
        "Some methods train a new token that takes the name's place, and the attack shows the model its captions with that token. Their "
        "difference from before thus holds what training changed in the model and what another caption does. Under this condition it shows "
        "the captions as they are. What only the token has learned cannot be seen then: a change that is left "
        "comes from other weights, and where nothing but the token was trained it is exactly zero.",
    ),
    "base-vae": Condition(
        "the base's autoencoder",
        "Some methods change the autoencoder too, and the attack looks at latents from the changed one. Under this condition the latents "
        "come from the base's autoencoder: what differs between the two rows is the autoencoder's part.",
    ),
}


def split(attack: str) -> tuple[str, str]:
    """The attack itself and the condition; the condition is empty for an attack as it is, and for a name that only looks alike."""
    name, _, condition = attack.rpartition("@")
    return (name, condition) if name and condition in CONDITIONS else (attack, "")
