"""From what the user writes to a store."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from jobs.errors import InputError
from jobs.store.folder import FolderStore
from jobs.store.key import key_from_environment
from jobs.store.plain import PlainStore
from jobs.store.protocol import ObjectStore, checked_name

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_EXPECTED = "expected a folder, file:///absolute/folder or s3://bucket/prefix"


def open_store(url: str) -> ObjectStore:
    """The store at a folder, `file://` or `s3://bucket/prefix`, encrypted when the environment holds a key. Nothing is read or written yet.

    Endpoint, credentials and region of S3 come from the usual AWS variables and roles alone.

    Raises:
        jobs.errors.InputError: the text names no store, or what is set as a key is none.
    """
    bare = open_bare(url)
    key = key_from_environment()
    if key is None:
        return PlainStore(bare)
    from jobs.store.encrypted import EncryptedStore

    return EncryptedStore(bare, key)


def open_bare(url: str) -> ObjectStore:
    """The objects as they lie there, whether they are encrypted or not. For looking at a store from outside; the ledger never does.

    Raises:
        jobs.errors.InputError: the text names no store.
    """
    if not url.strip():
        raise InputError(f"the store's name is empty; {_EXPECTED}")
    scheme, _, _ = url.partition("://")
    if scheme == url:
        return FolderStore(Path(url))
    if scheme == "file":
        return FolderStore(_local_path(url))
    if scheme == "s3":
        return _s3(url)
    near = (
        " (S3-compatible servers are s3:// too; their address goes into AWS_ENDPOINT_URL_S3)"
        if scheme in ("http", "https", "minio")
        else ""
    )
    raise InputError(f"no store of kind {scheme!r}: {_without_user(url)}; {_EXPECTED}{near}")


def _local_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InputError(f"{url} names no folder of this machine; write file:///absolute/folder with three slashes")
    return Path(unquote(parts.path))


def _s3(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise InputError("credentials do not belong into the store's name; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if not parts.netloc or parts.query or parts.fragment:
        raise InputError(f"{url} names no bucket and prefix; {_EXPECTED}")
    if not _BUCKET.fullmatch(parts.netloc):
        raise InputError(f"{url}: {parts.netloc!r} cannot be a bucket; a bucket has 3 to 63 small letters, digits, dots and dashes")
    prefix = parts.path.strip("/")
    if prefix:
        checked_name(prefix)
    from jobs.store.s3 import S3Store

    return S3Store(parts.netloc, prefix)


def _without_user(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
