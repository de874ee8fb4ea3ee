"""Ray's job server, to which `s2l run --detach` hands a run: does it answer, and only to those who have the token."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from jobs.doctor.check import Check
from jobs.tracker.location import bare, shown

_TIMEOUT_S = 10.0
_OPEN = "whoever reaches it runs code on the cluster: start every node with RAY_AUTH_MODE=token and one RAY_AUTH_TOKEN"
_MEND = "check RAY_API_SERVER_ADDRESS, and Ray's token: in RAY_AUTH_TOKEN, in RAY_AUTH_TOKEN_PATH's file or in ~/.ray/auth_token"


def checks(address: str) -> list[Check]:
    """Whether it answers to this machine's token, and refuses those without."""
    url, address = f"{bare(address).rstrip('/')}/api/version", shown(address)
    told = _status(url, _token())
    if told != 200:
        words = f"answers with {told}" if isinstance(told, int) else f"does not answer: {told}"
        return [Check("job server", "failed", f"{address}: {words}", _MEND)]
    if _status(url, "") == 200:
        return [Check("job server", "warning", f"{address}: answers without a token", _OPEN)]
    return [Check("job server", "ok", f"{address}: answers, with the token only")]


def _token() -> str:
    """Where Ray looks for it, in Ray's order; empty where there is none."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    try:
        return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token").read_text().strip()
    except (OSError, ValueError, RuntimeError):  # the last: a user without a home
        return ""


def _status(url: str, token: str) -> int | str:
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, ValueError, HTTPException) as error:
        return str(error) or type(error).__name__
