"""Reading everything back: which stages are not what their manifests say."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from jobs.errors import Corrupt, NotFound
from jobs.ledger.blobs import sha256_of
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest, parse_manifest
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore

S = TypeVar("S")
T = TypeVar("T")
Say = Callable[[float, str], None]
_THREADS = 8


@dataclass(frozen=True)
class Problem:
    """Something in the store that is not what it should be.

    Attributes:
        kind, key: the stage it spoils; empty for an object that belongs to no stage.
        what: a sentence for a person.
        where: the object's name in the store.
        severity: "info" for what does no harm: a blob that no manifest names, left by a commit that was killed or lost its race.
    """

    kind: str
    key: str
    what: str
    where: str
    severity: Literal["error", "info"] = "error"


@dataclass(frozen=True)
class _Use:
    """One payload of one stage: what a blob should be, and to whom it matters."""

    kind: str
    key: str
    name: str
    size: int


def verify(ledger: Ledger, repair: bool = False, say: Say = lambda fraction, words: None) -> list[Problem]:
    """Read every manifest, hash every blob (each once), and name each stage that is corrupt; what is harmless comes last.

    Args:
        repair: move what is corrupt to quarantine, so that it is made again when it is asked for; orphans stay.
        say: told the fraction done, by bytes, and a few words.

    Raises:
        jobs.errors.InputError: the store was written by a newer S2L.
    """
    manifests, problems = read_manifests(ledger.store, [entry.name for entry in ledger.store.list(Paths.manifests)])
    uses: dict[str, list[_Use]] = defaultdict(list)
    for manifest in manifests:
        for payload in manifest.payloads:
            uses[payload.sha256].append(_Use(manifest.kind, manifest.key, payload.name, payload.size))
    sizes = {entry.name: entry.size for entry in ledger.store.list(Paths.blobs)}
    for entry in ledger.store.list(Paths.drops):  # gone on purpose: no problem, and nothing to hash
        sha256 = entry.name.removeprefix(Paths.drops).removesuffix(".json")
        if Paths.blob(sha256) not in sizes:
            uses.pop(sha256, None)
    problems += _check_blobs(ledger.store, uses, sizes, say)
    orphans = sorted(sizes.keys() - {Paths.blob(sha256) for sha256 in uses})
    spoiled = list(_spoiled(ledger.store, orphans, sizes))
    problems += spoiled
    problems.sort(key=lambda problem: (problem.kind, problem.key, problem.where, problem.what))
    if repair:
        _repair(ledger, problems)
    wrong = {problem.where for problem in spoiled}
    harmless = [name for name in orphans if name not in wrong]
    return problems + [Problem("", "", f"{name}: no manifest names this blob ({sizes[name]} bytes)", name, "info") for name in harmless]


def _spoiled(store: ObjectStore, orphans: Iterable[str], sizes: dict[str, int]) -> Iterator[Problem]:
    """Blobs that no manifest names and whose bytes are not what they are called."""
    for name, what in _in_threads(lambda name: (name, _wrong(store, name.rpartition("/")[2], sizes)), orphans):
        if what:
            yield Problem("", "", f"{name}: {what}; no manifest names it", name)


def read_manifests(store: ObjectStore, names: Iterable[str]) -> tuple[list[Manifest], list[Problem]]:
    """The manifests of these names, and what is wrong with those that are none; one that is gone by now is left out.

    Raises:
        jobs.errors.InputError: written by a newer S2L.
    """
    manifests: list[Manifest] = []
    problems: list[Problem] = []
    for found in _in_threads(lambda name: _read_manifest(store, name), names):
        if isinstance(found, Manifest):
            manifests.append(found)
        elif found is not None:
            problems.append(found)
    return manifests, problems


def _read_manifest(store: ObjectStore, name: str) -> Manifest | Problem | None:
    try:
        return _judged(name, store.get(name).data)
    except NotFound:
        return None  # taken to quarantine while we look


def _judged(name: str, data: bytes) -> Manifest | Problem:
    stage = Paths.stage_of(name)
    if stage is None:
        return Problem("", "", f"{name} is no manifest's name", name)
    try:
        return parse_manifest(data, *stage)
    except Corrupt as error:
        return Problem(*stage, str(error), name)


def _check_blobs(store: ObjectStore, uses: dict[str, list[_Use]], sizes: dict[str, int], say: Say) -> Iterator[Problem]:
    total = sum(sizes.get(Paths.blob(sha256), 0) for sha256 in uses) or 1
    done = 0
    for sha256, what in _in_threads(lambda sha256: (sha256, _wrong(store, sha256, sizes)), uses):
        name = Paths.blob(sha256)
        done += sizes.get(name, 0)
        say(done / total, f"{name}: {what or 'whole'}")
        for use in uses[sha256]:
            found = what or ("" if use.size == sizes[name] else f"has {sizes[name]} bytes instead of {use.size}")
            if found:
                yield Problem(use.kind, use.key, f"{use.kind} {use.key}: payload {use.name!r} {found}", name)


def _wrong(store: ObjectStore, sha256: str, sizes: dict[str, int]) -> str:
    """What is wrong with a blob; empty when its bytes are what its name says."""
    name = Paths.blob(sha256)
    if name not in sizes:
        return "is missing from the store"
    found = sha256_of(store, name)
    if found is None:
        return "is missing from the store"
    return "" if found == sha256 else "is corrupt: its bytes have another sha256"


def _repair(ledger: Ledger, problems: Iterable[Problem]) -> None:
    """By a second look at each: hours may have passed since the first, and whoever met it in between has repaired it."""
    looked: set[str] = set()
    for problem in problems:
        if not problem.where.startswith(Paths.blobs):
            _put_away(ledger, problem.where, problem, lambda manifest: True)
            continue
        if problem.where not in looked:
            looked.add(problem.where)
            ledger.quarantine.take_blob(problem.where.rpartition("/")[2], problem.what, {"kind": problem.kind, "key": problem.key})
        if problem.kind:
            _put_away(ledger, Paths.manifest(problem.kind, problem.key), problem, partial(_is_whole, ledger.store, problem.where))


def _put_away(ledger: Ledger, name: str, problem: Problem, is_right: Callable[[Manifest], bool]) -> None:
    """Move what lies at a manifest's name out of the way, unless it is a manifest now, and right."""
    with contextlib.suppress(NotFound):
        data = ledger.store.get(name).data
        found = _judged(name, data)
        if isinstance(found, Problem) or not is_right(found):
            ledger.quarantine.take(name, problem.what, {"kind": problem.kind, "key": problem.key}, seen=data)


def _is_whole(store: ObjectStore, blob: str, manifest: Manifest) -> bool:
    """Whether the manifest's payloads of that blob, whose bytes are known to be right if it is there, have its size, or were let go."""
    sizes = {payload.size for payload in manifest.payloads if Paths.blob(payload.sha256) == blob}
    found = store.size(blob)
    dropped = found is None and store.size(Paths.dropped(blob.rpartition("/")[2])) is not None
    return dropped or sizes <= {found}


def _in_threads(work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(work, items)
