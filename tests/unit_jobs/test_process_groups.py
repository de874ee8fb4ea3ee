"""Where processes of one trial meet, by which way they sum, and what is refused before a run."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from jobs.cli.main import s2l
from jobs.errors import InputError
from jobs.execute.group import backend_for, find_meeting, in_group, open_meeting
from jobs.execute.worker_setup import pick_device
from s2l_core.training.errors import GroupBroken
from s2l_core.training.group import TorchGroup, agreed, share_files

LOOPBACK = "127.0.0.1"


def listening() -> set[tuple[str, int]]:
    return {(found.laddr.ip, found.laddr.port) for found in psutil.Process().net_connections("tcp") if found.status == psutil.CONN_LISTEN}


def test_a_group_listens_on_its_own_address_alone_and_for_as_long_as_it_lasts() -> None:
    before = listening()
    meeting, store = open_meeting(LOOPBACK, 1, "gloo")
    with in_group(store, meeting, 0, LOOPBACK) as group:
        opened = listening() - before
        assert (LOOPBACK, meeting.port) in opened
        assert {address for address, _ in opened} == {LOOPBACK}
        assert (group.rank, group.size) == (0, 1)
    del store
    assert listening() == before


def test_a_group_that_was_left_is_broken(tmp_path: Path) -> None:
    meeting, store = open_meeting(LOOPBACK, 1, "gloo")
    with in_group(store, meeting, 0, LOOPBACK) as group:
        values = torch.ones(3)
        group.sum_([values])
        assert values.tolist() == [1.0, 1.0, 1.0]
        group.leave()
        group.leave()
        with pytest.raises(GroupBroken, match="process 1 of 1 of this fit cannot reach the others any more"):
            group.sum_([values])
    assert isinstance(group, TorchGroup)


def test_a_meeting_that_is_over_is_not_found() -> None:
    meeting, store = open_meeting(LOOPBACK, 2, "gloo")
    del store
    with pytest.raises(GroupBroken, match=f"not at {LOOPBACK}:{meeting.port} any more"):
        find_meeting(meeting, within_s=2.0)


def test_one_process_has_nobody_to_agree_with(tmp_path: Path) -> None:
    from s2l_core.training.group import ALONE

    assert agreed(ALONE, True)
    assert not agreed(ALONE, False)
    share_files(ALONE, tmp_path, ("not there",))


@pytest.mark.parametrize(
    ("device", "share", "backend"), [("cuda:0", 1.0, "nccl"), ("cuda:0", 2.0, "nccl"), ("cuda:0", 0.5, "gloo"), ("cpu", 1.0, "gloo")]
)
def test_processes_that_share_a_gpu_sum_by_gloo_and_those_with_their_own_by_nccl(device: str, share: float, backend: str) -> None:
    assert backend_for(device, share) == backend


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_torch_does_not_find_is_an_error_unless_the_cpu_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"take 0\.5 GPUs, and torch finds none; leave --gpu-share out or give --device cpu"):
        pick_device(0.5)
    assert pick_device(0.5, "cpu") == "cpu"


def test_several_processes_without_ray_are_refused_before_anything_is_stored(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--processes 2 needs Ray, and --local does without it"):
        s2l.main(["run", "smoke", "--local", "--processes", "2", "--store", str(tmp_path / "store")], standalone_mode=False)
    assert not (tmp_path / "store").exists()
