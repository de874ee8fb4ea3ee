"""Every node of a Ray cluster, seen by a worker that runs on it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.doctor import clock, here, versions
from jobs.doctor.check import Check, free_space
from jobs.doctor.node import NOT_SHARED, Answer, Question, look
from jobs.errors import S2LError
from jobs.store.protocol import ObjectStore
from jobs.tracker.location import SERVERS, bare, shown

NODE_S = 120.0
"""How long a node has to answer: a first worker takes seconds to start, and a store that is not there some more to give up on."""
_SAME = "install the same S2L and the same requirements.txt on every node (one image, or one shared folder), then start Ray there again"


def on_every_node(
    address: str, opened: ObjectStore | None, store_url: str, tracking: str, temp: Path, timeout_s: float = NODE_S
) -> list[Check]:
    """The findings of all nodes that are alive, or one failed check when the cluster does not answer. Never waits much longer than told.

    Args:
        opened: this machine's view of the store; None when it has none, and then nodes are asked about theirs alone.
    """
    from cluster.ray_node import ray_session

    try:
        with ray_session(workers=None, temp=temp, address=address) as slots, _written(opened) as nonce:
            found = [
                Check(
                    "ray",
                    "ok",
                    f"{address}: {slots.nodes} {'node' if slots.nodes == 1 else 'nodes'}, {slots.cpus} CPUs, {slots.gpus:g} GPUs",
                )
            ]
            question = Question(store_url, nonce, bare(tracking) if tracking.partition("://")[0] in SERVERS else "")
            return found + _ask_all(question, timeout_s)
    except (ConnectionError, RuntimeError, ValueError) as error:  # Ray's own refusals (token, version of Python or Ray) are RuntimeErrors
        words = " ".join(str(error).split())[:300] or type(error).__name__
        mend = "start the cluster, check --address and RAY_AUTH_TOKEN; Python and Ray must be the same on all nodes"
        return [Check("ray", "failed", f"{address}: {words}", mend)]


@contextlib.contextmanager
def _written(opened: ObjectStore | None) -> Iterator[str]:
    """An object in the store for the nodes to find; its name is empty when it cannot be written."""
    name = f"probe/{uuid.uuid4().hex}"
    try:
        if opened is None:
            raise S2LError
        opened.create(name, b"a node looks for this")
    except S2LError:
        yield ""
        return
    try:
        yield name
    finally:
        with contextlib.suppress(S2LError):
            opened.delete(name)


def _ask_all(question: Question, timeout_s: float) -> list[Check]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    seers = {}
    for node in nodes:
        here_only = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        seers[node["NodeID"]] = _seer_class().options(scheduling_strategy=here_only, num_cpus=0, max_restarts=0).remote()
    asked = {node: seer.look.remote(question) for node, seer in seers.items()}
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=timeout_s)
    mine, found, names = versions.installed(), [], _names(nodes)
    for node in sorted(nodes, key=lambda node: names[node["NodeID"]]):
        number = node["NodeID"]
        address = names[number]
        if asked[number] not in ready:
            found.append(Check("node", "failed", f"did not answer within {timeout_s:.0f} s", "see that node's Ray logs and load", address))
            continue
        try:
            answer: Answer = ray.get(asked[number], timeout=timeout_s)
        except Exception as error:  # whatever a node's Python may raise
            words = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            found.append(Check("node", "failed", f"cannot run S2L: {words}", _SAME, address))
            continue
        found += _judged(answer, question, mine, address, node["Resources"].get("GPU", 0))
        found.append(_clock(seers[number], address))
    for seer in seers.values():
        ray.kill(seer)
    return found


def _names(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """What each node is called: its address, and where several share one, also the first letters of its id."""
    count = Counter(node["NodeManagerAddress"] for node in nodes)
    return {
        node["NodeID"]: address if count[address] == 1 else f"{address} ({node['NodeID'][:8]})"
        for node in nodes
        for address in [node["NodeManagerAddress"]]
    }


def _clock(seer: Any, address: str) -> Check:
    import ray

    try:
        return clock.judged(clock.measure(lambda: float(ray.get(seer.now.remote(), timeout=20)), time.time), address)
    except Exception as error:
        return Check("clock", "warning", f"could not be compared: {type(error).__name__}", "run s2l doctor again", address)


def _judged(answer: Answer, question: Question, mine: dict[str, str], node: str, gpus: float) -> Iterator[Check]:
    """One node's answer as findings."""
    other = versions.differences(answer.versions, mine)
    same = f"{answer.host}: as on this machine: s2l {mine['s2l']} (code {mine['code']}), torch {mine['torch']}, ray {mine['ray']}"
    yield (
        Check("versions", "failed", f"{answer.host}: {'; '.join(other)}", _SAME, node)
        if other
        else Check("versions", "ok", same, node=node)
    )
    yield _store(answer.store, question, node)
    if question.tracking:
        words = f"{shown(question.tracking)}: {answer.tracking or 'answers'}"
        mend = "open the way from that node to the MLflow server; needed only where the driver itself runs there (--detach)"
        yield Check("tracking", "warning" if answer.tracking else "ok", words, mend if answer.tracking else "", node)
    for index, (model, free, total) in enumerate(answer.gpus):
        yield here.gpu(f"gpu {index}", model, free, total, node)
    if gpus and not answer.cuda:
        yield Check(
            "gpu", "failed", f"Ray counts {gpus:g} GPUs, and torch there cannot use any", "install the CUDA build of torch there", node
        )
    folder, free = answer.disk
    yield free_space(free, folder, node)


def _store(said: str, question: Question, node: str) -> Check:
    if not said:
        return Check("store", "ok", f"{question.store}: a worker lists, reads and writes it, and sees what this machine wrote", node=node)
    mend = "set the AWS variables of that node before its `ray start`: a worker uses its node's own, and none is sent to it"
    if "://" not in question.store:
        mend = "mount the same folder at the same path on every node, writable for Ray's user; or use an s3:// store"
    elif said == NOT_SHARED:
        mend = "AWS_ENDPOINT_URL_S3 of that node names another server: set it as on this machine before its `ray start`"
    return Check("store", "failed", f"{question.store}: {said}", mend, node)


def _seer_class() -> Any:
    import ray

    class Seer:
        """Lives on one node while the doctor looks at it."""

        def look(self, question: Question) -> Answer:
            return look(question)

        def now(self) -> float:
            return time.time()

    return ray.remote(Seer)
