"""The command line that other people's scripts rely on: names, options, exit codes, one JSON document on stdout."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jobs.cli.main import s2l
from jobs.cli.terminal import labelled
from tests.s2l_process import Home

HOW = {
    *("--tracking", "--no-tracking", "--workers", "--local", "--address", "--gpu-share", "--gpu-memory", "--processes", "--device"),
    *("--keep", "--gradient-checkpointing", "--checkpoint-every", "--max-gpus", "--until", "--budget"),
}
"""How a run is to go: the same for whatever runs something."""
OPTIONS = {
    "plan": {"--profile", "--set", "--store", "--json", "--power"},
    "grids": {"--json"},
    "run": HOW | {"--profile", "--set", "--store", "--json", "--detach", "--dashboard", "--cluster-python"},
    "retry": HOW | {"--profile", "--only", "--trials", "--set", "--store", "--dry-run", "--json"},
    "attach": {"--profile", "--store", "--run", "--dashboard", "--json"},
    "cancel": {"--profile", "--store", "--now", "--run", "--json"},
    "drive": {"--store"},
    "status": {"--profile", "--set", "--store", "--json"},
    "results": {
        *("--profile", "--set", "--store", "--format", "--output", "-o"),
        *("--fidelity", "--extraction", "--memorisation", "--summary", "--controls"),
    },
    "show": {"--grid", "--profile", "--set", "--store", "--json"},
    "report": {"--profile", "--set", "--store", "--output", "-o", "--plots", "--show-private"},
    "verify": {"--store", "--repair", "--json"},
    "sync": {"--profile", "--set", "--store", "--tracking", "--json"},
    "doctor": {"--store", "--tracking", "--address", "--json"},
    "data check": {"--fpr", "--json"},
    "up": {
        *("--folder", "--without", "--postgres", "--auth", "--host", "--json"),
        *("--s3-port", "--mlflow-port", "--postgres-port", "--ray-port", "--dashboard-port"),
    },
    "down": {"--folder", "--json"},
    "diff": {"--profile", "--profile-b", "--set", "--set-b", "--store", "--json"},
    "gc": {"--store", "--delete", "--forget", "--grace", "--older-than", "--quarantine", "--json"},
    "keygen": set(),
    "pretrain": {
        "--output",
        "-o",
        "--config",
        "--unet-channels",
        "--autoencoder-from",
        "--steps",
        "--autoencoder-steps",
        "--seed",
        "--device",
    },
}


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in s2l.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": sub for inner, sub in command.commands.items()}
        else:
            found[name] = command
    return found


def test_the_commands_and_their_options_are_exactly_these() -> None:
    options = {
        name: {
            flag
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in commands().items()
    }
    assert options == OPTIONS


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_command_teaches_by_its_help(name: str) -> None:
    command = commands()[name]
    assert command.help
    assert len(command.help.split()) > 5
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.is_flag and parameter.name not in ("seed", "form", "device"):
            assert parameter.help, f"{name} {parameter.opts} has no help"


@pytest.mark.parametrize("name", ["", *sorted(OPTIONS), "data"])
def test_helps_fit_into_80_columns_and_cut_nothing_off(name: str) -> None:
    found = CliRunner().invoke(s2l, [*name.split(), "--help"], prog_name="s2l", terminal_width=80, standalone_mode=False)
    assert [line for line in found.stdout.splitlines() if len(line) > 80] == []
    if name in ("", "data"):
        assert "..." not in found.stdout.replace("COMMAND [ARGS]...", "")


def test_commands_are_grouped_by_what_one_does() -> None:
    shown = CliRunner().invoke(s2l, ["--help"], standalone_mode=False).stdout
    places = [shown.index(f"\n{heading}:\n") for heading in s2l.headings]
    assert places == sorted(places)
    for (heading, names), end in zip(s2l.headings.items(), [*places[1:], len(shown)], strict=True):
        part = shown[shown.index(f"\n{heading}:\n") : end]
        assert [name for name in names if f"\n  {name} " not in part] == (["drive"] if "drive" in names else [])
    assert sorted(name for names in s2l.headings.values() for name in names) == sorted(s2l.commands)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_plan_answers_with_one_json_document_and_imports_no_torch(home: Home) -> None:
    code = (
        "import sys; sys.argv = ['s2l', 'plan', 'smoke', '--json']\n"
        "from jobs.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'ray', 'mlflow', 'diffusers', 'boto3') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=home.folder, env=home.environment(), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert set(answer) >= {"grid", "trials", "axes", "stages"}
    assert answer["grid"] == "smoke"
    assert answer["trials"] > 0
    assert set(answer["axes"]) >= {"domain", "method", "seed"}
    for row in answer["stages"].values():
        assert set(row) >= {"distinct", "done", "to_run"}
        assert row["to_run"] == row["distinct"]
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_a_report_and_its_plots_are_made_without_torch(home: Home) -> None:
    code = (
        "import sys; sys.argv = ['s2l', 'report', 'smoke', '-o', 'page.html', '--plots', 'plots']\n"
        "from jobs.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'ray', 'mlflow', 'diffusers', 'boto3') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=home.folder, env=home.environment(), capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_planning_writes_nothing(home: Home) -> None:
    home.run("plan", "smoke")
    assert not home.store.exists() or not any(home.store.rglob("*.json"))


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["plan", "quickstrat"], 2, "quickstart"),
        (["plan", "smoke", "--set", "sead=1"], 2, "seed"),
        (["run", "smoke", "--workers", "0"], 2, "workers"),
        (["run", "smoke", "--checkpoint-every", "-1"], 2, "checkpoint-every"),
        (["retry", "smoke", "--only", "blocked"], 2, "transient"),
        (["retry", "smoke", "--set", "gpu_shar=1"], 2, 'did you mean "gpu_share"'),
        (["retry", "smoke", "--set", "gpu_share=much"], 2, "gpu_share: got"),
        (["retry", "smoke", "--set", "gpu_share=1", "--gpu-share", "0.5"], 2, "--set gpu_share=1.0: --gpu-share is given too"),
        (["retry", "smoke", "--local", "--processes", "2"], 2, "--processes 2 needs Ray"),
        (["retry", "smoke", "--until", "noon"], 2, "a time of day such as 06:00"),
        (["retry", "smoke", "--trials", "metod=lora"], 2, 'did you mean "method"'),
        (["retry", "smoke", "--trials", "method=lore"], 2, "fits no trial of smoke"),
        (["run", "smoke", "--store", "ftp://x"], 2, "s3://"),
        (["run", "smoke", "--budget", "0"], 2, "budget"),
        (["run", "smoke", "--max-gpus", "0"], 2, "max-gpus"),
        (["run", "smoke", "--until", "2020-01-01T06:00"], 2, "that time has passed"),
        (["run", "smoke", "--until", "noon"], 2, "a time of day such as 06:00"),
        (["run", "smoke", "--detach"], 2, "give --dashboard http://HOST:8265"),
        (["run", "smoke", "--detach", "--dashboard", "head:8265"], 2, "got 'head:8265'"),
        (["run", "smoke", "--detach", "--dashboard", "http://u:p@head:8265"], 2, "no password belongs"),
        (["run", "smoke", "--detach", "--local"], 2, "leave --local, --address and --workers out"),
        (["run", "smoke", "--detach", "--dashboard", "http://h:1", "--tracking", "http://u:p@mlflow"], 2, "MLFLOW_TRACKING_PASSWORD"),
        (["run", "smoke", "--detach", "--dashboard", "http://u:p#1@head:8265"], 2, "no password belongs"),
        (["run", "smoke", "--detach", "--dashboard", "http://h:1", "--tracking", "http://u:p#1@mlflow"], 2, "MLFLOW_TRACKING_PASSWORD"),
        (["attach", "smoke"], 2, "begin one: s2l run smoke"),
        (["cancel", "smoke"], 2, "no run of smoke is at work"),
        (["cancel", "smoek"], 2, "smoke"),
        (["drive", "smoke/no-such-run"], 2, "holds no submitted run"),
        (["results", "smoke", "--format", "xml"], 2, "parquet"),
        (["nonsense"], 2, "nonsense"),
        (["show", "ffff"], 2, "ffff"),
        (["pretrain", "no-such-folder", "-o", "out"], 2, "no-such-folder"),
        (["pretrain", "tiny-sm1", "-o", "out", "--unet-channels", "8,8"], 2, "recipes are fixed"),
        (["pretrain", "photos", "-o", "out", "--unet-channels", "20"], 2, "the nearest: 16 or 24"),
        (["verify", "--store", "s3://bucket/prefix"], 4, "s3"),
        (["verify", "--store", "no-such-store"], 2, "there is nothing in the store"),
        (["plan", "smoke", "--store", "/dev/null/store"], 2, "/dev/null is a file"),
        (["up", "--host", "0.0.0.0"], 2, "such as 10.0.0.5"),
        (["up", "--without", "redis"], 2, "mlflow"),
        (["up", "--s3-port", "60000"], 2, "choose one up to 55535"),
    ],
)
def test_bad_input_ends_with_its_exit_code_and_says_what_to_do(home: Home, args: list[str], code: int, said: str) -> None:
    environment = home.environment() | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    environment |= {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(home.command(*args), cwd=home.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_reader_that_has_read_enough_is_no_error(home: Home) -> None:
    command = " ".join(shlex.quote(word) for word in home.command("plan", "quickstart", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=home.folder,
        env=home.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("args", [["plan", "smoke", "--json"], ["results", "smoke", "--format", "csv"]])
def test_a_full_disk_behind_stdout_is_said_without_a_traceback(home: Home, args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            home.command(*args), cwd=home.folder, env=home.environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 4
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_status_and_results_of_a_grid_that_was_never_run(home: Home) -> None:
    status = home.json("status", "smoke")
    assert status["trials"]["missing"] > 0
    assert status["trials"]["done"] == status["trials"]["failed"] == status["trials"]["blocked"] == 0
    assert status["failures"] == []
    assert json.loads(home.run("results", "smoke", "--format", "json").stdout) == []


def test_data_check_answers_on_stdout_and_ends_with_2_when_there_are_errors(home: Home) -> None:
    done = home.run("data", "check", "no-such-folder", check=[2])
    assert "no-such-folder" in done.stdout
    findings = home.json("data", "check", "no-such-folder", check=[2])["findings"]
    assert [finding["severity"] for finding in findings] == ["error"]


@pytest.mark.parametrize("folder", ["no/such/folder", "a-file", "a-file/inside"])
def test_a_bad_folder_for_plots_is_found_before_anything_is_written(home: Home, folder: str) -> None:
    (home.folder / "a-file").write_text("mine")
    told = home.run("report", "smoke", "-o", "page.html", "--plots", folder, check=(2,)).stderr
    assert f"cannot write plots to {folder}" in told
    assert "name a folder that is yours to write" in told
    assert sorted(path.name for path in home.folder.iterdir()) == ["a-file"]


@pytest.mark.parametrize("folder", ["blobs", "."])
def test_plots_do_not_go_into_the_store_where_verify_would_call_them_damage(home: Home, folder: str) -> None:
    home.store.mkdir(parents=True, exist_ok=True)
    told = home.run("report", "smoke", "-o", "page.html", "--plots", str(home.store / folder), check=(2,)).stderr
    assert "it lies in the store" in told
    assert not list(home.store.rglob("*.json"))


def test_plots_are_not_begun_where_the_page_cannot_be_written(home: Home) -> None:
    home.run("report", "smoke", "-o", "nowhere/page.html", "--plots", "plots", check=(2,))
    assert not (home.folder / "plots").exists()


def test_plots_leave_what_else_is_in_their_folder_and_list_none_where_nothing_is_drawn(home: Home) -> None:
    (home.folder / "plots").mkdir()
    (home.folder / "plots" / "mine.svg").write_text("mine")
    done = home.run("report", "smoke", "-o", "page.html", "--plots", "plots")
    assert done.stdout == "page.html\n"
    assert {path.name: path.read_text() for path in (home.folder / "plots").iterdir()} == {"mine.svg": "mine", "figures.json": "[]\n"}


def test_a_long_axis_wraps_under_its_beginning_on_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ", ".join(f"domain-{number:02d}" for number in range(12))
    monkeypatch.setattr("jobs.cli.terminal.terminal_width", lambda: 60)
    first, *rest = labelled("domain", words).splitlines()
    assert first.startswith("  domain     domain-00")
    assert rest
    assert all(len(line) <= 60 and line.startswith(" " * 13 + "domain-") for line in rest)
    monkeypatch.setattr("jobs.cli.terminal.terminal_width", lambda: None)
    assert labelled("domain", words) == f"  domain     {words}"
