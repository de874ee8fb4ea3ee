"""What a trial's run shows, and how it is cut into calls. No MLflow."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.keys import canonical_json, sha256_text
from jobs.states import TrialState
from jobs.tracker.batches import batches
from jobs.tracker.event import event_from_line, event_of
from jobs.tracker.location import artifact_location, bare, resolved, shown, spool_folder, ui_command
from jobs.tracker.rows import MAX_CURVE_POINTS, MAX_PARAM, Row, fingerprint, row_of, safe, stages_of
from jobs.tracker.session import probe_tracking
from jobs.tracker.view import view_state
from tests.mirror_world import DONE, MORE, SECRET, World


def row(world: World, index: int, state: TrialState = DONE) -> Row:
    event = event_of(world.plan.trials[index], state)
    stages = stages_of(event, world.ledger)
    assert stages is not None
    return row_of(event, stages, world.ledger)


def test_a_run_shows_axes_bounds_curve_verdicts_and_keys(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    trial = world.plan.trials[2]
    found = row(world, 2)
    assert found.name == "zorvik · lora · rank=8 · seed=0"
    assert found.params == {"domain": "zorvik", "method": "lora", "rank": "8", "seed": "0"}
    metrics = {name: value for name, value, step in found.metrics if step == 0 and not name.startswith("train/")}
    assert len(metrics) == 2 * 2 * 5
    assert metrics["secmi/auc/delta"] == pytest.approx(0.08)
    assert found.tags["s2l.verdict.secmi"] == "amplified"
    assert trial.shake is not None
    assert found.tags["s2l.key.shake"] == trial.shake.key
    assert found.tags["s2l.uri.shake"].endswith(f"store/manifests/shake/{trial.shake.key}.json")
    assert found.tags["s2l.warnings"] == "loss:few-non-members, secmi:few-non-members"
    curve = [(step, value) for name, value, step in found.metrics if name == "train/loss"]
    assert MAX_CURVE_POINTS / 2 < len(curve) <= MAX_CURVE_POINTS
    assert curve[-1] == (499, 1 / 500)
    assert found.end_ms - found.start_ms == 5 * 2500  # two scores, two metrics, one shake


def test_absent_axes_are_a_dash_and_unnamed_in_the_run_name(tmp_path: Path) -> None:
    found = row(World(tmp_path).finish(), 0)
    assert found.params["rank"] == "-"
    assert found.name == "zorvik · none · seed=0"


def test_no_curve_of_scores_no_traceback_and_no_host_path_leaves_the_ledger(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    shown = json.loads(row(world, 2).files["metrics.json"])
    assert sorted(shown) == ["loss", "secmi"]
    assert "roc" not in shown["loss"]
    failed = row(World(tmp_path / "b"), 1, World(tmp_path / "b").fail(world.plan.trials[1], "loss is NaN\nsecret second line"))
    assert failed.status == "FAILED"
    assert failed.tags["s2l.failure.class"] == "numerical"
    assert failed.tags["s2l.failure.message"] == "loss is NaN"
    assert "secret" not in repr(failed)


def test_the_fingerprint_follows_the_content_and_not_the_clock(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    event = event_of(world.plan.trials[0], DONE)
    stages = stages_of(event, world.ledger)
    assert stages is not None
    assert fingerprint(event, stages) == fingerprint(replace(event, at_ms=1), stages)
    assert fingerprint(event, stages) != fingerprint(replace(event, axes={"domain": "other"}), stages)
    made_again = replace(stages, metrics={**stages.metrics, "loss": stages.metrics["loss"].model_copy(update={"digest": "0" * 64})})
    assert fingerprint(event, stages) != fingerprint(event, made_again)


def shown_beside(found: Row) -> dict[str, float]:
    kinds = tuple(f"{file.removesuffix('.json')}/" for file in MORE.values())
    assert all(step == 0 for name, _, step in found.metrics if name.startswith(kinds))
    return {name: value for name, value, _ in found.metrics if name.startswith(kinds)}


def test_what_is_given_back_drawn_and_known_is_shown_before_after_and_as_a_difference(tmp_path: Path) -> None:
    world = World(tmp_path).measure_more().finish()
    found = row(world, 2)
    assert shown_beside(found) == {
        **{f"extraction/l2/members/{bound}": value for bound, value in (("before", 1.0), ("after", 5.0), ("delta", 4.0))},
        **{f"extraction/l2/members_all/{bound}": value for bound, value in (("before", 2.0), ("after", 6.0), ("delta", 4.0))},
        **{f"extraction/l2/non_members/{bound}": value for bound, value in (("before", 2.0), ("after", 2.0), ("delta", 0.0))},
        **{f"extraction/l2/precision/{bound}": value for bound, value in (("before", 1 / 3), ("after", 5 / 7), ("delta", 5 / 7 - 1 / 3))},
        **{f"extraction/retrieval_precision/{bound}": value for bound, value in (("before", 0.5), ("after", 0.5), ("delta", 0.0))},
        **{f"fidelity/right_identity/{bound}": value for bound, value in (("before", 1.0), ("after", 0.75), ("delta", -0.25))},
        **{f"fidelity/right_identity/{bound}": value for bound, value in (("delta_low", -0.5), ("delta_high", 0.0))},
        **{
            f"fidelity/frechet.{side}/{bound}": value
            for side in ("members", "non_members")
            for bound, value in (("before", 9.0), ("after", 10.0), ("delta", 1.0))
        },
        **{f"memorisation/score/{bound}": value for bound, value in (("before", 0.5), ("after", 0.75), ("delta", 0.25))},
        **{f"memorisation/control_mean/{bound}": value for bound, value in (("before", 0.25), ("after", 0.25), ("delta", 0.0))},
        **{f"memorisation/ratio/{bound}": value for bound, value in (("before", 2.0), ("after", 3.0), ("delta", 1.0))},
        **{f"memorisation/rank/{bound}": value for bound, value in (("before", 1.0), ("after", 1.0), ("delta", 0.0))},
    }
    assert all(safe(name) == name for name, _, _ in found.metrics)
    trial = world.plan.trials[2]
    assert trial.extraction is not None
    assert found.tags["s2l.key.extract"] == trial.extraction.key


def test_where_nothing_is_shaken_after_is_before(tmp_path: Path) -> None:
    found = shown_beside(row(World(tmp_path).measure_more().finish(), 0))
    for name in ("extraction/l2/members", "fidelity/right_identity", "fidelity/nearest_member_pixel_l2", "memorisation/score"):
        assert found[f"{name}/before"] == found[f"{name}/after"]
        assert found[f"{name}/delta"] == 0.0
    assert found["fidelity/nearest_member_pixel_l2/before"] == 0.25


def test_no_image_id_and_no_document_leaves_the_store_with_the_numbers(tmp_path: Path) -> None:
    found = row(World(tmp_path).measure_more().finish(), 2)
    assert SECRET not in repr(found)
    assert sorted(found.files) == ["metrics.json"]


def test_a_document_that_is_missing_or_of_another_shape_is_no_metric_and_no_error(tmp_path: Path) -> None:
    world = World(tmp_path).finish()
    world.measure_more()
    assert shown_beside(row(world, 2)) == {}, "asked, and not committed yet"
    other = World(tmp_path / "b").measure_more()
    trial = other.plan.trials[2]
    for leaf in (trial.extraction, trial.fidelity, trial.memorisation):
        assert leaf is not None
        other._commit(leaf, {MORE[leaf.kind]: {"rules": {"l2": {}}, "change": None, "images": []}})
    other.finish()
    assert not any(name.endswith(("/after", "/delta", "/delta_low")) for name in shown_beside(row(other, 2)))


def test_the_fingerprint_covers_the_documents_before_and_after_and_is_the_old_one_without_them(tmp_path: Path) -> None:
    world = World(tmp_path).measure_more().finish()
    event = event_of(world.plan.trials[2], DONE)
    stages = stages_of(event, world.ledger)
    assert stages is not None
    whole = fingerprint(event, stages)
    for kind, pair in stages.beside.items():
        for side in ("before", "after"):
            again = replace(pair, **{side: getattr(pair, side).model_copy(update={"digest": "0" * 64})})
            assert fingerprint(event, replace(stages, beside={**stages.beside, kind: again})) != whole
        assert fingerprint(event, replace(stages, beside={one: had for one, had in stages.beside.items() if one != kind})) != whole
    digests = {attack: manifest.digest for attack, manifest in stages.metrics.items()}
    assert stages.shake is not None
    former = [1, event.trial, event.axes, "done", {}, digests, stages.shake.digest]
    assert fingerprint(event, replace(stages, beside={})) == sha256_text(canonical_json(former))[:16]


def test_a_line_of_a_spool_that_an_older_version_left_is_read(tmp_path: Path) -> None:
    event = event_of(World(tmp_path).plan.trials[1], DONE)
    old = {name: value for name, value in json.loads(event.to_line()).items() if name != "beside"}
    assert event_from_line(json.dumps(old).encode()) == event


def test_a_done_trial_whose_stage_left_the_ledger_has_nothing_to_show(tmp_path: Path) -> None:
    world = World(tmp_path).finish(World(tmp_path).plan.trials[1:])
    assert stages_of(event_of(world.plan.trials[0], DONE), world.ledger) is None


def test_long_values_are_cut_visibly_and_names_made_legal(tmp_path: Path) -> None:
    world = World(tmp_path, domains=("x" * 2000,)).finish()
    value = row(world, 0).params["domain"]
    assert len(value) == MAX_PARAM
    assert value.endswith("…")
    assert safe("secmi@token (own)") == "secmi_token _own_"


def test_events_survive_the_way_through_a_line_and_a_cut_line_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    event = event_of(world.plan.trials[1], world.fail(world.plan.trials[1], "ünlucky"))
    assert event_from_line(event.to_line()) == event
    assert event_from_line(event.to_line()[:-20]) is None


def test_batches_hold_the_limits_and_lose_nothing() -> None:
    calls = list(batches((list(range(2500)), 1000), (list("ab"), 100), ([], 100)))
    assert [len(metrics) for metrics, _, _ in calls] == [1000, 1000, 500]
    assert [params for _, params, _ in calls] == [[], [], ["a", "b"]]
    assert [value for metrics, _, _ in calls for value in metrics] == list(range(2500))
    assert list(batches(([], 10), ([], 10))) == []


def test_the_view_has_the_axes_that_vary_and_few_metrics(tmp_path: Path) -> None:
    state = json.loads(view_state(World(tmp_path).plan))
    assert len(state["selectedColumns"]) == 3 + 2 * 3 + 2
    assert state["selectedColumns"][:4] == ["params.`domain`", "params.`method`", "params.`rank`", "metrics.`loss/auc/before`"]
    assert "params.`seed`" not in state["selectedColumns"]  # one value only
    more = json.loads(view_state(World(tmp_path / "more").measure_more().plan))["selectedColumns"]
    assert [name for name in more if name not in state["selectedColumns"]] == [
        f"metrics.`{name}/{bound}`"
        for name in ("extraction/tile_max/members", "fidelity/right_identity", "memorisation/score")
        for bound in ("before", "after")
    ]


def test_sqlite_is_absolute_with_artifacts_and_spool_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = resolved("sqlite:///s2l-data/mlflow.db")
    assert uri == f"sqlite:///{tmp_path}/s2l-data/mlflow.db"
    assert artifact_location(uri) == f"file://{tmp_path}/s2l-data/mlflow-artifacts"
    assert spool_folder(uri) == tmp_path / "s2l-data" / "mlflow-spool"
    assert ui_command("sqlite:///s2l-data/mlflow.db") == f"mlflow ui --backend-store-uri {uri}"
    assert ui_command("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert artifact_location("http://127.0.0.1:5000") is None


def test_passwords_are_not_shown() -> None:
    assert shown("postgresql+psycopg2://me:hush@db/x") == "postgresql+psycopg2://me:***@db/x"
    assert shown("https://me:hu#s?h@host:5000/x") == "https://me:***@host:5000/x"
    assert shown("https://host/x@y") == "https://host/x@y"
    assert "hush" not in ui_command("postgresql+psycopg2://me:hush@db/x")


@pytest.mark.parametrize("credentials", ["", "me:hush@", "me@", "me:hu#s?h@", "me:hu@sh@"])
def test_an_address_for_others_has_neither_user_nor_password(credentials: str) -> None:
    assert bare(f"https://{credentials}host:5000/x@y?z#w") == "https://host:5000/x@y?z#w"
    assert bare("sqlite:////data/a@b/mlflow.db") == "sqlite:////data/a@b/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", "no store in plain folders"),
        ("file:///tmp/mlruns", "no store in plain folders"),
        ("ftp://host/x", "unknown kind 'ftp'"),
        ("sqlite://", "names no file"),
        ("http://", "names no host"),
    ],
)
def test_addresses_that_cannot_work_are_refused_with_what_would(uri: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        resolved(uri)
    assert "sqlite:///s2l-data/mlflow.db" in str(caught.value)


def test_looking_for_a_database_makes_none(tmp_path: Path) -> None:
    assert "first run makes it" in probe_tracking(f"sqlite:///{tmp_path}/data/mlflow.db")
    assert not (tmp_path / "data").exists()


def test_the_mirror_is_imported_without_mlflow() -> None:
    import subprocess

    code = "import sys, jobs.tracker.session; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
