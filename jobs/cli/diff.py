"""`s2l diff`: what one grid asks for that another does not, and what that would cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import json_option, load_plan, open_ledger, profile_option, set_option, store_option
from jobs.cli.terminal import labelled

if TYPE_CHECKING:
    from jobs.plan.costs import Cost
    from jobs.plan.difference import Changed, Difference
    from jobs.plan.plan import Plan


@click.command(short_help="What one grid asks for that another does not, and its cost.")
@click.argument("grid_a", metavar="GRID_A")
@click.argument("grid_b", metavar="GRID_B")
@profile_option
@click.option("--profile-b", metavar="NAME", help="The profile of GRID_B, where it is another one.")
@set_option
@click.option("--set-b", "sets_b", multiple=True, metavar="AXIS=VALUES", help="As --set, for GRID_B alone. Repeatable.")
@store_option
@json_option
def diff(
    grid_a: str,
    grid_b: str,
    profile: str | None,
    profile_b: str | None,
    sets: tuple[str, ...],
    sets_b: tuple[str, ...],
    store: str | None,
    as_json: bool,
) -> None:
    """What GRID_B asks for and GRID_A does not, and the other way round: settings, trials, stages, and what B adds in cost.

    \b
    A grid is a YAML path, a shipped name, or the NAME or NAME@KEY of one that
    was run (the beginning of its key will do).
      s2l diff quickstart quickstart --set-b seed=0,1   # the cost of a seed more
      s2l diff my-grid@3f2a my-grid.yaml    # what has changed since it was run

    Costs are those of stages that are not done yet, from what like stages in the store took: the mean by kind, method and
    attack. Where nothing like them was measured they are unknown. Nothing is run or written.
    """
    from jobs.plan.costs import cost
    from jobs.plan.difference import difference

    ledger = open_ledger(store, look_only=True)
    a = load_plan(grid_a, sets, profile, store)
    b = load_plan(grid_b, (*sets, *sets_b), profile_b or profile, store)
    found = difference(a, b)
    done = {kind: ledger.committed(kind) for kind in {node.kind for node in found.added}}
    to_run = [node for node in found.added if node.key not in done[node.kind]]
    costs = cost(to_run, [*a.nodes(), *found.added], ledger)
    if as_json:
        click.echo(json.dumps(_document(a, b, found, costs)))
    else:
        _print(a, b, found, costs)


def _document(a: Plan, b: Plan, found: Difference, costs: dict[str, Cost]) -> dict[str, Any]:
    added, removed, shared = found.trials
    total = _total(costs)
    return {
        "a": {"grid": a.grid, "grid_key": a.grid_key},
        "b": {"grid": b.grid, "grid_key": b.grid_key},
        "settings": {name: {"added": changed.added, "removed": changed.removed} for name, changed in found.settings.items()},
        "trials": {"added": added, "removed": removed, "shared": shared},
        "stages": {kind: _counts(found, kind) | _numbers(costs.get(kind)) for kind in found.kinds()},
        "cost": _numbers(total),
    }


def _counts(found: Difference, kind: str) -> dict[str, int]:
    added, removed = (sum(node.kind == kind for node in nodes) for nodes in (found.added, found.removed))
    return {"added": added, "removed": removed, "shared": found.shared.get(kind, 0)}


def _numbers(cost: Cost | None) -> dict[str, Any]:
    """`seconds` and `bytes` are null where there is something to run and nothing of it is known."""
    if cost is None:
        return {"to_run": 0, "seconds": 0.0, "bytes": 0, "unknown": 0}
    known = cost.stages > cost.unknown
    measured = (
        {"seconds": round(cost.seconds, 3), "bytes": round(cost.bytes)} if known or not cost.stages else {"seconds": None, "bytes": None}
    )
    return {"to_run": cost.stages, **measured, "unknown": cost.unknown}


def _total(costs: dict[str, Cost]) -> Cost:
    from jobs.plan.costs import Cost

    return sum(costs.values(), Cost())


def _print(a: Plan, b: Plan, found: Difference, costs: dict[str, Cost]) -> None:
    added, removed, shared = found.trials
    click.echo(f"A {a.grid}: {len(a.trials)} trials; B {b.grid}: {len(b.trials)} trials")
    for name, changed in found.settings.items():
        click.echo(labelled(name, _told(changed)))
    click.echo(f"\n{'':12} {'added':>9} {'removed':>9} {'shared':>9} {'to run':>9} {'time':>9} {'size':>11}")
    click.echo(f"{'trials':12} {added:9} {removed:9} {shared:9}")
    for kind in found.kinds():
        counts = _counts(found, kind)
        click.echo(f"{kind:12} {counts['added']:9} {counts['removed']:9} {counts['shared']:9} {_amounts(costs.get(kind))}")
    total = _total(costs)
    if not found.added and not found.removed:
        click.echo("\nboth ask for the same stages")
    elif not total.stages:
        click.echo("\nnothing to run: what B adds is done already, or B adds nothing")
    else:
        click.echo(f"\nB adds {total.stages} stages to run: {_total_words(total)}")


def _told(changed: Changed) -> str:
    sides = (("+", changed.added), ("-", changed.removed))
    return "  ".join(f"{sign} {', '.join(map(str, values))}" for sign, values in sides if values)


def _amounts(cost: Cost | None) -> str:
    from jobs.cli.amounts import bytes_text, seconds_text

    if cost is None or not cost.stages:
        return f"{0:9}"
    if cost.unknown == cost.stages:
        return f"{cost.stages:9} {'unknown':>9} {'unknown':>11}"
    more = f" + {cost.unknown} ?" if cost.unknown else ""
    return f"{cost.stages:9} {seconds_text(cost.seconds):>9} {bytes_text(cost.bytes):>11}{more}"


def _total_words(total: Cost) -> str:
    from jobs.cli.amounts import bytes_text, seconds_text

    if total.unknown == total.stages:
        return "cost unknown, as nothing like them was measured in this store"
    unknown = f"; {total.unknown} of unknown cost (?) come on top" if total.unknown else ""
    return f"about {seconds_text(total.seconds)} on one worker, {bytes_text(total.bytes)}{unknown}"
