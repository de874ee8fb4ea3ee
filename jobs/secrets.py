"""Keeping secrets out of what is written down: messages of errors may hold them, in an address or as they stand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

_NAMES = re.compile(r"SECRET|TOKEN(?!IZERS)|PASSWORD|PASSWD|CREDENTIAL|(^|_)KEY($|_)|API_?KEY|ACCESS_KEY")
"""Names of environment variables whose values are secrets: AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_PASSWORD, RAY_AUTH_TOKEN, HF_TOKEN ..."""
_HOST_AND_PORT = r"(?:\[[0-9A-Fa-f:.]+\](?::\d{1,5})?|[^\s/:?#'\"]*:\d{1,5})/"


def _with_password(letter: str) -> re.Pattern[str]:
    """Finds addresses with a password, as far as the last `@`: it may hold `/`, `@`, `:`, `#`, `%` and `?` where nobody escaped them.

    A web address with a port and a path has none (`http://host:80/a@b`), unless another host and port follow. Databases' drivers read on
    to the `@` too.
    """
    web = rf"(?<=http)s?://(?!{_HOST_AND_PORT}(?!{letter}*@[\w.-]+:\d))"
    return re.compile(rf"(?is)(?P<scheme>(?<!http)(?<!https)://|{web})[^\s/:'\"]*:{letter}+(?=@)")


_ADDRESS = _with_password(r"(?:[^\s'\"]|['\"](?![\s,;:.)\]}]|$))")
"""In a text: a space ends an address, and so does a quote that ends a word."""
_WHOLE = _with_password(".")
_SIGNED = re.compile(r"(?i)((?:x-amz-(?:signature|credential|security-token)|signature|password|token)=)[^&\s'\"]+")
_BEARER = re.compile(r"(?i)((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
_SHORTEST = 6
"""Shorter values are no secrets, and would be found in every other word."""
HIDDEN = "***"


def scrub(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text without the values of secret environment variables, `user:password@` of addresses, signatures and tokens."""
    for secret in _values(os.environ if environment is None else environment):
        text = text.replace(secret, HIDDEN)
    text = _ADDRESS.sub(rf"\g<scheme>{HIDDEN}", text)
    text = _SIGNED.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1{HIDDEN}", text)


def credentials(address: str) -> tuple[str, str, str]:
    """An address before its `user:password`, that, and what follows the `@`; where it holds no password, all of it and nothing."""
    found = _WHOLE.search(address)
    if found is None:
        return address, "", ""
    begin, end = found.end("scheme"), found.end()
    return address[:begin], address[begin:end], address[end + 1 :]


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
