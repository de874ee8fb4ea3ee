"""What the numbers say, in plain words, for a person who is no statistician: a headline, a few sentences, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dashboards.results import Cell, Role
from dashboards.status import plural

AUC_WORDS = "AUC is how often an attack ranks a member above a non-member: 0.5 is guessing, 1 is certainty."
Tone = Literal["amplified", "unsure", "none", "unknown"]


@dataclass(frozen=True)
class Comparison:
    """One attack's AUC on one domain, before and after one fine-tuning."""

    role: Role
    variant: str
    domain: str
    attack: str
    auc: dict[str, Any]

    @property
    def verdict(self) -> str:
        return str(self.auc["verdict"])

    @property
    def delta(self) -> float:
        return float(self.auc["delta"])

    def told(self) -> str:
        """`lora, alba, loss attack: AUC 0.71 to 0.79, +0.080 (+0.021 to +0.139)`."""
        levels = f"AUC {self.auc['before']:.2f} to {self.auc['after']:.2f}"
        change = f"{short(self.delta)} ({short(self.auc['delta_low'])} to {short(self.auc['delta_high'])})"
        return f"{self.variant}, {self.domain}, {self.attack} attack: {levels}, {change}"


@dataclass(frozen=True)
class Blind:
    """What a classifier that never sees the model makes of a domain's split."""

    domain: str
    document: dict[str, Any]

    @property
    def separates(self) -> bool:
        return bool(self.document["separates"])


@dataclass
class Findings:
    """The report's first screen."""

    tone: Tone
    headline: str
    paragraphs: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)


def comparisons(cells: Iterable[Cell]) -> list[Comparison]:
    """Every cell's AUC, with its place in the grid."""
    return [Comparison(cell.place.role, cell.place.variant, cell.place.domain, cell.attack, cell.metric("auc")) for cell in cells]


def findings(found: Sequence[Comparison], blinds: Sequence[Blind], *, unfinished: int = 0) -> Findings:
    """The headline, the paragraph and the next steps.

    Args:
        unfinished: trials that have no result.
    """
    tested = [each for each in found if each.role == "method"]
    members = [each for each in found if each.role == "members"]
    if not tested:
        step = "Run the grid, or look why its trials have no result: `s2l status GRID`."
        return Findings("unknown", "Nothing can be said yet", ["No fine-tuned model has been attacked before and after."], [step])
    said = _verdict(tested, works=_moved(members))
    controls = [*_controls(members, blinds), *([_missing(unfinished)] if unfinished else [])]
    said.paragraphs = [f"{_what_was_done(tested)} {said.paragraphs[0]}", " ".join(controls), *said.paragraphs[1:]]
    said.steps += _steps(tested, members, blinds)
    if unfinished:
        said.steps.append("Finish the grid: see below what has no result, then run it again; only what is missing runs.")
    return said


def _missing(unfinished: int) -> str:
    have = "has no result and is" if unfinished == 1 else "have no result and are"
    return f"{plural(unfinished, 'trial')} of this grid {have} not in these numbers."


# --- the finding itself ---


def _verdict(tested: Sequence[Comparison], *, works: bool | None) -> Findings:
    up = [each for each in tested if each.verdict == "amplified"]
    sure = surviving(tested)
    if sure:
        said = _amplified(tested, up, sure)
    elif up:
        said = _unsure(tested, up)
    else:
        said = _nothing(tested, works=works)
    said.paragraphs[0] += _turned(tested)
    down = sum(each.verdict == "reduced" for each in tested)
    if down:
        said.paragraphs[0] += f" In {down} an attack became worse; that is no protection: another attack may still work."
    return said


def _turned(tested: Sequence[Comparison]) -> str:
    """What is to be said of attacks that pointed the wrong way beforehand; their moves count as neither better nor worse."""
    rose = sum(each.verdict == "inverted" and each.delta > 0 for each in tested)
    fell = sum(each.verdict == "inverted" for each in tested) - rose
    moves = [f"{count} {word}" for count, word in ((rose, "up"), (fell, "down")) if count]
    if not moves:
        return ""
    return f" Not counted: attacks that pointed the wrong way beforehand (AUC under 0.5) and moved beyond their interval, {_listed(moves)}."


def _crossed(each: Comparison) -> bool:
    """True when an attack pointed the wrong way beforehand and points the right way, more strongly, now."""
    return each.verdict == "inverted" and each.delta > 0 and each.auc["before"] + each.auc["after"] > 1


def _amplified(tested: Sequence[Comparison], up: Sequence[Comparison], sure: Sequence[Comparison]) -> Findings:
    variants = _listed([each.variant for each in sure])
    return Findings(
        "amplified",
        "Fine-tuning made members easier to find" + (", in some comparisons" if 2 * len(sure) < len(tested) else ""),
        [
            (
                f"In {len(up)} of {plural(len(tested), 'comparison')} an attack became better by more than its 95 % interval; "
                f"{len(sure)} of them {'stands' if len(sure) == 1 else 'stand'} after correction for the number of comparisons (Holm)."
            ),
            f"{AUC_WORDS} The largest of these changes: {_largest(sure).told()}.",
        ],
        [
            (
                f"Do not treat weights made with {variants} as no more revealing than the base model: "
                "they show more of what the base model was pre-trained on."
            ),
            "Repeat with more seeds and domains before you put a number on it.",
        ],
    )


def _unsure(tested: Sequence[Comparison], up: Sequence[Comparison]) -> Findings:
    return Findings(
        "unsure",
        "Some signs of amplification, but no more than chance can explain",
        [
            (
                f"In {len(up)} of {plural(len(tested), 'comparison')} an attack became better by more than its 95 % interval; "
                "none of them stands after correction for the number of comparisons (Holm)."
            ),
            f"{AUC_WORDS} The largest of these changes: {_largest(up).told()}.",
        ],
        ["Add seeds, domains or images: if the effect is real, it will stand; if it was chance, it will fade."],
    )


def _nothing(tested: Sequence[Comparison], *, works: bool | None) -> Findings:
    bound = short(max(each.auc["delta_high"] for each in tested))
    crossed = [each for each in tested if _crossed(each)]
    return Findings(
        "unsure" if crossed else "none",
        "No clear answer: an attack that pointed the wrong way beforehand now finds members" if crossed else _nothing_found(works),
        [
            (
                f"In none of {plural(len(tested), 'comparison')} did an attack that can be judged "
                "become better by more than its 95 % interval."
            ),
            f"{AUC_WORDS} The largest change upwards: {_largest(tested).told()}. What was measured still allows a rise of up to {bound}.",
        ],
        [
            (
                "Read this as: not seen for these domains, methods and attacks. It is no proof of safety: "
                "more images and domains make the intervals narrower, and other attacks may see more."
            )
        ],
    )


def _largest(tested: Sequence[Comparison]) -> Comparison:
    return max(tested, key=lambda each: each.delta)


def _nothing_found(works: bool | None) -> str:
    if works is False:
        return "No amplification was seen, but this test could not show that it would have seen one"
    return "No amplification was found"


def surviving(tested: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons that are amplified after Holm's correction at 5 %; it holds however they depend on each other."""
    ranked = sorted((each for each in tested if each.auc.get("p_value") is not None), key=lambda each: each.auc["p_value"])
    kept = []
    for index, each in enumerate(ranked):
        if each.auc["p_value"] > 0.05 / (len(tested) - index):
            break
        kept.append(each)
    return [each for each in kept if each.verdict == "amplified"]


def _what_was_done(tested: Sequence[Comparison]) -> str:
    variants, domains, attacks = ({getattr(each, name) for each in tested} for name in ("variant", "domain", "attack"))
    return (
        f"A model was fine-tuned in {plural(len(variants), 'way')} on pictures that it had drawn itself of "
        f"{plural(len(domains), 'domain')}. Before and after, {plural(len(attacks), 'attack')} tried to tell pictures that it was "
        "pre-trained on (members) from others of the same kind (non-members)."
    )


# --- controls ---


def _moved(members: Sequence[Comparison]) -> bool | None:
    """True when training on the members themselves helped an attack, beyond what as many tries give by chance; None: not tried."""
    return bool(surviving(members)) if members else None


def _controls(members: Sequence[Comparison], blinds: Sequence[Blind]) -> list[str]:
    told = [_positive_control(members)] if members else []
    separating = [each.domain for each in blinds if each.separates]
    if separating:
        told.append(
            f"Beware of {_listed(separating)}: a blind classifier that never sees the model tells members from non-members there, so the "
            "two sets of pictures differ by themselves. Every single AUC there says too much; the change from before to after is measured "
            "on the same pictures and suffers less."
        )
    elif blinds:
        told.append(
            "A blind classifier that never sees the model cannot tell members from non-members beyond chance: nothing says that "
            "the attacks see a difference between the two sets of pictures instead of the model."
        )
    return told


def _positive_control(members: Sequence[Comparison]) -> str:
    best = _largest(surviving(members) or members)
    change = f"from {best.auc['before']:.2f} to {best.auc['after']:.2f} ({best.attack} attack, {best.domain})"
    if _moved(members):
        return (
            "The measurement can see a leak: when the model was fine-tuned on the members themselves, as a positive control, "
            f"the AUC rose, at most {change}."
        )
    return (
        "The positive control did not move: even fine-tuned on the members themselves, no attack became better by more than chance can "
        f"explain (at most {change})."
    )


def _steps(tested: Sequence[Comparison], members: Sequence[Comparison], blinds: Sequence[Blind]) -> list[str]:
    steps = []
    if not members:
        steps.append("Add the positive control (`train_on: [sp, members]`): without it a zero may mean that the test sees nothing.")
    elif not _moved(members):
        steps.append(
            "Do not rely on a zero here: give the positive control more steps or a higher learning rate until it moves, "
            "and the methods the same."
        )
    if any(each.separates for each in blinds):
        steps.append("Make a split whose members and non-members come from one source; `s2l data check FOLDER` says what differs.")
    if any(each.verdict == "inverted" for each in tested):
        steps.append("Some attacks point the wrong way on this model (AUC under 0.5). They are shown as they are; read the other attacks.")
    return steps


def short(value: float) -> str:
    """A signed number with three digits."""
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text.strip("+−") == "0.000" else text


def _listed(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    head = names[:6] + ([f"{len(names) - 6} more"] if len(names) > 6 else [])
    return head[0] if len(head) == 1 else f"{', '.join(head[:-1])} and {head[-1]}"
