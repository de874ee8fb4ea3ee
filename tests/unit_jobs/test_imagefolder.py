"""Users' image folders: what is read, what names it, and every wrong table with its message."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.errors import GridError, InputError
from jobs.grid.inputs import LocalInputs
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand
from jobs.plan.plan import Plan
from jobs.sources import data_domains, resolve_data, resolve_public
from jobs.sources.imagefolder import ImageFolder, look, scan, slug
from jobs.stages.specs import DrawnFaces, FolderImages
from s2l_core.images import decode
from tests.orl_folder import build_orl_folder, orl_source

Row = dict[str, Any]


def picture(seed: int, *, size: tuple[int, int] = (8, 6), mode: str = "RGB", format: str = "PNG", **options: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format=format, **options)
    return buffer.getvalue()


def rows() -> list[Row]:
    """Two domains with two members each; one non-member each and one that both share."""
    return [
        {"file_name": "ann/1.png", "text": "photo of Ann", "domain": "Ann", "member": True},
        {"file_name": "ann/2.png", "text": "face of Ann", "domain": "Ann", "member": True},
        {"file_name": "ann/3.png", "text": "photo of Ann", "domain": "Ann", "member": False},
        {"file_name": "bob/1.png", "text": "photo of Bob", "domain": "Bob", "member": True},
        {"file_name": "bob/2.png", "text": "photo of Bob", "domain": "Bob", "member": True},
        {"file_name": "bob/3.png", "text": "photo of Bob", "domain": "Bob", "member": False},
        {"file_name": "nobody.png", "text": "photo", "domain": "", "member": False},
    ]


def write_jsonl(folder: Path, table: list[Row]) -> None:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))


def write_csv(folder: Path, table: list[Row]) -> None:
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without its table."""
    made = tmp_path / "photos"
    for number, row in enumerate(rows()):
        path = made / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return made


# --- what is read ---


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_both_kinds_of_table_give_the_same_folder(folder: Path, write: Callable[[Path, list[Row]], None]) -> None:
    write(folder, rows())
    found = scan(folder)
    assert found.domains == ["Ann", "Bob"]
    assert [(file.row.file_name, file.row.member) for file in found.files] == [(row["file_name"], row["member"]) for row in rows()]
    assert found.members("Ann") == 2
    lines = [
        f'[{str(row["member"]).lower()},"{hashlib.sha256(picture(number)).hexdigest()}","{row["text"]}"]\n'
        for number, row in enumerate(rows())
        if row["domain"] in ("Ann", "")
    ]
    ordered = sorted(lines, key=lambda line: (not line.startswith("[true"), line))
    assert found.content("Ann") == hashlib.sha256("".join(ordered).encode()).hexdigest()


def test_records_are_members_then_non_members_with_the_shared_ones(folder: Path) -> None:
    write_jsonl(folder, rows())
    records = scan(folder).records("Ann")
    assert [record.member for record in records] == [True, True, False, False]
    assert {record.text for record in records if record.member} == {"photo of Ann", "face of Ann"}
    assert {record.domain for record in records} == {"Ann"}
    assert [record.provenance.get("shared", False) for record in records].count(True) == 1
    assert {record.image for record in records} == {picture(number) for number in (0, 1, 2, 6)}


def test_image_names_are_unique_and_say_nothing_about_files(folder: Path) -> None:
    write_jsonl(folder, rows())
    found = scan(folder)
    names = [record.image_id for domain in found.domains for record in found.records(domain)]
    assert len(set(names)) == len(names) == 8
    assert all(slug("Ann") in name or slug("Bob") in name for name in names)
    provenance = json.dumps([record.provenance for record in found.records("Ann")])
    assert "ann/" not in provenance
    assert str(folder) not in provenance


def test_slugs_of_different_names_differ() -> None:
    names = ["Ann", "ann", "ANN", "Ann ", "Änn", "安", "安娜", "a-n", "a_n", "a" * 60, "a" * 61]
    assert len({slug(name) for name in names}) == len(names)
    assert all(set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)


def test_jpeg_and_png_bytes_are_kept_and_other_formats_become_png_of_the_same_pixels(folder: Path) -> None:
    jpeg, pgm = picture(1, format="JPEG", quality=50), picture(2, mode="L", format="PPM")
    (folder / "ann" / "1.png").write_bytes(jpeg)
    (folder / "ann" / "2.png").write_bytes(pgm)
    write_jsonl(folder, rows())
    images = [record.image for record in scan(folder).records("Ann")]
    assert jpeg in images
    made = next(image for image in images if Image.open(io.BytesIO(image)).mode == "L")
    assert Image.open(io.BytesIO(made)).format == "PNG"
    assert np.array_equal(decode(made), decode(pgm))


def test_planning_on_a_folder_imports_no_torch(folder: Path) -> None:
    write_jsonl(folder, rows())
    code = f"import sys; from jobs.sources import *; resolve_data({str(folder)!r}, 'Ann'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


# --- what names the content ---


def test_content_does_not_depend_on_place_names_or_order(folder: Path, tmp_path: Path) -> None:
    write_jsonl(folder, rows())
    other = tmp_path / "elsewhere"
    table = list(reversed(rows()))
    for number, row in enumerate(table):
        target = other / f"img{number:02}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((folder / row["file_name"]).read_bytes())
        row["file_name"] = target.name
    write_csv(other, table)
    one, two = scan(folder), scan(other)
    assert [one.content(domain) for domain in one.domains] == [two.content(domain) for domain in two.domains]
    assert [record.image for record in one.records("Ann")] == [record.image for record in two.records("Ann")]


def change_caption(folder: Path, table: list[Row]) -> None:
    table[0]["text"] = "another caption"


def change_member(folder: Path, table: list[Row]) -> None:
    table[1]["member"] = False


def change_image(folder: Path, table: list[Row]) -> None:
    (folder / "ann" / "1.png").write_bytes(picture(99))


def change_shared(folder: Path, table: list[Row]) -> None:
    (folder / "nobody.png").write_bytes(picture(99))


def drop_row(folder: Path, table: list[Row]) -> None:
    table.pop(0)


@pytest.mark.parametrize("change", [change_caption, change_member, change_image, change_shared, drop_row])
def test_content_depends_on_images_captions_and_membership_of_its_domain_only(
    folder: Path, change: Callable[[Path, list[Row]], None]
) -> None:
    write_jsonl(folder, rows())
    before = scan(folder)
    contents = {domain: before.content(domain) for domain in before.domains}
    table = rows()
    change(folder, table)
    write_jsonl(folder, table)
    after = scan(folder)
    assert after.content("Ann") != contents["Ann"]
    assert (after.content("Bob") == contents["Bob"]) == (change is not change_shared)


def test_an_image_that_changes_after_the_scan_is_noticed(folder: Path) -> None:
    write_jsonl(folder, rows())
    found = scan(folder)
    (folder / "ann" / "1.png").write_bytes(picture(50))
    with pytest.raises(InputError, match=r"ann/1.png changed while it was read"):
        found.records("Ann")


def test_a_grid_value_resolves_to_a_domain_named_by_content(folder: Path) -> None:
    write_jsonl(folder, rows())
    source, inputs = resolve_data(str(folder), "Ann")
    assert source == FolderImages(domain="Ann", content=scan(folder).content("Ann"))
    assert inputs == {source.content: folder}
    assert data_domains(str(folder)) == ["Ann", "Bob"]
    found = LocalInputs().domain(str(folder), "Ann")
    assert (found.members, found.folder, found.unnamed, len(found.files)) == (2, inputs, None, 4)


def test_drawn_faces_resolve_without_a_folder() -> None:
    name = data_domains("tiny-faces")[0]
    assert resolve_data("tiny-faces", name) == (DrawnFaces(identity=name), {})
    assert LocalInputs().domain("tiny-faces", name).members == DrawnFaces(identity=name).members


def test_unknown_data_and_domains_name_what_is_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(folder, rows())
    monkeypatch.chdir(folder.parent)  # a long path is shortened in messages
    with pytest.raises(
        InputError, match=r'unknown data "tiny-face"; allowed: tiny-faces, or a folder of images; did you mean "tiny-faces"'
    ):
        resolve_data("tiny-face", "Ann")
    with pytest.raises(InputError, match=r'unknown domain of .*photos "Anne"; allowed: Ann, Bob; did you mean "Ann"'):
        resolve_data(str(folder), "Anne")
    with pytest.raises(InputError, match=r'unknown data .*photo"; allowed: .*did you mean "photos"'):
        resolve_data("./photo", "Ann")


# --- wrong tables ---


def with_row(**changes: Any) -> Callable[[Path], None]:
    """The good table with its second row changed; None removes a value."""

    def write(folder: Path) -> None:
        table = rows()
        table[1] = {name: value for name, value in {**table[1], **changes}.items() if value is not None}
        write_jsonl(folder, table)

    return write


def raw(name: str, text: str | bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode()) and None


def link_out(folder: Path) -> None:
    outside = folder.parent / "secret.png"
    outside.write_bytes(picture(7))
    (folder / "ann" / "2.png").unlink()
    (folder / "ann" / "2.png").symlink_to(outside)
    write_jsonl(folder, rows())


def linked_folder_out(folder: Path) -> None:
    (folder.parent / "others").mkdir()
    (folder.parent / "others" / "x.png").write_bytes(picture(7))
    (folder / "inside").symlink_to(folder.parent / "others")
    with_row(file_name="inside/x.png")(folder)


def file_with(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "ann" / "2.png").write_bytes(content)
        write_jsonl(folder, rows())

    return write


def bomb() -> bytes:
    header = bytearray(picture(0, format="BMP"))
    header[18:26] = (9_000).to_bytes(4, "little") * 2
    return bytes(header)


def only(keep: Callable[[Row], bool]) -> Callable[[Path], None]:
    return lambda folder: write_jsonl(folder, [row for row in rows() if keep(row)])


def both(folder: Path) -> None:
    write_jsonl(folder, rows())
    write_csv(folder, rows())


CSV = "file_name,text,domain,member\n"
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no table": (lambda folder: None, r"has no metadata.jsonl and no metadata.csv; write one line for each image"),
    "table of another name": (raw("metadata.json", "{}"), r"no metadata.csv; found metadata.json;"),
    "two tables": (both, r"has both metadata.jsonl and metadata.csv; keep one"),
    "empty table": (raw("metadata.jsonl", "\n"), r"metadata.jsonl is empty; write one line"),
    "header only": (raw("metadata.csv", CSV), r"metadata.csv is empty"),
    "not UTF-8": (raw("metadata.jsonl", b'{"text": "\xff"}'), r"metadata.jsonl is not UTF-8 \(byte 10\)"),
    "not JSON": (raw("metadata.jsonl", "{'a': 1}\n"), r"metadata.jsonl:1: not JSON \(.*\); each line is one object"),
    "a list": (raw("metadata.jsonl", "[1]\n"), r"metadata.jsonl:1: got \[1\]; each line is one object"),
    "column misspelt": (
        with_row(membr=True),
        r'jsonl:2: unknown column "membr"; allowed: file_name, text, domain, member; did you mean "member"',
    ),
    "header misspelt": (
        raw("metadata.csv", "filename,text,domain,member\n"),
        r'csv:1: unknown column "filename"; .*did you mean "file_name"',
    ),
    "header incomplete": (raw("metadata.csv", "file_name,text\na.png,b\n"), r"csv:1: no column member; needed"),
    "header twice": (raw("metadata.csv", "file_name,text,text,member\n"), r"csv:1: a column is named twice"),
    "commas": (raw("metadata.csv", CSV + "ann/1.png,a photo, of Ann,Ann,true\n"), r"csv:2: 5 cells where the header has 4 columns; quote"),
    "open quote": (raw("metadata.csv", CSV + 'ann/1.png,"a photo,Ann,true\n'), r"metadata.csv:2: not CSV"),
    "no file name": (with_row(file_name=None), r"jsonl:2: file_name must be a path relative to the folder; got null"),
    "missing file": (with_row(file_name="ann/9.png"), r'jsonl:2: there is no file "ann/9.png"'),
    "a folder": (with_row(file_name="ann"), r'jsonl:2: "ann" is no file'),
    "leads out": (with_row(file_name="ann/../../secret.png"), r'jsonl:2: file_name "ann/../../secret.png" leads out of the folder'),
    "absolute": (with_row(file_name="/etc/hostname"), r'jsonl:2: file_name "/etc/hostname" must be relative'),
    "drive": (with_row(file_name="C:/a.png"), r"jsonl:2: file_name .* must be relative"),
    "backslash": (with_row(file_name="ann\\2.png"), r"jsonl:2: file_name .* must be relative to the folder, with forward slashes"),
    "home": (with_row(file_name="~/a.png"), r"jsonl:2: file_name .* must be relative"),
    "control character": (with_row(file_name="ann/\x002.png"), r"jsonl:2: file_name .* holds a control character"),
    "link out": (link_out, r'jsonl:2: "ann/2.png" is a link that leads out of the folder'),
    "linked folder": (linked_folder_out, r'jsonl:2: "inside/x.png" is a link that leads out'),
    "file twice": (with_row(file_name="./ann//1.png"), r'jsonl:2: file_name "ann/1.png" was given before, in line 1'),
    "no caption": (with_row(text=None), r"jsonl:2: no caption: text is empty"),
    "blank caption": (with_row(text="  "), r"jsonl:2: no caption: text is empty"),
    "caption type": (with_row(text=7), r"jsonl:2: text must be text; got 7"),
    "member text": (with_row(member="maybe"), r'jsonl:2: member must be true or false; got "maybe"'),
    "member number": (with_row(member=2), r"jsonl:2: member must be true or false; got 2"),
    "no member": (with_row(member=None), r"jsonl:2: member must be true or false; got null"),
    "member of nothing": (with_row(domain=""), r"jsonl:2: a member needs a domain"),
    "domain type": (with_row(domain=["Ann"]), r'jsonl:2: domain must be text; got \["Ann"\]'),
    "domain unprintable": (with_row(domain="A\tnn"), r"jsonl:2: domain must be a printable name"),
    "no image": (file_with(b"hello"), r'jsonl:2: "ann/2.png" cannot be used: no image in a known format; allowed: PNG, JPEG'),
    "broken checksum": (file_with(picture(1)[:60] + b"X" + picture(1)[61:]), r'jsonl:2: "ann/2.png" cannot be used'),
    "empty file": (file_with(b""), r'jsonl:2: "ann/2.png" cannot be used'),
    "bomb": (file_with(bomb()), r"jsonl:2: .* too large: 9000 x 9000 pixels; allowed: at most 64,000,000"),
    "other programs": (file_with(picture(1, format="EPS")), r"jsonl:2: .* no image in a known format"),
    "no members": (only(lambda row: not (row["domain"] == "Ann" and row["member"])), r'domain "Ann" has no members; mark its members'),
    "no non-members": (only(lambda row: row["member"]), r'domain "Ann" has no non-members; add images of the same kind'),
    "nobody": (only(lambda row: not row["domain"]), r"no image names a domain; members need one"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_is_refused_with_file_and_line(case: str, folder: Path) -> None:
    write, message = WRONG[case]
    write(folder)
    with pytest.raises(InputError, match=message):
        scan(folder)


def test_all_problems_are_found_and_the_first_one_says_how_many_there_are(folder: Path) -> None:
    table = rows()
    table[0]["text"] = ""
    table[1]["member"] = "x"
    table[3]["file_name"] = "../b.png"
    write_jsonl(folder, table)
    assert [problem.code for problem in look(folder)[1]] == ["missing-caption", "member", "outside"]
    with pytest.raises(InputError, match=r"jsonl:1: no caption.*\(and 2 more; `s2l data check .*` lists all\)"):
        scan(folder)


def test_a_missing_folder_names_its_neighbour(folder: Path) -> None:
    with pytest.raises(InputError, match=r'there is no image folder .*photoss; did you mean "photos"'):
        scan(folder.parent / "photoss")


def test_an_image_that_is_cut_short_is_refused_when_it_is_read(folder: Path) -> None:
    jpeg = picture(3, size=(64, 64), format="JPEG")
    (folder / "ann" / "1.png").write_bytes(jpeg[: len(jpeg) // 2])
    write_jsonl(folder, rows())
    with pytest.raises(InputError, match=r"ann/1.png cannot be used: not a readable image"):
        scan(folder).records("Ann")


def test_real_photographs_are_read(tmp_path: Path) -> None:
    if orl_source() is None:
        pytest.skip("the ORL photographs are not here (../shared/data/orl_faces)")
    found: ImageFolder = scan(build_orl_folder(tmp_path / "orl", people=["s1", "s2"]))
    records = found.records("s2")
    assert [record.member for record in records] == [True] * 5 + [False] * 5
    assert decode(records[0].image).shape == (112, 92, 3)


def test_public_images_are_all_of_a_folder_and_nobody_s_members(folder: Path) -> None:
    write_jsonl(folder, rows())
    source, found = resolve_public(str(folder))
    assert (len(found.files), found.folder) == (7, folder.resolve())
    assert source.content == found.public_content()
    public = LocalInputs().public(str(folder))
    assert (public.members, public.folder) == (7, {source.content: folder.resolve()})
    records = found.public_records()
    assert {record.text for record in records} == {"photo of Ann", "face of Ann", "photo of Bob", "photo"}
    assert all(record.member is None for record in records)


def test_public_images_need_neither_members_nor_domains(folder: Path) -> None:
    write_jsonl(folder, [{**row, "domain": "", "member": False} for row in rows()])
    assert len(resolve_public(str(folder))[1].files) == 7
    with pytest.raises(InputError, match="no image names a domain"):
        scan(folder)
    with pytest.raises(InputError, match=r"there is no folder of public images .*; give an imagefolder, or `strangers`"):
        resolve_public(str(folder / "nowhere"))


# --- what a grid asks of a folder ---


def planned(folder: Path, fixed: str) -> Plan:
    text = f"name: g\nfixed: {{domain: Ann, data: {folder}, sp_size: 4, steps: 4, attacks: [loss], {fixed}}}\n"
    return expand(parse_grid(text, "g.yaml", (), None), inputs=LocalInputs())


def test_a_token_needs_captions_that_hold_the_name(folder: Path) -> None:
    write_jsonl(folder, [{**row, "text": "a person"} for row in rows()])
    with pytest.raises(GridError) as caught:
        planned(folder, "method: textual-inversion")
    assert str(caught.value) == (
        'g.yaml:2: fixed.method: no caption of Ann holds that name (the first: "a person"), so that the token <s2l> of the method would '
        "be in none; attack with a domain prompt (caption: {kind: domain}), or name the domain in its captions"
    )
    for caption in ("{kind: domain}", "{kind: 'null'}"):
        assert planned(folder, f"method: textual-inversion, caption: {caption}").trials
    assert planned(folder, "method: lora").trials
    write_jsonl(folder, rows())
    assert planned(folder, "method: textual-inversion").trials


def test_public_images_that_are_in_the_data_set_are_refused_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    write_jsonl(folder, rows())
    public = tmp_path / "public"
    public.mkdir()
    images = {"copy.png": (folder / "bob" / "1.png").read_bytes(), "street.png": picture(77)}
    for name, image in images.items():
        (public / name).write_bytes(image)
    write_jsonl(public, [{"file_name": name, "text": "a street", "domain": "", "member": False} for name in images])
    with pytest.raises(GridError, match=r"fixed\.public: 1 of the images of \S+ are in the data set \S+ too; give images of others"):
        planned(folder, f"method: lora, defence: mix, public: {public}")
    (public / "copy.png").write_bytes(picture(78))
    assert planned(folder, f"method: lora, defence: mix, public: {public}").trials
