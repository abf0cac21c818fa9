"""A format does not change without its version."""

from __future__ import annotations

import hashlib
import json
import re

import msgspec
import pytest

from bench.records.calibration import CALIBRATION_SCHEMA_VERSION, Calibration
from bench.records.gate import GATE_SCHEMA_VERSION, GateFile
from bench.records.profile import PROFILE_SCHEMA_VERSION, ProfileFile
from bench.records.result import SCHEMA_VERSION, ResultSet
from bench.records.tune import TUNE_SCHEMA_VERSION, TuneFile
from tests import ROOT

#: The version of each kind of file, and a digest of the keys and values that it may hold. Replace a line only together
#: with the version, or where every older version reads the changed file as before.
KNOWN = {
    "ResultSet": (3, "3e5559e93c4f1572"),
    "GateFile": (3, "2795055b2cc364b3"),
    "TuneFile": (2, "925a8ebbaf7e4a09"),
    "ProfileFile": (2, "b6f52319b7dc09ea"),
    "Calibration": (2, "6d464378c1521ef0"),
}


def keys_and_values(record: type[msgspec.Struct]) -> list[list[str]]:
    """Return the keys of each object, with "?" behind optional ones, and the values of each enumeration."""
    definitions = msgspec.json.schema(record)["$defs"].values()
    return sorted(
        sorted(map(str, each["enum"]))
        if "enum" in each
        else [key if key in each["required"] else f"{key}?" for key in each["properties"]]
        for each in definitions
    )


@pytest.mark.parametrize(
    ("record", "version"),
    [
        (ResultSet, SCHEMA_VERSION),
        (GateFile, GATE_SCHEMA_VERSION),
        (TuneFile, TUNE_SCHEMA_VERSION),
        (ProfileFile, PROFILE_SCHEMA_VERSION),
        (Calibration, CALIBRATION_SCHEMA_VERSION),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_changed_schema_has_another_version(record: type[msgspec.Struct], version: int) -> None:
    """Older versions refuse keys and values that they do not know; the version says so before they try."""
    digest = hashlib.sha256(json.dumps(keys_and_values(record)).encode()).hexdigest()[:16]
    line = f'"{record.__name__}": ({version}, "{digest}"),'
    assert KNOWN[record.__name__] == (version, digest), (
        f"raise the version (.github/CONTRIBUTING.md), then here: {line}"
    )


def test_the_description_of_the_files_names_their_versions() -> None:
    """A version that is raised is raised in results/README.md, too."""
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    for kind, version in {
        "A result file is JSON, schema version": SCHEMA_VERSION,
        "A gate file is JSON, gate schema version": GATE_SCHEMA_VERSION,
        "A tune file is JSON, tune schema version": TUNE_SCHEMA_VERSION,
        "A profile file is JSON, profile schema version": PROFILE_SCHEMA_VERSION,
    }.items():
        assert re.findall(rf"{kind} (\d+)", text) == [str(version)], kind
