"""`s2l gc`: what of a store nobody needs, and its removal."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import json_option, open_ledger, store_option
from jobs.errors import InputError, OutOfReach

if TYPE_CHECKING:
    from jobs.ledger.garbage import Garbage
    from jobs.store.protocol import ObjectStore

_WORDS = {
    "stages": "stages that no registered grid reaches",
    "stage_blobs": "files of those stages",
    "orphan_blobs": "files that no stage names",
    "failures": "failures of unreachable stages",
    "progress": "checkpoints of stages done or given up",
    "leases": "leases that have run out",
    "dropped": "notes on dropped files, out of use",
    "quarantine": "quarantine past its age",
    "probe": "probes left behind",
    "unfinished": "unfinished uploads and files",
    "grids": "grids to forget",
}
_DAYS = click.FloatRange(min=0)


@click.command(short_help="What of the store nobody needs; --delete removes it.")
@store_option
@click.option("--delete", is_flag=True, help="Remove it. Without this nothing is removed.")
@click.option("--forget", multiple=True, metavar="GRID[@KEY]", help="Unregister a grid first: what only it reaches may go. Repeatable.")
@click.option("--grace", type=_DAYS, default=1.0, show_default=True, help="Days: nothing younger goes, as a running grid may need it.")
@click.option("--older-than", type=_DAYS, default=7.0, show_default=True, help="Days after which checkpoints that nobody holds go.")
@click.option("--quarantine", type=_DAYS, default=30.0, show_default=True, help="Days after which quarantine goes.")
@json_option
def gc(store: str | None, delete: bool, forget: tuple[str, ...], grace: float, older_than: float, quarantine: float, as_json: bool) -> None:
    """What of the store nobody needs: a dry run unless --delete is given.

    Goes: stages that no registered grid asks for (each `s2l run` registers its grid), with their files; files that no stage names;
    checkpoints, leases, uploads and probes of those who were killed; quarantine past its age.

    Stays: whatever is younger than --grace, held by a running driver, or was used for something that stays. A grid that cannot be planned
    any more (its folder is gone, or S2L means something else by it) keeps all stages: --forget it.

    Ages are told by the store's own clock. Safe to kill and to repeat, and beside running grids.
    """
    from jobs.grid.registered import reach_of
    from jobs.ledger.collect import collect
    from jobs.ledger.garbage import DAY_S, Ages, garbage
    from jobs.ledger.registry import named, registered_grids

    ledger = open_ledger(store, look_only=not delete)
    if next(iter(ledger.store.list("")), None) is None:
        raise InputError(f"there is nothing in the store {ledger.store.url}; name the one to look through with --store")
    grids = registered_grids(ledger.store)
    forgotten = [grid for wanted in dict.fromkeys(forget) for grid in named(grids, wanted)]
    _say(f"planning {len(grids) - len(forgotten):,} registered grids")
    reach = reach_of(grid for grid in grids if grid not in forgotten)
    found = garbage(
        ledger,
        reach.keys,
        now=_now(ledger.store, delete),
        untold=reach.untold,
        forget=forgotten,
        ages=Ages(grace * DAY_S, older_than * DAY_S, quarantine * DAY_S),
        say=_say,
    )
    spared = collect(ledger, found, grids, _say) if delete else []
    kept = [*(f"all stages stay: {words}" for words in reach.untold), *found.kept[len(reach.untold) :], *spared]
    if as_json:
        click.echo(json.dumps(_document(found, delete, [grid.name for grid in forgotten], kept)))
    else:
        _table(found, delete, kept)


def _now(store: ObjectStore, delete: bool) -> float:
    from jobs.store.probe import clock_of

    try:
        return clock_of(store)
    except OutOfReach as error:
        if delete:
            raise
        _say(f"the store cannot be written to, so that ages are told by this machine's clock: {error}")
        return time.time()


def _document(found: Garbage, deleted: bool, forgotten: list[str], kept: list[str]) -> dict[str, Any]:
    sums = {category: {"objects": objects, "bytes": size} for category, (objects, size) in found.sums().items()}
    total = sum(row["bytes"] for row in sums.values())
    return {
        "deleted": deleted,
        "found": sums,
        "bytes": total,
        "stages": dict(sorted(found.kinds.items())),
        "forgotten": forgotten,
        "kept": kept,
    }


def _table(found: Garbage, deleted: bool, kept: list[str]) -> None:
    from jobs.cli.amounts import bytes_text

    rows = [(_WORDS[category], objects, size) for category, (objects, size) in found.sums().items() if objects]
    for words, objects, size in rows:
        click.echo(f"{words:40} {objects:>9,} {bytes_text(size):>12}")
    for words in kept:
        click.echo(f"note: {words}")
    if not rows:
        click.echo("nothing to remove")
        return
    click.echo(f"{'in total':40} {sum(row[1] for row in rows):>9,} {bytes_text(sum(row[2] for row in rows)):>12}")
    click.echo("\nremoved" if deleted else "\nnothing was removed; next: the same command with --delete")


def _say(words: str) -> None:
    click.echo(f"s2l: {words}", err=True)
