"""JUnit reports are read back by a parser that is not ours."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.verdict import Verdict
from bench.cli.exit_status import EXIT_OF_VERDICT, Exit
from bench.render.formats.junit import render_junit
from bench.render.model.cases import OUTCOME_OF_VERDICT, CaseOutcome, JUnitCase


def a_case(outcome: CaseOutcome, **changes: object) -> JUnitCase:
    facts: dict[str, object] = {"name": "mlp", "seconds": 1.25, "message": "why", "detail": "more"}
    return JUnitCase(**facts | changes, outcome=outcome)  # type: ignore[arg-type]


def test_every_outcome_has_its_element() -> None:
    """The suite has counts, each case that did not pass has one child, and the message is an attribute."""
    root = ET.fromstring(render_junit("gate", [a_case(outcome, name=str(outcome)) for outcome in CaseOutcome]))
    (suite,) = root
    assert suite.attrib == {
        "name": "gate",
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
        "time": "5.000",
    }
    children = {case.attrib["name"]: case[0] for case in suite}
    assert {name: child.tag for name, child in children.items()} == {
        "passed": "system-out",
        "failure": "failure",
        "error": "error",
        "skipped": "skipped",
    }
    assert children["failure"].attrib == {"message": "why"}
    assert children["failure"].text == "more"
    assert children["passed"].text == "why\nmore"


def test_only_what_passes_is_green() -> None:
    """Each verdict is green in a report exactly where the exit status is 0."""
    for verdict in Verdict:
        is_green = OUTCOME_OF_VERDICT[verdict] is CaseOutcome.PASSED
        assert is_green == verdict.passes == (EXIT_OF_VERDICT[verdict] is Exit.DONE)


def test_the_encoding_that_it_names_is_its_own() -> None:
    """Another locale changes neither."""
    assert render_junit("s", [a_case(CaseOutcome.PASSED, message="±")]).startswith(
        "<?xml version='1.0' encoding='utf-8'?>"
    )


def test_a_case_that_never_ran_has_no_time() -> None:
    """The time is absent, not 0."""
    (case,) = ET.fromstring(render_junit("s", [a_case(CaseOutcome.FAILURE, seconds=None)]))[0]
    assert case.attrib == {"classname": "s", "name": "mlp"}


def test_an_empty_report_is_one() -> None:
    """A suite of no tests is well-formed XML too."""
    assert ET.fromstring(render_junit("s", []))[0].attrib["tests"] == "0"


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(), st.text())
def test_any_text_makes_well_formed_xml(name: str, detail: str) -> None:
    """Quotes and angle brackets are escaped; what XML cannot hold is left out, and nothing else."""
    case = a_case(CaseOutcome.ERROR, name=name, detail=detail)
    (read,) = ET.fromstring(render_junit(name, [case]).encode("utf-8", "surrogatepass"))[0]
    kept = "".join(
        c for c in detail if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff")
    )
    assert (read[0].text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")
