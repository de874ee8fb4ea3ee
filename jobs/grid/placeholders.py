"""What only the user can give, as values that a grid plans with and that do not run: `to-be-given:people`, `to-be-given:sd-v1-1`."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from jobs.errors import InputError
from jobs.grid.load import SHIPPED
from jobs.grid.messages import unknown
from jobs.stages.specs import GivenImages, GivenModel

PREFIX = "to-be-given:"
_FOLDER = SHIPPED / "placeholders"
_PUBLIC = "public"
_NO_PEOPLE = ("models", _PUBLIC)


def is_placeholder(value: str) -> bool:
    return value.startswith(PREFIX)


def domains(data: str) -> list[str]:
    """The domains of a data set that is to be given.

    Raises:
        InputError: no data set of that name is shipped.
    """
    return [str(domain) for domain in _people(data)["domains"]]


def images(data: str, domain: str) -> tuple[GivenImages, int]:
    """A domain's stand-in, and how many members planning takes it to have."""
    known = domains(data)
    if domain not in known:
        raise InputError(unknown(f"domain of {data}", domain, known))
    return GivenImages(what=data.removeprefix(PREFIX), domain=domain), int(_people(data)["members"])


def public_images(value: str) -> GivenImages:
    """The stand-in of public images.

    Raises:
        InputError: nothing of that name is known.
    """
    return GivenImages(what=_known("public", value, [_PUBLIC]), domain=_PUBLIC)


def model(value: str) -> GivenModel:
    """A model's stand-in.

    Raises:
        InputError: no such model is known.
    """
    _known("model", value, list(_models()))
    return GivenModel(what=value.removeprefix(PREFIX))


def how_to_give(what: GivenImages | GivenModel) -> str:
    """The setting that gives it, as a sentence for the user."""
    value = PREFIX + what.what
    if isinstance(what, GivenModel):
        return f"model is {value}: give {_models()[what.what]}"
    if what.what == _PUBLIC:
        return f"public is {value}: give {_read(_PUBLIC)['give']}"
    return f"data is {value}: give {_people(value)['give']}"


def _people(data: str) -> dict[str, Any]:
    names = sorted(path.stem for path in _FOLDER.glob("*.yaml") if path.stem not in _NO_PEOPLE)
    return _read(_known("data", data, names))


def _models() -> dict[str, str]:
    return _read("models")


def _known(field: str, value: str, names: list[str]) -> str:
    name = value.removeprefix(PREFIX)
    if name not in names:
        raise InputError(unknown(field, value, [PREFIX + known for known in names]))
    return name


@cache
def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found
