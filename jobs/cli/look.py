"""`s2l status`, `results`, `show`, `report`: looking at what the ledger holds. Nothing is run."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.options import asked_again, grid_argument, json_option, load_plan, open_ledger, profile_option, set_option, store_option
from jobs.cli.terminal import terminal_width
from jobs.errors import InputError

if TYPE_CHECKING:
    from dashboards.drawings import Drawing
    from jobs.plan.plan import Plan

FORMATS = ("table", "csv", "json", "parquet", "markdown", "latex")


@click.command(short_help="What is done, what failed and why, and who runs it.")
@grid_argument
@profile_option
@set_option
@store_option
@json_option
def status(grid: str, profile: str | None, sets: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """Trials of GRID by state, failures by class with the first line of each message, and who runs it."""
    from dashboards import status as view
    from jobs.runs.shown import shown, told

    plan, ledger = load_plan(grid, sets, profile, store, look=True), open_ledger(store, look_only=True)
    committed, failures = view.committed_keys(plan, ledger), ledger.failures()
    found, runs = view.standing(plan, committed, failures), shown(ledger.store, plan.grid)
    if as_json:
        click.echo(json.dumps(found | {"runs": runs}))
    else:
        asked = asked_again(grid, profile, sets, store)
        click.echo("\n".join([view.text(plan, found, view.histories(failures, committed), asked), *told(runs)]))


@click.command(short_help="The table of results, also as csv, json or parquet.")
@grid_argument
@profile_option
@set_option
@store_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of stdout.")
@click.option("--fidelity", is_flag=True, help="Instead: what the models draw, one row per trial x measure (docs/fidelity.md).")
@click.option("--extraction", is_flag=True, help="Instead: which members they give back, one row per trial x rule x measure.")
@click.option("--memorisation", is_flag=True, help="Instead: how strongly they know their domains' names, one row per trial x measure.")
@click.option(
    "--summary",
    is_flag=True,
    help="Instead: a paper's table, one row per way x attack; the verdict goes by the first interval.",
)
@click.option("--controls", is_flag=True, help="Instead: one row per control x way x attack: what it should do, and whether it did.")
def results(
    grid: str,
    profile: str | None,
    sets: tuple[str, ...],
    store: str | None,
    form: str,
    output: Path | None,
    fidelity: bool,
    extraction: bool,
    memorisation: bool,
    summary: bool,
    controls: bool,
) -> None:
    """One row per trial x attack x metric: before, after, their difference with its interval, and a verdict.

    The same grid gives the same bytes on one kind of CPU, however often it was interrupted and by however many workers it ran. On a
    terminal the table fits its width; in a pipe or a file it is one line a row. The other formats hold every column and digit.
    """
    from dashboards import controls_table, drawn, extracted, memorised, tables
    from dashboards import results as leakage
    from dashboards import summary as paper

    makers = {
        "fidelity": drawn.table,
        "extraction": extracted.table,
        "memorisation": memorised.table,
        "summary": paper.table,
        "controls": controls_table.table,
    }
    given = {"fidelity": fidelity, "extraction": extraction, "memorisation": memorisation, "summary": summary, "controls": controls}
    asked = [name for name in makers if given[name]]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(f'--{name}' for name in asked)} are different tables; ask for one of them")
    plan = load_plan(grid, sets, profile, store, look=True)
    found = makers[asked[0]](plan, open_ledger(store, look_only=True)) if asked else leakage.table(plan, open_ledger(store, look_only=True))
    if not found.asked:
        value = "default" if memorisation else "pixels"
        remedy = f"set it in the grid (fixed: {{{asked[0]}: {value}}}), or --set {asked[0]}={value}"
        raise InputError(f"no trial of {grid} measures {asked[0]}; {remedy}")
    width = terminal_width() if output is None else None
    content = tables.write(found, form, color=width is not None, width=width)
    if found.missing:
        click.echo(f"s2l: {found.missing} of {found.asked} trials are not in this table: see s2l status {grid}", err=True)
    if output is not None:
        _write(output, content)
        click.echo(f"wrote {output}", err=True)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


@click.command(short_help="All about one trial, by the first letters of its key.")
@click.argument("trial", metavar="TRIAL")
@click.option("--grid", help="The grid to look in. [default: all that were run with this store]")
@profile_option
@set_option
@store_option
@json_option
def show(trial: str, grid: str | None, profile: str | None, sets: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """One trial, by the first letters of its key: axes, stages with keys and digests, metrics, failures."""
    from dashboards import show as view
    from jobs.grid.registered import plans_of

    ledger = open_ledger(store, look_only=True)
    plans = [load_plan(grid, sets, profile, store, look=True)] if grid else plans_of(ledger)
    found = view.show(_plan_with(plans, trial), ledger, trial)
    click.echo(json.dumps(found) if as_json else view.text(found, terminal_width()))


def _plan_with(plans: list[Plan], trial: str) -> Plan:
    """The newest registered plan that has a trial of that key; the last one, whose message tells what there is, when none has."""
    if not plans:
        raise InputError(f"no trial {trial!r}: no grid was run with this store yet; see s2l run, or name a --grid")
    having = [plan for plan in plans if any(found.key.startswith(trial) for found in plan.trials)]
    return (having or plans)[-1]


@click.command(short_help="One HTML page: findings, tables, curves, controls.")
@grid_argument
@profile_option
@set_option
@store_option
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The HTML file to write.")
@click.option(
    "--plots",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write each figure as SVG and PNG into this folder, with figures.json: what each shows, in words. Other files there stay.",
)
@click.option("--show-private", is_flag=True, help="Show members and drawn images in the page. Whoever has the page then has the images.")
def report(
    grid: str, profile: str | None, sets: tuple[str, ...], store: str | None, output: Path, plots: Path | None, show_private: bool
) -> None:
    """One self-contained HTML page: what was found, in plain words first, then tables, ROC curves, controls and how to reproduce it.

    With --plots its figures as files too: at-a-glance.svg, roc-secmi-lora.png, sweep-rank-loss.svg, ... They are on white with their keys
    beside them, the same bytes for the same results, and never show an image.
    """
    from dashboards.report import reported

    plan, ledger = load_plan(grid, sets, profile, store, look=True), open_ledger(store, look_only=True)
    if plots is not None:
        _check_folder(plots, beside=output, store=ledger.store.url)
    page, figures = reported(plan, ledger, show_private=show_private)
    _write(output, page.encode())
    if plots is not None:
        _write_plots(plots, figures)
    click.echo(str(output))


def _check_folder(folder: Path, *, beside: Path, store: str) -> None:
    """Before anything is written: that the folder is there, or can be made, and can be written to.

    Raises:
        InputError: it is not, it lies in the store, whose files are results, or the page's own folder is not there.
    """
    if folder.resolve().is_relative_to(Path(store).resolve()):
        raise InputError(f"cannot write plots to {folder}: it lies in the store {store}, which holds results only; name a folder elsewhere")
    if not beside.absolute().parent.is_dir():
        raise InputError(f"cannot write {beside}: no folder {beside.parent}; name a file in a folder that is there and yours to write")
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write plots to {folder}: {error.strerror}; name a folder that is yours to write, or a new one in a folder that is"
        ) from error


def _write_plots(folder: Path, figures: Sequence[Drawing]) -> None:
    from dashboards.files import INDEX, files

    found = files(figures)
    for name, content in found.items():
        _write(folder / name, content)
    click.echo(f"wrote {len(figures)} figures and {INDEX} to {folder}", err=True)


def _write(output: Path, content: bytes) -> None:
    try:
        output.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}; name a file in a folder that is there and yours to write") from error
