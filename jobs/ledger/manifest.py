"""What a finished stage leaves: its meaning, its parents, its payloads."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from jobs.errors import Corrupt, InputError, NotFound
from jobs.keys import canonical_json, outputs_digest, stage_key

FORMAT = 1
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Parent(_Part):
    """A stage that this one was computed from, with the digest it had then."""

    key: Sha256
    digest: Sha256
    kind: str
    role: str


class Payload(_Part):
    """One file a stage left; its bytes are a blob named by their sha256."""

    name: str
    size: NonNegativeInt
    sha256: Sha256

    @property
    def is_weights(self) -> bool:
        """Whether it is of the kind that a retention policy may drop."""
        return self.name.endswith(".safetensors")


class Manifest(_Part):
    """The record that a stage is done. Its JSON shape is a contract.

    Attributes:
        key: what was asked for; digest: what came out.
        seeds: dotted path in the spec -> seed.
        made: when, where, how long and in which variant; no part of the digest.
    """

    format: Literal[1] = 1
    kind: str
    key: Sha256
    digest: Sha256
    spec: dict[str, Any]
    parents: tuple[Parent, ...] = Field(strict=False)
    payloads: tuple[Payload, ...] = Field(strict=False)
    seeds: dict[str, int]
    code_version: str
    schema_version: PositiveInt
    made: dict[str, Any]

    def payload(self, name: str) -> Payload:
        """
        Raises:
            jobs.errors.NotFound: the stage left no file of that name.
        """
        for payload in self.payloads:
            if payload.name == name:
                return payload
        raise NotFound(f"{self.kind} {self.key} has no payload {name!r}; it has {', '.join(p.name for p in self.payloads) or 'none'}")

    def to_bytes(self) -> bytes:
        return (json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_manifest(data: bytes, kind: str, key: str) -> Manifest:
    """The manifest of a stage, checked against itself and against the name it was found under.

    Raises:
        jobs.errors.Corrupt: truncated, garbled, or about something else than it says.
        jobs.errors.InputError: written by a newer S2L.
    """
    try:
        value = json.loads(data)
        if isinstance(value, dict) and isinstance(value.get("format"), int) and value["format"] > FORMAT:
            raise InputError(
                f"the manifest of {kind} {key} has format {value['format']}; this S2L reads {FORMAT}: "
                "the store was written by a newer S2L; install that one"
            )
        manifest = Manifest.model_validate(value)
    except InputError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        raise Corrupt(f"the manifest of {kind} {key} is garbled: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"the manifest of {kind} {key} is truncated or no JSON: {error}") from None
    _check(manifest, kind, key)
    return manifest


def _check(manifest: Manifest, kind: str, key: str) -> None:
    if (manifest.kind, manifest.key) != (kind, key):
        raise Corrupt(f"the manifest of {kind} {key} is about {manifest.kind} {manifest.key}")
    if manifest.key != meant_key(manifest):
        raise Corrupt(f"the manifest of {kind} {key}: its spec and parents make another key, {meant_key(manifest)}")
    if manifest.digest != digest_of(manifest.payloads):
        raise Corrupt(f"the manifest of {kind} {key}: its payloads make another digest, {digest_of(manifest.payloads)}")
    if manifest.spec.get("kind") != kind:
        raise Corrupt(f"the manifest of {kind} {key} has a spec of kind {manifest.spec.get('kind')!r}")
    for payload in manifest.payloads:
        if not safe_payload_name(payload.name):
            raise Corrupt(f"the manifest of {kind} {key} has a payload that would leave its folder: {payload.name!r}")


def meant_key(manifest: Manifest) -> str:
    """The key that spec, parents and schema version make."""
    roles = ((parent.role, parent.key) for parent in manifest.parents)
    return stage_key(manifest.kind, manifest.schema_version, canonical_json(manifest.spec), roles)


def digest_of(payloads: tuple[Payload, ...]) -> str:
    return outputs_digest((payload.name, payload.size, payload.sha256) for payload in payloads)


def payloads_in(folder: Path) -> tuple[Payload, ...]:
    """The files of a folder, at any depth, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(_payload(path, path.relative_to(folder).as_posix()) for path in files)


def _payload(path: Path, name: str) -> Payload:
    if not safe_payload_name(name):
        raise InputError(f"{name!r} cannot be a payload's name")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Payload(name=name, size=path.stat().st_size, sha256=digest)


def safe_payload_name(name: str) -> bool:
    """True when the name stays inside the folder it is written to."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name and "\\" not in name


def seeds_in(spec: Any, path: str = "") -> dict[str, int]:
    """Every field called `seed` or ending in `_seed`: dotted path -> value."""
    return dict(_seeds(spec, path))


def _seeds(value: Any, path: str) -> Iterator[tuple[str, int]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, inner in items:
        here = f"{path}.{name}" if path else str(name)
        if isinstance(inner, int) and not isinstance(inner, bool) and (name == "seed" or str(name).endswith("_seed")):
            yield here, inner
        else:
            yield from _seeds(inner, here)


@cache
def code_version() -> str:
    """The installed package's version."""
    try:
        return importlib.metadata.version("s2l")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
