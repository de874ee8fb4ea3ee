"""A night on a cluster, in small: `python -m tests.overnight` is the same with eight nodes and thousands of trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.namespaces import needs_namespaces
from tests.overnight import PER_SEED, through_the_night


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_night_in_which_two_nodes_mlflow_and_the_driver_die_costs_one_command_in_the_morning(tmp_path: Path) -> None:
    needs_namespaces()
    found = through_the_night(tmp_path, 3, 2 * PER_SEED)
    assert found["trials"] == found["mlflow_runs"] - 1 >= 2 * PER_SEED
    assert found["stages_in_the_morning"] > 0, "the night left nothing to do"
