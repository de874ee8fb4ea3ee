"""How an encrypted store hides names and bytes. Primitives of `cryptography` only; docs/decisions/0017 says why these."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK = 1 << 20
_MAGIC = b"s2l-enc1"
_SALT = 24
_HEADER = len(_MAGIC) + _SALT
_TAG = 16
_QUARANTINE = "quarantine/"


class Unreadable(Exception):
    """Bytes that were not written under this name with this key, or not to their end."""


class Cipher:
    """Names and bytes hidden with keys derived from one.

    A name is hidden part by part with AES-SIV, its first part (`blobs`, `manifests`) excepted: equal names look equal, so that an object
    is found again and a prefix can be listed, and nothing else can be told of them. Bytes are sealed with AES-256-GCM in chunks (the
    STREAM construction): every object has a key of its own from a random salt and its name, every chunk its number and whether it is the
    last as nonce. So no chunk can be left out, put elsewhere or cut off, and no object put in the place of another.
    """

    def __init__(self, key: bytes) -> None:
        """
        Args:
            key: 32 random bytes.
        """
        self.id = _derived(key, b"s2l key id", 16).hex()
        self._bytes = _derived(key, b"s2l bytes", 32)
        self._names = AESSIV(_derived(key, b"s2l names", 64))
        self._folders: dict[tuple[str, str], str] = {}

    def hide(self, name: str) -> str:
        """What the store calls the object; a name that ends in `/` is a prefix and stays one."""
        first, *parts = name.split("/")
        hidden, before = [first], first
        for part in parts:
            hidden.append(self._hide(part, before) if part else "")
            before = f"{before}/{part}"
        return "/".join(hidden)

    def show(self, hidden: str) -> str | None:
        """The name that is hidden; None for one that this key did not hide."""
        name, *parts = hidden.split("/")
        for place, part in enumerate(parts, 1):
            known = self._folders.get((name, part))
            if known is None:
                known = self._show(part, name)
                if known is None:
                    return None
                if place < len(parts):
                    self._folders[name, part] = known
            name = f"{name}/{known}"
        return name

    def seal(self, name: str, data: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes as they are stored under that name."""
        salt = os.urandom(_SALT)
        cipher = self._cipher(name, salt)
        yield _MAGIC + salt
        for number, chunk, last in _framed(data, CHUNK):
            yield cipher.encrypt(_nonce(number, last), chunk, None)

    def unseal(self, name: str, sealed: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes that were sealed under that name, each chunk when it has proved itself.

        Raises:
            Unreadable: from here on they are not what was written, under this name and with this key.
        """
        pieces = iter(sealed)
        header = b""
        while len(header) < _HEADER and (piece := next(pieces, None)) is not None:
            header += piece
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            raise Unreadable
        cipher = self._cipher(name, header[len(_MAGIC) : _HEADER])
        for number, chunk, last in _framed(_chained(header[_HEADER:], pieces), CHUNK + _TAG):
            try:
                yield cipher.decrypt(_nonce(number, last), chunk, None)
            except (InvalidTag, ValueError):
                raise Unreadable from None

    def _cipher(self, name: str, salt: bytes) -> AESGCM:
        return AESGCM(_derived(self._bytes, b"s2l object\0" + bound_name(name).encode(), 32, salt))

    def _hide(self, part: str, before: str) -> str:
        sealed = self._names.encrypt(part.encode(), [before.encode()])
        return base64.b32encode(sealed).decode().rstrip("=").lower()

    def _show(self, part: str, before: str) -> str | None:
        try:
            sealed = base64.b32decode(part.upper() + "=" * (-len(part) % 8))
            return self._names.decrypt(sealed, [before.encode()]).decode()
        except (binascii.Error, ValueError, InvalidTag):
            return None


def bound_name(name: str) -> str:
    """The name that an object's bytes are bound to: its own, and in quarantine the one it had before.

    What goes to quarantine often cannot be read any more: it must be moved as it is.
    """
    inner, _, number = name.removeprefix(_QUARANTINE).rpartition("/")
    return inner if name.startswith(_QUARANTINE) and inner and number.isdigit() else name


def plain_size(sealed: int) -> int:
    """How many bytes are inside of so many sealed ones."""
    body = sealed - _HEADER
    return max(0, body - _TAG * -(-body // (CHUNK + _TAG)))


def _derived(key: bytes, what: bytes, length: int, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), length, salt, what).derive(key)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _chained(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _framed(data: Iterable[bytes], size: int) -> Iterator[tuple[int, bytes, bool]]:
    """(number, chunk, whether it is the last) in chunks of one size; the last may be shorter, and empty only when there is nothing."""
    waiting, number = bytearray(), 0
    for piece in data:
        waiting += piece
        while len(waiting) > size:  # one byte more says that it is not the last
            yield number, bytes(waiting[:size]), False
            del waiting[:size]
            number += 1
    yield number, bytes(waiting), True
