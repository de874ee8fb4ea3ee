"""How a run is to go: the options that `run` and `retry` share, as one value."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from jobs.cli.options import Bytes, tracking_option, tracking_uri
from jobs.errors import InputError
from jobs.stages.contract import CHECKPOINT_EVERY_S

if TYPE_CHECKING:
    from jobs.execute.limits import Limits
    from jobs.execute.options import RunOptions
    from jobs.ledger.retention import Keep

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class How:
    """What was given on the command line; each field is an option. `keep` is None where it was not given."""

    tracking: str | None
    workers: int | None
    local: bool
    address: str | None
    gpu_share: float | None
    gpu_memory: int | None
    processes: int
    device: Literal["auto", "cpu"]
    keep: Keep | None
    gradient_checkpointing: bool
    checkpoint_every: float
    max_gpus: float | None
    until: str | None
    budget: float | None
    no_tracking: bool

    def options(self, store: str, *, keep: Keep = "all", micro_batch: int | None = None) -> RunOptions:
        """The run's options.

        Args:
            store: its URL.
            keep: where none was given.

        Raises:
            InputError: options that do not go together, or a time that cannot be read or has passed.
        """
        from jobs.execute.options import RunOptions

        if self.local and self.processes > 1:
            raise InputError(f"--processes {self.processes} needs Ray, and --local does without it; leave one of them out")
        return RunOptions(
            store,
            workers=self.workers,
            local=self.local,
            address=self.address or os.environ.get("RAY_ADDRESS"),
            gpu_share=self.gpu_share,
            gpu_memory=self.gpu_memory,
            processes=self.processes,
            device=self.device,
            keep=self.keep or keep,
            gradient_checkpointing=self.gradient_checkpointing,
            checkpoint_every_s=self.checkpoint_every,
            limits=self._limits(),
            micro_batch=micro_batch,
        )

    def mirror(self) -> str | None:
        """The MLflow URI to mirror to; None where nothing is to be mirrored."""
        return None if self.no_tracking else tracking_uri(self.tracking)

    def _limits(self) -> Limits:
        from datetime import datetime

        from jobs.execute.limits import Limits, parse_until

        moment = parse_until(self.until, datetime.now()).timestamp() if self.until is not None else None
        return Limits(self.max_gpus, moment, self.budget)


def how_options(function: F) -> F:
    """Options of a command that runs something; it gets them together as `how`."""

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        return function(how=How(**{field.name: given.pop(field.name) for field in fields(How)}), **given)

    return functools.reduce(lambda inner, option: option(inner), reversed(_OPTIONS), command)  # type: ignore[return-value]


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    tracking_option,
    click.option("--workers", type=click.IntRange(min=1), help="Trials at a time on this machine. [default: one a core]"),
    click.option("--local", is_flag=True, help="In this process, one after the other, without Ray: a debugger works."),
    click.option(
        "--address", metavar="HOST:PORT", help="Run on this Ray cluster. [default: $RAY_ADDRESS, else a private Ray on this machine]"
    ),
    click.option(
        "--gpu-share",
        type=click.FloatRange(min=0),
        help="GPUs a process takes, such as 1 or 0.5. [default: where there are GPUs, by what each trial needs of their memory]",
    ),
    click.option(
        "--gpu-memory",
        type=Bytes(),
        metavar="SIZE",
        help="Memory of the smallest GPU, such as 24G. [default: the cluster's nodes are asked]",
    ),
    click.option(
        "--processes",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes that a fine-tuning is shared by, on as many GPUs where there are any; the same results up to rounding.",
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu"]),
        default="auto",
        show_default=True,
        help="cpu: compute there also where there are GPUs; what --gpu-share or --gpu-memory ask for is then only set aside.",
    ),
    click.option(
        "--keep",
        type=click.Choice(["none", "small", "all"]),
        help="Weights to keep once measured: small drops dense ones, none drops all; they are made again when asked for. "
        "[default: all; a retry does as the grid's newest run did]",
    ),
    click.option("--gradient-checkpointing", is_flag=True, help="Fine-tune in less memory and more time; no result changes."),
    click.option(
        "--checkpoint-every",
        type=click.FloatRange(min=0),
        default=CHECKPOINT_EVERY_S,
        show_default=True,
        metavar="SECONDS",
        help="How often fine-tuning and the drawing of images keep a checkpoint: about what a kill costs at most (docs/failures.md).",
    ),
    click.option(
        "--max-gpus", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most so many GPUs in use by this run at a time."
    ),
    click.option(
        "--until",
        metavar="TIME",
        help="Begin nothing after this time, such as 06:00 or 2026-12-01T06:00; ten minutes later what still runs is stopped, resumable.",
    ),
    click.option(
        "--budget",
        type=click.FloatRange(min=0, min_open=True),
        metavar="HOURS",
        help="Begin nothing that would take this run beyond so many GPU hours (worker hours where there is no GPU).",
    ),
    click.option("--no-tracking", is_flag=True, help="Do not mirror to MLflow now; `s2l sync` can do it later."),
)
