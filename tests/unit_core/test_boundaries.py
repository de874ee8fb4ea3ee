"""Who may import whom: the arrows of the design, read from the source (imports inside functions count too)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("s2l_core", "jobs", "cluster", "dashboards")

# What a package's files may never import, at the top or inside a function.
FORBIDDEN = {
    "s2l_core": ("ray", "mlflow", "boto3", "botocore", "jobs", "cluster", "dashboards"),
    "cluster": ("jobs", "dashboards", "s2l_core"),
    "dashboards": ("ray", "boto3", "botocore", "mlflow", "cluster"),
}
# Imports that one place has to itself: module -> the files, as prefixes of their path.
ONLY_IN = {
    "boto3": ("jobs/store/s3.py",),
    "botocore": ("jobs/store/s3.py",),
    "ray.tune": ("jobs/",),
    "dashboards": ("dashboards/", "jobs/cli"),
}
MLFLOW_WRITER = "jobs/tracker/mlflow_writer.py"
MLFLOW_READERS = ("cluster/", "jobs/doctor", "jobs/cli")
PICKLERS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports(module: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__"):
            yield from ((node.lineno, arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def offences(paths: list[Path], modules: tuple[str, ...]) -> list[str]:
    return sorted(
        {
            f"{name_of(path)}:{line} imports {name}"
            for path in paths
            for line, name in imports(tree(path))
            if any(within(name, m) for m in modules)
        }
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_sources_to_look_at(package: str) -> None:
    assert sources(package)


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_no_arrow_points_the_wrong_way(package: str) -> None:
    assert not offences(sources(package), FORBIDDEN[package])


@pytest.mark.parametrize("module", sorted(ONLY_IN))
def test_a_module_is_imported_in_its_own_place_only(module: str) -> None:
    elsewhere = [path for path in sources(*PACKAGES) if not name_of(path).startswith(ONLY_IN[module])]
    assert not offences(elsewhere, (module,))


def test_mlflow_is_written_in_one_file_only() -> None:
    elsewhere = [path for path in sources(*PACKAGES) if name_of(path) != MLFLOW_WRITER and not name_of(path).startswith(MLFLOW_READERS)]
    assert not offences(elsewhere, ("mlflow",))


def test_jobs_imports_dashboards_late_and_only_from_the_command_line() -> None:
    at_top = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources("jobs")
        for node in tree(path).body
        if isinstance(node, ast.Import | ast.ImportFrom) and any(within(name, "dashboards") for _, name in imports(node))
    ]
    assert not at_top


def test_nothing_is_pickled() -> None:
    found = offences(sources(*PACKAGES), PICKLERS)
    for path in sources(*PACKAGES):
        found += [
            f"{name_of(path)}:{node.lineno} calls {call}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Call) and (call := ast.unparse(node.func)) in ("torch.load", "torch.save", "np.load", "numpy.load")
        ]
        found += [
            f"{name_of(path)}:{keyword.value.lineno} allow_pickle"
            for keyword in ast.walk(tree(path))
            if isinstance(keyword, ast.keyword) and keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
        ]
    assert not found


def test_the_core_reads_no_environment() -> None:
    found = [
        f"{name_of(path)}:{node.lineno} {ast.unparse(node)}"
        for path in sources("s2l_core")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.putenv", "os.environb")
    ]
    found += [
        f"{name_of(path)}:{line} imports {name}"
        for path in sources("s2l_core")
        for line, name in imports(tree(path))
        if name in ("os.environ", "os.getenv")
    ]
    assert not found


DISTRIBUTIONS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "botocore": "boto3",
    "mypy_boto3_s3": "boto3",
    "pydantic_core": "pydantic",
    "psycopg2": "psycopg2-binary",
}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    declared = {re.split(r"[\[><=~!]", line)[0].lower().replace("_", "-") for line in [*project["dependencies"], *optional]}
    names = {name.partition(".")[0] for path in sources(*PACKAGES) for _, name in imports(tree(path))}
    foreign = names - set(sys.stdlib_module_names) - set(PACKAGES)
    assert {DISTRIBUTIONS.get(name, name).lower().replace("_", "-") for name in foreign} == declared


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    assert not [name_of(path) for path in sources(*PACKAGES) if path.stem in ("utils", "helpers", "common", "misc")]


def test_docker_and_tests_are_no_packages() -> None:
    assert not list((ROOT / "docker").rglob("__init__.py"))
    assert not list((ROOT / "tests").rglob("__init__.py"))


def modules_loaded_by(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_specs_and_planning_load_nothing_heavy() -> None:
    specs = [f"s2l_core.specs.{path.stem}" for path in sources("s2l_core/specs") if path.stem != "__init__"]
    planning = ["jobs.errors", "jobs.keys", "jobs.plan.graph", "jobs.plan.plan", "jobs.stages.specs", "jobs.plan.expand"]
    present = [name for name in planning if (ROOT / (name.replace(".", "/") + ".py")).exists()]
    assert not modules_loaded_by(*specs, *present) & {
        "torch",
        "diffusers",
        "transformers",
        "peft",
        "ray",
        "mlflow",
        "boto3",
        "pandas",
        "matplotlib",
    }
