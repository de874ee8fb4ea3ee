"""What is wrong with a data set, found before any GPU hour: the findings of `s2l data check`, and the table of tests behind them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jobs.errors import InputError
from jobs.sources.differences import SIGNIFICANT, BlindAUC, Features, Test, blind_auc, compare, features_of
from jobs.sources.duplicates import near_pairs, same_looks, thumbnail
from jobs.sources.imagefolder import ImageFile, ImageFolder, look
from jobs.sources.metadata import NAMES
from s2l_core.images import decode

ALL = "all domains"
SMALLEST_SIDE = 32
FEW = 10
MOST_PAIRS = 10
_BLIND_WARNING = 0.6

Severity = Literal["error", "warning", "info"]
_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Finding:
    """One thing to know about a data set.

    Attributes:
        severity: error: cannot be used; warning: results would be doubtful; info: good to know.
        code: what it is, for programs.
        where: file and line, file names or a domain; may be empty.
    """

    severity: Severity
    code: str
    message: str
    where: str = ""


@dataclass(frozen=True)
class DataCheck:
    """Findings, errors first; the tests of members against non-members; and how well a blind classifier does (None: too few images)."""

    findings: list[Finding]
    tests: list[Test]
    blind: BlindAUC | None


@dataclass(frozen=True)
class _Seen:
    """One decoded image."""

    file: ImageFile
    features: Features
    thumbnail: NDArray[np.float32]

    @property
    def name(self) -> str:
        return self.file.row.file_name


def check(folder: Path, *, fpr: Sequence[float], image_size: int | None = None) -> list[Finding]:
    """Everything that is wrong with a folder, errors first. See `inspect`."""
    return inspect(folder, fpr=fpr, image_size=image_size).findings


def inspect(folder: Path, *, fpr: Sequence[float], image_size: int | None = None) -> DataCheck:
    """Look at every image of a folder, and at what sets members apart from non-members.

    Args:
        fpr: false-positive rates at which the TPR will be asked for; each needs 1 / FPR non-members.
        image_size: the model's side in pixels; smaller images would be scaled up.
    """
    try:
        found, problems = look(folder)
    except InputError as error:
        return DataCheck([Finding("error", "metadata", str(error))], [], None)
    findings = [Finding("error", problem.code, problem.message, problem.where) for problem in problems]
    seen, broken = _decoded(found)
    findings += [*broken, *_unlisted(found), *_small(seen, image_size), *_numbers(found, fpr), *_alike_names(found), *_repeated(seen)]
    tests = compare(_groups(found, seen))
    members, non_members = _split(seen)
    looks = same_looks([one.thumbnail for one in [*members, *non_members]])
    blind = blind_auc([one.features for one in members], [one.features for one in non_members], looks)
    findings += [*_differing(tests), *_blind(blind)]
    return DataCheck(sorted(findings, key=lambda finding: _ORDER[finding.severity]), tests, blind)


def _decoded(found: ImageFolder) -> tuple[list[_Seen], list[Finding]]:
    seen, broken = [], []
    for file in found.files:
        try:
            image = file.path.read_bytes()
            pixels = decode(image)
        except (OSError, ValueError) as error:
            broken.append(Finding("error", "unreadable", f"{error}", file.row.file_name))
            continue
        seen.append(_Seen(file, features_of(file, image, pixels), thumbnail(pixels)))
    return seen, broken


def _split(seen: Sequence[_Seen]) -> tuple[list[_Seen], list[_Seen]]:
    return [one for one in seen if one.file.row.member], [one for one in seen if not one.file.row.member]


def _groups(found: ImageFolder, seen: Sequence[_Seen]) -> dict[str, tuple[list[Features], list[Features]]]:
    """All images, and each domain with the non-members it shares."""
    groups = {ALL: seen}
    if len(found.domains) > 1:
        groups |= {domain: [one for one in seen if one.file.row.domain in (domain, "")] for domain in found.domains}
    return {name: ([one.features for one in _split(part)[0]], [one.features for one in _split(part)[1]]) for name, part in groups.items()}


def _unlisted(found: ImageFolder) -> Iterator[Finding]:
    listed = {file.path.resolve() for file in found.files}
    others = [
        path.relative_to(found.folder).as_posix()
        for path in sorted(found.folder.rglob("*"))
        if path.is_file() and path.name not in NAMES and path.resolve() not in listed
    ]
    if others:
        yield Finding(
            "info", "unlisted", f"{len(others)} files are not used: no line of the table that can be used names them", _some(others)
        )


def _small(seen: Sequence[_Seen], image_size: int | None) -> Iterator[Finding]:
    side = image_size or SMALLEST_SIDE
    small = [one.name for one in seen if min(one.file.size) < side]
    if small:
        scaled = "would be scaled up, and a scaled-up image is easy to tell from others"
        yield Finding("warning", "tiny", f"{len(small)} of {len(seen)} images have a side under {side} pixels: they {scaled}", _some(small))


def _numbers(found: ImageFolder, fpr: Sequence[float]) -> Iterator[Finding]:
    """Whether there are enough images for what will be asked."""
    shared = sum(not file.row.domain for file in found.files)
    outside = {domain: sum(not file.row.member for file in found.of_domain(domain)) for domain in found.domains}
    pooled = sum(not file.row.member for file in found.files)
    for rate in fpr:
        needed = math.ceil(1 / rate - 1e-9)
        few = [domain for domain, count in outside.items() if count < needed]
        if few:
            enough = f"only figures pooled over all domains can say something there ({pooled} non-members)"
            verdict = (
                enough
                if pooled >= needed
                else f"nor are there enough in all domains together ({pooled}); add non-members or ask for a higher FPR"
            )
            yield Finding(
                "warning",
                "few-non-members",
                f"TPR at an FPR of {rate:g} needs {needed} non-members a domain; {len(few)} of {len(outside)} have fewer: {verdict}",
                _some([f"{domain} ({outside[domain]})" for domain in few]),
            )
    few = [domain for domain in found.domains if found.members(domain) < FEW]
    if few:
        wide = "an AUC from so few is known to about ±0.2 at best; pool the domains"
        yield Finding("warning", "few-members", f"{len(few)} of {len(outside)} domains have fewer than {FEW} members: {wide}", _some(few))
    if shared:
        yield Finding("info", "shared-non-members", f"{shared} non-members name no domain and count for each of the {len(outside)} domains")


def _alike_names(found: ImageFolder) -> Iterator[Finding]:
    """Domains that differ in case or spaces only are most likely one."""
    alike = defaultdict(list)
    for domain in found.domains:
        alike["".join(domain.casefold().split())].append(domain)
    for names in alike.values():
        if len(names) > 1:
            yield Finding("warning", "domain-spelling", "these domains differ in case or spaces only; is it one?", ", ".join(names))


def _repeated(seen: Sequence[_Seen]) -> Iterator[Finding]:
    """Pictures that are on both sides, or several times on one."""
    members, non_members = _split(seen)
    both = {one.file.sha256 for one in members} & {one.file.sha256 for one in non_members}
    for sha256 in sorted(both):
        names = [one.name for one in seen if one.file.sha256 == sha256]
        yield Finding(
            "error", "member-and-non-member", "the same file is a member and a non-member; it can be one of the two only", _some(names)
        )
    pairs = near_pairs([one.thumbnail for one in members], [one.thumbnail for one in non_members])
    near = [pair for pair in pairs if not (members[pair.first].file.sha256 in both and non_members[pair.second].file.sha256 in both)]
    if near:
        message = f"pairs of a member and a non-member with nearly the same picture: {len(near)}; a model that knows one knows the other"
        names = [f"{members[pair.first].name} ~ {non_members[pair.second].name}" for pair in near]
        yield Finding("warning", "near-duplicate", message, _some(names))
    for side, images in (("members", members), ("non-members", non_members)):
        counts = Counter((one.file.sha256, one.file.row.domain) for one in images)
        again = [one.name for one in images if counts[one.file.sha256, one.file.row.domain] > 1]
        if again:
            yield Finding(
                "warning",
                "repeated",
                f"{len(again)} {side} are copies of one another: they are counted as if they were different",
                _some(again),
            )


def _differing(tests: Sequence[Test]) -> Iterator[Finding]:
    """One finding a feature; the groups it differs in are named."""
    found: dict[str, list[Test]] = defaultdict(list)
    for test in tests:
        if test.p_holm < SIGNIFICANT:
            found[test.feature].append(test)
    for feature, rows in sorted(found.items()):
        first = min(rows, key=lambda test: (test.group != ALL, test.p_holm))
        yield Finding(
            "warning",
            "differs-" + feature.lower().replace(" ", "-"),
            f"members and non-members differ in {feature}: {first.members} against {first.non_members} in {first.group} "
            f"({first.test}, p = {first.p_holm:.2g} after Holm): an attack can tell them apart without the model",
            _some([test.group for test in rows]),
        )


def _blind(blind: BlindAUC | None) -> Iterator[Finding]:
    if blind is None:
        return
    told = f"a classifier that never sees the model tells members from non-members with AUC {blind.auc:.2f} (one-sided p = {blind.p:.2g})"
    if blind.p < SIGNIFICANT:
        weight = "an attack's AUC up to there says nothing about the model" if blind.auc >= _BLIND_WARNING else "weakly, but above chance"
        yield Finding("warning", "blind-separable", f"{told}: {weight}; take both from one source, and save them in one way")
    else:
        yield Finding("info", "blind-chance", f"{told}: no more than chance")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_PAIRS} more" if len(names) > MOST_PAIRS else ""
    return ", ".join(names[:MOST_PAIRS]) + more
