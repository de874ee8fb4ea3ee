"""`s2l`: the group of commands, and what an exception means to a shell."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

import click

from jobs.cli.attach import attach
from jobs.cli.cancel import cancel
from jobs.cli.data import data
from jobs.cli.detach import drive
from jobs.cli.diff import diff
from jobs.cli.doctor import doctor
from jobs.cli.gc import gc
from jobs.cli.grouped import Grouped
from jobs.cli.keygen import keygen
from jobs.cli.look import report, results, show, status
from jobs.cli.plan import grids, plan
from jobs.cli.pretrain import pretrain
from jobs.cli.retry import retry
from jobs.cli.run import run
from jobs.cli.services import down, up
from jobs.cli.store import sync, verify
from jobs.cli.streams import outlive_readers
from jobs.errors import EXIT_INTERRUPTED, EXIT_OUT_OF_REACH, S2LError
from jobs.secrets import scrub


@click.group(cls=Grouped, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="s2l", prog_name="s2l")
def s2l() -> None:
    """Measure how much pre-training data a diffusion model leaks after fine-tuning ("Shake to Leak", arXiv 2403.09450).

    \b
    A first session:
      s2l plan quickstart       what the grid asks for, and what is done already
      s2l run quickstart        run what is missing; running again goes on
      s2l status quickstart     what is done, and what failed and why
      s2l retry quickstart      run again what failed, perhaps with other options
      s2l results quickstart    the table, also as csv, json or parquet
      s2l report quickstart -o report.html

    \b
    Exit codes: 0 done; 2 bad input; 3 finished, but trials failed or are blocked;
                4 store or cluster out of reach; 130 interrupted, resumable.
    """


s2l.add("Before a run", plan, grids, diff, data, pretrain)
s2l.add("Run", run, retry, attach, cancel)
s2l.add("Look at what was found", status, results, show, report)
s2l.add("Look after the store", verify, gc, sync, keygen)
s2l.add("This machine and the cluster", doctor, up, down, drive)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    outlive_readers()
    try:
        code = s2l.main(standalone_mode=False)
        if sys.stdout is not None:  # it was closed from the start
            sys.stdout.flush()
    except click.exceptions.Abort:
        code = _interrupted()
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        click.echo(scrub(told.getvalue()), err=True, nl=False)  # it may quote an address
        code = error.exit_code
    except S2LError as error:
        click.echo(f"s2l: {scrub(str(error))}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        code = _interrupted()
    except SystemExit as end:  # so Ray ends on a SIGTERM that comes while it starts, before we listen again
        code = _interrupted() if end.code == signal.SIGTERM else _ended_early(end.code)
    except OSError as error:
        click.echo(f"s2l: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True)
        _abandon_stdout()
        code = EXIT_OUT_OF_REACH
    _end(code or 0)


def _end(code: int) -> NoReturn:
    """Leave with the code; at once where the mirror still hangs in a call, which would take Python's orderly end down with it."""
    mirror = sys.modules.get("jobs.tracker.mirror")  # not imported where nothing was mirrored: that would cost more than a plan
    if mirror is not None and any(thread.name == mirror.THREAD for thread in threading.enumerate()):
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _abandon_stdout() -> None:
    """What is still buffered has nowhere to go; Python would try once more at its end, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ended_early(code: str | int | None) -> int:
    """So click ends where any pipe broke: none that is read from us, they are outlived."""
    click.echo(f"s2l: ended early: {'a connection broke' if isinstance(code, int) else code}", err=True)
    return code if isinstance(code, int) else 1


def _interrupted() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is in order: one more would only end Python by a signal, with another exit code
    click.echo("s2l: interrupted; nothing committed is lost, the same command goes on from here", err=True)
    return EXIT_INTERRUPTED
