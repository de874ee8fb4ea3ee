"""Markup in every name and text that a user or a data set chooses: in the report and on MLflow's pages none of it runs or is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.services import mlflow as service
from dashboards.files import files
from dashboards.report import report, reported
from jobs.plan.graph import ancestors
from jobs.tracker.session import mirrored
from tests.browser.test_report_page import CHROMIUM, Visit, chromium
from tests.grid_by_hand import effect_of, world_of
from tests.mirror_world import DONE, Shown, World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
__all__ = ["chromium"]

ELSEWHERE = "http://planted.invalid"
TAG = f'"><img src="{ELSEWHERE}/tag.png" onerror=alert(1)><svg onload=alert(2)>'
SCRIPT = f"</td></svg></style><script>alert(3);fetch('{ELSEWHERE}/s')</script>"
MARKDOWN = f"![x]({ELSEWHERE}/picture.png) [x](javascript:alert(4)) `a` | b"
TEMPLATE = "{{ 7 * 7 }}{% raw %}${alert(5)}"
PLANTED = (TAG, SCRIPT, MARKDOWN, TEMPLATE)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A grid whose domains, method, prompt, captions and failures all hold markup."""
    points = [
        {"domain": domain, "method": method, "rank": rank, "train_on": "sp", "seed": 0, "prompt": prompt}
        for domain in PLANTED
        for method, rank in (("none", None), ("dreambooth", None), (f"lora {SCRIPT}", 1))
        for prompt in (TAG,)
    ]
    world = world_of(tmp_path_factory.mktemp("planted"), points, effect_of(sp=0.9))
    left = world.plan.trials[-1]
    nodes = {node.kind: node for node in ancestors(leaf for trial in world.plan.trials for leaf in trial.leaves())}
    for kind in ("data", "sp"):
        world.commit_images(nodes[kind], members=kind == "data", text=TAG + SCRIPT)
    world.finish(except_for=lambda trial: trial.key == left.key)
    world.fail(left.shake, "unknown", f"{TAG}{SCRIPT}\nand `{TAG}`")
    return world


@pytest.mark.parametrize("private", [False, True])
def test_nothing_planted_runs_or_is_fetched_in_a_report(chromium: Any, planted: Any, private: bool, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(report(planted.plan, planted.ledger, show_private=private), encoding="utf-8")
    with Visit(chromium, path) as visit:
        assert [url for url in visit.requests if not url.startswith(("file:", "data:"))] == []
        assert visit.complaints == []
        active = "[...document.querySelectorAll('*')].filter((node) => node.tagName.toLowerCase() === 'script' || [...node.attributes]"
        assert (
            visit.page.evaluate(
                f"{active}.some((one) => one.name.startsWith('on') || /javascript:/.test(one.value) && one.name === 'href'))"
            )
            == []
        )
        for text in (TAG, SCRIPT, MARKDOWN, TEMPLATE):
            assert text[:30] in visit.page.content().replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace("&quot;", '"')


def test_nothing_planted_runs_or_is_fetched_in_a_plot_s_file(chromium: Any, planted: Any, tmp_path: Path) -> None:
    _, figures = reported(planted.plan, planted.ledger)
    drawn = {name: content for name, content in files(figures).items() if name.endswith(".svg")}
    assert drawn
    for number, (name, content) in enumerate(drawn.items()):
        assert "/" not in name
        (tmp_path / f"{number}.svg").write_bytes(content)
        with Visit(chromium, tmp_path / f"{number}.svg") as visit:
            assert visit.requests == [(tmp_path / f"{number}.svg").as_uri()]
            assert visit.complaints == []


@pytest.fixture(scope="module")
def shown(server: service.MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    world = World(tmp_path_factory.mktemp("mirrored"), domains=(TAG[:90], MARKDOWN), grid="planted")
    failed, *rest = world.plan.trials[1:]
    world.finish(rest)
    state = world.fail(failed, TAG + SCRIPT + MARKDOWN)
    with mirrored(world.plan, world.ledger, server.uri, print) as on_trial:
        on_trial(failed, state)
        for trial in rest:
            on_trial(trial, DONE)
    return Shown(server.uri, "planted")


class Page:
    """A page of MLflow, with whom it asked and what it said."""

    def __init__(self, chromium: Any, server: service.MlflowServer, shown: Shown, run: str) -> None:
        self.context = chromium.new_context(viewport={"width": 1800, "height": 1000})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.asked: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(f"{server.uri}/#/experiments/{shown.experiment.experiment_id}/runs/{run}")

    def elsewhere(self) -> list[str]:
        return [url for url in self.asked if url.startswith(ELSEWHERE)]


def test_nothing_planted_runs_or_is_fetched_on_mlflow_s_pages(chromium: Any, server: service.MlflowServer, shown: Shown) -> None:
    failed = next(run for run in shown.children if run.data.tags.get("s2l.failure.message"))
    assert ELSEWHERE in failed.data.tags["mlflow.note.content"]
    for run, words in ((shown.parents[0], "All trials in one table"), (failed, "failed")):
        visit = Page(chromium, server, shown, run.info.run_id)
        visit.page.get_by_text(words).first.wait_for()
        visit.page.wait_for_timeout(2000)
        assert visit.elsewhere() == []
        assert visit.dialogs == []
        assert visit.page.locator("a[href^='javascript:'], img[src*='planted'], svg[onload]").count() == 0
        visit.context.close()


def test_mlflow_s_pages_do_fetch_a_picture_that_a_description_holds(chromium: Any, server: service.MlflowServer, shown: Shown) -> None:
    """Else the test above could not fail."""
    run = shown.children[-1].info.run_id
    shown.client.set_tag(run, "mlflow.note.content", f"look: ![x]({ELSEWHERE}/picture.png)")
    visit = Page(chromium, server, shown, run)
    visit.page.get_by_text("look:").first.wait_for()
    visit.page.wait_for_timeout(2000)
    assert visit.elsewhere() == [f"{ELSEWHERE}/picture.png"]
    visit.context.close()
