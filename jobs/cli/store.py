"""`s2l verify` and `s2l sync`: the store checked, the mirror rebuilt."""

from __future__ import annotations

import json

import click

from jobs.cli.options import (
    grid_argument,
    json_option,
    load_plan,
    open_ledger,
    profile_option,
    set_option,
    store_option,
    tracking_option,
    tracking_uri,
)
from jobs.errors import EXIT_DONE, EXIT_TRIALS_FAILED, InputError


@click.command(short_help="Re-hash all that the store holds; name what is corrupt.")
@store_option
@click.option("--repair", is_flag=True, help="Move what is corrupt to quarantine; the next run makes it again.")
@json_option
def verify(store: str | None, repair: bool, as_json: bool) -> int:
    """Re-hash every artifact in the store. Exit code 3, and the kind and key of each bad stage, when something is corrupt."""
    from jobs.ledger import verify as check

    ledger = open_ledger(store, look_only=not repair)
    if next(iter(ledger.store.list("")), None) is None:
        raise InputError(f"there is nothing in the store {ledger.store.url}; name the one to verify with --store")
    problems = check.verify(ledger, repair=repair)
    bad = [problem for problem in problems if problem.severity == "error"]
    if as_json:
        rows = [{"kind": p.kind, "key": p.key, "what": p.what, "where": p.where, "severity": p.severity} for p in problems]
        click.echo(json.dumps({"problems": rows, "repaired": repair and bool(bad)}))
    else:
        for p in problems:
            click.echo(f"{p.severity}: {p.kind} {p.key}: {p.what} ({p.where})")
        if bad:
            click.echo("moved to quarantine; run the grid again" if repair else "next: s2l verify --repair, then run the grid again")
        else:
            click.echo("every artifact is what its manifest says")
    return EXIT_TRIALS_FAILED if bad else EXIT_DONE


@click.command(short_help="Rebuild a grid's MLflow mirror from the store.")
@grid_argument
@profile_option
@set_option
@store_option
@tracking_option
@json_option
def sync(grid: str, profile: str | None, sets: tuple[str, ...], store: str | None, tracking: str | None, as_json: bool) -> None:
    """Rebuild GRID's MLflow mirror from the ledger. Safe to repeat: no run is made twice."""
    from jobs.cli.artifacts import grid_artifacts, trial_artifacts
    from jobs.tracker.session import sync_grid

    plan, ledger = load_plan(grid, sets, profile, store), open_ledger(store)
    plots, pages = trial_artifacts(), grid_artifacts(plan, ledger)
    found = sync_grid(plan, ledger, tracking_uri(tracking), artifacts=plots, grid_artifacts=pages, notice=_notice)
    words = f"mirrored {found['trials']} trials of {grid} to {found['tracking']}; to look: {found['look']}"
    click.echo(json.dumps(found) if as_json else words)


def _notice(text: str) -> None:
    click.echo(f"s2l: {text}", err=True)
