"""What lies in the store goes bad: payloads change, manifests are cut short, the disk is full."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

from jobs.ledger.paths import Paths
from tests.chaos.fault import Fault, Injected, NotNow, for_seconds
from tests.chaos.world import World, pick


def _corrupt_payload(world: World, rng: random.Random) -> Injected:
    """Bits flip in a payload of a committed stage; all stages that name these bytes are spoiled."""
    root = Path(world.store)
    name = pick(rng, _sound(world))
    payloads = json.loads((root / name).read_bytes())["payloads"]
    sha = pick(rng, payloads)["sha256"]
    blob = root / Paths.blob(sha)
    data = bytearray(blob.read_bytes())
    for _ in range(3):
        data[rng.randrange(len(data))] ^= 1 + rng.randrange(255)
    _overwrite(blob, bytes(data))
    spoiled = {other for other in world.seen if (root / other).exists() and sha in (root / other).read_text()}
    world.spoiled |= spoiled
    return Injected(f"flipped bits in a payload of {_kind(name)}")


def _truncate_manifest(world: World, rng: random.Random) -> Injected:
    root = Path(world.store)
    name = pick(rng, _sound(world))
    data = (root / name).read_bytes()
    world.spoiled.add(name)
    _overwrite(root / name, data[: rng.randrange(len(data))])
    return Injected(f"cut a manifest of {_kind(name)} short")


def _sound(world: World) -> list[str]:
    """Manifests that nothing has happened to yet."""
    world.observe(thoroughly=True)
    found = sorted(set(world.seen) - world.spoiled)
    if not found:
        raise NotNow
    return found


def _kind(name: str) -> str:
    return name.split("/")[1]


def _overwrite(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name[:20]}.chaos")
    beside.write_bytes(data)
    beside.replace(path)


def _fill_disk(world: World, rng: random.Random) -> Injected:
    """Not a byte is left on the store's file system, which is a small one of its own."""
    if not world.parts.get("small disk"):
        raise NotNow
    ballast = Path(world.store) / ".chaos-ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65_536))
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(512))
    return Injected("filled the store's disk", mend=lambda: ballast.unlink(missing_ok=True))


CONTENTS = (
    Fault("payload-corrupted", "corrupted payload", _corrupt_payload, told=r"payload .*(is not what its manifest says|is corrupt)"),
    Fault("manifest-truncated", "truncated manifest", _truncate_manifest, told=r"the manifest of .* is (truncated|garbled)"),
    Fault(
        "disk-full", "disk full", _fill_disk, over=for_seconds(8), told=r"disk is full|No space left", codes=frozenset({3, 4}), waits=True
    ),
)
