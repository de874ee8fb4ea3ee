"""Reading the table of an imagefolder: metadata.jsonl or metadata.csv with file_name, text, domain and member."""

from __future__ import annotations

import csv
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import InputError
from jobs.grid.messages import listed, nearest, show

COLUMNS = ("file_name", "text", "domain", "member")
NAMES = ("metadata.jsonl", "metadata.csv")
EXAMPLE = '{"file_name": "ann/1.png", "text": "photo of Ann", "domain": "Ann", "member": true}'
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_LONGEST_DOMAIN = 100


@dataclass(frozen=True)
class Row:
    """One image of the table. An empty domain: a non-member of every domain.

    Attributes:
        file_name: relative to the folder, with forward slashes, normalised.
    """

    line: int
    file_name: str
    text: str
    domain: str
    member: bool


@dataclass(frozen=True)
class Problem:
    """Something in a line that cannot be used as it is.

    Attributes:
        code: what kind of problem, for programs.
        where: `metadata.jsonl:12`.
    """

    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def read_metadata(folder: Path) -> tuple[list[Row], list[Problem]]:
    """The usable rows of the folder's table, and what is wrong with the others.

    Raises:
        InputError: there is no table, or its columns cannot be used.
    """
    table = _table(folder)
    rows: list[Row] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for line, values in _lines(table):
        where = f"{table.name}:{line}"
        if isinstance(values, str):
            problems.append(Problem("metadata", where, values))
            continue
        found = list(_row_problems(values, where))
        name = _normal(values.get("file_name"))
        if name in seen:
            found.append(
                Problem("duplicate-file", where, f"file_name {show(name)} was given before, in line {seen[name]}; keep one of the two")
            )
        if name:
            seen.setdefault(name, line)
        problems.extend(found)
        if not found:
            rows.append(Row(line, name, values["text"].strip(), (values.get("domain") or "").strip(), bool(_boolean(values["member"]))))
    return rows, problems


def _table(folder: Path) -> Path:
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        raise InputError(f"there is no image folder {folder}{nearest(folder.name, beside)}")
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) == 2:
        raise InputError(f"{folder} has both {NAMES[0]} and {NAMES[1]}; keep one of them")
    if not found:
        near = sorted(path.name for path in folder.glob("meta*"))
        hint = f"; found {listed(near)}" if near else ""
        raise InputError(f"{folder} has no metadata.jsonl and no metadata.csv{hint}; write one line for each image, such as {EXAMPLE}")
    return found[0]


def _lines(table: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line number, its values, or what is wrong with the line)."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{table} cannot be read: {error.strerror}") from error
    lines = list(_json_lines(text) if table.suffix == ".jsonl" else _csv_lines(text, table))
    if not lines:
        raise InputError(f"{table} is empty; write one line for each image, such as {EXAMPLE}")
    yield from lines


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON ({error}); each line is one object, such as {EXAMPLE}"
            continue
        yield number, value if isinstance(value, dict) else f"got {show(value)}; each line is one object, such as {EXAMPLE}"


def _csv_lines(text: str, table: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, table)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                yield reader.line_num, f"{len(cells)} cells where the header has {len(header)} columns; quote texts that hold commas"
            else:
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"{table.name}:{reader.line_num}: not CSV: {error}") from error


def _check_header(header: list[str], table: Path) -> None:
    for name in header:
        if name not in COLUMNS:
            raise InputError(f"{table.name}:1: unknown column {show(name)}; allowed: {listed(COLUMNS)}{nearest(name, COLUMNS)}")
    missing = [name for name in COLUMNS if name not in header and name != "domain"]
    if missing:
        raise InputError(f"{table.name}:1: no column {missing[0]}; needed: {listed(COLUMNS)}")
    if len(set(header)) != len(header):
        raise InputError(f"{table.name}:1: a column is named twice: {listed(header)}")


def _row_problems(values: dict[str, Any], where: str) -> Iterator[Problem]:
    for name in values:
        if name not in COLUMNS:
            yield Problem("unknown-column", where, f"unknown column {show(name)}; allowed: {listed(COLUMNS)}{nearest(name, COLUMNS)}")
    yield from _file_name_problems(values.get("file_name"), where)
    text = values.get("text")
    if text is not None and not isinstance(text, str):
        yield Problem("metadata", where, f"text must be text; got {show(text)}")
    elif not (text or "").strip():
        yield Problem("missing-caption", where, "no caption: text is empty; attacks show each image to the model with its caption")
    yield from _domain_problems(values, where)


def _file_name_problems(name: Any, where: str) -> Iterator[Problem]:
    """An image must lie in the folder: a table that somebody sent must not reach other files of this machine."""
    if not isinstance(name, str) or not name.strip():
        yield Problem("metadata", where, f"file_name must be a path relative to the folder; got {show(name)}")
    elif name.startswith(("/", "~")) or "\\" in name or name[1:2] == ":":
        yield Problem("outside", where, f"file_name {show(name)} must be relative to the folder, with forward slashes")
    elif _normal(name).startswith(".."):
        yield Problem("outside", where, f"file_name {show(name)} leads out of the folder; copy the image into it")
    elif any(ord(letter) < 32 for letter in name):
        yield Problem("metadata", where, f"file_name {show(name)} holds a control character")


def _domain_problems(values: dict[str, Any], where: str) -> Iterator[Problem]:
    domain, member = values.get("domain"), _boolean(values.get("member"))
    if domain is not None and not isinstance(domain, str):
        yield Problem("metadata", where, f"domain must be text; got {show(domain)}")
        return
    domain = (domain or "").strip()
    if len(domain) > _LONGEST_DOMAIN or not domain.isprintable():
        yield Problem("metadata", where, f"domain must be a printable name of at most {_LONGEST_DOMAIN} letters; got {show(domain)}")
    if member is None:
        yield Problem("member", where, f"member must be true or false; got {show(values.get('member'))}")
    elif member and not domain:
        yield Problem("member", where, "a member needs a domain; only non-members may leave it empty, and then count for every domain")


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return _BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else None


def _normal(name: Any) -> str:
    return posixpath.normpath(name.strip()) if isinstance(name, str) and name.strip() else ""
