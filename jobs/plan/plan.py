"""A plan: the trials of a grid and the stages they hang on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.plan.graph import Node, ancestors
from jobs.policy import RetryPolicy

SETTLED = ("domain", "method", "train_on", "sp_prompts")
"""The settings that say what part a trial plays in its grid."""


@dataclass(frozen=True)
class Trial:
    """One point of a grid.

    Attributes:
        key: sha256 of the trial's meaning (its metrics stages, and its fidelity, extraction and memorisation where they are measured).
        axes: axis name -> value (None where a conditional axis does not apply), in the grid's order.
        metrics: attack name -> its `metrics` node; the trial's leaves.
        shake: the fine-tuning stage, or None for the un-shaken base.
        blind: the blind baseline of the trial's attacked data.
        fidelity: how well the trial's model draws its domain, where the grid asks for it.
        extraction: which members the trial's model gives back, where the grid asks for it.
        memorisation: how strongly the trial's model knows its domain's name, where the grid asks for it.
        settled: values that the point has whether or not an axis gave them (`SETTLED`): of `fixed`, `by_method`, or defaults.
    """

    key: str
    axes: dict[str, Any]
    metrics: dict[str, Node]
    shake: Node | None
    blind: Node | None
    fidelity: Node | None = None
    extraction: Node | None = None
    memorisation: Node | None = None
    settled: dict[str, Any] = field(default_factory=dict)

    def leaves(self) -> Iterator[Node]:
        yield from self.metrics.values()
        if self.blind is not None:
            yield self.blind
        yield from (leaf for leaf in (self.fidelity, self.extraction, self.memorisation) if leaf is not None)


@dataclass(frozen=True)
class Pool:
    """Trials that differ in domain and seed only, measured together."""

    axes: dict[str, Any]
    attack: str
    node: Node
    trials: tuple[str, ...]


@dataclass
class Plan:
    """What a grid asks for; nothing here says what is done.

    Attributes:
        inputs: content hash -> local folder, for `data` and `base` stages that read the user's own.
        notices: what the user should know before the run, such as points that collapsed into one.
        document: the grid as a JSON value, with its axes after `--set`; stored with the grid.
        retry: what is tried again, and how often.
    """

    grid: str
    grid_key: str
    axes: dict[str, list[Any]]
    trials: list[Trial]
    pools: list[Pool] = field(default_factory=list)
    inputs: dict[str, Path] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def registration(self) -> dict[str, Any]:
        """What a store keeps of a grid that is run, so that its stages can be reached; a JSON value."""
        return {"grid": self.grid, "grid_key": self.grid_key, "axes": self.axes, "document": self.document}

    def leaves(self) -> list[Node]:
        """What the grid asks for: the trials' leaves and the pools, each as often as it is asked for."""
        return [*(leaf for trial in self.trials for leaf in trial.leaves()), *(pool.node for pool in self.pools)]

    def nodes(self) -> list[Node]:
        """All distinct stages, parents before children."""
        return list(ancestors(self.leaves()))
