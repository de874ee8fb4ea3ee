"""A user's folder of images with captions: checked, hashed per domain, and read as records. Imports no torch.

A domain's content is named by its images, captions and member flags, sorted: neither file names, nor the order of the table, nor where the
folder lies is part of it. What is checked here reads each file once and decodes no pixels; `jobs.sources.check` looks closer.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.errors import InputError
from jobs.grid.messages import show, unknown
from jobs.keys import canonical_json, sha256_text
from jobs.sources.metadata import NAMES, Problem, Row, read_metadata
from s2l_core.images import ImageRecord, peek, to_png

KEPT = ("PNG", "JPEG", "MPO")
"""Formats whose bytes are kept as they are; others are re-encoded as PNG without loss."""

MAX_FILE_BYTES = 2**29
"""No picture of `s2l_core.images.MAX_PIXELS` needs more: 8 bytes a pixel."""


class Unusable(InputError):
    """A folder with something in it that cannot be used. The message names files, which is for their owner's eyes only.

    Attributes:
        nameless: the same for all eyes: the line of the table stands for the file.
    """

    def __init__(self, message: str, nameless: str) -> None:
        super().__init__(message)
        self.nameless = nameless


@dataclass(frozen=True)
class ImageFile:
    """One listed image whose file is there and looks like an image.

    Attributes:
        where: `metadata.jsonl:12`.
        sha256: of the file's bytes.
        size: (width, height) as the header says.
    """

    row: Row
    where: str
    path: Path
    sha256: str
    format: str
    size: tuple[int, int]
    bytes: int


@dataclass(frozen=True)
class ImageFolder:
    """A checked folder.

    Attributes:
        files: every image, in the table's order.
    """

    folder: Path
    files: tuple[ImageFile, ...]

    @property
    def domains(self) -> list[str]:
        """The names of the domains, sorted."""
        return sorted({file.row.domain for file in self.files if file.row.domain})

    def of_domain(self, domain: str) -> list[ImageFile]:
        """Members, then non-members, among them those that all domains share; each sorted by content.

        Raises:
            InputError: there is no such domain.
        """
        if domain not in self.domains:
            raise InputError(unknown(f"domain of {self.folder}", domain, self.domains))
        return sorted((file for file in self.files if file.row.domain in (domain, "")), key=_place)

    def members(self, domain: str) -> int:
        """How many members the domain has."""
        return sum(file.row.member for file in self.of_domain(domain))

    def content(self, domain: str) -> str:
        """The sha256 over the domain's images, captions and member flags."""
        return _content(self.of_domain(domain))

    def records(self, domain: str) -> list[ImageRecord]:
        """The domain's images as records.

        Raises:
            Unusable: an image changed since it was checked, or cannot be decoded.
        """
        return [_record(file, domain, number) for number, file in enumerate(self.of_domain(domain))]

    def public_content(self) -> str:
        """The sha256 over all images, captions and member flags, whatever their domains."""
        return _content(sorted(self.files, key=_place))

    def public_records(self) -> list[ImageRecord]:
        """All images as records of nobody's: neither members nor non-members.

        Raises:
            Unusable: an image changed since it was checked, or cannot be decoded.
        """
        found = [_record(file, "public", number) for number, file in enumerate(sorted(self.files, key=_place))]
        return [replace(record, member=None) for record in found]


def scan(folder: Path, *, two_sided: bool = True) -> ImageFolder:
    """Check a folder as far as planning needs it.

    Args:
        two_sided: every domain needs members and non-members; public images do not.

    Raises:
        Unusable: a line of the table or a file cannot be used; the message names file and line, and how many more problems there are.
        InputError: there is no table to read.
    """
    found, problems = look(folder)
    if not two_sided:
        problems = [problem for problem in problems if problem.code not in ("no-members", "no-non-members")]
    if problems:
        more = f" (and {len(problems) - 1} more; `s2l data check {folder}` lists all)" if len(problems) > 1 else ""
        nameless = f"{problems[0].where} cannot be used ({problems[0].code}); `s2l data check {folder}` says more, and names the file"
        raise Unusable(f"{folder}: {problems[0]}{more}", nameless)
    return found


def look(folder: Path) -> tuple[ImageFolder, list[Problem]]:
    """What can be used of a folder, and everything that is wrong with it.

    Raises:
        InputError: there is no table to read.
    """
    rows, problems = read_metadata(folder)
    table = next(name for name in NAMES if (folder / name).is_file())
    root = folder.resolve()
    found = [_file(root, row, f"{table}:{row.line}") for row in rows]
    files = [file for file in found if isinstance(file, ImageFile)]
    problems.extend(problem for problem in found if isinstance(problem, Problem))
    if not problems:  # else a domain may look empty only because its rows cannot be used
        problems.extend(_lopsided(files, table))
    return ImageFolder(folder, tuple(files)), problems


def _file(root: Path, row: Row, where: str) -> ImageFile | Problem:
    try:
        return _seen(root, row, where)
    except (OSError, ValueError, SyntaxError) as error:
        return Problem("unreadable", where, f"{show(row.file_name)} cannot be used: {error}")


def _seen(root: Path, row: Row, where: str) -> ImageFile | Problem:
    path = root / row.file_name
    if not path.exists():
        return Problem("missing-file", where, f"there is no file {show(row.file_name)}")
    if not path.resolve().is_relative_to(root):
        return Problem("outside", where, f"{show(row.file_name)} is a link that leads out of the folder; copy the image into it")
    if not path.is_file():
        return Problem("missing-file", where, f"{show(row.file_name)} is no file")
    if path.stat().st_size > MAX_FILE_BYTES:
        return Problem("unreadable", where, f"{show(row.file_name)} is too large: more than {MAX_FILE_BYTES:,} bytes")
    image = path.read_bytes()
    opened = peek(image)
    size = opened.size
    opened.verify()  # the checksums of a PNG; nothing is decoded
    return ImageFile(row, where, path, hashlib.sha256(image).hexdigest(), str(opened.format), size, len(image))


def _lopsided(files: Iterable[ImageFile], table: str) -> list[Problem]:
    """Domains without members, or without non-members: there is nothing to tell apart."""
    counts: dict[str, list[int]] = {}
    for file in files:
        counts.setdefault(file.row.domain, [0, 0])[file.row.member] += 1
    shared = counts.pop("", [0, 0])[0]
    problems = []
    for domain, (outside, inside) in sorted(counts.items()):
        if not inside:
            hint = "mark its members with member: true, or leave the domain empty if these are non-members of every domain"
            problems.append(Problem("no-members", table, f"domain {show(domain)} has no members; {hint}"))
        elif not outside + shared:
            hint = "add images of the same kind that the model was not trained on, with member: false (domain empty: for all domains)"
            problems.append(Problem("no-non-members", table, f"domain {show(domain)} has no non-members; {hint}"))
    if not counts and shared:
        problems.append(Problem("no-members", table, "no image names a domain; members need one"))
    return problems


def _place(file: ImageFile) -> tuple[bool, str, str]:
    return not file.row.member, file.sha256, file.row.text


def _content(files: Iterable[ImageFile]) -> str:
    return sha256_text("".join(canonical_json([file.row.member, file.sha256, file.row.text]) + "\n" for file in files))


def _record(file: ImageFile, domain: str, number: int) -> ImageRecord:
    try:
        image = file.path.read_bytes()
    except OSError as error:
        raise _unusable(file, f"cannot be read: {error.strerror}", "plan again") from error
    if hashlib.sha256(image).hexdigest() != file.sha256:
        raise _unusable(file, "changed while it was read", "plan again when nobody writes to the folder")
    try:
        kept = to_png(image, keep=KEPT)
    except ValueError as error:
        raise _unusable(file, f"cannot be used: {error}", "`s2l data check` of its folder names all such images") from error
    shared = {} if file.row.domain else {"shared": True}
    provenance = {"source": "folder", "format": file.format, **shared}
    return ImageRecord(f"{slug(domain)}-{number:06d}", kept, file.row.text, domain, file.row.member, provenance)


def _unusable(file: ImageFile, what: str, mend: str) -> Unusable:
    return Unusable(f"{file.path} {what}; {mend}", f"{file.where} {what}; {mend}")


def slug(name: str) -> str:
    """A name of lower-case letters, digits and dashes; names that differ have slugs that differ."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40]
    return plain if plain == name else f"{plain or 'domain'}-{sha256_text(name)[:6]}"
