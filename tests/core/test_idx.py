"""The IDX format: what is written reads back, and what is damaged is refused."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_core.idx import IMAGES_RANK, LABELS_RANK, DataError, header_bytes, parse, read_bounded, to_idx_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = st.integers(1, 5)
IMAGES = COUNTS.flatmap(lambda count: arrays.arrays(np.uint8, (count, 28, 28)))
LABELS = COUNTS.flatmap(lambda count: arrays.arrays(np.uint8, count, elements=st.integers(0, 9)))
VALUES = st.one_of(IMAGES, LABELS)


def read(data: bytes | bytearray, rank: int) -> NDArray[np.uint8]:
    return parse(read_bounded(io.BytesIO(data), rank, "it"), rank, "it")


@given(VALUES)
def test_roundtrip(values: NDArray[np.uint8]) -> None:
    """Images and labels read back as they were written, in an array that may be written to."""
    back = read(to_idx_bytes(values), values.ndim)
    np.testing.assert_array_equal(values, back)
    assert back.dtype == np.uint8
    assert back.flags.writeable


def test_the_bytes_are_those_of_the_format() -> None:
    """A label file is the magic number, the count and one byte a label; images add rows and columns."""
    assert to_idx_bytes(np.array([7, 2], np.uint8)) == bytes.fromhex("00000801 00000002 07 02")
    header = bytes.fromhex("00000803 00000001 0000001c 0000001c")
    assert to_idx_bytes(np.ones((1, 28, 28), np.uint8)) == header + b"\1" * 784


@given(VALUES, st.data())
def test_any_truncation_is_refused(values: NDArray[np.uint8], data: st.DataObject) -> None:
    """A file cut anywhere is an error."""
    whole = to_idx_bytes(values)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DataError, match=r"^it: (is empty|ends after|is truncated)"):
        read(whole[:cut], values.ndim)


@given(VALUES, st.data())
def test_any_damaged_header_byte_is_refused(values: NDArray[np.uint8], data: st.DataObject) -> None:
    """Any other value of any byte of the header is an error: the length vouches for the count."""
    damaged = to_idx_bytes(values)
    at = data.draw(st.integers(0, header_bytes(values.ndim) - 1))
    damaged[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != damaged[at]))
    with pytest.raises(DataError, match=r"^it: "):
        read(damaged, values.ndim)


@given(VALUES, st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_refused(values: NDArray[np.uint8], tail: bytes) -> None:
    """Bytes after the announced ones are an error."""
    with pytest.raises(DataError, match="trailing bytes"):
        read(to_idx_bytes(values) + tail, values.ndim)


@given(st.binary(max_size=900), st.sampled_from([IMAGES_RANK, LABELS_RANK]))
def test_anything_else_is_refused_or_read(data: bytes, rank: int) -> None:
    """Arbitrary bytes give an array of the announced shape or a DataError, nothing else."""
    with suppress(DataError):
        assert data == to_idx_bytes(read(data, rank))


@pytest.mark.parametrize(
    ("header", "rank", "cause"),
    [
        ("00000801 00000001 0000001c 0000001c", IMAGES_RANK, "magic number 0x00000801 instead of 0x00000803"),
        ("00000803 00000001 0000001b 0000001c", IMAGES_RANK, "images of 27x28 pixels instead of 28x28"),
        ("00000803 00000000 0000001c 0000001c", IMAGES_RANK, "announces 0 samples"),
        ("00000803 ffffffff 0000001c 0000001c", IMAGES_RANK, "announces 4294967295 samples"),
        ("00000801 000f4241", LABELS_RANK, "announces 1000001 samples"),
        ("1f8b0800 00000000 0000", LABELS_RANK, "is gzip inside"),
    ],
)
def test_the_cause_is_named(header: str, rank: int, cause: str) -> None:
    """The error says what is wrong in the header, and does not read on."""
    with pytest.raises(DataError, match=cause):
        read(bytes.fromhex(header), rank)


@pytest.mark.parametrize("label", [10, 12, 255])
def test_a_label_above_nine_is_refused(label: int) -> None:
    """A label above 9 is an error that says which one and where."""
    with pytest.raises(DataError, match=f"label {label} at index 2; labels are 0 to 9"):
        read(to_idx_bytes(np.array([0, 9, label], np.uint8)), LABELS_RANK)


def test_no_more_is_read_than_announced() -> None:
    """A gzip stream that inflates without end is read one byte past the announced length, not to its end."""
    bomb = io.BytesIO()
    packer = zlib.compressobj(wbits=31)
    bomb.write(packer.compress(struct.pack(">II", 0x801, 10)))
    for _ in range(50):
        bomb.write(packer.compress(bytes(1 << 20)))
    bomb.write(packer.flush())
    bomb.seek(0)
    with gzip.open(bomb) as stream:
        data = read_bounded(stream, LABELS_RANK, "bomb")
    assert len(data) == 8 + 10 + 1
    with pytest.raises(DataError, match="trailing bytes"):
        parse(data, LABELS_RANK, "bomb")


def test_an_error_is_one_line() -> None:
    """Whatever a file is called, its error is one line."""
    assert str(DataError("a\nfile: is\r\n empty")) == "a file: is empty"
