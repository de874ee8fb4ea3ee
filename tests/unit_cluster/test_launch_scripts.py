"""The shell scripts: clean under shellcheck, and refusing to start what would be open to others or cannot work."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose_bed import ROOT

SBATCH = ROOT / "cluster/launch/slurm/s2l.sbatch"
SCRIPTS = sorted([SBATCH, *(ROOT / "docker").rglob("*.sh")])
START = ROOT / "docker/start"


def run(script: Path, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(script), *words], env={"PATH": os.environ["PATH"]} | given, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    command = [str(Path(sys.executable).parent / "shellcheck"), "--external-sources", "--severity=style", "--shell=bash", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "bad.sh").write_text("#!/bin/bash\nrm -rf $1/*\n")
    command = [str(Path(sys.executable).parent / "shellcheck"), "--severity=style", str(tmp_path / "bad.sh")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("script", ["ray-head.sh", "ray-worker.sh"])
def test_no_ray_starts_without_a_token(script: str, tmp_path: Path) -> None:
    done = run(START / script, TMPDIR=str(tmp_path), S2L_HEAD="127.0.0.1:1")
    assert done.returncode == 2
    assert "RAY_AUTH_TOKEN is empty; set it to" in done.stderr


def test_a_worker_wants_to_know_its_head(tmp_path: Path) -> None:
    done = run(START / "ray-worker.sh", TMPDIR=str(tmp_path), RAY_AUTH_TOKEN="a" * 64)
    assert (done.returncode, done.stderr) == (2, "ray-worker: S2L_HEAD is empty; set it to HOST:PORT of the head\n")


def made_private(folder: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    words = ["bash", "-euc", 'source "$0/listen.sh"; source "$0/ray-temp.sh"; private "$1"', str(START), str(folder)]
    return subprocess.run(words, env={"PATH": path, "TMPDIR": "/tmp"}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("before", [None, 0o777, 0o500])
def test_the_folder_around_ray_s_is_its_user_s_alone_also_where_it_was_there(tmp_path: Path, before: int | None) -> None:
    folder = tmp_path / "around"
    if before is not None:
        folder.mkdir()
        folder.chmod(before)
    done = made_private(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["link", "dangling", "file", "another user's", "no parent"])
def test_no_ray_starts_in_a_folder_that_another_user_may_have_prepared(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "around"
    if what == "link":
        (tmp_path / "theirs").mkdir()
        folder.symlink_to(tmp_path / "theirs")
    elif what == "dangling":
        folder.symlink_to(tmp_path / "nowhere")
    elif what == "file":
        folder.touch()
    elif what == "no parent":
        folder = tmp_path / "nowhere" / "around"
    elif os.geteuid():
        folder = Path("/proc/1")
    else:
        folder.mkdir()
        os.chown(folder, 65_534, 65_534)
    done = made_private(folder)
    assert done.returncode == 2
    assert f"{folder} cannot be made, or is not this user's own folder; set S2L_RAY_TEMP to a short path" in done.stderr


@pytest.mark.parametrize("script", ["ray-head.sh", "ray-worker.sh"])
@pytest.mark.parametrize("given", ["", "/somewhere/r"])
def test_ray_gets_the_folder_that_was_given_or_a_short_one_of_its_user(script: str, given: str, tmp_path: Path) -> None:
    for program in ("python", "ray"):
        (tmp_path / program).write_text("#!/bin/bash\nprintf '%s\\n' \"$@\"\n")
        (tmp_path / program).chmod(0o755)
    own = Path(f"/tmp/s2l-ray-{os.geteuid()}")
    was_there = own.exists()
    settings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "S2L_HEAD": "h:1", "RAY_AUTH_TOKEN": "a" * 64, "TMPDIR": str(tmp_path)}
    done = run(START / script, **settings, S2L_RAY_TEMP=given)
    mode = stat.S_IMODE(own.stat().st_mode) if own.exists() else None
    if not was_there and own.exists():
        own.rmdir()
    assert done.returncode == 0, done.stderr
    assert f"--temp-dir={given or own / 'r'}" in done.stdout.splitlines()
    assert given or mode == 0o700


@pytest.mark.parametrize("missing", ["MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"])
def test_an_mlflow_that_others_reach_has_a_user(missing: str, tmp_path: Path) -> None:
    given = dict.fromkeys(("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"), "x")
    done = run(START / "mlflow.sh", TMPDIR=str(tmp_path), S2L_MLFLOW_DATA=str(tmp_path), S2L_BIND="0.0.0.0", **given | {missing: ""})
    assert done.returncode == 2
    assert f"{missing} is empty" in done.stderr


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_an_s3_server_has_keys(missing: str, tmp_path: Path) -> None:
    given = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x") | {missing: ""}
    done = run(START / "seaweedfs.sh", TMPDIR=str(tmp_path), S2L_SEAWEEDFS_DATA=str(tmp_path / "data"), **given)
    assert done.returncode == 2
    assert f"{missing} is empty" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_slurm_script_says_how_it_is_used() -> None:
    for words, said in (((), "no grid given; use: sbatch"), (("quickstart",), "this is no Slurm job; submit it: sbatch")):
        done = run(SBATCH, *words)
        assert done.returncode == 2
        assert said in done.stderr


def test_the_slurm_script_wants_an_environment_all_nodes_see(tmp_path: Path) -> None:
    done = run(SBATCH, "quickstart", SLURM_JOB_ID="7", SLURM_SUBMIT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert f"no ray in {tmp_path}/.venv/bin; set S2L_BIN" in done.stderr


def test_every_setting_the_slurm_script_reads_is_described_in_it() -> None:
    lines = SBATCH.read_text().splitlines()
    described = "\n".join(line for line in lines if line.startswith("#"))
    read = set(re.findall(r"\$\{(S2L_\w+):-", "\n".join(lines)))
    assert {name for name in read if f"#   {name} " not in described} == set()


def in_slurm_script(tmp_path: Path, name: str, code: str, stub: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Code after the script's function of that name; `stub` stands for the programs it starts."""
    function = re.search(rf"^{name}\(\) {{$.*?^}}$", SBATCH.read_text(), re.MULTILINE | re.DOTALL)
    assert function is not None
    (tmp_path / "bin").mkdir()
    for program in ("python", "ray", "hostname"):
        (tmp_path / "bin" / program).write_text(f"#!/bin/bash\n{stub}\n")
        (tmp_path / "bin" / program).chmod(0o755)
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    words = ["bash", "-c", f"{function[0]}\n{code}"]
    return subprocess.run(words, env=path | given, capture_output=True, text=True, check=False, timeout=60)


NODE = {"S2L_HEAD_IP": "127.0.0.1", "S2L_PORT": "1", "SLURM_CPUS_ON_NODE": "1", "SLURM_JOB_ID": "7"}
SHOW = """\
temp=$(printf '%s\\n' "$@" | sed -n 's/^--temp-dir=//p')
mkdir -p "$temp" && chmod 777 "$temp" && cp -r "$temp" "$KEPT"
stat --format '%a %n' "$(dirname "$temp")"/* "$(dirname "$temp")" >"$KEPT/modes"
"""


def test_a_node_s_ray_lies_in_a_private_folder_without_what_a_former_life_left_and_goes(tmp_path: Path) -> None:
    temp = tmp_path / "s2l-ray-7"
    (temp / "r" / "session_old").mkdir(parents=True)
    done = in_slurm_script(tmp_path, "ray_node", "ray_node head", SHOW, S2L_RAY_TEMP=str(temp), KEPT=str(tmp_path / "kept"), **NODE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kept" / "modes").read_text().splitlines() == [f"777 {temp}/r", f"700 {temp}"]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["modes"]
    assert not temp.exists()


def test_a_node_whose_folder_cannot_be_made_private_starts_no_ray_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    temp = f"{tmp_path}/file/s2l-ray-7"
    done = in_slurm_script(tmp_path, "ray_node", "ray_node head", 'echo "$0" >>"$KEPT"', S2L_RAY_TEMP=temp, KEPT=f"{tmp_path}/kept", **NODE)
    assert done.returncode == 1
    assert f"s2l.sbatch: {temp} on " in done.stderr
    assert "set S2L_TMP to another local folder" in done.stderr
    assert (tmp_path / "kept").read_text() == f"{tmp_path}/bin/hostname\n", "the message's node, and no Ray"


@pytest.mark.parametrize(("given", "first"), [({"SLURMD_NODENAME": "n1"}, "n1"), ({}, "long")])
def test_the_first_node_has_the_name_that_slurm_gave_it(tmp_path: Path, given: dict[str, str], first: str) -> None:
    (line,) = [line for line in SBATCH.read_text().splitlines() if line.startswith("first=")]
    stub = "[[ $1 == -s ]] && echo long || echo long.name.example"
    done = in_slurm_script(tmp_path, "on_nodes", f'{line}\necho "$first"', stub, **given)
    assert done.stdout == f"{first}\n"
