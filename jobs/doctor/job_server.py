"""Ray's job server, to which `s2l run --detach` hands a run: does it answer, and only to those who have the token."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from jobs.doctor.check import Check

_TIMEOUT_S = 10.0
_OPEN = "whoever reaches it runs code on the cluster: start every node with RAY_AUTH_MODE=token and one RAY_AUTH_TOKEN"


def checks(address: str) -> list[Check]:
    """Whether it answers to this machine's token, and refuses those without."""
    url = f"{address.rstrip('/')}/api/version"
    told = _status(url, _token())
    if told != 200:
        words = f"answers with {told}" if isinstance(told, int) else f"does not answer: {told}"
        return [Check("job server", "failed", f"{address}: {words}", "check RAY_API_SERVER_ADDRESS and RAY_AUTH_TOKEN")]
    if _status(url, "") == 200:
        return [Check("job server", "warning", f"{address}: answers without a token", _OPEN)]
    return [Check("job server", "ok", f"{address}: answers, with the token only")]


def _token() -> str:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if token := os.environ.get("RAY_AUTH_TOKEN", ""):
        return token
    return Path(path).read_text().strip() if path and Path(path).is_file() else ""


def _status(url: str, token: str) -> int | str:
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, ValueError) as error:
        return str(error)
