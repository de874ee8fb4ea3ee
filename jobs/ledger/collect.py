"""Removing what nobody needs, so that a kill at any moment, another collector and running grids do no harm."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from jobs.errors import Conflict, NotFound
from jobs.ledger.aside import Aside, slices
from jobs.ledger.garbage import Category, Garbage
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.registry import Registered
from jobs.ledger.verify import read_manifests
from jobs.store.protocol import Entry, KeepsUnfinished, ObjectStore

Say = Callable[[str], None]
_THREADS = 8
_SAID_EVERY = 2000
_OF_STAGES: tuple[Category, ...] = ("stages", "failures")
_PLAIN: tuple[Category, ...] = ("dropped", "quarantine", "probe")


def collect(ledger: Ledger, garbage: Garbage, grids: Iterable[Registered], say: Say = lambda words: None) -> list[str]:
    """Remove what was found; returns sentences for what was spared after all.

    Manifests go before their blobs: whoever is killed in between leaves blobs that nobody names, for the next collector. What may have
    become needed since it was found is looked at once more just before it goes.

    Args:
        grids: the registered grids, among them those to forget, as they were when the garbage was looked for.
    """
    store, spared = ledger.store, list[str]()
    gone = {entry.name for entry in garbage.found["grids"]}
    _delete(store, "grids", garbage.found["grids"], say)
    _delete_leases(store, garbage)
    known = {grid.place for grid in grids} - gone
    if any(entry.name not in known for entry in store.list(Paths.grids)):
        spared.append("a grid was registered while garbage was looked for: stages and blobs stay; run gc again")
    else:
        _delete_stages(store, garbage, say)
        _delete_blobs(ledger, garbage, say)
    _delete_progress(store, garbage.found["progress"], say)
    for category in _PLAIN:
        _delete(store, category, garbage.found[category], say)
    if isinstance(store, KeepsUnfinished) and garbage.unfinished:
        say(f"removing {len(garbage.unfinished):,} unfinished writes")
        for one in garbage.unfinished:
            store.abandon(one)
    return spared


def _delete_stages(store: ObjectStore, garbage: Garbage, say: Say) -> None:
    """What somebody has begun to work on since stays."""
    held = _held(store)
    for category in _OF_STAGES:
        _delete(store, category, [entry for entry in garbage.found[category] if not held & set(_keys_in(entry.name))], say)


def _delete_blobs(ledger: Ledger, garbage: Garbage, say: Say) -> None:
    """In slices; before each, manifests that are new are read, and blobs that were written again are told by their age.

    A stage that was spared or made again since counts as new. What a manifest names that came while a slice went is put back.
    """
    entries = [*garbage.found["stage_blobs"], *garbage.found["orphan_blobs"]]
    garbage.seen -= set(garbage.found["stages"])
    aside, wanted, done = Aside(ledger), set[str](), 0
    try:
        for part in slices(entries):
            wanted |= _newly_named(ledger.store, garbage)
            aside.settle(wanted)
            folders = {entry.name.rpartition("/")[0] + "/" for entry in part}
            old = {entry.name for folder in folders for entry in ledger.store.list(folder) if garbage.is_old(entry.modified)}
            say(f"removing blobs {done + 1:,} to {done + len(part):,} of {len(entries):,}")
            aside.take(entry for entry in part if entry.name in old - wanted)
            done += len(part)
    finally:
        if aside:
            aside.settle(wanted | _newly_named(ledger.store, garbage))


def _newly_named(store: ObjectStore, garbage: Garbage) -> set[str]:
    """Blobs of manifests that were not there, or were others, when they were looked at."""
    new = {entry for entry in store.list(Paths.manifests) if entry not in garbage.seen}
    manifests = read_manifests(store, [entry.name for entry in new])[0]
    garbage.seen |= new
    return {Paths.blob(payload.sha256) for manifest in manifests for payload in manifest.payloads}


def _delete_progress(store: ObjectStore, entries: list[Entry], say: Say) -> None:
    held = _held(store)
    _delete(store, "progress", [entry for entry in entries if not held & set(_keys_in(entry.name))], say)


def _delete_leases(store: ObjectStore, garbage: Garbage) -> None:
    """By their tags, so that one that was renewed or taken over meanwhile stays."""
    tags = {}
    for entry in garbage.found["leases"]:
        with contextlib.suppress(NotFound):
            tags[entry.name] = store.get(entry.name).tag
    dated = {entry.name: entry.modified for entry in store.list(Paths.leases)}
    for entry in garbage.found["leases"]:
        if entry.name in tags and dated.get(entry.name) == entry.modified:
            with contextlib.suppress(Conflict):
                store.delete(entry.name, tags[entry.name])


def _held(store: ObjectStore) -> set[str]:
    return {entry.name.removeprefix(Paths.leases).removesuffix(".json") for entry in store.list(Paths.leases)}


def _keys_in(name: str) -> list[str]:
    return [part.removesuffix(".json") for part in name.split("/")]


def _delete(store: ObjectStore, category: Category, entries: list[Entry], say: Say) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(entries), _SAID_EVERY):
            part = entries[start : start + _SAID_EVERY]
            say(f"removing {category.replace('_', ' ')} {start + 1:,} to {start + len(part):,} of {len(entries):,}")
            list(pool.map(lambda entry: store.delete(entry.name), part))
