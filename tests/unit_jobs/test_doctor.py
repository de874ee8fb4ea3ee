"""What the doctor concludes from what it is told. No cluster is started here."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jobs.cli import doctor as command
from jobs.doctor import clock, job_server, node, nodes, versions
from jobs.doctor.check import Check
from jobs.doctor.clock import Skew
from jobs.doctor.node import NOT_SHARED, Answer, Question

MINE = {"python": "3.11.7", "code": "abc", "s2l": "0.1.0", "torch": "2.13.0", "ray": "2.60.0"}


def judged(question: Question | None = None, gpu_resources: float = 0, **changed: object) -> dict[str, Check]:
    """The findings about a node that answers as it should, but for what is changed."""
    answer = Answer(host="n1", versions=MINE, store="", tracking="", gpus=[], cuda=False, disk=("/tmp", 100.0))
    asked = question or Question("s3://b/p", "probe/1", "http://mlflow:5000")
    found = nodes._judged(Answer(**vars(answer) | changed), asked, MINE, "10.0.0.2", gpu_resources)  # type: ignore[arg-type]
    return {check.name: check for check in found}


def test_a_node_that_is_as_this_machine_is_fine_in_everything() -> None:
    found = judged()
    assert {check.state for check in found.values()} == {"ok"}
    assert {check.node for check in found.values()} == {"10.0.0.2"}
    assert set(found) == {"versions", "store", "tracking", "disk"}


def test_other_software_on_a_node_fails_and_is_named() -> None:
    found = judged(versions=MINE | {"code": "other", "torch": "2.12.0"})["versions"]
    assert (found.state, found.found) == ("failed", "n1: code other, here abc; torch 2.12.0, here 2.13.0")
    assert "on every node" in found.mend


def test_what_a_node_lacks_differs() -> None:
    assert versions.differences({}, {"ray": "2.60.0"}) == ["ray missing, here 2.60.0"]


def test_the_hash_of_the_source_is_always_the_same_and_there() -> None:
    found = versions.installed()
    assert found == versions.installed()
    assert len(found["code"]) == 12
    assert set(versions.COMPARED) < set(found)


@pytest.mark.parametrize(
    ("store", "said", "mend"),
    [
        ("/data/store", NOT_SHARED, "mount the same folder at the same path"),
        ("s3://b/p", NOT_SHARED, "AWS_ENDPOINT_URL_S3 of that node names another server"),
        ("s3://b/p", "refused: SignatureDoesNotMatch", "before its `ray start`"),
    ],
)
def test_a_store_that_a_node_cannot_use_fails_with_what_to_do(store: str, said: str, mend: str) -> None:
    found = judged(Question(store, "probe/1", ""), store=said)
    assert found["store"].state == "failed"
    assert said in found["store"].found
    assert mend in found["store"].mend
    assert "tracking" not in found, "a database of the driver's own is none of the nodes' business"


def test_an_mlflow_that_a_node_does_not_reach_is_a_warning_without_its_password() -> None:
    found = judged(Question("s3://b/p", "", "http://me:secret@mlflow:5000"), tracking="does not answer")["tracking"]
    assert found.state == "warning"
    assert "secret" not in found.found


@pytest.mark.parametrize("uri", ["https://ann:hush-hush@mlflow.invalid", "https://ann:hush#hush?1@mlflow.invalid/x"])
def test_nodes_are_asked_about_mlflow_without_user_and_password(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import cluster.ray_node as ray_node

    asked: list[Question] = []
    monkeypatch.setattr(ray_node, "ray_session", lambda **more: contextlib.nullcontext(ray_node.RaySlots(cpus=1, gpus=0, nodes=1)))
    monkeypatch.setattr(nodes, "_ask_all", lambda question, timeout_s: asked.append(question) or [])
    nodes.on_every_node("10.0.0.1:6379", None, "s3://b/p", uri, tmp_path)
    assert [question.tracking for question in asked] == [f"https://mlflow.invalid{'/x' if uri.endswith('/x') else ''}"]


def test_an_address_that_no_client_can_read_is_a_finding_and_no_error() -> None:
    assert node._tracking("http://mlflow:five-thousand").startswith("does not answer: nonnumeric port")


def test_a_node_tells_no_secret_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    monkeypatch.setattr(node, "_store", lambda question: "refused: planted-secret")
    monkeypatch.setattr(node, "_tracking", lambda uri: "does not answer: planted-secret")
    answer = node.look(Question("s3://b/p", "", ""))
    assert (answer.store, answer.tracking) == ("refused: ***", "does not answer: ***")


def test_gpus_are_looked_at_one_by_one_and_must_be_of_use_to_torch() -> None:
    found = judged(gpus=[("A", 70.0, 80.0), ("A", 10.0, 80.0)], cuda=True, gpu_resources=2)
    assert (found["gpu 0"].state, found["gpu 1"].state) == ("ok", "warning")
    assert "nvidia-smi" in found["gpu 1"].mend
    assert judged(cuda=False, gpu_resources=1)["gpu"].state == "failed"


def test_a_full_disk_is_a_warning() -> None:
    assert judged(disk=("/tmp", 1.0))["disk"].state == "warning"


def test_nodes_that_share_an_address_are_told_apart() -> None:
    pairs = (("10.0.0.2", "a" * 56), ("10.0.0.3", "b" * 56), ("10.0.0.3", "c" * 56))
    found = nodes._names([{"NodeManagerAddress": address, "NodeID": number} for address, number in pairs])
    assert list(found.values()) == ["10.0.0.2", "10.0.0.3 (bbbbbbbb)", "10.0.0.3 (cccccccc)"]


# --- clocks ---


class Clock:
    """Ours, and theirs that is `ahead`; the way there and back takes these times in turn."""

    def __init__(self, ahead: float, ways: list[tuple[float, float]]) -> None:
        self.now, self.ahead, self.ways = 1000.0, ahead, iter(ways)

    def ours(self) -> float:
        return self.now

    def theirs(self) -> float:
        there, back = next(self.ways)
        self.now += there
        said = self.now + self.ahead
        self.now += back
        return said


def test_the_quickest_round_trip_measures_the_skew() -> None:
    clocks = Clock(5.0, [(3.0, 0.0), (0.1, 0.1), (0.0, 4.0), (1.0, 0.0), (2.0, 2.0)])
    found = clock.measure(clocks.theirs, clocks.ours)
    assert (found.ahead, found.error) == (pytest.approx(5.0), pytest.approx(0.1))


def test_a_way_that_is_slow_in_one_direction_is_no_skew() -> None:
    clocks = Clock(0.0, [(8.0, 0.0)] * 5)
    assert clock.judged(clock.measure(clocks.theirs, clocks.ours), "n").state == "ok"


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(0.0, "ok"), (1.9, "ok"), (2.5, "warning"), (-2.5, "warning"), (29.0, "warning"), (31.0, "failed"), (-900.0, "failed")],
)
def test_a_skewed_clock_is_a_warning_and_then_a_failure(ahead: float, state: str) -> None:
    found = clock.judged(Skew(ahead, 0.1), "n")
    assert found.state == state
    assert ("NTP" in found.mend) == (state != "ok")


# --- the job server, and the command's exit code ---


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Answers 200 to the token, and what the parameter says to those without."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers.get("Authorization") == "Bearer right" else request.param)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("server", "token", "state"), [(401, "right", "ok"), (401, "wrong", "failed"), (200, "right", "warning")], indirect=["server"]
)
def test_a_job_server_answers_to_the_token_and_to_nobody_else(server: str, token: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    assert [check.state for check in job_server.checks(server)] == [state]


@pytest.mark.parametrize("server", [401], indirect=True)
@pytest.mark.parametrize("given", ["variable", "path", "home"])
def test_the_token_is_found_where_ray_looks_for_it(server: str, given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [check.state for check in job_server.checks(server)] == ["failed"], "there is none"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("right\n" if given == "home" else "of another cluster")
    (tmp_path / "token").write_text("right\n")
    if given == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    if given == "path":
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert [check.state for check in job_server.checks(server)] == ["ok"]


def test_a_job_server_s_address_is_told_without_a_password() -> None:
    (check,) = job_server.checks("http://ann:hush-hush@127.0.0.1")
    assert check.state == "failed"
    assert "hush" not in str(check)


def test_a_job_server_that_is_not_there_is_said() -> None:
    (check,) = job_server.checks("http://127.0.0.1:9")
    assert check.state == "failed"
    assert "does not answer" in check.found


@pytest.mark.parametrize(("name", "code"), [("store", 4), ("ray", 4), ("node", 4), ("versions", 2), ("clock", 2)])
def test_what_is_out_of_reach_ends_with_4_and_what_must_be_changed_with_2(
    name: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.doctor import here

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setattr(here, "machine", lambda: [Check("python", "ok", "3.11")])
    monkeypatch.setattr(here, "store", lambda opened: Check("store", "ok", ""))
    monkeypatch.setattr(here, "tracking", lambda uri: Check("tracking", "ok", ""))
    monkeypatch.setattr(nodes, "on_every_node", lambda *args: [Check(name, "failed", "x", "do y", "10.0.0.2")])
    assert command.doctor.main(["--store", str(tmp_path), "--json"], standalone_mode=False) == code
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert checks[-1] == {"name": name, "state": "failed", "found": "x", "mend": "do y", "node": "10.0.0.2"}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_the_doctor_prints_no_secret(
    more: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.doctor import here

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-secret")
    monkeypatch.setattr(here, "machine", list)
    monkeypatch.setattr(here, "tracking", lambda uri: Check("tracking", "failed", "planted-secret is wrong for https://ann:hush-hush@host"))
    command.doctor.main(["--store", str(tmp_path), *more], standalone_mode=False)
    said = capsys.readouterr().out
    assert "*** is wrong for https://***@host" in said
    assert "planted" not in said
    assert "hush" not in said
