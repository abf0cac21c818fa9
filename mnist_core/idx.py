"""The IDX format of the MNIST files: check, parse, write. Bytes in, arrays out; no file is opened here."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pixels along each side of an image.
SIDE: Final = 28
#: Labels are 0 to 9.
CLASSES: Final = 10
#: The most images a file may announce: 14 times MNIST's, so that a damaged header cannot ask for all the memory.
MAX_COUNT: Final = 1_000_000

#: Sizes in the header of a file of images (count, rows, columns) and of labels (count).
IMAGES_RANK: Final = 3
LABELS_RANK: Final = 1

#: 0x08 stands for unsigned bytes; the rank follows in the lowest byte.
_MAGIC: Final = 0x0800
GZIP_MAGIC: Final = b"\x1f\x8b"
#: What may stand before the first tag of a web page.
_BEFORE_A_TAG: Final = b"\xef\xbb\xbf \t\r\n"


class DataError(Exception):
    """Data that cannot be used: one line naming the file, the cause and, where there is one, the next step."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The images of training or of testing."""

    #: (n, 28, 28); 0 is the background.
    images: NDArray[np.uint8]
    #: (n,); 0 to 9.
    labels: NDArray[np.uint8]


class Readable(Protocol):
    """What `read_bounded` reads from: a file, or a gzip file as it is inflated."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, or fewer only where the stream ends."""


def header_bytes(rank: int) -> int:
    """Bytes before the data: the magic number, then one number for each size."""
    return 4 * (1 + rank)


def expected_bytes(head: bytes | bytearray, rank: int, what: str) -> int:
    """Bytes that the whole of a file with this header has."""
    if not head:
        raise DataError(f"{what}: is empty")
    if head.lstrip(_BEFORE_A_TAG).startswith(b"<"):
        raise DataError(f"{what}: is a web page, such as a server's error message, in place of the data")
    if len(head) < header_bytes(rank):
        raise DataError(f"{what}: ends after {len(head)} bytes, within its header of {header_bytes(rank)}")
    if head.startswith(GZIP_MAGIC):
        raise DataError(f"{what}: is gzip inside gzip; unpack it once")
    magic, count, *sides = (int(number) for number in struct.unpack_from(f">{1 + rank}I", head))
    if magic != _MAGIC | rank:
        raise DataError(f"{what}: starts with the magic number 0x{magic:08x} instead of 0x{_MAGIC | rank:08x}")
    if any(side != SIDE for side in sides):
        raise DataError(f"{what}: has images of {'x'.join(map(str, sides))} pixels instead of {SIDE}x{SIDE}")
    if not 1 <= count <= MAX_COUNT:
        raise DataError(f"{what}: announces {count} samples; 1 to {MAX_COUNT} can be used")
    return header_bytes(rank) + count * math.prod(sides)


def read_bounded(stream: Readable, rank: int, what: str) -> bytearray:
    """Read a file, at most one byte more than its header announces: a stream without end is not read to its end."""
    data = bytearray(stream.read(header_bytes(rank)))
    data += stream.read(expected_bytes(data, rank, what) - len(data) + 1)
    return data


def parse(data: bytearray, rank: int, what: str) -> NDArray[np.uint8]:
    """The images or labels of a file, sharing its memory."""
    start, expected = header_bytes(rank), expected_bytes(data, rank, what)
    if len(data) < expected:
        raise DataError(f"{what}: is truncated, it ends after {len(data)} of {expected} bytes")
    if len(data) > expected:
        raise DataError(f"{what}: has trailing bytes after the {expected} that its header announces")
    values = np.frombuffer(data, np.uint8, offset=start)
    if rank == IMAGES_RANK:
        return values.reshape(-1, SIDE, SIDE)
    if values.max() >= CLASSES:
        index = int(np.argmax(values >= CLASSES))
        raise DataError(f"{what}: has the label {values[index]} at index {index}; labels are 0 to {CLASSES - 1}")
    return values


def to_idx_bytes(values: NDArray[np.uint8]) -> bytearray:
    """Write images or labels as the content of an IDX file."""
    header = struct.pack(f">{1 + values.ndim}I", _MAGIC | values.ndim, *values.shape)
    return bytearray(header + values.astype(np.uint8, casting="safe", copy=False).tobytes())
