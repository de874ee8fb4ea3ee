"""What a killed service leaves behind is ended, and what only looks like it is not; where a Ray head keeps what nobody else may read."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.ray_node import LONGEST_TEMP
from cluster.services import mlflow, ray_head
from cluster.services.mlflow import MlflowServer
from cluster.services.process import command_line, has_no_command_line, members, spawn
from cluster.services.ray_head import RayHead

Group = Callable[..., int]
ELSEWHERE = "(cd / && exec -a {name} sleep 600) &"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    """Starts a group of processes in a folder, kills its first one, and returns the group's number once the others are there."""
    started = []

    def start(folder: Path, *others: str) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        number = spawn(["bash", "-c", "\n".join([*others, "exec sleep 600"])], folder, tmp_path / "log")
        started.append(number)
        deadline = time.monotonic() + 20
        while not all("600" in command_line(pid) for pid in members(number)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(number, signal.SIGKILL)
        while number in members(number):
            time.sleep(0.01)
        assert not has_no_command_line(number)
        assert len(members(number)) == len(others)
        return number

    yield start
    for number in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(number, signal.SIGKILL)


@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_left_of_a_killed_mlflow_is_ended_and_a_stranger_with_its_number_is_not(
    group: Group, tmp_path: Path, at_once: bool
) -> None:
    number = group(tmp_path / "mlflow", "sleep 600 &", ELSEWHERE.format(name="stranger"))
    mlflow.stop(MlflowServer(str(tmp_path / "mlflow"), number, 1), at_once=at_once)
    assert [command_line(pid)[0] for pid in members(number)] == ["stranger"]


def test_an_mlflow_part_that_does_not_listen_to_reason_is_made_to_end(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow, "_STOP_S", 1.0)
    number = group(tmp_path / "mlflow", "(trap '' TERM; exec sleep 600) &")
    mlflow.stop(MlflowServer(str(tmp_path / "mlflow"), number, 1))
    assert members(number) == []


def test_workers_of_another_ray_that_got_the_number_are_not_ended(group: Group, tmp_path: Path) -> None:
    temp = tmp_path / "ray" / "ray"
    temp.mkdir(parents=True)
    ours = f"(cd / && exec -a ray::Ours sleep 600 >{temp}/worker.out) &"
    number = group(tmp_path, ours, ELSEWHERE.format(name="ray::Theirs"))
    ray_head.stop(RayHead(str(tmp_path / "ray"), number, "127.0.0.1", (1, 2, 3, 4), "the token", str(temp)))
    assert [command_line(pid)[0] for pid in members(number)] == ["ray::Theirs"]


# --- Ray opens its folder to everybody ---


def head(folder: Path, temp: str) -> RayHead:
    return RayHead(str(folder), 2**22 + 1, "127.0.0.1", (1, 2, 3, 4), "the token", temp)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A folder whose path is too long for Ray's sockets."""
    return tmp_path / ("x" * LONGEST_TEMP)


def test_a_head_s_own_folder_in_tmp_lies_in_a_private_one_is_kept_and_goes_whole(far: Path) -> None:
    temp = Path(ray_head._temp(far, None))
    try:
        temp.mkdir()
        temp.chmod(0o777)  # as Ray does
        assert temp.parent.stat().st_mode & 0o077 == 0
        assert len(str(temp)) <= LONGEST_TEMP
        assert ray_head._temp(far, head(far, str(temp))) == str(temp)
    finally:
        ray_head.stop(head(far, str(temp)))
    assert not temp.parent.exists()


def test_a_folder_that_is_no_longer_private_is_not_used_again(far: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for folder in (theirs, link, tmp_path / "none"):
        temp = Path(ray_head._temp(far, head(far, f"{folder}/r")))
        assert temp.parent.parent == Path("/tmp")
        temp.parent.rmdir()


def test_what_an_older_version_left_in_tmp_goes_and_nothing_beside_it(far: Path, tmp_path: Path) -> None:
    old = tmp_path / "s2l-ray-old"
    for folder in (old, tmp_path / "s2l-ray-old-before", tmp_path / "other"):
        folder.mkdir()
    ray_head.stop(head(far, str(old)))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
