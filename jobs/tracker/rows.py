"""From an event and the ledger to what MLflow shows of a trial. Values only, no MLflow."""

from __future__ import annotations

import json
import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import strptime
from typing import Any

from jobs.keys import canonical_json, sha256_text
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.ledger.paths import Paths
from jobs.plan.names import trial_name
from jobs.tracker.beside import Pair, metrics_of, pairs_of
from jobs.tracker.event import Event
from jobs.tracker.location import shown
from jobs.tracker.plain import plain

FORMAT = 1
"""Part of every run's fingerprint: a change of what a run shows makes `s2l sync` write all runs again."""

ABSENT = "-"
MAX_PARAM, MAX_TAG, MAX_NAME = 500, 5000, 250
MAX_CURVE_POINTS = 64
BOUNDS = ("before", "after", "delta", "delta_low", "delta_high")
STATUS = {"done": "FINISHED", "failed": "FAILED", "blocked": "KILLED"}


@dataclass(frozen=True)
class Row:
    """One trial's run.

    Attributes:
        fingerprint: the same for the same content; a run that carries it need not be written again.
        status: MLflow's word for the state.
        metrics: (name, value, step).
        files: path below the run's artifacts -> bytes.
        documents: attack -> its `metrics.json`, for who draws of it.
    """

    trial: str
    name: str
    fingerprint: str
    status: str
    start_ms: int
    end_ms: int
    params: dict[str, str]
    metrics: list[tuple[str, float, int]]
    tags: dict[str, str]
    files: dict[str, bytes]
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stages:
    """The manifests behind a trial's run: its metrics by attack, the shake when there is one, and what is measured beside the attacks."""

    metrics: dict[str, Manifest]
    shake: Manifest | None
    beside: dict[str, Pair] = field(default_factory=dict)


def stages_of(event: Event, ledger: Ledger) -> Stages | None:
    """What the ledger holds of the trial; None when a trial that was done is not any more (a stage went to quarantine)."""
    found = {attack: ledger.manifest("metrics", key) for attack, key in event.metrics.items()}
    metrics = {attack: manifest for attack, manifest in found.items() if manifest is not None}
    if event.state == "done" and len(metrics) < len(event.metrics):
        return None
    return Stages(metrics, ledger.manifest("shake", event.shake) if event.shake else None, pairs_of(event.beside, ledger))


def fingerprint(event: Event, stages: Stages) -> str:
    """A hash over all that decides the run's content. With nothing beside the attacks it is what S2L wrote before it showed such things."""
    digests = {attack: manifest.digest for attack, manifest in stages.metrics.items()}
    shake = stages.shake.digest if stages.shake is not None else None
    beside = [{kind: pair.digests for kind, pair in stages.beside.items()}] if stages.beside else []
    return sha256_text(canonical_json([FORMAT, event.trial, event.axes, event.state, event.failure, digests, shake, *beside]))[:16]


def row_of(event: Event, stages: Stages, ledger: Ledger) -> Row:
    """The trial's run. Reads each attack's `metrics.json`, the documents beside them, and the training curve.

    Raises:
        jobs.errors.Corrupt: a payload is not what its manifest says.
    """
    read = {attack: json.loads(ledger.read(manifest, "metrics.json")) for attack, manifest in sorted(stages.metrics.items())}
    documents = {safe(attack): document for attack, document in read.items()}
    start_ms, end_ms = _times(event, stages, ledger)
    return Row(
        trial=event.trial,
        name=run_name(event),
        fingerprint=fingerprint(event, stages),
        status=STATUS[event.state],
        start_ms=start_ms,
        end_ms=end_ms,
        params={safe(name): cut(_text(value), MAX_PARAM) for name, value in event.axes.items()},
        metrics=[*_metrics(documents), *metrics_of(stages.beside, ledger), *_curve(stages.shake, ledger)],
        tags={name: cut(value, MAX_TAG) for name, value in _tags(event, documents, ledger).items()},
        files={"metrics.json": _small(documents)} if documents else {},
        documents=read,
    )


def run_name(event: Event) -> str:
    """`zorvik · lora+dreambooth · rank=8 · seed=0`."""
    return cut(trial_name(event.axes).replace(", ", " · ") or event.trial[:12], MAX_NAME)


def safe(name: str) -> str:
    """The name in characters that MLflow allows for params, metrics and tags."""
    return re.sub(r"[^\w./: -]", "_", name, flags=re.ASCII).strip("/. ") or "_"


def cut(text: str, length: int) -> str:
    """The text, ended by `…` where it had to be cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _text(value: Any) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else canonical_json(value)


def _metrics(documents: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, float, int]]:
    for attack, document in documents.items():
        for name, values in sorted(document["metrics"].items()):
            for bound in BOUNDS:
                if values.get(bound) is not None:
                    yield f"{attack}/{safe(name)}/{bound}", float(values[bound]), 0


def _curve(shake: Manifest | None, ledger: Ledger) -> Iterator[tuple[str, float, int]]:
    """The training loss by step, thinned to what a plot can show; the last step always stays."""
    if shake is None or all(payload.name != "curve.json" for payload in shake.payloads):
        return
    curve = json.loads(ledger.read(shake, "curve.json"))
    points = list(zip(curve.get("step", ()), curve.get("loss", ()), strict=False))
    stride = -(-len(points) // MAX_CURVE_POINTS) or 1
    for step, loss in points[::-1][::stride][::-1]:
        yield "train/loss", float(loss), int(step)


def _tags(event: Event, documents: Mapping[str, dict[str, Any]], ledger: Ledger) -> dict[str, str]:
    tags = {"s2l.trial_key": event.trial, "s2l.state": event.state, "mlflow.source.name": "s2l", "mlflow.source.type": "JOB"}
    tags |= {f"s2l.key.metrics.{safe(attack)}": key for attack, key in event.metrics.items()}
    tags |= {f"s2l.key.{kind}": key for kind, key in event.beside.items()}
    if event.shake is not None:
        manifest = f"{shown(ledger.store.url).rstrip('/')}/{Paths.manifest('shake', event.shake)}"
        tags |= {"s2l.key.shake": event.shake, "s2l.uri.shake": manifest}
    tags |= {f"s2l.verdict.{attack}": _headline(document)["verdict"] for attack, document in documents.items()}
    codes = sorted({f"{attack}:{found['code']}" for attack, document in documents.items() for found in document.get("warnings", ())})
    if codes:
        tags["s2l.warnings"] = ", ".join(codes)
    tags |= {f"s2l.failure.{name}": value for name, value in event.failure.items() if value}
    note = _note(event, documents)
    return tags | ({"mlflow.note.content": note} if note else {})


def _headline(document: Mapping[str, Any]) -> Mapping[str, Any]:
    metrics: Mapping[str, Mapping[str, Any]] = document["metrics"]
    return metrics.get("auc") or next(iter(metrics.values()))


def _note(event: Event, documents: Mapping[str, dict[str, Any]]) -> str:
    """The description on the run's page: what failed, and a table of the AUCs."""
    lines = []
    if event.failure:
        lines += [f"**{event.state}**: {event.failure.get('class', '')}: {plain(event.failure.get('message', ''))}", ""]
    if documents:
        lines += ["| attack | AUC before | after | difference (95 %) | verdict |", "|---|---|---|---|---|"]
    for attack, document in documents.items():
        auc = _headline(document)
        interval = f"{auc['delta']:+.3f} ({auc['delta_low']:+.3f} to {auc['delta_high']:+.3f})"
        lines.append(f"| {plain(attack)} | {auc['before']:.3f} | {auc['after']:.3f} | {interval} | {auc['verdict']} |")
    return "\n".join(lines)


def _small(documents: Mapping[str, dict[str, Any]]) -> bytes:
    """Every attack's `metrics.json` without the curves, a line each, in one file: each file is a request.

    Indented, it would take Python's own encoder, which is slow; the MLflow UI indents it by itself.
    """
    small = {attack: {name: value for name, value in document.items() if name != "roc"} for attack, document in sorted(documents.items())}
    lines = [f"{json.dumps(attack)}: {json.dumps(document, sort_keys=True)}" for attack, document in small.items()]
    return "{{\n{}\n}}\n".format(",\n".join(lines)).encode()


def _times(event: Event, stages: Stages, ledger: Ledger) -> tuple[int, int]:
    """(start, end) in milliseconds: the end is when the last stage of the trial's own was made, the length is what they took."""
    manifests = [*stages.metrics.values(), *([stages.shake] if stages.shake is not None else [])]
    scores = {parent.key for manifest in stages.metrics.values() for parent in manifest.parents if parent.role == "after"}
    manifests += [manifest for key in sorted(scores) if (manifest := ledger.manifest("score", key)) is not None]
    manifests += [pair.after for pair in stages.beside.values()]
    drawn = {parent.key for pair in stages.beside.values() for parent in pair.after.parents if parent.role == "drawn"}
    manifests += [manifest for key in sorted(drawn) if (manifest := ledger.manifest("sp", key)) is not None]
    made = [found for manifest in manifests if (found := _made(manifest.made)) is not None]
    if not made or event.state != "done":
        return event.at_ms, event.at_ms
    end = max(start + length for start, length in made)
    return end - sum(length for _, length in made), end


def _made(made: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        return timegm(strptime(made["at"], "%Y-%m-%dT%H:%M:%SZ")) * 1000, int(float(made["seconds"]) * 1000)
    except (KeyError, TypeError, ValueError):
        return None


__all__ = ["Row", "Stages", "fingerprint", "row_of", "run_name", "stages_of"]
