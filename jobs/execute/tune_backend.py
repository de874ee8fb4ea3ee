"""Units on Ray Tune: one Tune trial a unit, handed out by a Searcher when all it needs is committed (docs/decisions/0002)."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.execute.avoided import not_on
from jobs.execute.queue import Outcome, Queue
from jobs.execute.units import Unit
from jobs.placement.estimate import Shape

SHAPE = ("processes", "gpu_share")
"""What of a unit's shape stands in its Tune config, where Tune's callable finds it."""
STRATEGY = "PACK"
"""One node where one has room, else several: a trial of 4 processes runs on 4 nodes with one GPU each too (docs/decisions/0018)."""


class TuneBackend:
    """Runs a queue's units in actors that Tune reuses.

    Args:
        slots: how many units run at once.
        order_of: a unit's work order as JSON text.
        setup: picklable settings for the workers (`UnitTrainable.settings`).
        shape_of: what a unit takes.
        avoided: nodes on which none may run, by Ray's names.
        temp: a folder for Tune's own files, which nobody reads.
    """

    def __init__(
        self,
        *,
        slots: int,
        order_of: Callable[[Unit], str],
        setup: dict[str, Any],
        shape_of: Callable[[Unit], Shape],
        temp: Path,
        avoided: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self.slots = slots
        self.order_of = order_of
        self.setup = setup
        self.shape_of = shape_of
        self.temp = temp
        self.avoided = avoided

    def _in_config(self, unit: Unit) -> dict[str, Any]:
        shape = self.shape_of(unit)
        return {name: getattr(shape, name) for name in SHAPE} | {"avoided": list(self.avoided())}

    def run(
        self,
        queue: Queue,
        on_outcome: Callable[[Unit, Outcome], None],
        lost: Callable[[Unit, Outcome | None], Outcome | None],
        is_over: Callable[[], bool],
    ) -> None:
        """Run until nothing more can start.

        Args:
            on_outcome: called in this process after each unit.
            lost: says what became of a unit whose worker is gone (`ReadySearcher`).
            is_over: whether to end although units were handed out: none of them has begun, and none may begin any more.
        """
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
        os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(max(1, 2 * self.slots)))  # a cluster may begin with no node at all
        os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
        os.environ.setdefault("TUNE_RESULT_BUFFER_LENGTH", "0")
        os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "60")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost worker is told by us, in a line
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray import tune

            from jobs.execute.searcher import ReadySearcher
            from jobs.worker.trainable import trainable_with

            _keep_keys_here()
            searcher = ReadySearcher(queue, self.order_of, on_outcome, lost, shape_of=self._in_config)
            trainable = tune.with_resources(
                trainable_with(self.setup),
                _placement,
            )
            tuner = tune.Tuner(
                trainable,
                param_space={},
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    num_samples=-1,
                    max_concurrent_trials=None,
                    reuse_actors=True,
                    metric="committed",
                    mode="max",
                ),
                run_config=tune.RunConfig(
                    name="units",
                    storage_path=str(self.temp),
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # else every node must see the driver's temp folder
                    progress_reporter=_Silent(),
                    callbacks=[_Forgetful()],
                    stop=_stopper(lambda: searcher.error is not None or is_over()),
                ),
            )
            tuner.fit()
            if searcher.error is not None:
                raise searcher.error
            for unit_id in list(queue.running):  # never begun
                queue.give_back(unit_id, begun=False)


def _placement(config: dict[str, Any]) -> Any:
    """What Tune asks Ray for. A worker that is kept is given another unit only where that asks for the same, so none on a node to avoid."""
    from ray import tune

    bundles = Shape(**{name: config[name] for name in SHAPE}).bundles()
    kept_off = not_on(config["avoided"], len(bundles))
    return tune.PlacementGroupFactory(bundles, strategy=STRATEGY, **({"bundle_label_selector": kept_off} if kept_off else {}))


def _keep_keys_here() -> None:
    """Tune would send the driver's AWS keys along with every trial, and Ray would write them into each node's log and show them on the
    dashboard. A worker uses its own node's."""
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}


def _silent_class() -> type:
    from ray.tune import ProgressReporter

    class Silent(ProgressReporter):  # type: ignore[misc]
        def should_report(self, trials: Any, done: bool = False) -> bool:
            return False

        def report(self, trials: Any, done: bool, *sys_info: dict[str, Any]) -> None:
            return None

    return Silent


def _Silent() -> Any:
    return _silent_class()()


def _stopper(is_over: Callable[[], bool]) -> Any:
    from ray.tune import Stopper

    class WhenOver(Stopper):  # type: ignore[misc]
        """Its question is no part of the class, which Tune pickles too."""

        asks: Callable[[], bool]

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return self.asks()

        def __getstate__(self) -> dict[str, Any]:
            return {}  # as for the searcher

    stopper = WhenOver()
    stopper.asks = is_over
    return stopper


def _forgetful_class() -> type:
    from ray.tune import Callback

    class Forgetful(Callback):  # type: ignore[misc]
        """Tune keeps what a trial was given and what it said until the run ends, some 60 KB a unit: most of a driver's memory."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            for given in (trial.config, trial.evaluated_params):
                given.pop("order", None)
            trial.set_experiment_tag("")  # Tune writes the order into it
            kept = trial.run_metadata
            kept.last_result = {name: value for name, value in kept.last_result.items() if isinstance(value, int | float)}
            kept.metric_analysis, kept.metric_n_steps = {}, {}

        on_trial_error = on_trial_complete

    return Forgetful


def _Forgetful() -> Any:
    return _forgetful_class()()
