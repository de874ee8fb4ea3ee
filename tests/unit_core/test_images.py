"""Records, Parquet, pixels: what goes in comes out, and equal things have equal bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from s2l_core import images
from s2l_core.images import ImageRecord, decode, encode_png, read_images, to_pixels, to_png, to_uint8, write_images
from s2l_core.randomness import generator, keyed_noise, keyed_uniform


def colours(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def record(image: bytes, name: str = "a", **fields: Any) -> ImageRecord:
    return ImageRecord(image_id=name, image=image, text="a photo", domain="d", member=True, **fields)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


@settings(deadline=None, derandomize=True, max_examples=25)
@given(pixels=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_png_gives_back_its_pixels(pixels: Any) -> None:
    assert np.array_equal(decode(encode_png(pixels)), pixels)


def test_records_come_back_from_parquet_as_they_were(tmp_path: Path) -> None:
    records = [
        record(encode_png(colours(4, 5)), "a", provenance={"seed": 1, "nested": {"x": [1, 2.5, None]}}),
        ImageRecord("ü", encode_png(colours(7, 3)), "", "Ann Ö", None),
        ImageRecord("c", encode_png(colours(1, 1)), 'quoted "text"\nline', "d", False),
    ]
    write_images(tmp_path / "images.parquet", records)
    assert read_images(tmp_path / "images.parquet") == records


def test_equal_records_give_equal_bytes_and_no_records_are_a_file_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_images(tmp_path / name, [record(encode_png(colours(4, 4)), provenance={"b": 1, "a": 2})])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write_images(tmp_path / "none", [])
    assert read_images(tmp_path / "none") == []


def test_the_parquet_file_says_that_the_column_is_an_image(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_images(tmp_path / "images.parquet", [record(encode_png(colours(4, 4)))])
    schema = pq.read_schema(tmp_path / "images.parquet")
    assert schema.field("image").type.field(0).name == "bytes"
    assert b'"image": {"_type": "Image"}' in schema.metadata[b"huggingface"]


def test_content_is_the_sha256_of_the_encoded_bytes() -> None:
    assert record(b"abc").content == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_pixels_of_the_right_size_are_exact_and_in_range() -> None:
    source = colours(8, 8)
    pixels = to_pixels([record(encode_png(source)), record(encode_png(255 - source))], 8)
    assert (pixels.shape, pixels.dtype) == ((2, 3, 8, 8), torch.float32)
    assert torch.equal(pixels[0], torch.from_numpy(source).permute(2, 0, 1).float() / 127.5 - 1)
    assert np.array_equal(to_uint8(pixels)[0], source)
    assert float(pixels.min()) >= -1
    assert float(pixels.max()) <= 1


def test_a_wide_image_is_cropped_at_its_centre() -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = (255, 0, 0)
    middle = to_pixels([record(encode_png(wide))], 4)[0]
    assert torch.allclose(middle[0], torch.ones(4, 4), atol=0.3)
    assert torch.allclose(middle[1:], -torch.ones(2, 4, 4), atol=1e-6)


def test_images_turned_by_their_camera_are_upright() -> None:
    source = Image.fromarray(colours(4, 6))
    exif = Image.Exif()
    exif[274] = 6
    assert decode(encoded(source, "PNG", exif=exif)).shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (255, 255, 255)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 0x8080, dtype=np.uint16)), (128, 128, 128)),
    ],
    ids=["grey", "transparent", "bilevel", "16 bit"],
)
def test_every_mode_becomes_rgb(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert decode(encoded(image, "PNG"))[0, 0].tolist() == list(expected)


def test_what_is_no_image_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="image broken: no image in a known format; allowed: PNG"):
        to_pixels([record(b"no image", "broken")], 8)
    whole = encode_png(colours(32, 32))
    with pytest.raises(ValueError, match="not a readable image"):
        decode(whole[: len(whole) // 2])
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match="too large: 32 x 32 pixels; allowed: at most 1,000 pixels"):
        decode(whole)


# --- randomness ---


def test_noise_depends_on_its_parts_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    first = keyed_noise((3, 4), "a", 1)
    torch.manual_seed(2)
    assert torch.equal(first, keyed_noise((3, 4), "a", 1))
    others = [keyed_noise((3, 4), *parts) for parts in (("a", 2), ("a", "1"), ("a1",), ("1", "a"), ())]
    assert not any(torch.equal(first, other) for other in others)


def test_noise_is_standard_normal() -> None:
    noise = keyed_noise((200_000,), "moments").double()
    assert noise.dtype == torch.float64
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    assert abs(float((noise**4).mean()) - 3) < 0.1


def test_noise_keeps_its_values_from_release_to_release() -> None:
    assert keyed_noise((3,), "golden", 7).tolist() == pytest.approx([-1.1568211, -1.6717701, 0.0131607], abs=1e-6)


def test_generators_of_equal_parts_agree_and_leave_the_global_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two = (torch.rand(5, generator=generator("x", 1)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.equal(one, torch.rand(5, generator=generator("x", 2)))


def test_keyed_uniform_numbers_fill_the_unit_interval() -> None:
    drawn = np.array([keyed_uniform("u", index) for index in range(4000)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02


def test_other_formats_become_png_without_loss_and_kept_ones_stay_as_they_are() -> None:
    source = Image.fromarray(colours(5, 7)[:, :, 0])
    jpeg = encoded(source, "JPEG")
    assert to_png(jpeg, keep=("JPEG",)) is jpeg
    for format in ("PPM", "BMP", "TIFF"):
        made = Image.open(io.BytesIO(to_png(encoded(source, format), keep=("JPEG",))))
        assert (made.format, made.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(made), np.asarray(source))


def test_formats_that_start_other_programs_are_not_read() -> None:
    with pytest.raises(ValueError, match="no image in a known format"):
        decode(encoded(Image.new("RGB", (2, 2)), "EPS"))


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    header = bytearray(encoded(Image.new("1", (1, 1)), "BMP"))
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(ValueError, match="too large"):
        decode(bytes(header))
    header[18:26] = (9_000).to_bytes(4, "little") * 2
    with pytest.raises(ValueError, match="too large: 9000 x 9000 pixels; allowed: at most 64,000,000 pixels"):
        decode(bytes(header))


# --- large sets ---


def many(count: int, size: int = 50) -> list[ImageRecord]:
    return [record(bytes([number % 256]) * size, f"{number:05d}") for number in range(count)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_set_beyond_either_limit_is_cut_into_shards_that_read_back_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SHARD_IMAGES", 4)
    monkeypatch.setattr(images, "SHARD_BYTES", 250)
    for count, size, parts in ((4, 50, 0), (5, 50, 2), (12, 50, 3), (3, 100, 2), (3, 1000, 3)):
        folder = tmp_path / f"{count}-{size}"
        folder.mkdir()
        write_images(folder / "images.parquet", many(count, size))
        assert names(folder) == ([f"images-{number:05d}.parquet" for number in range(parts)] or ["images.parquet"])
        assert read_images(folder / "images.parquet") == many(count, size)


def test_a_set_within_the_limits_has_the_bytes_it_always_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "images.parquet", many(4))
    monkeypatch.setattr(images, "SHARD_IMAGES", 4)
    write_images(tmp_path / "others.parquet", many(4))
    write_images(tmp_path / "more.parquet", many(5))
    whole = (tmp_path / "images.parquet").read_bytes()
    assert whole == (tmp_path / "others.parquet").read_bytes() == (tmp_path / "more-00000.parquet").read_bytes()


def test_a_missing_shard_is_an_error_and_no_shorter_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SHARD_IMAGES", 2)
    write_images(tmp_path / "images.parquet", many(6))
    (tmp_path / "images-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is neither .*images.parquet nor images-00001.parquet beside it"):
        read_images(tmp_path / "images.parquet")
    with pytest.raises(FileNotFoundError, match=r"nor none-00000.parquet"):
        read_images(tmp_path / "none.parquet")
