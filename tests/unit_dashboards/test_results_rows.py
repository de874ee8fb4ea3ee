"""The flat rows: a contract that other people's programs hang on."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

from dashboards import tables, terminal
from dashboards.places import axis_names, places
from dashboards.printed import signed
from dashboards.results import columns, rows
from dashboards.words import short

MakeWorld = Callable[..., Any]
COLUMNS = [
    "trial_key",
    *("domain", "method", "rank", "train_on", "seed"),
    *("attack", "metric", "before", "after", "delta", "delta_low", "delta_high", "verdict", "n_member", "n_non_member"),
]


def test_rows_have_the_promised_columns_in_order(quiet: Any) -> None:
    found = rows(quiet.plan, quiet.ledger)
    assert all(list(row) == COLUMNS for row in found)


def test_there_is_one_row_a_trial_attack_and_metric_sorted_by_these(quiet: Any) -> None:
    found = [(row["trial_key"], row["attack"], row["metric"]) for row in rows(quiet.plan, quiet.ledger)]
    metrics = ("asr", "auc", "tpr_at_fpr_0.001", "tpr_at_fpr_0.01")
    assert found == sorted((trial.key, attack, metric) for trial in quiet.plan.trials for attack in ("loss", "secmi") for metric in metrics)


def test_values_are_those_of_the_committed_metrics(quiet: Any) -> None:
    trial = next(trial for trial in quiet.plan.trials if trial.axes["train_on"] == "members")
    document = quiet.measured(trial, "loss")
    row = next(
        row for row in rows(quiet.plan, quiet.ledger) if (row["trial_key"], row["attack"], row["metric"]) == (trial.key, "loss", "auc")
    )
    for name in ("before", "after", "delta", "delta_low", "delta_high", "verdict"):
        assert row[name] == document["metrics"]["auc"][name]
    assert (row["n_member"], row["n_non_member"]) == (60, 120)
    assert row["domain"] == trial.axes["domain"]
    assert row["verdict"] == "amplified"


def test_trials_that_are_not_done_do_not_appear(make_world: MakeWorld) -> None:
    world = make_world().finish(except_for=lambda trial: trial.axes["rank"] == 8)
    assert {row["rank"] for row in rows(world.plan, world.ledger)} == {None, 1}


def test_a_trial_with_one_attack_still_open_does_not_appear(make_world: MakeWorld) -> None:
    world = make_world(domains=("alba",))
    first = world.plan.trials[1]
    world.commit(first.metrics["loss"], "metrics.json", json.dumps(world.measured(first, "loss")).encode())
    assert rows(world.plan, world.ledger) == []


def test_a_corrupt_result_is_left_out_with_a_notice_and_not_shown(make_world: MakeWorld) -> None:
    world = make_world(domains=("alba",)).finish()
    said: list[str] = []
    world.ledger.notice = said.append
    node = world.plan.trials[1].metrics["loss"]
    sha256 = world.ledger.manifest("metrics", node.key).payload("metrics.json").sha256
    blob = next((world.work.parent / "store").rglob(sha256))
    blob.chmod(0o644)
    blob.write_bytes(b"{}")
    assert world.plan.trials[1].key not in {row["trial_key"] for row in rows(world.plan, world.ledger)}
    assert node.key in said[0]


def test_the_order_of_trials_in_the_plan_changes_no_byte(make_world: MakeWorld) -> None:
    world = make_world().finish()
    once = tables.to_json(rows(world.plan, world.ledger))
    random.Random(3).shuffle(world.plan.trials)
    assert tables.to_json(rows(world.plan, world.ledger)) == once


def test_when_and_where_it_was_made_changes_no_byte(quiet: Any) -> None:
    content = tables.to_json(rows(quiet.plan, quiet.ledger)) + tables.to_csv(rows(quiet.plan, quiet.ledger))
    assert b"node-1" not in content
    assert b"2026" not in content


def test_json_csv_and_parquet_hold_the_same_values(quiet: Any) -> None:
    found = rows(quiet.plan, quiet.ledger)
    assert json.loads(tables.to_json(found)) == found
    assert pq.read_table(io.BytesIO(tables.to_parquet(found))).to_pylist() == found
    read = list(csv.DictReader(io.StringIO(tables.to_csv(found).decode())))
    assert [float(row["delta"]) for row in read] == [row["delta"] for row in found]
    assert [row["rank"] for row in read] == ["" if row["rank"] is None else str(row["rank"]) for row in found]


def test_writers_give_the_same_bytes_each_time(quiet: Any) -> None:
    found = rows(quiet.plan, quiet.ledger)
    for write in (tables.to_json, tables.to_csv, tables.to_parquet, terminal.to_table):
        assert write(found) == write(rows(quiet.plan, quiet.ledger))


def test_no_results_are_still_a_document(make_world: MakeWorld) -> None:
    world = make_world()
    found = rows(world.plan, world.ledger)
    assert json.loads(tables.to_json(found)) == []
    header = ["trial_key", *axis_names(world.plan), "attack", "metric", "before", "after", "delta", "delta_low", "delta_high", "verdict"]
    assert tables.to_csv(found, columns(world.plan)).decode() == ",".join([*header, "n_member", "n_non_member"]) + "\n"
    assert pq.read_table(io.BytesIO(tables.to_parquet(found))).num_rows == 0
    assert b"no trial is done yet" in terminal.to_table(found)


def test_the_table_shows_verdicts_in_words_and_planted_markup_as_text(loud: Any) -> None:
    text = terminal.to_table(rows(loud.plan, loud.ledger), color=True).decode()
    assert "▲ amplified" in text
    assert "<script>alert(1)</script>" in text


def test_markup_of_the_terminal_is_text_too() -> None:
    row = dict.fromkeys(COLUMNS, 0.0) | {
        "trial_key": "k" * 64,
        "verdict": "none",
        "domain": "[red]alba[/red]",
        "attack": "a",
        "metric": "m",
    }
    assert b"[red]alba[/red]" in terminal.to_table([row])


def test_the_table_for_people_is_in_the_order_of_its_axes_with_numbers_by_size(ranks: Any) -> None:
    lines = terminal.to_table(rows(ranks.plan, ranks.ledger)).decode().splitlines()
    start = lines[0].index("rank")
    shown = [line[start:].split()[0] for line in lines[1:] if " alba " in line and " sp " in line and "auc" in line and " lora " in line]
    assert shown == sorted(shown, key=int)
    assert [line.split()[1] for line in lines[1:]] == sorted(line.split()[1] for line in lines[1:])


def test_ten_comes_after_two_and_what_is_not_given_before_both() -> None:
    row = dict.fromkeys(COLUMNS, 0.0) | {"trial_key": "k" * 64, "verdict": "none", "domain": "d", "attack": "a", "metric": "auc"}
    lines = terminal.to_table([row | {"rank": rank} for rank in (10, 2, None)]).decode().splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["a", "2", "10"]


def test_long_values_of_axes_are_short_in_the_table_and_whole_elsewhere() -> None:
    row = dict.fromkeys(COLUMNS, 0.0) | {"trial_key": "k" * 64, "verdict": "none", "attack": "a", "metric": "auc"}
    text = "x" * 60
    wide = [row | {"domain": json.dumps([{"text": text}])}, row | {"domain": json.dumps({"name": "mine", "adapters": []}), "rank": 1e-05}]
    shown = terminal.to_table(wide).decode()
    assert f"{'x' * 27}…" in shown
    assert "x" * 28 not in shown
    assert " mine " in shown
    assert " 1e-5 " in shown
    assert text in tables.to_csv(wide).decode()
    assert max(map(len, shown.splitlines())) < 140


def test_a_mapping_as_an_axis_value_becomes_its_json_text(make_world: MakeWorld) -> None:
    world = make_world(domains=("alba",)).finish()
    for trial in world.plan.trials:
        trial.axes["method"] = {"name": "mine", "adapters": []}
    found = rows(world.plan, world.ledger)
    assert found[0]["method"] == '{"adapters":[],"name":"mine"}'
    assert {place.variant for place in places(world.plan).values()} == {"mine", "mine, rank 1", "mine, rank 8"}


def test_places_tell_controls_from_methods_and_name_variants_by_what_varies(quiet: Any) -> None:
    found = {(place.role, place.variant) for place in places(quiet.plan).values()}
    assert found == {
        ("no-shake", "none"),
        ("method", "dreambooth"),
        ("method", "lora+dreambooth, rank 1"),
        ("method", "lora+dreambooth, rank 8"),
        ("members", "dreambooth"),
    }


def test_zero_alone_has_no_sign_so_that_an_interval_just_below_it_does_not_seem_to_hold_it() -> None:
    assert [short(value) for value in (0.0, -0.0, -0.0002, 0.0002, 0.5)] == ["0.000", "0.000", "−0.000", "+0.000", "+0.500"]
    assert [signed(value) for value in (0.0, 0, -0.00002, 3)] == ["0.0000", "0", "−0.0000", "+3"]
