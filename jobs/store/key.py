"""The key of an encrypted store, from the environment alone: never an option, a setting of a grid, or part of what is sent to workers."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from jobs.errors import InputError

VARIABLE = "S2L_ENCRYPTION_KEY"
FILE_VARIABLE = "S2L_ENCRYPTION_KEY_FILE"
_BYTES = 32


def new_key() -> str:
    """A fresh key, as `S2L_ENCRYPTION_KEY` takes it."""
    return base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def key_from_environment() -> bytes | None:
    """The key, or None when none is set.

    Raises:
        jobs.errors.InputError: what is set is no key; the message does not show it.
    """
    text, file = os.environ.get(VARIABLE), os.environ.get(FILE_VARIABLE)
    if text is not None and file is not None:
        raise InputError(f"{VARIABLE} and {FILE_VARIABLE} are both set; leave one of them")
    if file is not None:
        try:
            return _decoded(Path(file).read_text(encoding="ascii"), f"the file that {FILE_VARIABLE} names")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InputError(f"the file that {FILE_VARIABLE} names cannot be read ({reason}): {file}") from None
    return None if text is None else _decoded(text, VARIABLE)


def _decoded(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _BYTES:
        raise InputError(f"{where} holds no key; expected the base64 of {_BYTES} random bytes, as `s2l keygen` prints it")
    return key
