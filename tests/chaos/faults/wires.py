"""The way to the store and to MLflow: cut, answered with errors, slow, reset; and the servers themselves killed and started again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from cluster.services import postgres, seaweedfs
from tests.chaos.fault import AT_START, Fault, Injected, NotNow, Over, for_seconds, until_done, until_share
from tests.chaos.proxy import Proxy, Weather
from tests.chaos.world import World

Inject = Callable[[World, random.Random], Injected]


def _weather(part: str, weather: Weather, count: str, words: str) -> Inject:
    """Bad weather on the wire to a part; hit when a request has met it."""

    def inject(world: World, rng: random.Random) -> Injected:
        proxy: Proxy = world.parts[part]
        before = proxy.did[count]
        proxy.turn(weather)
        return Injected(words, hit=lambda: count == "" or proxy.did[count] > before, mend=lambda: proxy.clear(weather))

    return inject


def _kill_store(world: World, rng: random.Random) -> Injected:
    server = world.parts["store server"]
    seaweedfs.stop(server, at_once=True)

    def mend() -> None:
        world.parts["store server"] = seaweedfs.start(Path(server.folder))

    return Injected("kill -9 of the store's server", mend=mend)


def _restart_database(world: World, rng: random.Random) -> Injected:
    """Killed with whatever transactions there are, and started again at the same place."""
    server = world.parts.get("database")
    if server is None:
        raise NotNow
    postgres.stop(server, at_once=True)

    def mend() -> None:
        world.parts["database"] = postgres.start(Path(server.folder))

    return Injected("MLflow's PostgreSQL stopped at once and started again", mend=mend)


_UNREACHABLE = r"does not answer|out of reach|cannot be reached|transient"
_ENDS = frozenset({3, 4})


def store_faults(down_s: float, bad_s: float) -> tuple[Fault, ...]:
    """Faults of an S3 store: out of reach for `down_s`, in other bad ways for `bad_s`."""
    down, bad = for_seconds(down_s), for_seconds(bad_s)

    def on_store(name: str, title: str, weather: Weather, count: str, over: Over, told: str = "") -> Fault:
        codes = _ENDS if told else frozenset[int]()
        return Fault(name, title, _weather("store", weather, count, title), over, told, codes, waits=bool(told))

    return (
        on_store("store-down", f"store down for {down_s:.0f} s", Weather(refuse=True), "", down, _UNREACHABLE),
        Fault("store-killed", "store's server kill -9, started again", _kill_store, for_seconds(bad_s), _UNREACHABLE, _ENDS, waits=True),
        on_store("store-500", "store answers 500 to 4 requests of 10", Weather(share=0.4, status=500), "500", bad),
        on_store("store-503", "store answers 503 to 4 requests of 10", Weather(share=0.4, status=503), "503", bad),
        on_store(
            "store-503-all",
            "store answers 503 to every request",
            Weather(share=1.0, status=503),
            "503",
            down,
            r"503|SlowDown|" + _UNREACHABLE,
        ),
        on_store("store-slowdown", "store answers SlowDown to 6 requests of 10", Weather(share=0.6, code="SlowDown"), "503", bad),
        on_store("store-slow", "store slow: 0.5 s a request, 300 kB a second", Weather(delay_s=0.5, bytes_per_s=300_000), "slow", bad),
        on_store("upload-reset", "uploads reset after 2 kB", Weather(reset_after=2_000), "reset mid-upload", bad, _UNREACHABLE),
        on_store("store-clock", "store refuses our clock", Weather(share=1.0, status=403), "403", bad, r"clock is wrong"),
    )


def tracking_faults(bad_s: float) -> tuple[Fault, ...]:
    """Faults of an MLflow server. None may change how a driver ends."""
    gone, behind = Weather(refuse=True), r"MLflow( at \S+)? is behind"

    def on_mlflow(name: str, title: str, over: Over, moments: tuple[float, float], weather: Weather = gone, told: str = behind) -> Fault:
        count = "" if weather.refuse else str(weather.status)
        return Fault(name, title, _weather("tracking", weather, count, title), over, told, moments=moments)

    return (
        on_mlflow("mlflow-down-start", "MLflow down at the start", until_share(0.3), AT_START),
        on_mlflow("mlflow-down-middle", "MLflow down in the middle", until_share(0.75), (0.35, 0.6)),
        on_mlflow("mlflow-down-end", "MLflow down at the end", until_done, (0.85, 0.95)),
        on_mlflow("mlflow-down-long", "MLflow down from the start to the end", until_done, AT_START),
        on_mlflow("mlflow-503", "MLflow answers 503 to 5 requests of 10", for_seconds(bad_s), (0.2, 0.7), Weather(share=0.5), ""),
        Fault("postgres-restarted", "MLflow's PostgreSQL restarted", _restart_database, for_seconds(bad_s), behind, moments=(0.2, 0.7)),
    )
