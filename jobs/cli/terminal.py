"""How wide the terminal is that an answer goes to, and lines that wrap there."""

from __future__ import annotations

import shutil
import sys
import textwrap

_MARGIN = 13
"""Columns before the words of a labelled line."""


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def labelled(label: str, words: str) -> str:
    """`  label      words`, wrapped under the words' beginning on a terminal; one line elsewhere."""
    line, width = f"  {label:{_MARGIN - 3}} {words}", terminal_width()
    if width is None:
        return line
    return textwrap.fill(line, max(width, 40), subsequent_indent=" " * _MARGIN, break_on_hyphens=False, break_long_words=False)
