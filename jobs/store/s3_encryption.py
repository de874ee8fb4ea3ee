"""Whether an S3 server is to encrypt what is written: from the environment."""

from __future__ import annotations

import os

from jobs.errors import InputError

_KINDS = ("AES256", "aws:kms", "aws:kms:dsse")


def encryption() -> dict[str, str]:
    """What every write asks; nothing leaves it to the bucket's own default.

    Raises:
        jobs.errors.InputError: an unknown kind.
    """
    kind, key = os.environ.get("S2L_S3_SSE", ""), os.environ.get("S2L_S3_SSE_KMS_KEY_ID", "")
    if kind not in ("", *_KINDS):
        raise InputError(f"S2L_S3_SSE is {kind!r}; expected {' or '.join(_KINDS)}, or unset to leave it to the bucket")
    if key and not kind.startswith("aws:kms"):
        raise InputError(f"S2L_S3_SSE_KMS_KEY_ID is set, and S2L_S3_SSE is {kind!r}; a key of KMS goes with aws:kms")
    asked = {"ServerSideEncryption": kind} if kind else {}
    return asked | ({"SSEKMSKeyId": key} if key else {})
