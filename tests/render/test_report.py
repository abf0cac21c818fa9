"""The report has an answer, pictures and tables, and can be made from any file, a stranger's too."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench import cli
from bench.analysis.headline import headlines, source_of
from bench.analysis.summary import summarize
from bench.experiments.gate.decision import conclude, conclusion_of
from bench.experiments.gate.evidence import evidence_of
from bench.experiments.profile.breakdown import break_down
from bench.records import store
from bench.records.result import FailureReason, ResultSet
from bench.render.formats.export import render_report_markdown
from bench.render.formats.html import render_report
from bench.render.model.document import Picture, Report
from bench.render.model.words.labels import short_names
from bench.render.report.assemble import Gate, Profile, make_report
from bench.render.report.pictures.charts import MOST_CURVES, Axis, PlottedRow, Point, draw_rows
from bench.render.units import TIMES
from bench.render.views.results import result_tables
from mnist_core.recipe import Hybridize, Recipe
from tests.support.cli import Command
from tests.support.executor import A_BLOCK, in_turns
from tests.support.gate import a_block, a_gate_file, a_health, a_plan, blocks, noisy, slowed, whole_gate
from tests.support.profile import a_profile
from tests.support.records import a_ceiling, a_dataset, a_failure, a_result_set, a_run, a_scenario, an_environment

TUTORIAL = a_scenario("mlp")
ONE = a_scenario("mlp", "cpu(0)")
HOSTILE = '<script>alert("1 & 2")</script>\'"-->'


def repeats(scenario: object, *throughputs: float, **changes: object) -> list[object]:
    return [
        a_run(scenario=scenario, repeat=repeat, recipe=Recipe(seed=42 + repeat, **changes), throughput=throughput)  # type: ignore[arg-type]
        for repeat, throughput in enumerate(throughputs)
    ]


def a_rich_result(**changes: object) -> ResultSet:
    """Make two contexts, three batch sizes, three repeats, two networks, a ceiling and a failure."""
    records: list[object] = []
    for batch_size, factor in ((100, 1.0), (500, 2.5), (2000, 4.0)):
        for contexts, gain in (("cpu(0)", 1.0), ("cpu(0),cpu(1)", 1.4)):
            scenario = a_scenario("mlp", contexts, batch_size=batch_size)
            records += repeats(scenario, *(10_000 * factor * gain * noise for noise in (0.98, 1.0, 1.02)))
    records += [a_run(scenario=a_scenario("lenet"), throughput=2_000, accuracy=0.985)]
    records += [a_failure(reason=FailureReason.TIMEOUT, detail="no answer within 600 s")]
    return a_result_set(*records, ceilings=(a_ceiling(),), **changes)  # type: ignore[arg-type]


def report_of(*result_sets: ResultSet) -> Report:
    return make_report([source_of(f"file{number}", each) for number, each in enumerate(result_sets)])


def said_of(result_set: ResultSet) -> str:
    return " ".join(text for _about, text in report_of(result_set).short)


def pictures_of(report: Report) -> dict[str, Picture]:
    return {picture.key: picture for section in report.sections for picture in section.pictures}


# --- the answer -------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_fastest_valid_row_and_what_it_is_faster_than() -> None:
    made = a_result_set(*repeats(TUTORIAL, 9_800, 10_000, 10_200), *repeats(ONE, 29_000, 30_000, 31_000))  # type: ignore[arg-type]
    (answer,) = headlines([source_of("here", made)])
    assert answer.fastest.scenario == ONE
    assert answer.ranked == 2
    assert answer.speedup is not None
    assert answer.speedup.value == pytest.approx(3.0, rel=0.01)
    said = report_of(made).short
    assert {about for about, _text in said} == {"mlp"}
    sentence = " ".join(text for _about, text in said)
    assert "cpu(0), batch 100, hybridize off is the fastest of 2: 29,989 images/s" in sentence
    assert "95 % interval" in sentence
    assert "n = 3" in sentence
    assert f"3.00{TIMES}" in sentence


def test_a_row_that_did_not_learn_is_no_answer() -> None:
    """That holds however fast it is, and the report says that something is not believed."""
    made = a_result_set(a_run(scenario=TUTORIAL), a_run(scenario=ONE, throughput=1e6, accuracy=0.1))
    (answer,) = headlines([source_of("here", made)])
    assert answer.fastest.scenario == TUTORIAL
    report = report_of(made)
    assert any("is not believed" in text for _about, text in report.short)
    (failures,) = [section for section in report.sections if section.key == "failures"]
    (row,) = failures.tables[0].rows
    assert "accuracy" in row.cells[-1].text


def test_the_tutorials_own_setting_may_win_or_tie() -> None:
    wins = said_of(a_result_set(a_run(scenario=TUTORIAL, throughput=2e4), a_run(scenario=ONE)))
    assert "nothing else was measured to be faster" in wins
    level = said_of(a_result_set(*repeats(TUTORIAL, 9_000, 10_000, 11_000), *repeats(ONE, 9_500, 10_300, 10_900)))  # type: ignore[arg-type]
    assert "cannot be told from the fastest" in level


def test_what_the_tutorial_costs_is_said_whole() -> None:
    """Its ten epochs stand beside the short runs that measured most settings, and beside what updates as often."""
    part = Recipe(epochs=1, samples=2000)
    short_runs = [
        a_run(scenario=a_scenario("mlp", contexts, batch_size=size), recipe=part, throughput=speed, accuracy=0.5)
        for contexts, size, speed in (("cpu(0),cpu(1)", 100, 1e4), ("cpu(0)", 100, 2e4), ("cpu(0)", 500, 5e4))
    ]
    said = said_of(a_result_set(a_run(scenario=TUTORIAL), *short_runs, dataset=a_dataset(name="fashion-mnist")))
    assert "cpu(0), batch 500, hybridize off was measured fastest of 3, but a single process tells nothing from" in said
    assert "Of those that update the weights as often as the tutorial, cpu(0), batch 100, hybridize off" in said
    assert "single processes" in said
    assert "whole training, 10 epochs of 60,000 images, takes" in said


def test_an_answer_says_what_it_could_not_compare_with() -> None:
    """The tutorial's setting failed or has not run yet. Other failures count by what they are."""
    failed = a_failure(scenario=TUTORIAL, reason=FailureReason.TIMEOUT, detail="no answer")
    said = said_of(a_result_set(a_run(scenario=ONE), failed))
    assert "no result to compare with: timeout, no answer" in said
    assert "1 scenario failed: see Failures" in said
    partly = a_result_set(*repeats(TUTORIAL, 1e4), a_failure(scenario=TUTORIAL, repeat=1), a_run(scenario=ONE))  # type: ignore[arg-type]
    assert "1 scenario failed in a part of the processes" in said_of(partly)
    started = msgspec.structs.replace(
        made := a_result_set(a_run(scenario=TUTORIAL), a_run(scenario=ONE)), runs=made.runs[1:]
    )
    assert "1 of 2 planned processes have not run yet" in said_of(started)


def test_gpu_against_cpu_where_both_are_there() -> None:
    gpu = a_scenario("mlp", "gpu(0)")
    made = a_result_set(*repeats(ONE, 10_000, 10_000), *repeats(gpu, 50_000, 50_000))  # type: ignore[arg-type]
    (answer,) = headlines([source_of("here", made)])
    assert answer.gpu_against_cpu is not None
    assert answer.gpu_against_cpu.ratio.value == pytest.approx(5)
    assert any(f"5.00{TIMES}" in text and "GPU" in text for _about, text in report_of(made).short)


def sizes_of_a_gpu(**throughputs: tuple[float, float]) -> ResultSet:
    """Make a file with the CPU's and the GPU's two processes at each batch size; they scatter by a percent."""
    records: list[object] = []
    for size, pair in throughputs.items():
        for contexts, throughput in zip(("cpu(0)", "gpu(0)"), pair, strict=True):
            scenario = a_scenario("mlp", contexts, batch_size=int(size.removeprefix("batch_")))
            records += repeats(scenario, throughput, 1.01 * throughput)
    return a_result_set(*records)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("throughputs", "first", "words"),
    [
        (
            {"batch_100": (1e4, 5e3), "batch_500": (2e4, 4e4), "batch_2000": (2e4, 9e4)},
            500,
            "the GPU is faster from batch 500 on (measured: 100, 500, 2,000)",
        ),
        ({"batch_100": (1e4, 2e4), "batch_500": (2e4, 9e4)}, 100, "at each batch size that both have (100, 500)"),
        (
            {"batch_100": (1e4, 2e4), "batch_500": (3e4, 3e4)},
            None,
            "at batch 500, the largest of 100, 500, the GPU is not surely faster",
        ),
        ({"batch_100": (1e4, 2e4), "batch_500": (3e4, 2e4), "batch_2000": (3e4, 9e4)}, 2000, "from batch 2,000 on"),
        ({"batch_100": (1e4, 2e4)}, 100, "does"),
    ],
)
def test_from_which_batch_on_a_gpu_wins(
    throughputs: dict[str, tuple[float, float]], first: int | None, words: str
) -> None:
    """It is the size from which on it is surely faster at every one that was measured on both."""
    made = sizes_of_a_gpu(**throughputs)
    (answer,) = headlines([source_of("here", made)])
    assert answer.gpu_against_cpu is not None
    assert answer.gpu_against_cpu.wins_from == first
    ((_term, said),) = [line for line in result_tables([summarize(made)])[0].answers if line[0] == "GPU against CPU"]
    assert words in said
    assert any(said in text for _about, text in report_of(made).short)


def test_no_gpu_is_compared_where_none_was_measured() -> None:
    assert all(term != "GPU against CPU" for term, _text in result_tables([summarize(a_rich_result())])[0].answers)


def test_rows_that_took_turns_have_turns_and_no_epochs() -> None:
    """A turn is as many epochs as it needs, so that their number would not be true."""
    recipe = Recipe(epochs=6, samples=10_000)
    runs = [
        in_turns(a_run(recipe=recipe, scenario=a_scenario(batch_size=size), accuracy=0.9), 0) for size in (100, 500)
    ]
    result_set = a_result_set(*runs, blocks=(A_BLOCK,))
    assert "6 turns of the first 10,000 images" in said_of(result_set)
    assert "6 epochs" not in said_of(result_set)


def test_the_fastest_is_not_called_so_where_others_cannot_be_told_from_it() -> None:
    """Their names stand in the same sentence; what each setting does follows."""
    speeds = {(100, "off"): 1.0, (500, "off"): 1.4, (500, "on"): 1.401}
    noise = (0.01, -0.01, 0.005, -0.005)
    runs = [
        in_turns(
            a_run(
                scenario=a_scenario(batch_size=size, hybridize=Hybridize(hybridize)),
                recipe=Recipe(epochs=6, samples=10_000, seed=42 + block),
                repeat=block,
                throughput=10_000.0 * speed * drift * (1 + noise[block] * (hybridize == "on")),
                accuracy=0.9,
            ),
            block,
        )
        for (size, hybridize), speed in speeds.items()
        for block, drift in enumerate((1.0, 1.9, 0.6, 1.4))
    ]
    result_set = a_result_set(*runs, blocks=(A_BLOCK,) * 4)
    said = said_of(result_set)
    assert "95 % intervals over blocks, n = 4" in pictures_of(report_of(result_set))["n0-speedup"].caption
    assert (
        "cpu(0),cpu(1), batch 500, hybridize on was measured fastest of 3, but is not told apart from "
        "cpu(0),cpu(1), batch 500, hybridize off: "
    ) in said
    assert "is the fastest" not in said
    assert "batch 500 instead of 100: 40 % faster ± 0.9." in said
    assert "hybridize on instead of off: no difference that matters (0.1 % faster ± 1.0)." in said


def test_nothing_measured_is_said_without_an_answer() -> None:
    report = report_of(a_result_set(a_failure()))
    (failed, nothing) = report.short
    assert nothing == ("no answer", "nothing was measured that carries a rank.")
    assert failed == ("file0", "1 scenario failed: see Failures.")


def test_the_recipe_with_most_rows_is_asked_first() -> None:
    """A quick look at a single setting hides no comparison, however fast it was."""
    quick = a_run(scenario=ONE, recipe=Recipe(epochs=1, samples=2000), throughput=1e6, accuracy=0.9)
    made = a_result_set(quick, *repeats(TUTORIAL, 10_000, 10_100), *repeats(ONE, 30_000, 30_100))  # type: ignore[arg-type]
    (answer,) = headlines([source_of("here", made)])
    assert (answer.ranked, answer.fastest.recipe.epochs) == (2, 10)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_every_picture_has_its_numbers_in_words() -> None:
    """It has a caption, a text alternative and a tooltip for each mark, is well-formed and has ids of its own."""
    pictures = pictures_of(report_of(a_rich_result()))
    wanted = {"batch", "speedup", "scaling", "epochs", "seconds", "target", "roofline", "first"}
    assert {key.partition("-")[2] for key in pictures if key.startswith("n0-")} == wanted
    ids: set[str] = set()
    for picture in pictures.values():
        root = ET.fromstring(picture.svg.replace("xlink:href", "href"))
        assert root.get("role") == "img"
        assert root.get("aria-label") == picture.alternative
        assert picture.caption
        tips = [title.text for title in root.iter("title")]
        assert tips
        assert all(tip and any(character.isdigit() for character in tip) for tip in tips)
        own = {element.get("id") for element in root.iter()} - {None}
        assert not own & ids
        ids |= own  # type: ignore[arg-type]
        assert not re.search(r"(fill|stroke): #0[0-5]", picture.svg), "every colour is the page's"


@pytest.mark.parametrize(
    ("least", "most", "numbers"),
    [(0.88, 1.17, ["0.9", "1", "1.1"]), (0.98, 1.01, ["0.98", "0.99", "1", "1.01"]), (0.7, 4, ["0.7", "1", "2", "3"])],
)
def test_a_logarithmic_axis_has_numbers_however_short_it_is(least: float, most: float, numbers: list[str]) -> None:
    """A picture of speed-ups near 1 had the number 1 alone."""
    rows = [PlottedRow(str(value), [Point(value, 0, "")]) for value in (least, most)]
    axis = Axis(title="times as fast", logarithmic=True)
    picture = draw_rows("a", rows, title="Speed-up", subject="mlp", caption="", x=axis, reference=1)
    assert [number for number in numbers if f">{number}<" not in picture.svg] == []


def test_an_interval_is_drawn_and_said() -> None:
    picture = pictures_of(report_of(a_rich_result()))["n0-speedup"]
    assert all("95 % interval" in number and "n = 3" in number for number in picture.numbers)
    assert "95 % intervals over processes, n = 3" in picture.caption


def test_a_curve_is_named_without_what_varies_along_it() -> None:
    """No batch size that was not measured stands in its label, and recipes keep their own curves apart."""
    runs = [
        a_run(scenario=a_scenario("mlp", batch_size=size), recipe=recipe, accuracy=0.9)
        for size in (100, 500)
        for recipe in (Recipe(epochs=1, samples=2000), Recipe(epochs=2, samples=2000))
    ]
    report = report_of(a_result_set(*runs))
    pictures = pictures_of(report)
    assert "batch" not in pictures["n0-batch"].alternative.split("of ")[-1]
    titles = [section.title for section in report.sections if section.pictures]
    assert titles == [f"mlp in pictures: {epochs} of the first 2,000 images" for epochs in ("1 epoch", "2 epochs")]
    assert {"n0-batch", "n1-batch"} <= set(pictures)


def test_curves_of_one_point_are_not_drawn() -> None:
    pictures = pictures_of(report_of(a_result_set(a_run(recipe=Recipe(epochs=1)))))
    assert {key.partition("-")[2] for key in pictures} == {"first"}


def test_devices_and_files_keep_their_curves_apart() -> None:
    """No two curves of a picture have the same name, and a slow machine is not left out."""
    gpu = [a_run(scenario=a_scenario("mlp", contexts), throughput=1e5) for contexts in ("gpu(0)", "gpu(0),gpu(1)")]
    cpu = [a_run(scenario=a_scenario("mlp", contexts), throughput=1e4) for contexts in ("cpu(0)", "cpu(0),cpu(1)")]
    scaling = pictures_of(report_of(a_result_set(*gpu, *cpu)))["n0-scaling"]
    assert {"GPU, 2 contexts", "CPU, 2 contexts"} <= {number.split(":")[0] for number in scaling.numbers}
    modes = (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC)
    sizes = [a_scenario("mlp", "cpu(0)", batch_size=size, hybridize=mode) for size in (100, 500) for mode in modes]
    fast, slow = (a_result_set(*(a_run(scenario=each, throughput=speed) for each in sizes)) for speed in (1e5, 1e3))
    made = make_report([source_of("run-fast-1", fast), source_of("run-slow-1", slow)])
    batch = pictures_of(made)["n0-batch"]
    curves = {number.rsplit(", ", 2)[0].split(", batch")[0] for number in batch.numbers}
    assert len(curves) == MOST_CURVES
    assert {name.split(",")[0] for name in curves} == {"fast", "slow"}


def test_short_names_are_what_differs() -> None:
    assert short_names(["run-amd-epyc-2", "run-xeon-2"]) == {"run-amd-epyc-2": "amd-epyc", "run-xeon-2": "xeon"}
    assert short_names(["a", "b"]) == {"a": "a", "b": "b"}
    assert short_names(["same"]) == {"same": "same"}
    assert short_names(["run", "run-2"]) == {"run": "run", "run-2": "run-2"}


def test_a_gates_blocks_are_drawn_beside_their_control() -> None:
    file = a_gate_file(blocks(8, slowed(noisy(1), 0.2)))
    report = make_report([], [Gate(name="pr", file=file, conclusion=conclusion_of(file))])
    assert report.short[0] == ("pr", "the gate's verdict is inconclusive, after 8 blocks.")
    assert any("% slower [" in text for _about, text in report.short[1:])
    pictures = pictures_of(report)
    assert len(pictures) == len(file.plan.scenarios)
    assert all("s time per image" in picture.svg for picture in pictures.values())
    assert all("the same side against itself" in picture.svg for picture in pictures.values())


def test_a_gates_void_and_confirming_blocks_are_told_apart_without_pointing() -> None:
    """Each has a mark and a line of the legend, and what was over how many blocks is said."""
    plan = a_plan()
    found = [a_block(0, noisy(1), health=a_health(steal_fraction=0.5))]
    found = whole_gate(plan, slowed(noisy(1), 0.2), found)
    file = a_gate_file(found)
    conclusion = conclude(plan, evidence_of(plan, found))
    report = make_report([], [Gate(name="pr", file=file, conclusion=conclusion)])
    picture = pictures_of(report)["g0-0"]
    assert ">contender against baseline, to confirm<" in picture.svg
    assert ">void: the machine was disturbed, not counted<" in picture.svg
    assert "over 8 blocks, and" in picture.caption
    assert "in 5 fresh ones" in picture.caption
    assert report.short[0][1] == f"the gate's verdict is regressed, after {len(found)} blocks."


def test_where_an_epoch_goes_is_drawn_for_each_profile() -> None:
    profile = a_profile()
    report = make_report([], profiles=[Profile(name="p", file=profile, breakdown=break_down(profile))])
    picture = pictures_of(report)["phases"]
    assert {"forward", "backward", "update"} <= {number.split(": ")[1] for number in picture.numbers}


# --- several files ----------------------------------------------------------------------------------------------------


def test_machines_stand_side_by_side_with_their_differences_marked() -> None:
    here = a_rich_result()
    there = a_rich_result(environment=an_environment(host_hash="e" * 64, host_processor_model_name="Another CPU"))
    report = report_of(here, there)
    machines = next(section for section in report.sections if section.key == "machines")
    differing = {row.cells[0].text for row in machines.tables[0].rows}
    assert "processor" in differing
    assert "architecture" not in differing
    assert machines.folded is not None
    assert "architecture" in {row.cells[0].text for row in machines.folded.rows}
    assert any(section.key == "compared" for section in report.sections)
    assert sum("Another CPU" in text for about, text in report.short if about in {"mlp", "lenet"}) == 2


def test_two_machines_are_compared_before_all_else() -> None:
    """One sentence with its interval, and a picture of all ratios, before any other."""
    here = a_rich_result()
    there = a_rich_result(environment=an_environment(host_hash="e" * 64, host_processor_model_name="Another CPU"))
    slow = msgspec.structs.replace(
        there,
        runs=tuple(
            msgspec.structs.replace(
                run,
                epochs=tuple(msgspec.structs.replace(e, epoch_seconds=2 * e.epoch_seconds) for e in run.epochs),
            )
            for run in there.runs
        ),
    )
    report = report_of(here, slow)
    about, sentence = next(pair for pair in report.short if "against" in pair[0])
    assert about == "file1 against file0"
    assert re.search(rf"Another CPU.* does 0\.500{TIMES} \[0\.\d+, 0\.\d+\] the images/s of Imaginary", sentence)
    first = next(picture for section in report.sections for picture in section.pictures)
    assert first.key == "ratio0"
    assert first.numbers[0].startswith("mean of 6 scenarios: 0.500, 95 % interval")
    assert len(first.numbers) == 8
    assert any("cannot be told apart" in text for _about, text in report_of(here, there).short)


def a_file_of_turns(lead_in: int, name: str) -> ResultSet:
    """Return a file of two rows that took turns of half a second in four blocks."""
    runs = [
        msgspec.structs.replace(
            in_turns(
                a_run(
                    scenario=scenario,
                    recipe=Recipe(epochs=1, samples=5_000, seed=42 + block),
                    repeat=block,
                    throughput=10_000.0 * factor + 10 * block,
                    accuracy=0.9,
                ),
                block,
            ),
            lead_in_epochs=lead_in,
        )
        for block in range(4)
        for factor, scenario in ((1.0, TUTORIAL), (0.8, ONE))
    ]
    environment = an_environment(host_hash=name * 64, host_processor_model_name=f"CPU {name}")
    return a_result_set(*runs, blocks=(A_BLOCK,) * 4, environment=environment)


def test_a_machine_that_was_measured_cold_is_not_ranked_against_one_that_was_not() -> None:
    """Each has its own answer, and no sentence holds a ratio of the two."""
    report = report_of(a_file_of_turns(3, "a"), a_file_of_turns(0, "b"))
    told = {about: text for about, text in report.short if "against" in about}
    assert [*told] == ["file1 against file0"]
    assert told["file1 against file0"].startswith("not comparable: the contender's turns are cold")
    answers = [text for about, text in report.short if "not comparable" in text and about not in told]
    assert len(answers) == 1
    assert re.search(r"not comparable: (its|the first's) turns are cold, without the epochs that lead in", answers[0])
    assert not any("the first." in text for _about, text in report.short)


def test_single_processes_of_two_machines_are_not_called_equal() -> None:
    """They have no interval, so that half the speed is neither told nor not told from chance."""
    here = a_result_set(a_run(scenario=TUTORIAL, throughput=10_000.0))
    there = a_result_set(
        a_run(scenario=TUTORIAL, throughput=5_000.0),
        environment=an_environment(host_hash="e" * 64, host_processor_model_name="Another CPU"),
    )
    _about, text = next(pair for pair in report_of(here, there).short if "against" in pair[0])
    assert text.endswith("Single processes have no interval: nobody knows how much of that is luck.")


def test_files_of_one_machine_are_files() -> None:
    """Nothing is said twice of one machine; its failures come before what they may explain."""
    report = report_of(a_rich_result(), a_rich_result(created_at="2026-02-01T12:00:00Z"))
    machines = next(section for section in report.sections if section.key == "machines")
    assert machines.title == "The machine and its files"
    assert not machines.tables
    assert report.sections[0].key == "failures"
    assert "see Failures" in report.short[0][1]
    assert report.about.endswith("2026-01-31 to 2026-02-01")


# --- a stranger's file ------------------------------------------------------------------------------------------------


def a_hostile_result() -> ResultSet:
    """Make a result in which every string that a file may hold is an attack."""
    made = a_rich_result(
        suite=HOSTILE,
        dataset=a_dataset(source=HOSTILE),
        environment=an_environment(
            host_processor_model_name=HOSTILE, operating_system=HOSTILE, kernel=HOSTILE, libc=HOSTILE,
            variables={"OMP_X": HOSTILE}, virtualization=HOSTILE, scaling_governor=HOSTILE,
        ),
    )  # fmt: skip
    failure = a_failure(reason=FailureReason.CRASHED, detail=HOSTILE, log=HOSTILE)
    return msgspec.structs.replace(made, failures=(*made.failures, failure))


def test_a_strangers_words_are_text() -> None:
    """They make no element, attribute or second script in the page."""
    page = render_report(make_report([source_of(HOSTILE, a_hostile_result())]))
    assert page.count("<script") == 1
    assert "alert(" in page
    assert HOSTILE not in page
    assert page.count("<html") == page.count("</body>") == 1
    markdown = render_report_markdown(make_report([source_of(HOSTILE, a_hostile_result())]))
    assert "<script" not in markdown.replace("\\<script", "")


# --- the command line -------------------------------------------------------------------------------------------------


def test_a_report_of_every_kind_of_file(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be made of a folder, too, in which other files do not matter."""
    store.write(tmp_path / "in" / "run.json", a_rich_result())
    store.write(tmp_path / "in" / "gate.json", a_gate_file(blocks(8, noisy(1))))
    store.write(tmp_path / "in" / "profile.json", a_profile())
    (tmp_path / "in" / "other.json").write_text("{}")
    assert command("report", "in", "-o", "out/report.html") == cli.Exit.DONE
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for word in ("In short", "Gate: gate", "Where an epoch goes", "Failures"):
        assert word in page
    assert "3 files" in capsys.readouterr().err
    assert command("report", "in/run.json", "--format", "markdown") == cli.Exit.DONE
    assert capsys.readouterr().out.startswith("## mnist-bench: run")
    assert command("report", "in/run.json", "-o", "report.md") == cli.Exit.DONE
    assert (tmp_path / "report.md").read_text().startswith("## ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.json"], "nowhere.json"),
        (["other.json"], "not a result, gate or profile file"),
        (["empty"], "no result, gate or profile file in empty"),
        (["run.json", "-o", "other.json/x.html"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("{}")
    store.write(tmp_path / "run.json", a_result_set(a_run()))
    assert command("report", *arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
