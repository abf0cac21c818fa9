"""Hostile inputs: values that nobody should write into a file, and files as editors, disks and strangers leave them.

Everything is drawn from a `random.Random`, so that the same seed makes the same inputs.
"""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any, Final

ESCAPE: Final = "\x1b[31m"
#: What a value of a JSON document is replaced by.
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, [], {}, [[]], [None], {"a": 1}, [1, 2, 3]),
    *(0, 1, -1, 2, 3, 7, 255, 1000, 10**6, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**400),
    *(0.5, 1.0, -0.0, -1.5, 1e-9, 1e-12, 1e-30, 5e-324, 1e-320, 1e9, 1e30, 1e300, 1.7976931348623157e308),
    *(math.nan, math.inf, -math.inf),
    *("", " ", "x", "0", "nan", "null", "\0", ESCAPE, "\x9b31m", "\u202e", "\ud800", "a\nmnist-bench: all is well"),
    *("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "<script>alert(1)</script>", "[x](javascript:alert(1))"),
    *("@somebody", "https://example.org", "{{ 1 }}", "{0}", "%s", "$(id)", "`id`", "x" * 5000, "é" * 50, "語" * 50),
    *("9999-99-99T99:99:99Z", "0000-00-00T00:00:00Z", "2026-01-31T12:00:00Z", "0001-01-01T00:00:00+14:00"),
    *("cpu(0)", "cpu(9999)", "gpu(0)", "cpu(0),cpu(0)", "mlp", "lenet", "a.b:c", "off", "on", "bound", "torch", "jax"),
    *("f" * 64, "regressed", "improved", "missing", "baseline", "contender", "ABBA", "timeout", "final", "heat"),
)
#: What is put between the bytes of a file.
BYTES: Final = (
    *(b"\xff", b"\x00", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1b", b"\n", b"\r", b"\xef\xbb\xbf"),
    *(
        b'"',
        b"'",
        b"\\",
        b"\\ud800",
        b"\\u0000",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"-",
        b"9" * 400,
        b"1e999",
        b"NaN",
    ),
    *(b"[" * 5000, b'{"a":' * 5000, b"null", b"=", b"#", b"inf", b"[[matrix]]\n", b"nan", b"0x", b"1979-05-27"),
)


def mutate_document(document: bytes, random: Random) -> bytes:
    """Return a JSON document with one to three values, keys or lists changed, or with its bytes damaged."""
    if random.random() < 0.15:
        return mutate_bytes(document, random)
    root = json.loads(document)
    only_numbers = random.random() < 0.4  # most of them are read, and come as far as the arithmetic
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        container, key = _place(root, random)
        while only_numbers and not _is_number(container[key]):
            container, key = _place(root, random)
        _change(container, key, random)
    text = json.dumps(root, sort_keys=random.random() < 0.1)
    return text.replace("Infinity", "1e999").encode() if random.random() < 0.5 else text.encode()


def _place(root: Any, random: Random) -> tuple[Any, Any]:  # noqa: ANN401  # whatever JSON holds
    """Return a container of the document, and the key or index of one of its values: deep ones are as likely."""
    container, key = root, None
    while True:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            container["added" if isinstance(container, dict) else 0 : 0] = [None]
            return container, 0
        key = random.choice(keys)
        value = container[key]
        if not isinstance(value, dict | list) or not value or random.random() < 0.1:
            return container, key
        container = value


def _change(container: Any, key: Any, random: Random) -> None:  # noqa: ANN401  # as above
    value = container[key]
    if _is_number(value) and random.random() < 0.7:
        container[key] = _another_number(value, random)
        return
    match random.randrange(8):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[random.choice((ESCAPE, "unknown", "", "\ud800", "x" * 3000, "a\nb"))] = value
        case 1:
            container.insert(key, value)
        case 2 if isinstance(value, list) and value:
            del value[random.randrange(len(value)) :]
        case 2 if isinstance(value, int | float):
            container[key] = value * random.choice((-1, 1e-300, 1e300, 1e-15, 1e15, 0.1, 10, 2**70))
        case 3 if isinstance(value, str):
            at = random.randint(0, len(value))
            container[key] = value[:at] + random.choice([each for each in VALUES if isinstance(each, str)]) + value[at:]
        case 3 if isinstance(value, int | float):
            container[key] = random.choice([each for each in VALUES if isinstance(each, int | float)])
        case _:
            container[key] = random.choice(VALUES)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _another_number(value: float, random: Random) -> float:
    """Return a number of the same kind that its range may allow: the ends of ranges, and numbers beside this one."""
    if isinstance(value, int):
        return random.choice((0, 1, 2, 5, value + 1, value - 1, 2 * value, value // 2, 10**6, 10**4, 2**31, 2**53))
    return random.choice((0.0, 1e-12, 1e-9, 1e-3, 1.0, 1e3, 1e9, -value, value / 2, value * 2, value * (1 + 1e-12)))


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """Return the content cut, or with a few bytes flipped, removed, doubled or put in."""
    damaged = bytearray(content)
    if random.random() < 0.2:  # as long as it was
        for _ in range(random.choice((1, 10, 1000)) if damaged else 0):
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        return bytes(damaged)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randint(0, len(damaged))
        length = random.choice((1, 1, 4, 100))
        match random.randrange(6):
            case 0:
                del damaged[at:]
            case 1:
                del damaged[at : at + length]
            case 2:
                damaged[at:at] = damaged[at : at + length]
            case 3 if damaged:
                damaged[at % len(damaged)] ^= 1 << random.randrange(8)
            case _:
                damaged[at:at] = random.choice(BYTES)
    return bytes(damaged)
