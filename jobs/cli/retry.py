"""`s2l retry`: run again what failed, perhaps with other options, and nothing else."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource
from pydantic import NonNegativeFloat, PositiveInt

from jobs.cli.how import How, how_options
from jobs.cli.options import asked_again, grid_argument, json_option, load_plan, open_ledger, profile_option, store_option, store_url
from jobs.errors import EXIT_DONE, InputError
from jobs.grid.messages import listed, unknown
from jobs.grid.model import FIELDS
from jobs.grid.read_spec import read_spec
from jobs.ledger.failures import ErrorClass
from jobs.ledger.retention import Keep
from jobs.stages.contract import CHECKPOINT_EVERY_S
from s2l_core.specs.base import Spec

if TYPE_CHECKING:
    from jobs.ledger.ledger import Ledger
    from jobs.plan.again import Again

_OF_THE_PLACE = ("tracking", "local", "address", "no_tracking")
"""Where a run is, not how it goes."""
CLASSES = tuple(name for name in get_args(ErrorClass) if name != "blocked")


class Changed(Spec):
    """What `--set` may change of a run; none changes a key. All but `micro_batch` are options of their own too."""

    gpu_share: NonNegativeFloat | None = None
    micro_batch: PositiveInt | None = None
    gradient_checkpointing: bool = False
    keep: Keep | None = None
    workers: PositiveInt | None = None
    checkpoint_every: NonNegativeFloat = CHECKPOINT_EVERY_S


@click.command(short_help="Run again what failed, perhaps with other options.")
@grid_argument
@profile_option
@click.option("--only", multiple=True, type=click.Choice(CLASSES), help="Only failures of this class. Repeatable. [default: all]")
@click.option(
    "--trials",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only these: the beginning of a trial's key, or axis=value,axis=value; * fits anything. Repeatable. [default: all that failed]",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"Change a run option ({listed(Changed.model_fields)}), or an axis or setting as the grid was run with. Repeatable.",
)
@store_option
@how_options
@click.option("--dry-run", is_flag=True, help="Say what would run again, and run nothing.")
@json_option
def retry(
    grid: str,
    profile: str | None,
    only: tuple[str, ...],
    patterns: tuple[str, ...],
    sets: tuple[str, ...],
    store: str | None,
    how: How,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run again the trials of GRID that failed, and those that wait for what failed; what was never tried stays missing.

    The records of what is taken up stay as history. Exit codes are those of `s2l run`. `--set gpu_share=1 --only oom` gives what ran out of
    memory a GPU of its own; `--trials domain=zorvik,method=lora` takes up some trials only.
    """
    from jobs.cli.driving import drive_run
    from jobs.plan.again import mark, select
    from jobs.plan.given import refuse_stand_ins
    from jobs.runs.registry import Runs

    changed, axes = _sorted_out(sets)
    how, given = _merged(how, changed)
    planned = load_plan(grid, axes, profile, store)
    ledger = open_ledger(store)
    again = select(planned, ledger, set(only), patterns)
    runs = Runs(ledger.store)
    known = runs.keep_of(planned.grid, planned.grid_key) if how.keep is None else None
    options = how.options(store_url(store), keep=known[0] if known else "all", micro_batch=changed.micro_batch)
    if dry_run or not (again.plan.trials or again.plan.pools):
        _tell(again, ledger, given | ({"keep": known[0]} if known else {}), as_json=as_json, dry_run=dry_run)
        return EXIT_DONE
    refuse_stand_ins(again.plan)
    click.echo(f"s2l: {_words(again)}", err=True)
    if known:
        click.echo(f"s2l: --keep {known[0]}, as run {known[1]} had it", err=True)
    ledger.save_grid(planned.registration())
    mark(again, ledger)
    own, shown = runs.begin(planned.grid, planned.grid_key, keep=options.keep), asked_again(grid, profile, axes, store)
    return drive_run(again.plan, ledger, options, own, tracking=how.mirror(), shown=shown, as_json=as_json, whole=planned)


def _merged(how: How, changed: Changed) -> tuple[How, dict[str, Any]]:
    """How it is to go after `--set`, and what of it was given, by name.

    Raises:
        InputError: one thing was given in both ways.
    """
    source = click.get_current_context().get_parameter_source
    flags = {field.name: getattr(how, field.name) for field in fields(How) if source(field.name) is ParameterSource.COMMANDLINE}
    sets = {name: getattr(changed, name) for name in changed.model_fields_set}
    for name in flags.keys() & sets.keys():
        raise InputError(f"--set {name}={sets[name]}: --{name.replace('_', '-')} is given too; leave one of them out")
    merged = replace(how, **{name: value for name, value in sets.items() if name != "micro_batch"})
    return merged, {name: value for name, value in (flags | sets).items() if name not in _OF_THE_PLACE}


def _sorted_out(sets: tuple[str, ...]) -> tuple[Changed, tuple[str, ...]]:
    """Run options, and what is a matter of the grid."""
    options: dict[str, Any] = {}
    axes = []
    for argument in sets:
        name, given, value = argument.partition("=")
        if given and name in Changed.model_fields:
            options[name] = value
        elif name in FIELDS:
            axes.append(argument)
        else:
            told = unknown("name", name, Changed.model_fields)
            raise InputError(f"--set {argument}: {told}; or an axis or setting of the grid, as name=value")
    try:
        return read_spec(Changed, options, "--set "), tuple(axes)
    except ValueError as error:
        raise InputError(str(error)) from None


def _words(again: Again) -> str:
    groups = [f"{group['count']} {group['class']}" for group in again.groups()]
    return f"{again.plan.grid}: {_trials(again)} to run again; failed stages: {', '.join(groups) or 'none'}"


def _trials(again: Again) -> str:
    return f"{len(again.plan.trials)} trial{'' if len(again.plan.trials) == 1 else 's'}"


def _tell(again: Again, ledger: Ledger, options: dict[str, Any], *, as_json: bool, dry_run: bool) -> None:
    """What would run again; or, in the words of a run that ran nothing, that there is nothing."""
    if as_json and dry_run:
        trials = [trial.key for trial in again.plan.trials]
        document = {"grid": again.plan.grid, "trials": trials, "failures": again.groups(), "stages": again.stages(ledger)}
        click.echo(json.dumps(document | {"options": options}))
    elif as_json:
        nothing = {"trials": {"done": 0, "failed": 0, "blocked": 0}, "stages": {"ran": 0, "reused": 0, "failed": 0}, "seconds": 0.0}
        click.echo(json.dumps({"grid": again.plan.grid} | nothing))
    elif not (again.plan.trials or again.plan.pools):
        click.echo(f"{again.plan.grid}: nothing to retry: no trial failed, of these classes and of these trials")
    else:
        click.echo(f"{again.plan.grid}: would run {_trials(again)} again")
        for group in again.groups():
            click.echo(f"  {group['class']}: {group['count']} failed: {group['message']}")
        click.echo(f"  stages: {', '.join(f'{count} {kind}' for kind, count in sorted(again.stages(ledger).items()))}")
        if options:
            click.echo(f"  with {', '.join(f'{name}={value}' for name, value in options.items())}")
