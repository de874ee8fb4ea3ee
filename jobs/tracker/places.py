"""Where an experiment's files may go: whoever may make an experiment chose its place."""

from __future__ import annotations

from urllib.parse import urlsplit

from jobs.tracker.answers import Refused
from jobs.tracker.location import SERVERS, shown

_FOLDERS = ("", "file", "runs", "models")
"""Kinds of addresses of artifacts that name a folder of this machine, or something else that may."""
_WITH_PASSWORD = (*SERVERS, "mlflow-artifacts")
"""Kinds of addresses to which MLflow's client sends the user and the password of tracking, whatever host they name."""


def refuse_place(uri: str, experiment: str, place: str) -> None:
    """See that a server's experiment decides no folder of this machine, and no host that gets our password.

    Raises:
        jobs.tracker.answers.Refused: it would.
    """
    here, there = urlsplit(uri), urlsplit(place)
    if here.scheme not in SERVERS:
        return
    why = ""
    if there.scheme in _FOLDERS or len(there.scheme) == 1:  # one letter: a Windows drive
        why = "is not on the server but names a folder here"
    elif there.scheme in _WITH_PASSWORD and there.netloc.rpartition("@")[2] not in ("", here.netloc.rpartition("@")[2]):
        why = "is another host, which would be told the password for this one"
    if why:
        raise Refused(
            f"{shown(uri)}: files of experiment {experiment!r} would go to {place}, which {why}; "
            "delete that experiment for good, or start the server with --serve-artifacts"
        )
