"""What the numbers say, in plain words, for a person who is no statistician: a headline, a few sentences, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dashboards.comparisons import Blind, Comparison, as_themselves, largest, surviving
from dashboards.controls import BY_CHANCE, controls_told, moved
from dashboards.splits import leaking, leaking_headline, separated_told
from dashboards.words import listed, plural, short

SPLIT_STEP = "Make a split whose members and non-members come from one source; `s2l data check FOLDER` says what differs."
AUC_WORDS = "AUC is how often an attack ranks a member above a non-member: 0.5 is guessing, 1 is certainty."
Tone = Literal["amplified", "unsure", "none", "unknown"]


@dataclass
class Findings:
    """The report's first screen."""

    tone: Tone
    headline: str
    paragraphs: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)


def findings(
    found: Sequence[Comparison], blinds: Sequence[Blind], *, unfinished: int = 0, pooled: str = "", pooled_up: int = 0
) -> Findings:
    """The headline, the paragraph and the next steps. A split that leaks by itself comes before all that attacks on it have found.

    Args:
        unfinished: trials that have no result.
        pooled: what the pools over domains say, in words.
        pooled_up: in how many of them an attack became better.
    """
    split = leaking(blinds)
    said = _of_the_model(found, [] if split else blinds, unfinished, pooled, pooled_up)
    return _opened_by(split, len(blinds), said) if split else said


def _opened_by(split: Sequence[Blind], domains: int, said: Findings) -> Findings:
    """The split first: what attacks find on it may be the split instead of the model."""
    found = f"Apart from that: {said.headline[0].lower()}{said.headline[1:]}."
    tone: Tone = "unknown" if said.tone == "unknown" else "unsure"
    return Findings(tone, leaking_headline(split, domains), [separated_told(split), found, *said.paragraphs], [SPLIT_STEP, *said.steps])


def _of_the_model(found: Sequence[Comparison], blinds: Sequence[Blind], unfinished: int, pooled: str, pooled_up: int) -> Findings:
    counted = as_themselves(found)
    tested, members, transferred = ([each for each in counted if each.role == role] for role in ("method", "members", "transfer"))
    if not tested:
        return _nothing_to_say(transferred)
    said = _verdict(tested, works=moved(members), pooled_up=pooled_up)
    controls = [*controls_told(members, blinds), *([_missing(unfinished)] if unfinished else [])]
    said.paragraphs = [
        f"{_what_was_done(tested)} {said.paragraphs[0]}",
        " ".join(controls),
        pooled,
        *said.paragraphs[1:],
        " ".join([*_transfer(transferred), *_conditions(found)]),
    ]
    said.steps += _steps(tested, members, blinds)
    if unfinished:
        said.steps.append("Finish the grid: see below what has no result, then run it again; only what is missing runs.")
    return said


def _nothing_to_say(transferred: Sequence[Comparison]) -> Findings:
    if transferred:
        step = "Attack the domain itself too: without it nothing shows how much of a change is about that domain."
        return Findings("unknown", "Nothing can be said of a model's own domain", _transfer(transferred), [step])
    step = "Run the grid, or look why its trials have no result: `s2l status GRID`."
    return Findings("unknown", "Nothing can be said yet", ["No fine-tuned model has been attacked before and after."], [step])


def _missing(unfinished: int) -> str:
    have = "has no result and is" if unfinished == 1 else "have no result and are"
    return f"{plural(unfinished, 'trial')} of this grid {have} not in these numbers."


# --- the finding itself ---


def _verdict(tested: Sequence[Comparison], *, works: bool | None, pooled_up: int) -> Findings:
    up = [each for each in tested if each.verdict == "amplified"]
    sure = surviving(tested)
    if sure:
        said = _amplified(tested, up, sure)
    elif len(up) > by_chance(len(tested)) or (up and pooled_up):
        said = _unsure(tested, up)
    else:
        said = _nothing(tested, works=works)
    said.paragraphs[0] += _turned(tested)
    down = sum(each.verdict == "reduced" for each in tested)
    if down:
        said.paragraphs[0] += f" In {down} an attack became worse; that is no protection: another attack may still work."
    return said


def by_chance(comparisons: int) -> float:
    """How many of so many intervals of 95 % lie above zero by chance alone."""
    return BY_CHANCE / 2 * comparisons


def _turned(tested: Sequence[Comparison]) -> str:
    """What is to be said of attacks that pointed the wrong way beforehand; their moves count as neither better nor worse."""
    rose = sum(each.verdict == "inverted" and each.delta > 0 for each in tested)
    fell = sum(each.verdict == "inverted" for each in tested) - rose
    moves = [f"{count} {word}" for count, word in ((rose, "up"), (fell, "down")) if count]
    if not moves:
        return ""
    return f" Not counted: attacks that pointed the wrong way beforehand (AUC under 0.5) and moved beyond their interval, {listed(moves)}."


def _crossed(each: Comparison) -> bool:
    """True when an attack pointed the wrong way beforehand and points the right way, more strongly, now."""
    return each.verdict == "inverted" and each.delta > 0 and each.auc["before"] + each.auc["after"] > 1


def _amplified(tested: Sequence[Comparison], up: Sequence[Comparison], sure: Sequence[Comparison]) -> Findings:
    stand = {each.model for each in sure}
    variants = listed([each.model for each in tested if each.model in stand])
    return Findings(
        "amplified",
        f"{_subject(sure)} made members easier to find" + (", in some comparisons" if 2 * len(sure) < len(tested) else ""),
        [
            (
                f"In {len(up)} of {plural(len(tested), 'comparison')} an attack became better by more than its 95 % interval; "
                f"{len(sure)} of them {'stands' if len(sure) == 1 else 'stand'} after correction for the number of comparisons (Holm)."
            ),
            f"{AUC_WORDS} The largest of these changes: {largest(sure).told()}.",
        ],
        [
            (
                f"Do not treat weights made with {variants} as no more revealing than the base model: "
                "they show more of what the base model was pre-trained on."
            ),
            "Repeat with more seeds and domains before you put a number on it.",
        ],
    )


def _subject(sure: Sequence[Comparison]) -> str:
    return "Fine-tuning" if any(each.change == "trained" for each in sure) else "Noise on the weights"


def _unsure(tested: Sequence[Comparison], up: Sequence[Comparison]) -> Findings:
    return Findings(
        "unsure",
        "Some signs of amplification, but no more than chance can explain",
        [
            (
                f"In {len(up)} of {plural(len(tested), 'comparison')} an attack became better by more than its 95 % interval; "
                "none of them stands after correction for the number of comparisons (Holm)."
            ),
            f"{AUC_WORDS} The largest of these changes: {largest(up).told()}.",
        ],
        ["Add seeds, domains or images: if the effect is real, it will stand; if it was chance, it will fade."],
    )


def _nothing(tested: Sequence[Comparison], *, works: bool | None) -> Findings:
    bound = short(max(each.auc["delta_high"] for each in tested))
    up = sum(each.verdict == "amplified" for each in tested)
    crossed = [each for each in tested if _crossed(each)]
    return Findings(
        "unsure" if crossed else "none",
        "No clear answer: an attack that pointed the wrong way beforehand now finds members" if crossed else _nothing_found(works),
        [
            _few(up, len(tested)),
            f"{AUC_WORDS} The largest change upwards: {largest(tested).told()}. What was measured still allows a rise of up to {bound}.",
        ],
        [
            (
                "Read this as: not seen for these domains, methods and attacks. It is no proof of safety: "
                "more images and domains make the intervals narrower, and other attacks may see more."
            )
        ],
    )


def _few(up: int, tested: int) -> str:
    if not up:
        return f"In none of {plural(tested, 'comparison')} did an attack that can be judged become better by more than its 95 % interval."
    return (
        f"In {up} of {plural(tested, 'comparison')} an attack became better by more than its 95 % interval; by chance alone about "
        f"{by_chance(tested):.0f} would, and none of them stands after correction for their number (Holm)."
    )


def _nothing_found(works: bool | None) -> str:
    if works is False:
        return "No amplification was seen, but this test could not show that it would have seen one"
    return "No amplification was found"


def _what_was_done(tested: Sequence[Comparison]) -> str:
    domains, attacks = ({getattr(each, name) for each in tested} for name in ("domain", "attack"))
    return (
        f"{_changes(tested, plural(len(domains), 'domain'))} Before and after, {plural(len(attacks), 'attack')} tried to tell pictures "
        "that it was pre-trained on (members) from others of the same kind (non-members)."
    )


def _changes(tested: Sequence[Comparison], domains: str) -> str:
    trained, noised = (len({each.model for each in tested if each.change == change}) for change in ("trained", "noise"))
    if not trained:
        return f"Noise was added to the weights of a model in {plural(noised, 'way')}, and nothing was trained; {domains} were attacked."
    told = f"A model was fine-tuned in {plural(trained, 'way')} on pictures that it had drawn itself of {domains}."
    return told + (f" In {plural(noised, 'more way')} only noise was added to its weights." if noised else "")


# --- what is told, and does not count ---


def _transfer(transferred: Sequence[Comparison]) -> list[str]:
    if not transferred:
        return []
    up, mean = sum(each.verdict == "amplified" for each in transferred), sum(each.delta for each in transferred) / len(transferred)
    told = f"an attack became better there in {up} of {plural(len(transferred), 'comparison')} (mean change {short(mean)})"
    return [f"Models were also attacked on domains that they were not fine-tuned for: {told}. That is transfer, and is not counted above."]


def _conditions(found: Sequence[Comparison]) -> list[str]:
    again = [each for each in found if each.condition]
    if not again:
        return []
    conditions = listed([f"@{each.condition}" for each in again])
    return [f"What is marked {conditions} is an attack run once more under another condition; it stands beside it and is not counted."]


def _steps(tested: Sequence[Comparison], members: Sequence[Comparison], blinds: Sequence[Blind]) -> list[str]:
    steps = []
    if not members:
        steps.append("Add the positive control (`train_on: [sp, members]`): without it a zero may mean that the test sees nothing.")
    elif not moved(members):
        steps.append(
            "Do not rely on a zero here: give the positive control more steps or a higher learning rate until it moves, "
            "and the methods the same."
        )
    if any(each.separates for each in blinds):
        steps.append(SPLIT_STEP)
    if any(each.verdict == "inverted" for each in tested):
        steps.append("Some attacks point the wrong way on this model (AUC under 0.5). They are shown as they are; read the other attacks.")
    return steps
