"""Keys (what is asked for) and digests (what came out)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted names, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def stage_key(kind: str, schema_version: int, spec_json: str, parents: Iterable[tuple[str, str]]) -> str:
    """The sha256 of a stage's meaning.

    Args:
        kind: the stage's kind.
        schema_version: bumped when the code of the kind changes results.
        spec_json: canonical JSON of the stage's spec.
        parents: (role, key) pairs in the order of the stage's parents.
    """
    before, after = stage_frame(kind, schema_version, spec_json)
    return sha256_text(before + ",".join(f'["{role}","{key}"]' for role, key in parents) + after)


def stage_frame(kind: str, schema_version: int, spec_json: str) -> tuple[str, str]:
    """The text that `stage_key` hashes, before and after the parents."""
    return f'{{"kind":"{kind}","parents":[', f'],"schema_version":{schema_version},"spec":{spec_json}}}'


def outputs_digest(payloads: Iterable[tuple[str, int, str]]) -> str:
    """The sha256 over a stage's outputs.

    Args:
        payloads: (name, size in bytes, sha256) triples, in any order.
    """
    return sha256_text(canonical_json(sorted([name, size, sha256] for name, size, sha256 in payloads)))
