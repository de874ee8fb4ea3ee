"""`encryption.json`: says of a store that it is encrypted, and with which key, so that plain and encrypted objects never mix."""

from __future__ import annotations

import json

from jobs.errors import InputError, NotFound
from jobs.store.protocol import ObjectStore

NAME = "encryption.json"
_FORMAT = 1
_GIVE = "set S2L_ENCRYPTION_KEY, or S2L_ENCRYPTION_KEY_FILE, to the key it was made with"


def marker(key_id: str) -> bytes:
    """The object's bytes; no secret."""
    return json.dumps({"format": _FORMAT, "key_id": key_id}, indent=1).encode()


def key_id_of(store: ObjectStore) -> str | None:
    """The id of the key that the store is encrypted with; None when it is not encrypted.

    Raises:
        jobs.errors.InputError: encrypted in a way that this S2L does not know.
    """
    try:
        found = json.loads(store.get(NAME).data)
    except NotFound:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != _FORMAT or not isinstance(found.get("key_id"), str):
        raise InputError(f"{NAME} of the store {store.url} is damaged, or of a newer S2L; restore it from a backup, or install that one")
    return str(found["key_id"])


def needs_key(store: ObjectStore, key_id: str) -> InputError:
    return InputError(f"the store {store.url} is encrypted (key id {key_id}) and no key is set; {_GIVE}")


def other_key(store: ObjectStore, key_id: str, ours: str) -> InputError:
    return InputError(f"the store {store.url} is encrypted with another key (id {key_id}) than the one that is set (id {ours}); {_GIVE}")


def holds_plain(store: ObjectStore) -> InputError:
    return InputError(
        f"the store {store.url} holds objects that are not encrypted (there is no {NAME}), and a key is set: the two are not mixed; "
        "unset S2L_ENCRYPTION_KEY and S2L_ENCRYPTION_KEY_FILE, or name another store with --store"
    )
