"""Keeping secrets out of what is written down: messages of errors may hold them, in an address or as they stand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

_NAMES = re.compile(r"SECRET|TOKEN(?!IZERS)|PASSWORD|PASSWD|CREDENTIAL|(^|_)KEY($|_)|API_?KEY|ACCESS_KEY")
"""Names of environment variables whose values are secrets: AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_PASSWORD, RAY_AUTH_TOKEN, HF_TOKEN ..."""
_ADDRESS = re.compile(r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]+(?=@)")
_SIGNED = re.compile(r"(?i)((?:x-amz-(?:signature|credential|security-token)|signature|password|token)=)[^&\s'\"]+")
_BEARER = re.compile(r"(?i)((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
_SHORTEST = 6
"""Shorter values are no secrets, and would be found in every other word."""
HIDDEN = "***"


def scrub(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text without the values of secret environment variables, `user:password@` of addresses, signatures and tokens."""
    for secret in _values(os.environ if environment is None else environment):
        text = text.replace(secret, HIDDEN)
    text = _ADDRESS.sub(HIDDEN, text)
    text = _SIGNED.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1{HIDDEN}", text)


def _values(environment: Mapping[str, str]) -> list[str]:
    """Secret values as they stand and as addresses hold them, the longest first: one may be the beginning of another."""
    found: set[str] = set()
    for name, value in environment.items():
        if len(value) >= _SHORTEST and _NAMES.search(name.upper()) and not _is_no_secret(name, value):
            found |= {value, quote(value, safe=""), quote_plus(value)}
    return sorted(found, key=len, reverse=True)


def _is_no_secret(name: str, value: str) -> bool:
    """Where a secret lies, or whether there is one, is none itself."""
    return name.upper().endswith(("_PATH", "_FILE", "_DIR")) or value.lower() in ("enabled", "disabled")
