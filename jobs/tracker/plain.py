"""Words of a grid or of an error in a description that MLflow shows as Markdown: they stay words."""

from __future__ import annotations

_MEANING = {letter: f"\\{letter}" for letter in "\\`[]|"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "\r": " "}


def plain(text: str) -> str:
    """The text in one line, with nothing in it that becomes a picture, a link, a tag or a cell of a table."""
    return "".join(_MEANING.get(letter, letter) for letter in text)
