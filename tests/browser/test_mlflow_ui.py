"""What a person sees in the MLflow UI, in a real browser: the run tree, the ready-made table, a trial's page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.services import mlflow as service
from jobs.states import TrialState
from jobs.tracker.session import mirrored
from jobs.tracker.view import link
from tests.mirror_world import DONE, Shown, World

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed (Debian: apt-get install chromium)", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def shown(server: service.MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A grid of six trials: four done, one failed, one blocked, with a report."""
    world = World(tmp_path_factory.mktemp("world"), grid="looked-at")
    blocked, failed, *rest = world.plan.trials
    world.finish(rest)
    state = world.fail(failed)
    report = {"report.html": b"<html><body>the report</body></html>"}
    with mirrored(world.plan, world.ledger, server.uri, print, grid_artifacts=lambda: report) as on_trial:
        for trial in rest:
            on_trial(trial, DONE)
        on_trial(failed, state)
        on_trial(blocked, TrialState("blocked", state.cause, state.failure))
    return Shown(server.uri, "looked-at")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1800, "height": 1000})
    page.set_default_timeout(PATIENCE_MS)
    yield page
    page.close()


def test_the_ready_made_table_has_every_trial_with_readable_columns(page: Any, server: service.MlflowServer, shown: Shown) -> None:
    page.set_viewport_size({"width": 2800, "height": 1000})  # columns out of sight are not in the page
    page.goto(f"{server.uri}/{link(shown.experiment.experiment_id)}")
    page.get_by_text("6 matching runs").wait_for()
    grid = page.get_by_role("grid")
    names = ("zorvik · lora · rank=8 · seed=0", "zorvik · none · seed=0", "mellune · none · seed=0")
    columns = ("Parameters", "domain", "method", "rank", "Metrics", "secmi/auc/before", "secmi/auc/after", "secmi/auc/delta", "amplified")
    for words in (*names, *columns):
        grid.get_by_text(words, exact=True).first.wait_for()


def test_the_runs_of_the_experiment_are_one_tree(page: Any, server: service.MlflowServer, shown: Shown) -> None:
    page.goto(f"{server.uri}/#/experiments/{shown.experiment.experiment_id}/runs")
    page.get_by_role("link", name="looked-at", exact=True).first.wait_for()
    assert page.get_by_text("zorvik · lora · rank=8 · seed=0").count() == 0, "folded under the grid's run at first"
    page.get_by_text("7 matching runs").wait_for()


def test_the_grids_page_says_how_it_went_and_lists_its_trials(page: Any, server: service.MlflowServer, shown: Shown) -> None:
    page.goto(f"{server.uri}/#/experiments/{shown.experiment.experiment_id}/runs/{shown.parents[0].info.run_id}")
    for words in ("Failed", "6 trials: 4 done, 1 failed, 1 blocked.", "All trials in one table", "zorvik · lora · rank=8 · seed=0"):
        page.get_by_text(words).first.wait_for()
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("report.html").first.wait_for()


def test_a_trials_page_has_its_verdicts_and_its_parent(page: Any, server: service.MlflowServer, shown: Shown) -> None:
    run = next(run for run in shown.children if run.info.run_name == "zorvik · lora · rank=8 · seed=0")
    page.goto(f"{server.uri}/#/experiments/{shown.experiment.experiment_id}/runs/{run.info.run_id}")
    for words in ("Finished", "looked-at", "+0.080 (+0.060 to +0.100)", "s2l.verdict.secmi"):
        page.get_by_text(words).first.wait_for()
