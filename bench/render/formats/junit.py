"""Test cases as a JUnit report, which every CI system can show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET  # only written, never read

from bench.render.model.cases import CaseOutcome, JUnitCase
from bench.render.phrases import CONTROL

#: Characters that XML 1.0 cannot hold, not even escaped (its section 2.2), such as a terminal's escape character.
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(suite_name: str, cases: Sequence[JUnitCase]) -> str:
    """Write a report of one suite, without characters that XML cannot hold."""
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.outcome is CaseOutcome.FAILURE for case in cases)),
        "errors": str(sum(case.outcome is CaseOutcome.ERROR for case in cases)),
        "skipped": str(sum(case.outcome is CaseOutcome.SKIPPED for case in cases)),
    }
    root = ET.Element("testsuites", counts)
    seconds = sum(case.seconds or 0 for case in cases)
    suite = ET.SubElement(root, "testsuite", {"name": _legal(suite_name), **counts, "time": f"{seconds:.3f}"})
    for case in cases:
        facts = {"classname": _legal(suite_name), "name": _legal(case.name)}
        if case.seconds is not None:
            facts["time"] = f"{case.seconds:.3f}"
        element = ET.SubElement(suite, "testcase", facts)
        if case.outcome is CaseOutcome.PASSED:
            ET.SubElement(element, "system-out").text = _legal(f"{case.message}\n{case.detail}".strip())
        else:
            ET.SubElement(element, case.outcome.value, {"message": _legal(case.message)}).text = _legal(case.detail)
    ET.indent(root)
    # Not "unicode", whose declaration names the encoding of the locale.
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    text = document.decode() + "\n"
    return CONTROL.sub(lambda match: f"&#{ord(match[0])};", text)  # what XML can hold may still steer a terminal


def _legal(text: str) -> str:
    return _ILLEGAL.sub("", text).replace("\r\n", "\n").replace("\r", "\n")  # as who reads XML does
