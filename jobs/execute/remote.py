"""What the driver asks of Ray about its workers' machines."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from jobs.execute.board import Place
from jobs.execute.leaving import end_worker

END_WAIT_S, ANSWER_WAIT_S = 60.0, 3.0


def node_lives(node: str) -> bool:
    """Whether Ray counts the node as alive and it answers: Ray takes up to a minute to see that one has gone."""
    import ray

    return any(_answers(one["NodeManagerAddress"], one["NodeManagerPort"]) for one in ray.nodes() if one["NodeID"] == node and one["Alive"])


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=ANSWER_WAIT_S):
        return True
    return False


def end_remotely(place: Place) -> str:
    """Kill a worker on its own machine; its last stacks.

    Raises:
        Exception: the machine does not answer.
    """
    import ray

    if place.node == ray.get_runtime_context().get_node_id():
        return end_worker(place)  # here: no need of a process of Ray's, which takes its time to start
    task = ray.remote(end_worker).options(num_cpus=0, max_retries=0, scheduling_strategy=_on(place.node))
    return str(ray.get(task.remote(place), timeout=END_WAIT_S))


def beside_driver(actor: Any) -> Any:
    """An actor that lives and dies with the driver's own node: the loss of any other takes no news with it."""
    import ray

    return actor.options(scheduling_strategy=_on(ray.get_runtime_context().get_node_id())).remote()


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)
