"""`s2l data check`: each thing that spoils a data set is found, and a clean one stays clean."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from jobs.sources.check import ALL, Finding, check, inspect
from jobs.sources.differences import Features, _chi_square, blind_auc, holm
from jobs.sources.duplicates import near_pairs, same_looks, thumbnail
from s2l_core import blind
from tests.orl_folder import build_orl_folder, orl_source

Picture = Callable[[int, bool], bytes]
NUMBER = 24


def scene(seed: int, side: int = 48) -> Image.Image:
    """A smooth random picture: a photograph's statistics without a photograph."""
    drawn = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    noise = np.random.default_rng(seed + 10_000).normal(0, 4, (side, side, 3))
    smooth = np.asarray(Image.fromarray(drawn).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def plain(seed: int, member: bool) -> bytes:
    return encoded(scene(seed))


def build(
    folder: Path, picture: Picture = plain, *, caption: Callable[[int, bool], str] = lambda seed, member: "a photo", number: int = NUMBER
) -> Path:
    """Two domains with `number` members and as many non-members each."""
    folder.mkdir()
    lines = []
    for seed in range(4 * number):
        domain, member = ("Ann", "Bob")[seed // (2 * number)], seed % 2 == 0
        (folder / f"{seed}.png").write_bytes(picture(seed, member))
        lines.append({"file_name": f"{seed}.png", "text": caption(seed, member), "domain": domain, "member": member})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def found(folder: Path, **options: Any) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(folder, **{"fpr": [0.1], **options})}


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost most of the time; 24 are enough for a p under 0.05."""
    monkeypatch.setattr(blind, "PERMUTATIONS", 24)


# --- a clean folder ---


def test_a_clean_folder_has_no_errors_and_no_warnings(tmp_path: Path) -> None:
    report = inspect(build(tmp_path / "clean"), fpr=[0.1])
    assert [finding for finding in report.findings if finding.severity != "info"] == []
    assert report.blind is not None
    assert 0.3 < report.blind.auc < 0.7
    assert {test.group for test in report.tests} == {ALL, "Ann", "Bob"}
    assert {"brightness", "contrast", "sharpness", "saturation", "bytes per pixel"} <= {test.feature for test in report.tests}


def test_real_photographs_split_at_random_are_not_blamed(tmp_path: Path) -> None:
    if orl_source() is None:
        pytest.skip("the ORL photographs are not here (../shared/data/orl_faces)")
    report = inspect(build_orl_folder(tmp_path / "orl"), fpr=[0.01])
    codes = {finding.code for finding in report.findings}
    assert not any(code.startswith("differs-") for code in codes)
    assert "blind-separable" not in codes
    assert not any(finding.severity == "error" for finding in report.findings)
    few = next(finding for finding in report.findings if finding.code == "few-non-members")
    assert "TPR at an FPR of 0.01 needs 100 non-members a domain; 40 of 40 have fewer: only figures pooled" in few.message
    pairs = [finding for finding in report.findings if finding.code == "near-duplicate"]
    assert len(pairs) <= 1
    assert all("nearly the same picture: 1;" in finding.message for finding in pairs)


def test_the_check_imports_no_torch(tmp_path: Path) -> None:
    build(tmp_path / "clean", number=3)
    code = (
        "import sys; from pathlib import Path; from jobs.sources.check import check; "
        f"check(Path({str(tmp_path / 'clean')!r}), fpr=[0.1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


# --- differences between members and non-members ---


def brighter(seed: int, member: bool) -> bytes:
    return encoded(scene(seed).point(lambda value: min(255, value + 60)) if member else scene(seed))


def compressed(seed: int, member: bool) -> bytes:
    return encoded(scene(seed), "JPEG", quality=60 if member else 90)


def other_format(seed: int, member: bool) -> bytes:
    return encoded(scene(seed), "JPEG") if member else encoded(scene(seed))


def smaller(seed: int, member: bool) -> bytes:
    return encoded(scene(seed, 40 if member else 48))


def blurred(seed: int, member: bool) -> bytes:
    return encoded(scene(seed).filter(ImageFilter.GaussianBlur(1)) if member else scene(seed))


def greyed(seed: int, member: bool) -> bytes:
    return encoded(scene(seed).convert("L") if member else scene(seed))


def from_a_camera(seed: int, member: bool) -> bytes:
    exif = Image.Exif()
    exif[271] = "Maker"
    return encoded(scene(seed), "JPEG", exif=exif) if member else encoded(scene(seed), "JPEG")


@pytest.mark.parametrize(
    ("picture", "codes"),
    [
        (brighter, {"differs-brightness"}),
        (compressed, {"differs-jpeg-quantisation", "differs-bytes-per-pixel"}),
        (other_format, {"differs-format"}),
        (smaller, {"differs-size", "differs-width", "differs-height"}),
        (blurred, {"differs-sharpness"}),
        (greyed, {"differs-colour-mode", "differs-saturation"}),
        (from_a_camera, {"differs-camera-metadata"}),
    ],
)
def test_a_systematic_difference_is_found_and_the_blind_classifier_finds_it_too(picture: Picture, codes: set[str], tmp_path: Path) -> None:
    findings = found(build(tmp_path / "split", picture))
    assert codes <= set(findings)
    assert all(findings[code].severity == "warning" for code in codes)
    assert "an attack can tell them apart without the model" in findings[min(codes)].message
    assert findings[min(codes)].where.startswith(ALL)
    assert findings["blind-separable"].severity == "warning"


def test_captions_of_another_kind_are_found(tmp_path: Path) -> None:
    findings = found(build(tmp_path / "split", caption=lambda seed, member: "a photo of somebody" if member else "photo"))
    assert "differs-caption-length" in findings


def test_a_difference_in_one_domain_only_names_that_domain(tmp_path: Path) -> None:
    folder = build(tmp_path / "split", lambda seed, member: brighter(seed, member and seed >= 2 * NUMBER))
    assert "Bob" in found(folder)["differs-brightness"].where
    assert "Ann" not in found(folder)["differs-brightness"].where


def test_random_splits_seldom_give_a_false_alarm(tmp_path: Path) -> None:
    """Holm's correction holds the chance of any false alarm at 5 %: of 20 random splits, 4 or more would have a probability of 1.6 %."""
    alarms = 0
    for split in range(20):
        report = inspect(
            build(tmp_path / f"{split}", lambda seed, member, split=split: plain(1000 * split + seed, member), number=10), fpr=[0.1]
        )  # type: ignore[misc]
        alarms += any(finding.code.startswith("differs-") for finding in report.findings)
    assert alarms <= 3


# --- duplicates ---


def test_one_file_on_both_sides_is_an_error(tmp_path: Path) -> None:
    folder = build(tmp_path / "double")
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
    finding = found(folder)["member-and-non-member"]
    assert (finding.severity, finding.where) == ("error", "0.png, 1.png")


@pytest.mark.parametrize("copy", ["smaller", "jpeg", "brighter"])
def test_a_changed_copy_on_the_other_side_is_a_warning(copy: str, tmp_path: Path) -> None:
    folder = build(tmp_path / "double")
    image = scene(0, 96)
    (folder / "0.png").write_bytes(encoded(image))
    changed = {
        "smaller": lambda: encoded(image.resize((48, 48))),
        "jpeg": lambda: encoded(image, "JPEG", quality=40),
        "brighter": lambda: encoded(image.point(lambda value: value * 0.8 + 20)),
    }
    (folder / "1.png").write_bytes(changed[copy]())
    finding = found(folder)["near-duplicate"]
    assert (finding.severity, finding.where) == ("warning", "0.png ~ 1.png")


def test_copies_on_one_side_are_a_warning(tmp_path: Path) -> None:
    folder = build(tmp_path / "double")
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes())
    assert found(folder)["repeated"].where == "0.png, 2.png"


def test_empty_pictures_are_no_duplicates_and_pairs_within_a_list_come_once() -> None:
    flat = thumbnail(np.full((20, 20, 3), 128, dtype=np.uint8))
    assert near_pairs([flat], [flat]) == []
    one = thumbnail(np.asarray(scene(1)))
    assert [(pair.first, pair.second) for pair in near_pairs([one, one], [one, one], within=True)] == [(0, 1)]
    assert near_pairs([one], [thumbnail(np.asarray(scene(2)))]) == []


# --- images and numbers ---


def test_broken_and_tiny_images_and_files_that_nobody_names_are_found(tmp_path: Path) -> None:
    folder = build(tmp_path / "odd", lambda seed, member: encoded(scene(seed), "JPEG"))
    (folder / "0.png").write_bytes(encoded(scene(0), "JPEG")[:-200])
    (folder / "1.png").write_bytes(b"hello")
    (folder / "2.png").write_bytes(encoded(scene(2, 16), "JPEG"))
    (folder / "notes.txt").write_text("x")
    findings = check(folder, fpr=[0.1])
    assert {(finding.where, finding.severity) for finding in findings if finding.code == "unreadable"} == {
        ("0.png", "error"),
        ("metadata.jsonl:2", "error"),
    }
    codes = {finding.code: finding for finding in findings}
    assert (codes["tiny"].where, codes["tiny"].severity) == ("2.png", "warning")
    assert codes["unlisted"].where.startswith("1.png, notes.txt")
    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), key=["error", "warning", "info"].index
    )


def test_images_smaller_than_the_model_are_found(tmp_path: Path) -> None:
    folder = build(tmp_path / "small", number=3)
    assert "tiny" not in found(folder)
    assert "12 of 12 images have a side under 64 pixels" in found(folder, image_size=64)["tiny"].message


def test_each_false_positive_rate_asks_for_its_own_number_of_non_members(tmp_path: Path) -> None:
    folder = build(tmp_path / "few")
    rates = [finding.message for finding in check(folder, fpr=[0.05, 0.04, 0.01]) if finding.code == "few-non-members"]
    assert len(rates) == 2
    assert rates[0].startswith(
        "TPR at an FPR of 0.04 needs 25 non-members a domain; 2 of 2 have fewer: only figures pooled over all domains"
    )
    assert rates[0].endswith("(48 non-members)")
    assert rates[1].startswith(
        "TPR at an FPR of 0.01 needs 100 non-members a domain; 2 of 2 have fewer: nor are there enough in all domains"
    )
    assert rates[1].endswith("together (48); add non-members or ask for a higher FPR")


def test_domains_that_differ_in_case_only_are_named(tmp_path: Path) -> None:
    folder = build(tmp_path / "case", number=3)
    table = folder / "metadata.jsonl"
    table.write_text(table.read_text().replace('"Bob"', '"ann"'))
    assert found(folder)["domain-spelling"].where == "Ann, ann"


def test_a_table_that_cannot_be_used_is_a_finding(tmp_path: Path) -> None:
    assert [(finding.severity, finding.code) for finding in check(tmp_path / "none", fpr=[0.1])] == [("error", "metadata")]
    folder = build(tmp_path / "lines", number=3)
    table = folder / "metadata.jsonl"
    table.write_text(table.read_text().replace("a photo", "", 1))
    finding = found(folder)["missing-caption"]
    assert (finding.severity, finding.where) == ("error", "metadata.jsonl:1")


# --- statistics ---


def alarms(looks: Any) -> int:
    """How often of 8 times twelve pictures a side, eight copies each and nothing else between them, are said to differ."""
    count = 0
    for values in np.random.default_rng(0).normal(size=(8, 24, 9)):
        pictures = [Features({f"number {column}": float(value) for column, value in enumerate(row)}, {}) for row in values]
        told = blind_auc(*([one for one in side for _ in range(8)] for side in (pictures[:12], pictures[12:])), looks)
        count += told is not None and told.p < 0.05
    return count


def test_copies_of_one_picture_do_not_look_like_a_difference_between_the_sides() -> None:
    assert alarms(None) >= 5  # each image is scored by its own copies
    assert alarms(np.repeat(np.arange(24), 8)) <= 2
    copies = [thumbnail(np.asarray(scene(seed))) for seed in (1, 2, 1, 3, 2)]
    assert same_looks(copies).tolist() == [0, 1, 0, 2, 1]


def test_holm_is_the_published_step_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_chi_square_of_rare_categories_is_a_permutation_test() -> None:
    effect, p = _chi_square(np.array([[2, 0, 18], [0, 2, 18]]))
    assert effect == pytest.approx(np.sqrt(4 / 40))
    assert p == pytest.approx(0.2377, abs=0.015)  # exact, over all splits of the 40 into 20 and 20
    assert _chi_square(np.array([[40, 10], [10, 40]]))[1] < 1e-8
