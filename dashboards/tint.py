"""How strongly a cell is coloured."""

from __future__ import annotations

STRONGEST = 45
"""In percent: the number on it must still be read, by day and by night."""
FAINTEST_REACH = 0.02
"""Changes are never spread over the colours by less than this: noise should look faint."""


def strength(value: float, reach: float) -> int:
    """The strength of a value's colour in percent, strongest at `reach` and beyond."""
    return round(STRONGEST * min(1.0, abs(value) / max(FAINTEST_REACH, reach)))
