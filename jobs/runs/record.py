"""What the store knows of a run. Nothing secret is in it: no environment, no address with a password, no command line."""

from __future__ import annotations

import secrets
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from jobs.ledger.holder import Holder
from jobs.ledger.retention import Keep

SILENT_S = 60.0
"""A driver that is well writes its record more often than that."""

Ask = Literal["drain", "stop"]


class RunRecord(BaseModel):
    """One run of a grid: `runs/<grid>/<run>/run.json`.

    Attributes:
        run: names the run; later ones sort after earlier ones.
        state: `submitted` to a cluster whose driver has not begun, `running`, or `ended`.
        began: seconds since the epoch, on the clock of whoever began or submitted it.
        holder: the driver's host and process; None until it begins.
        job: the submission id of a detached run's Ray job.
        dashboard: where that job's server is.
        beat: grows with every sign of life.
        beat_at: when the driver gave the last one, on its own clock.
        keep: which weights it keeps; None where nobody noted it.
        exit_code: what the run ended with.
        answer: what `run --json` said at its end, where it came to one.
        words: the same for a person.
        avoided: a sentence for each node that the run does not use any more.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    run: str
    grid: str
    grid_key: str
    state: Literal["submitted", "running", "ended"] = "running"
    began: float
    holder: Holder | None = None
    job: str | None = None
    dashboard: str | None = None
    beat: NonNegativeInt = 0
    beat_at: float = 0.0
    keep: Keep | None = None
    exit_code: int | None = None
    answer: dict[str, Any] | None = None
    words: str = ""
    avoided: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode()

    @property
    def is_lost(self) -> bool:
        """True when the driver is known to have died without an end."""
        return self.state == "running" and self.holder is not None and self.holder.is_gone()

    def silent_for(self, now: float) -> float:
        """Seconds since the driver's last sign of life, as far as clocks agree."""
        return max(0.0, now - max(self.beat_at, self.began))

    def condition(self, now: float) -> str:
        """`submitted`, `running`, `silent` (not heard of for long), `lost` (its driver is gone) or `ended`."""
        if self.is_lost:
            return "lost"
        return "silent" if self.state == "running" and self.silent_for(now) > SILENT_S else self.state

    def shown(self, now: float) -> dict[str, Any]:
        """What `status --json` tells of it."""
        return {
            "run": self.run,
            "state": self.condition(now),
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began)),
            "host": self.holder.host if self.holder else None,
            "pid": self.holder.pid if self.holder else None,
            "job": self.job,
            "heard_of_s": round(self.silent_for(now), 1) if self.state == "running" else None,
            "exit_code": self.exit_code,
            "avoided": list(self.avoided),
        }


class Asked(BaseModel):
    """What one run's driver is asked to do: `drain` lets what runs end, `stop` does not. A later run is asked nothing by it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    what: Ask
    host: str = ""

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode()


class Log(BaseModel):
    """The last lines of a run. `first` is the number of the first line that is still here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    first: NonNegativeInt = 0
    lines: tuple[str, ...] = ()

    def after(self, number: int) -> tuple[str, ...]:
        """The lines from that number on, with a word where some are gone."""
        gone = max(0, self.first - number)
        lines = self.lines[max(0, number - self.first) :]
        return (f"({gone} lines left out)", *lines) if gone and number else lines

    @property
    def end(self) -> int:
        return self.first + len(self.lines)


def new_run_id() -> str:
    """A name for a run; later ones sort after earlier ones."""
    now = time.time()
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{int(now * 1000) % 1000:03d}{secrets.token_hex(2)}"
