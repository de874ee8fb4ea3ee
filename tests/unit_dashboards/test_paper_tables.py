"""The table of a paper: its rows are the report's, and Markdown and LaTeX hold the same cells, whatever the names contain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dashboards import printed, results, summary, tables, terminal
from dashboards.groups import groups_of
from dashboards.methods import domain_tests
from dashboards.results import cells
from tests.grid_by_hand import World, world_of

ODD = {"way": "50% & more_{x}~^|\\", "part": "method", "attack": "a#b", "before": 0.5, "after": 0.62, "delta": 0.12}
ODD |= {"delta_low": -0.01, "delta_high": 0.25, "verdict": None, "p_holm": 0.04, "domains": 12, "trials": 24}


def test_each_way_and_attack_of_the_report_is_one_row_with_its_corrected_test(many: Any) -> None:
    rows = summary.table(many.plan, many.ledger).rows
    groups = groups_of(many.plan, many.ledger, cells(many.plan, many.ledger))
    tests = domain_tests(groups)
    assert len(rows) == sum(1 + len(group.again) for members in groups.values() for group in members)
    tested = {(row["attack"], row["part"], row["way"]): row["p_holm"] for row in rows if row["p_holm"] is not None}
    assert tested == tests.p
    pooled = next(row for row in rows if row["way"] == "dreambooth" and row["part"] == "method")
    group = next(group for group in groups["secmi"] if group.variant == "dreambooth" and group.role == "method")
    assert (pooled["delta"], pooled["delta_low"]) == (group.summary().delta, group.summary().low)
    assert (pooled["domains"], pooled["trials"]) == (12, 24)
    auc = group.pooled[0].auc
    assert (pooled["hierarchical_low"], pooled["these_domains_high"]) == (auc["hierarchical"]["low"], auc["these_domains"]["high"])
    assert pooled["hierarchical_low"] <= pooled["these_domains_low"] <= pooled["delta"] <= pooled["these_domains_high"]
    assert list(pooled)[-4:] == list(summary.COLUMNS[-4:]) == list(summary.WITHIN)


def test_what_is_missing_is_counted_in_trials(tmp_path: Any) -> None:
    made = world_of(tmp_path, [{"domain": domain, "method": "lora"} for domain in ("alba", "bruno", "carla")])
    made.finish(except_for=lambda trial: trial.axes["domain"] == "bruno")
    assert (summary.table(made.plan, made.ledger).missing, summary.table(made.plan, made.ledger).asked) == (1, 3)
    assert results.table(made.plan, made.ledger).missing == 1
    assert all(row["delta_low"] is None for row in summary.table(made.plan, made.ledger).rows), "a mean of trials has no interval"
    assert all(row["these_domains_low"] is None for row in summary.table(made.plan, made.ledger).rows)


def test_each_interval_of_a_pool_is_one_column_where_people_read_it() -> None:
    row = ODD | {"hierarchical_low": -0.05, "hierarchical_high": 0.29, "these_domains_low": 0.01, "these_domains_high": 0.23}
    header, _, body = printed.to_markdown([row]).decode().splitlines()
    assert header.endswith("| domains, images, seeds | these domains |")
    assert body.split(" | ")[-2:] == ["−0.0500 to +0.2900", "+0.0100 to +0.2300 |"]
    shown = terminal.to_table([row], labels=summary.LABELS).decode().splitlines()
    assert shown[0].rstrip().endswith("these domains")
    assert "+0.0100 to +0.2300" in shown[1]


@pytest.mark.parametrize("make", [summary.table, results.table])
def test_every_format_holds_every_row(quiet: World, make: Any) -> None:
    table = make(quiet.plan, quiet.ledger)
    assert json.loads(tables.write(table, "json")) == list(table.rows)
    markdown = tables.write(table, "markdown").decode().splitlines()
    latex = tables.write(table, "latex").decode().splitlines()
    assert len(markdown) == len(table.rows) + 2
    assert sum(line.endswith(r"\\") for line in latex) == len(table.rows) + 1
    assert len({line.count(" | ") for line in markdown}) == 1
    assert len({line.count(" & ") for line in latex if line.endswith(r"\\")}) == 1
    assert tables.write(table, "table").decode().count("\n") == len(table.rows) + 1
    assert tables.write(table, "csv").decode().count("\n") == len(table.rows) + 1


def test_a_table_without_a_row_still_has_its_columns(tmp_path: Any) -> None:
    import io

    import pyarrow.parquet as pq

    made = world_of(tmp_path, [{"domain": "alba", "method": "lora"}])
    for make in (summary.table, results.table):
        table = make(made.plan, made.ledger)
        assert not table.rows
        assert pq.read_table(io.BytesIO(tables.write(table, "parquet"))).column_names == list(table.columns)
        assert tables.write(table, "csv").decode().strip() == ",".join(table.columns)


def test_letters_that_mean_something_to_latex_or_markdown_are_escaped() -> None:
    (cells_of,) = printed.to_latex([ODD]).decode().splitlines()[4:-2]
    assert cells_of.startswith(r"50\% \& more\_\{x\}\textasciitilde{}\textasciicircum{}|\textbackslash{} & method & a\#b & 0.5000 & 0.6200")
    assert "+0.1200 & $-$0.0100 to +0.2500" in cells_of
    row = printed.to_markdown([ODD]).decode().splitlines()[-1]
    assert row.startswith("| 50% & more_{x}~^\\|\\ | method | a#b | 0.5000 |")
    assert (
        printed.to_markdown([], summary.COLUMNS)
        .decode()
        .splitlines()[0]
        .startswith("| way | part | attack | before | after | delta | interval |")
    )


def test_latex_is_a_tabular_with_numbers_to_the_right() -> None:
    lines = printed.to_latex([ODD]).decode().splitlines()
    assert lines[0] == r"\begin{tabular}{lllrrrrlrrr}"
    assert lines[1::2][0] == r"\toprule"
    assert lines[-1] == r"\end{tabular}"


def test_a_formula_is_a_text_to_a_spreadsheet_and_a_picture_one_to_a_reader_of_markdown() -> None:
    formulas = ["=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)", "\t=1"]
    lines = tables.to_csv([{"domain": name, "delta": -0.5} for name in formulas]).decode().splitlines()[1:]
    assert lines == [f"'{name},-0.5" for name in formulas]
    assert json.loads(tables.to_json([{"domain": formulas[0]}])) == [{"domain": formulas[0]}]
    shown = printed.to_markdown([ODD | {"way": "<img src=x> ![x](http://a.b/c.png)"}]).decode()
    assert r"&lt;img src=x> !\[x\](http://a.b/c.png)" in shown
