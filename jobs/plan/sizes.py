"""How many members and non-members each attacked domain has, as far as that is known before a run."""

from __future__ import annotations

from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.stages.specs import DataStage, DrawnFaces, FolderImages


def sizes_of(plan: Plan) -> dict[str, tuple[int, int]]:
    """Attacked domain -> (members, non-members). Images that are yet to be given are left out; torch is not imported."""
    attacked = {node.key: node for trial in plan.trials if (node := _attacked(trial.metrics)) is not None}
    found = (_size(plan, node) for node in attacked.values())
    return dict(filter(None, found))


def _attacked(metrics: dict[str, Node]) -> Node | None:
    after = next((leaf.parent("after") for leaf in metrics.values()), None)
    return after.parent("data") if after is not None else None


def _size(plan: Plan, data: Node) -> tuple[str, tuple[int, int]] | None:
    source = data.spec.source if isinstance(data.spec, DataStage) else None
    if isinstance(source, DrawnFaces):
        return source.identity, (source.members, source.non_members)
    if isinstance(source, FolderImages) and source.content in plan.inputs:
        from jobs.sources import image_folder

        files = image_folder(str(plan.inputs[source.content])).of_domain(source.domain)
        members = sum(file.row.member for file in files)
        return source.domain, (members, len(files) - members)
    return None
