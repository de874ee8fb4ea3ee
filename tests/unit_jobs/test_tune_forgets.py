"""What Tune still holds of a trial that has ended: tens of thousands of units must not cost a gigabyte."""

from __future__ import annotations

import pickle

import pytest

from jobs.execute.tune_backend import _Forgetful


@pytest.mark.parametrize("how", ["on_trial_complete", "on_trial_error"])
def test_of_a_trial_that_has_ended_neither_its_order_nor_its_outcome_nor_its_metrics_are_kept(how: str) -> None:
    from ray.tune.experiment import Trial

    order, outcome = "the order" * 1000, "the outcome" * 1000
    trial = Trial(
        "units", stub=True, config={"order": order, "processes": 1}, evaluated_params={"order": order}, experiment_tag=f"1_{order}"
    )
    trial.update_last_result({"outcome": outcome, "config": dict(trial.config), "committed": 3, "training_iteration": 1, "done": True})
    before = len(pickle.dumps([trial.config, trial.experiment_tag, trial.run_metadata.__dict__]))
    assert trial.run_metadata.metric_analysis

    getattr(_Forgetful(), how)(iteration=1, trials=[trial], trial=trial)

    held = [trial.config, trial.evaluated_params, trial.experiment_tag, trial.run_metadata.__dict__, trial.get_json_state()]
    assert order not in repr(held)
    assert outcome not in repr(held)
    assert trial.run_metadata.metric_analysis == trial.run_metadata.metric_n_steps == {}
    assert trial.run_metadata.last_result["committed"] == 3
    assert len(pickle.dumps([trial.config, trial.experiment_tag, trial.run_metadata.__dict__])) < before / 10
