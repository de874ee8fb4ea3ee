"""The table for people at the width of their terminal: nothing wider than it, numbers whole, and nothing left out unsaid."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from dashboards import controls_table, results, summary, tables, terminal
from dashboards.printed import interval, number, signed
from tests.s2l_process import Home

NUMBER = re.compile(r"[+−]?\d+\.\d{4}")
MAKERS = [results.table, summary.table, controls_table.table]


def shown(table: tables.Table, width: int | None) -> list[str]:
    return tables.write(table, "table", width=width).decode().splitlines()


def numbers(lines: list[str]) -> list[str]:
    return sorted(NUMBER.findall("\n".join(lines)))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_table_fits_its_terminal(quiet: Any, make: Any, width: int) -> None:
    assert max(map(len, shown(make(quiet.plan, quiet.ledger), width))) <= width


@pytest.mark.parametrize("width", [40, 80, 120])
def test_every_number_of_the_results_is_there_and_whole(quiet: Any, width: int) -> None:
    table = results.table(quiet.plan, quiet.ledger)
    values = [text for row in table.rows for text in (number(row["before"]), number(row["after"]), signed(row["delta"]))]
    values += NUMBER.findall(" ".join(interval(row["delta_low"], row["delta_high"]) for row in table.rows))
    assert numbers(shown(table, width)) == sorted(NUMBER.findall(" ".join(values)))
    assert numbers(shown(table, None)) == numbers(shown(table, width))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_has_no_room_or_says_nothing_is_named_above(quiet: Any, make: Any, width: int) -> None:
    table = make(quiet.plan, quiet.ledger)
    heads = re.split(r" {2,}", shown(table, None)[0].strip())
    text = " ".join(" ".join(shown(table, width)).split())
    for head in heads:
        assert head in text or (head == "verdict" and "verdicts: ▲ amplified" in text), head
    assert "…" not in text


def test_trials_become_headings_where_their_columns_have_no_room(quiet: Any) -> None:
    table = results.table(quiet.plan, quiet.ledger)
    lines = shown(table, 80)
    headings = [line for line in lines if line.startswith("trial ")]
    assert sorted(line[6:16] for line in headings) == sorted({row["trial_key"][:10] for row in table.rows})
    assert any(": domain " in line and "method lora+dreambooth, rank 8" in line for line in headings)
    assert len([line for line in lines if NUMBER.search(line)]) == len(table.rows)


def test_without_a_width_there_is_a_line_a_row_and_nothing_above(quiet: Any) -> None:
    table = results.table(quiet.plan, quiet.ledger)
    lines = shown(table, None)
    assert (len(lines), lines[0].split()[0]) == (len(table.rows) + 1, "trial")


def test_markup_is_text_in_headings_and_notes_too() -> None:
    row = dict.fromkeys(summary.COLUMNS, None) | dict.fromkeys(("before", "after", "delta", "delta_low", "delta_high"), 0.0)
    told = {"attack": "[b]a", "metric": "auc", "verdict": "none"}
    rows = [{"trial_key": key * 64, "domain": "[red]alba[/red]", "method": f"[i]{key}"} | row | told for key in "ab"]
    for width in (30, 200):
        text = terminal.to_table(rows, width=width).decode()
        assert "[red]alba[/red]" in text
        assert "[b]a" in text
        assert "[i]b" in text


def test_the_command_takes_the_width_of_its_terminal_and_none_in_a_pipe(tmp_path: Path) -> None:
    home = Home(tmp_path)
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 64, 0, 0))
    environment = {name: value for name, value in home.environment().items() if name != "COLUMNS"}
    code = f"import dashboards.tables as at\nat.write = lambda *_, **more: repr(more).encode()\n{home.command()[2]}"
    command = [home.command()[0], "-c", code, "results", "smoke"]
    subprocess.run(command, cwd=tmp_path, env=environment, stdout=inner, stderr=subprocess.DEVNULL, check=True, timeout=120)
    assert b"'width': 64" in os.read(outer, 1000)
    piped = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=120)
    assert b"'width': None" in piped.stdout
    os.close(outer)
    os.close(inner)
