"""Where MLflow is: which addresses are understood, what lies beside a SQLite file, and how a person opens it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from jobs.errors import InputError
from jobs.secrets import credentials

DATA_FOLDER = "s2l-data"
SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_EXPECTED = "expected http://host:port of an MLflow server, or a database such as sqlite:///s2l-data/mlflow.db"


def resolved(uri: str) -> str:
    """The tracking URI with a SQLite path made absolute.

    Raises:
        jobs.errors.InputError: MLflow 3 cannot track there.
    """
    scheme, separator, rest = uri.partition("://")
    dialect = scheme.partition("+")[0]
    if not separator or dialect == "file":
        raise InputError(f"cannot track to {shown(uri)!r}: MLflow 3 has no store in plain folders; {_EXPECTED}")
    if dialect not in (*SERVERS, *DATABASES):
        raise InputError(f"cannot track to {shown(uri)!r}: unknown kind {scheme!r}; {_EXPECTED}")
    if dialect == "sqlite":
        path = sqlite_file(uri)
        if path is None:
            raise InputError(f"cannot track to {shown(uri)!r}: it names no file; {_EXPECTED}")
        return f"{scheme}:///{path}"
    if not rest:
        raise InputError(f"cannot track to {shown(uri)!r}: it names no host; {_EXPECTED}")
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of a SQLite URI's file; None for any other URI."""
    scheme, _, rest = uri.partition("://")
    name = rest.partition("?")[0].removeprefix("/")
    if scheme.partition("+")[0] != "sqlite" or not name:
        return None
    return Path(name).absolute()


def artifact_location(uri: str) -> str | None:
    """Where plots and tables go: beside a SQLite file; None leaves it to the server."""
    path = sqlite_file(uri)
    return (path.parent / "mlflow-artifacts").as_uri() if path is not None else None


def spool_folder(uri: str) -> Path:
    """Where what is not delivered yet waits: beside a SQLite file, else in the data folder."""
    path = sqlite_file(uri)
    return (path.parent if path is not None else Path(DATA_FOLDER).absolute()) / "mlflow-spool"


def shown(uri: str) -> str:
    """The URI without its password. What might belong to one is hidden."""
    before, found, after = _first(uri, credentials, _authority)
    return f"{before}{found.partition(':')[0]}:***@{after}" if found else uri


def bare(uri: str) -> str:
    """The URI without user and password: what may be sent to others, who have credentials of their own."""
    ways = (_authority, credentials) if uri.partition("://")[0] in SERVERS else (credentials, _authority)
    before, _, after = _first(uri, *ways)
    return before + after


def _first(uri: str, *ways: Callable[[str], tuple[str, str, str]]) -> tuple[str, str, str]:
    """The URI cut where the first way finds a user that does."""
    return next((cut for way in ways if (cut := way(uri))[1]), (uri, "", ""))


def _authority(uri: str) -> tuple[str, str, str]:
    """The URI cut around a user and password without `/`. They may hold `#` or `?`, where `urlsplit` would see the host end."""
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    return scheme + separator, user if at else "", host + slash + path


def ui_command(uri: str) -> str:
    """What a person types to look: a command for a database, the address itself for a server."""
    if urlsplit(uri).scheme in SERVERS:
        return shown(uri)
    return f"mlflow ui --backend-store-uri {shlex.quote(shown(resolved(uri)))}"
