"""Scenarios and suites are read, narrowed and selected."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigurationError
from bench.scenarios.axes import PEERS_LOOP, Compression, Exchange, Framework, LoopName
from bench.scenarios.baselines import share_of
from bench.scenarios.scenario import Scenario
from bench.scenarios.selection import select
from bench.scenarios.suite import (
    BUILT_IN_SUITES,
    Matrix,
    Overrides,
    Suite,
    expand,
    load_suite,
    override,
    parse_suite,
    with_gpus,
)
from bench.worker.environment import worker_environment, worker_variables
from mnist_core.recipe import Engine, Hybridize, Kvstore, Update

TWO_BY_TWO = """
title = "two by two"
[[matrix]]
network = ["mlp", "lenet"]
batch_size = [100, 500]
sampling = { epochs = 2, repeats = 3, samples = 1000 }
"""
ONE_MATRIX = "title = 'x'\n[[matrix]]\nnetwork = ['mlp']\n"
#: Ranks with a server, and a peer's loop.
SERVED = {"ranks": 2, "exchange": Exchange.DIST_SYNC, "servers": 1}
PEER = {"framework": Framework.TORCH, "contexts": ("cpu(0)",), **PEERS_LOOP}
JAX = {**PEER, "framework": Framework.JAX, "hybridize": Hybridize.JIT}


def test_the_defaults_are_the_tutorials() -> None:
    """A scenario that says nothing but its network is the tutorial's own setting."""
    scenario = Scenario(network="mlp")
    expected = (("cpu(0)", "cpu(1)"), 100, Hybridize.OFF, None)
    assert (scenario.contexts, scenario.batch_size, scenario.hybridize, scenario.cpu_threads) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "lenett"}, "did you mean 'lenet'"),
        ({"network": "own.module"}, "package.module:factory"),
        ({"network": "a b:c"}, "unknown network"),
        ({"contexts": ()}, "contexts"),
        ({"contexts": ("cpu(0)", "cpu(0)")}, "cpu(0)"),
        ({"contexts": ("tpu(0)",)}, "tpu"),
        ({"contexts": ("cpu",)}, "written as"),
        ({"batch_size": 1}, "never train"),
        ({"batch_size": 5, "ranks": 3}, "ranks' contexts (6)"),
        ({"exchange": "gloo"}, "none of mxnet's: none, dist_sync"),
        ({"exchange": Exchange.DIST_SYNC}, "servers=1 or more"),
        ({"servers": 1}, "leave servers out"),
        ({**SERVED, "exchange": Exchange.DIST_ASYNC, "update_on_kvstore": False}, "and update_on_kvstore=true"),
        ({**SERVED, "ranks": 1, "compression": Compression.TWO_BIT}, "use framework=mxnet ranks=2"),
        ({"ranks": 2, "compression": Compression.TWO_BIT}, "ranks=2 exchange=dist_sync"),
        ({**PEER, "ranks": 2, "exchange": Exchange.GLOO, "compression": Compression.TWO_BIT}, "use framework=mxnet"),
        ({**SERVED, "exchange": Exchange.DIST_ASYNC, "update": Update.FLAT}, "use update=trainer"),
        ({**SERVED, "kvstore": Kvstore.LOCAL}, "leave kvstore out"),
        ({**PEER, "exchange": Exchange.GLOO, "contexts": ("cpu(0)", "cpu(1)")}, "contexts=cpu(0) and more ranks"),
        ({**PEER, "exchange": Exchange.NCCL}, "use exchange=gloo"),
        ({**JAX, "exchange": Exchange.GLOO, "contexts": ("gpu(0)",)}, "use contexts=cpu(0)"),
        ({**JAX, "exchange": Exchange.NCCL}, "none of jax's: none, gloo"),
        ({"hosts": 2}, "use more ranks"),
        ({**SERVED, "hosts": 3}, "hosts=3 and ranks=2"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, object], words: str) -> None:
    """Each bad value gives one line that names it."""
    with pytest.raises(ConfigurationError, match=r".*") as caught:
        Scenario(**{"network": "mlp", **changes})  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(batch_size=st.integers(4, 10_000), contexts=st.integers(1, 4))
def test_shares_add_up_to_the_global_batch(batch_size: int, contexts: int) -> None:
    """Every image of a batch goes to exactly one context, and no context gets two more than another."""
    scenario = Scenario(
        network="mlp", contexts=tuple(f"cpu({index})" for index in range(contexts)), batch_size=batch_size
    )
    shares = scenario.per_context_batch_sizes
    assert (sum(shares), len(shares)) == (batch_size, contexts)
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("contexts", "cpu_threads", "cores", "expected"),
    [
        (("cpu(0)",), None, 8, 8),
        (("cpu(0)", "cpu(1)"), None, 8, 4),
        (("cpu(0)", "cpu(1)", "cpu(2)"), None, 2, 1),
        (("gpu(0)",), None, 8, 8),
        (("cpu(0)", "cpu(1)"), 3, 8, 3),
    ],
)
def test_cores_are_shared_by_the_cpu_contexts(
    contexts: tuple[str, ...], cpu_threads: int | None, cores: int, expected: int
) -> None:
    """The default is physical cores divided by CPU contexts, at least one; what is set explicitly wins."""
    scenario = Scenario(network="mlp", contexts=contexts, cpu_threads=cpu_threads)
    assert scenario.threads_per_context(cores) == expected


def test_ranks_share_each_batch_and_the_cores() -> None:
    """A rank's share is divided over its contexts; all ranks together have the cores of the machine."""
    scenario = Scenario(network="mlp", batch_size=101, ranks=3)
    assert scenario.per_context_batch_sizes == (17, 17, 17, 17, 17, 16)
    assert [scenario.threads_per_context(cores) for cores in (2, 12)] == [1, 2]
    assert scenario.name == "mlp cpu(0),cpu(1) batch=101 hybridize=off ranks=3 exchange=none"


def test_a_suite_of_ranks_has_the_usual_exchange_and_a_server() -> None:
    """Without an exchange of its own; and one rank has none, as ever."""
    suite = parse_suite(f"{ONE_MATRIX}ranks = [1, 2]\n", where="the test")
    alone, two = (planned.scenario for planned in expand(suite))
    assert alone == Scenario(network="mlp")
    assert (two.ranks, two.exchange, two.servers, two.trains_as_one) == (2, Exchange.DIST_SYNC, 1, True)
    without = expand(override(suite, Overrides(ranks=(2,), exchange=(Exchange.NONE,))))[0].scenario
    assert (without.exchange, without.servers, without.trains_as_one) == (Exchange.NONE, 0, False)


def test_compressed_gradients_are_another_training() -> None:
    """Their row has a name of its own, and neither its accuracy nor its speed is judged as those of whole ones."""
    suite = parse_suite(f"{ONE_MATRIX}ranks = [2]\ncompression = ['none', '2bit']\n", where="the test")
    whole, compressed = (planned.scenario for planned in expand(suite))
    assert (whole.trains_as_one, compressed.trains_as_one) == (True, False)
    assert compressed.name == f"{whole.name} compression=2bit"


def test_ranks_share_the_cores_of_their_machine_alone() -> None:
    """As many as are on the first one, which has the most, unless it is said how many there are."""
    scenario = Scenario(network="mlp", contexts=("cpu(0)",), ranks=3, hosts=2, first_host=1)
    assert (scenario.threads_per_context(12), scenario.threads_per_context(12, 1)) == (6, 12)
    assert scenario.name == "mlp cpu(0) batch=100 hybridize=off ranks=3 exchange=none hosts=2 first_host=1"
    assert Scenario(network="mlp", first_host=2).name.endswith("hybridize=off first_host=2")


@pytest.mark.parametrize(
    ("axes", "machines", "expected"),
    [
        ("ranks = [1, 2, 8]", 1, [(1, 0), (1, 0), (1, 0)]),
        ("ranks = [1, 2, 8]", 4, [(1, 0), (2, 0), (4, 0)]),
        ("ranks = [4]\nhosts = [1, 2]", 4, [(1, 0), (2, 0)]),
        ("ranks = [4]\nfirst_host = [0, 3]", 4, [(4, 0), (1, 3)]),
        ("first_host = [0, 1, 2]", 3, [(1, 0), (1, 1), (1, 2)]),
    ],
)
def test_ranks_are_on_as_many_machines_as_there_are(axes: str, machines: int, expected: list[tuple[int, int]]) -> None:
    """Where a suite does not say on how many; without a hosts file that is one, and nothing is as it was not."""
    suite = parse_suite(f"{ONE_MATRIX}{axes}\n", where="the test")
    scenarios = [planned.scenario for planned in expand(suite, machines=machines)]
    assert [(scenario.hosts, scenario.first_host) for scenario in scenarios] == expected


@pytest.mark.parametrize(
    ("machines", "expected"),
    [(1, [1, 2]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])],
)
def test_auto_is_as_many_ranks_as_there_are_machines(machines: int, expected: list[int]) -> None:
    """Powers of two, and all of them; without a hosts file two, which share this machine."""
    suite = parse_suite(f'{ONE_MATRIX}batch_size = [840]\nranks = ["auto"]\n', where="the test")
    found = [planned.scenario for planned in expand(suite, machines=machines)]
    assert [scenario.ranks for scenario in found] == expected
    assert [scenario.hosts for scenario in found] == [min(machines, ranks) for ranks in expected]


def test_a_local_batch_grows_with_the_ranks_and_so_does_an_epoch() -> None:
    """An epoch without a whole batch would train smaller ones than it says."""
    axes = "batch_size = [100]\nlocal_batch_size = [100, 1024]\nranks = [1, 4]\nsampling = { samples = 2048 }\n"
    plan = expand(parse_suite(f"{ONE_MATRIX}{axes}", where="the test"))
    sizes = [(each.scenario.ranks, each.scenario.batch_size) for each in plan]
    assert sizes == [(1, 100), (4, 100), (4, 400), (1, 1024), (4, 4096)]
    assert {each.recipe.samples for each in plan} == {4096}


def test_a_batch_size_of_the_command_line_takes_the_place_of_local_ones() -> None:
    suite = parse_suite(f"{ONE_MATRIX}batch_size = [100]\nlocal_batch_size = [1024]\nranks = [2]\n", where="the test")
    sizes = [
        [each.scenario.batch_size for each in expand(override(suite, Overrides(batch_size=size)))]
        for size in ((100,), (300,))
    ]
    assert sizes == [[100], [300]]


def test_baselines_are_all_that_a_loss_is_divided_among() -> None:
    """One machine on the whole batch, each alone on its share, and all at once without an exchange."""
    axes = "batch_size = [100]\nlocal_batch_size = [64]\nranks = [2]\nbaselines = true\n"
    plan = expand(parse_suite(f"{ONE_MATRIX}{axes}", where="the test"), machines=2)
    found = [
        (each.ranks, each.hosts, each.first_host, str(each.exchange), each.servers, each.batch_size)
        for each in (planned.scenario for planned in plan)
    ]
    assert found == [
        (2, 2, 0, "dist_sync", 1, 100),
        (1, 1, 0, "none", 0, 100),
        (1, 1, 0, "none", 0, 50),
        (1, 1, 1, "none", 0, 50),
        (2, 2, 0, "none", 0, 100),
        (2, 2, 0, "dist_sync", 1, 128),
        (1, 1, 0, "none", 0, 64),
        (1, 1, 1, "none", 0, 64),
        (2, 2, 0, "none", 0, 128),
    ]


@pytest.mark.parametrize(("batch_size", "ranks", "share"), [(100, 1, 100), (100, 2, 50), (100, 3, 34), (7, 7, 1)])
def test_a_share_is_that_of_the_rank_with_the_most_images(batch_size: int, ranks: int, share: int) -> None:
    scenario = Scenario(network="mlp", contexts=("cpu(0)",), batch_size=batch_size, ranks=ranks)
    assert share_of(scenario) == max(scenario.per_context_batch_sizes) == share


def test_the_suite_of_machines_asks_for_no_more_than_there_are() -> None:
    """Of two machines: each alone, both without and with an exchange, at three batch sizes; on one, its two ranks."""
    for machines, rows in ((1, 9), (2, 12)):
        plan = expand(load_suite("cluster"), machines=machines)
        scenarios = {each.scenario for each in plan}
        assert {each.hosts for each in scenarios} == {*range(1, machines + 1)}
        for framework in {each.framework for each in scenarios}:
            assert sum((each.framework, each.network) == (framework, "mlp") for each in scenarios) == rows
        assert all(each.recipe.samples == 2048 and each.in_turns for each in plan)


@pytest.mark.parametrize(
    ("axes", "machines", "words"),
    [
        ("ranks = [2]\nhosts = [2]", 1, "hosts=2 needs 2 machines, and there is 1: name more in the file of --hosts"),
        (
            "first_host = [1]",
            1,
            "hosts=1 first_host=1 needs 2 machines, and there is 1: name more",
        ),
        ("ranks = [4]\nhosts = [3]\nfirst_host = [1]", 3, "first_host=1 needs 4 machines, and there are 3"),
    ],
)
def test_a_machine_that_is_not_there_is_refused(axes: str, machines: int, words: str) -> None:
    """It is named what is missing; the suite itself can be read anywhere."""
    suite = parse_suite(f"{ONE_MATRIX}{axes}\n", where="the test")
    with pytest.raises(ConfigurationError, match=words):
        expand(suite, machines=machines)


@pytest.mark.parametrize("network", ["mlp", "lenet"])
def test_the_tuned_loop_lets_several_contexts_work_at_once(network: str) -> None:
    """The naive engine, which wins on one context, would run two one after the other."""
    suite = Suite(title="", matrix=(Matrix(network=(network,), loop=(LoopName.TUNED,)),))
    two, one = (
        expand(override(suite, Overrides(contexts=(contexts,))))[0].scenario for contexts in ("cpu(0),cpu(1)", "cpu(0)")
    )
    assert two.engine is Engine.THREADED
    assert one == expand(suite)[0].scenario


def test_every_thread_library_is_told() -> None:
    """No library that a worker loads may fall back to its own idea of a thread count."""
    variables = worker_variables(3)
    assert {value for name, value in variables.items() if name.endswith("_THREADS")} == {"3"}
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} <= set(variables)


def test_a_workers_float32_is_never_tf32() -> None:
    """MXNet multiplies in TF32 on an Ampere card unless the driver forbids it, whatever the user's shell says."""
    assert worker_environment({"NVIDIA_TF32_OVERRIDE": "1"}, worker_variables(1))["NVIDIA_TF32_OVERRIDE"] == "0"


def test_no_process_takes_a_gpu_for_itself() -> None:
    """Processes that take turns on it are alive together."""
    assert worker_variables(1)["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


@pytest.mark.parametrize("name", BUILT_IN_SUITES)
def test_built_in_suites_are_valid(name: str) -> None:
    """Each built-in suite parses and plans no run twice."""
    plan = expand(load_suite(name))
    assert len(set(plan)) == len(plan) > 0


def test_standard_holds_what_it_promises() -> None:
    """It has the tutorial's two scenarios in full, and the whole sweep in turns, from five or six processes each."""
    plan = expand(load_suite("standard"))
    full = [planned for planned in plan if planned.recipe.samples is None]
    assert {(p.scenario, p.recipe.epochs) for p in full} == {
        (Scenario(network="mlp"), 10),
        (Scenario(network="lenet"), 10),
    }
    sweep = [planned for planned in plan if planned.recipe.samples is not None]
    points = {(p.scenario.network, p.scenario.contexts, p.scenario.batch_size, p.scenario.hybridize) for p in sweep}
    contexts = [("cpu(0)",), ("cpu(0)", "cpu(1)")]
    assert points == set(itertools.product(["mlp", "lenet"], contexts, [100, 500], [Hybridize.OFF, Hybridize.ON]))
    assert len(sweep) == (5 + 6) * len(points) // 2
    assert all(planned.in_turns for planned in sweep)
    assert not any(planned.in_turns for planned in full)


def test_what_is_asked_for_alone_and_in_turns_takes_turns() -> None:
    """As when --epochs and --samples make the tutorial's setting one of the sweep's."""
    narrowed = override(load_suite("standard"), Overrides(network=("mlp",), epochs=3, samples=1000, repeats=1))
    plan = expand(narrowed)
    assert len(plan) == 8
    assert all(planned.in_turns for planned in plan)


def test_repeats_differ_in_seed_alone() -> None:
    """Repeat r trains with seed + r, so that accuracies of repeats are independent."""
    plan = expand(parse_suite(TWO_BY_TWO, where="here"), seed=7)
    assert {(planned.repeat, planned.recipe.seed) for planned in plan} == {(0, 7), (1, 8), (2, 9)}


def test_axes_narrow_where_the_suite_has_the_value() -> None:
    """A value the suite has keeps only the scenarios with it."""
    suite = override(load_suite("standard"), Overrides(network=("mlp",), batch_size=(500,)))
    plan = expand(suite)
    assert {(p.scenario.network, p.scenario.batch_size) for p in plan} == {("mlp", 500)}
    assert all(planned.recipe.samples == 2_000 for planned in plan)  # the full tutorial matrix has no batch 500


def test_axes_are_replaced_where_the_suite_lacks_the_value() -> None:
    """A value the suite has not replaces the axis in every matrix."""
    suite = override(
        load_suite("tutorial"), Overrides(contexts=("cpu(0),cpu(1),cpu(2)",), batch_size=(128,), epochs=1, repeats=2)
    )
    plan = expand(suite)
    assert {(p.scenario.contexts, p.scenario.batch_size, p.recipe.epochs, p.recipe.samples) for p in plan} == {
        (("cpu(0)", "cpu(1)", "cpu(2)"), 128, 1, None)
    }
    assert len(plan) == 4


def test_matrices_that_meet_plan_a_run_once() -> None:
    """A run is its scenario, recipe and repeat, and the longer time-out counts."""
    plan = expand(override(load_suite("standard"), Overrides(epochs=1, samples=1000)))
    runs = [(planned.scenario, planned.recipe, planned.repeat) for planned in plan]
    assert len(set(runs)) == len(runs)
    tutorial = [p for p in plan if p.scenario == Scenario(network="mlp") and p.repeat == 0]
    assert [planned.timeout_seconds for planned in tutorial] == [3600]


ON_GPU = f"{ONE_MATRIX}[[on_gpu]]\nframework = ['mxnet', 'torch']\nnetwork = ['mlp']\nbatch_size = [100, 500]\n"


def test_rows_for_gpus_are_added_where_a_framework_can_use_one() -> None:
    """They are on the first GPU and on all of them that it can use; without one the suite is as it was."""
    suite = parse_suite(ON_GPU, where="the test")
    assert expand(suite) == expand(with_gpus(suite, {Framework.MXNET: (), Framework.JAX: ["gpu(0)"]}))
    both = {Framework.MXNET: ["gpu(1)"], Framework.TORCH: ["gpu(0)", "gpu(1)"]}
    added = [planned.scenario for planned in expand(with_gpus(suite, both))][1:]
    places = [(str(scenario.framework), ",".join(scenario.contexts), scenario.batch_size) for scenario in added]
    devices = [("mxnet", "gpu(1)"), ("torch", "gpu(0)"), ("torch", "gpu(0),gpu(1)")]
    assert places == [(*place, size) for place in devices for size in (100, 500)]


def test_rows_for_gpus_keep_the_contexts_that_are_written() -> None:
    suite = parse_suite(f"{ON_GPU}contexts = ['cpu(0)']\n", where="the test")
    added = [planned.scenario.contexts for planned in expand(with_gpus(suite, {Framework.TORCH: ["gpu(0)"]}))][1:]
    assert added == [("cpu(0)",), ("cpu(0)",), ("gpu(0)",), ("gpu(0)",)]


def test_an_option_narrows_a_suite_with_gpus_and_replaces_in_one_without() -> None:
    """A machine without a GPU measures what it did before suites had rows for them."""
    suite, wanted = load_suite("standard"), Overrides(contexts=("gpu(0)",), network=("mlp",))
    assert {planned.recipe.epochs for planned in expand(override(suite, wanted))} == {10, 12}
    assert {p.scenario.contexts for p in expand(override(suite, wanted))} == {("gpu(0)",)}
    narrowed = override(with_gpus(suite, {Framework.TORCH: ["gpu(0)"]}), wanted)
    assert {(str(p.scenario.framework), p.scenario.batch_size) for p in expand(narrowed)} == {
        ("torch", 100),
        ("torch", 500),
    }


def test_a_fault_in_rows_for_gpus_is_found_without_one() -> None:
    with pytest.raises(ConfigurationError, match="the test"):
        parse_suite(f"{ON_GPU}hybridize = ['compile']\n", where="the test")


@pytest.mark.parametrize("name", ["standard", "peers"])
def test_a_gpu_has_rows_in_the_same_blocks_as_the_cpu(name: str) -> None:
    """Only rows of the same network and recipe that take turns are compared block by block."""
    gpus = dict.fromkeys(Framework, ("gpu(0)",))
    plan = [planned for planned in expand(with_gpus(load_suite(name), gpus)) if planned.in_turns]
    blocks = {
        where: {(p.scenario.network, p.recipe, p.repeat) for p in plan if where in p.scenario.contexts[0]}
        for where in ("cpu", "gpu")
    }
    assert blocks["cpu"] == blocks["gpu"]
    assert {p.scenario.framework for p in plan if "gpu" in p.scenario.contexts[0]} == {*Framework}
    assert expand(load_suite(name)) == expand(with_gpus(load_suite(name), {}))


def test_auto_stands_for_what_the_machine_has() -> None:
    """`auto` becomes all GPUs together, or the one CPU."""
    suite = override(load_suite("tutorial"), Overrides(contexts=("auto",)))
    with_gpus = expand(suite, gpu_contexts=("gpu(0)", "gpu(1)"))
    without = expand(suite)
    assert {planned.scenario.contexts for planned in with_gpus} == {("gpu(0)", "gpu(1)")}
    assert {planned.scenario.contexts for planned in without} == {("cpu(0)",)}


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("mlp", 6),
        ("not mlp", 6),
        ("mlp and batch=500", 3),
        ("mlp and not batch=500", 3),
        ("MLP or lenet", 12),
        ("x", 0),
        ("batch=10", 0),
        ("batch=100", 6),
        ("batch_size=100 and network=LeNet", 3),
        ("batch=100 or batch=500", 12),
        ("mlp cpu(0),cpu(1) batch=100 hybridize=off", 3),
        ("mlp cpu(0),cpu(1) batch=10", 0),
        ("cpu(0)", 12),
        ("contexts=cpu(0)", 0),
        ("contexts=cpu(0), cpu(1)", 12),
        ("not contexts=cpu(0),cpu(1)", 0),
        ("update=trainer and update_on_kvstore=true and not threads=2", 12),
        ("loop=tutorial", 12),
        ("loop=tuned", 0),
    ],
)
def test_k_selects_like_pytests(expression: str, count: int) -> None:
    """It takes substrings joined by and, or, not, and whole values of an axis; case does not matter."""
    assert len(select(expand(parse_suite(TWO_BY_TWO, where="here")), expression)) == count


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        *((text, "joined by") for text in ("", "and", "mlp and", "not", "mlp or not", "mlp and and lenet")),
        ("(mlp or lenet) and batch=100", "parentheses belong to a device"),
        ("(mlp)", "they do not group"),
        ("cpu(0", "parentheses belong to a device"),
        ("mlp and batch=100)", "parentheses belong to a device"),
        ("hybridise=off", "unknown axis 'hybridise'; did you mean 'hybridize'?"),
    ],
)
def test_k_refuses_what_is_no_expression(expression: str, words: str) -> None:
    """Nothing is selected silently by a half expression, or one that asks for more than there is."""
    with pytest.raises(ConfigurationError, match="-k") as caught:
        select((), expression)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = 'x'", "matrix is missing"),
        (
            "tite = 'x'",
            "unknown field 'tite'; did you mean 'title'? (known: title, matrix, on_gpu, peers_are_optional)",
        ),
        ("title = 3\n[[matrix]]\nnetwork = ['mlp']", "title: expected text in quotes"),
        ("title = 'x'\nmatrix = []", "matrix: expected at least one [[matrix]]"),
        ("title = 'x'\n[matrix]\nnetwork = ['mlp']", "matrix: expected at least one [[matrix]]"),
        ("title = 'x'\n[[matrix]]\nnetwork = []", "[[matrix]] 1: network: expected a list in brackets, not an empty"),
        ("title = 'x'\n[[matrix]]\nnetwork = 'mlp'", "network: expected a list in brackets"),
        (f"{ONE_MATRIX}batchsize = [1]", "[[matrix]] 1: unknown field 'batchsize'; did you mean 'batch_size'?"),
        (f"{ONE_MATRIX}[[matrix]]\nbatch_size = [1]", "[[matrix]] 2: network is missing"),
        (f"{ONE_MATRIX}batch_size = [100, 0]", "batch_size: expected a whole number of at least 1"),
        (f"{ONE_MATRIX}ranks = ['all']", 'ranks: expected a whole number of at least 1, at most 1,000, or "auto"'),
        (f"{ONE_MATRIX}ranks = 'auto'", "ranks: expected a list in brackets"),
        (f"{ONE_MATRIX}local_batch_size = [0]", "local_batch_size: expected a whole number of at least 1"),
        (f"{ONE_MATRIX}batch_size = ['100']", "batch_size: expected a whole number of at least 1"),
        (f"{ONE_MATRIX}hybridize = ['statc']", "hybridize: unknown value 'statc'; did you mean 'static'?"),
        (f"{ONE_MATRIX}hybridize = ['perhaps']", "unknown value 'perhaps' (known: off, on, static"),
        (f"{ONE_MATRIX}hybridize = [true]", "hybridize: expected one of off, on"),
        (f"{ONE_MATRIX}update_on_kvstore = ['no']", "expected true or false"),
        (f"{ONE_MATRIX}sampling = {{ epoch = 1 }}", "sampling: unknown field 'epoch'; did you mean 'epochs'?"),
        (f"{ONE_MATRIX}sampling = {{ samples = 1.5 }}", "samples: expected a whole number of at least 1"),
        (f"{ONE_MATRIX}sampling = {{ timeout_seconds = 0 }}", "timeout_seconds: expected a number above 0"),
        (f"{ONE_MATRIX}sampling = 3", "sampling: expected a table of repeats, epochs"),
        ("title = 'x'\n[[matrix]]\nnetwork = ['alexnet']", "alexnet"),
        ("title = 'x'\n[[matrix]]\nnetwork = ['mlp']\ncontexts = ['cpu(0) cpu(1)']", "contexts"),
        (f"{ONE_MATRIX}sampling = {{ repeats = 0 }}", "sampling: repeats: expected a whole number of at least 1"),
        ("title = ", "suite here"),
    ],
)
def test_a_wrong_suite_file_is_named_in_one_line(text: str, words: str) -> None:
    """Whatever is wrong with a suite, the message holds the file and the cause."""
    with pytest.raises(ConfigurationError) as caught:
        parse_suite(text, where="here.toml" if words != "suite here" else "here")
    assert words in str(caught.value)
    assert "here" in str(caught.value)
    assert "`" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_file_is_read_by_the_same_code(tmp_path: Path) -> None:
    """A path gives the suite in it; a missing file and an unknown name give one line."""
    path = tmp_path / "own.toml"
    path.write_text(TWO_BY_TWO, encoding="utf-8")
    assert load_suite(str(path)) == parse_suite(TWO_BY_TWO, where="x")
    with pytest.raises(ConfigurationError, match="No such file"):
        load_suite(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match="did you mean 'smoke'"):
        load_suite("smok")


@given(st.text(max_size=60))
def test_any_text_is_a_suite_or_a_configuration_error(text: str) -> None:
    """No text makes the reader raise anything else."""
    with contextlib.suppress(ConfigurationError):
        assert isinstance(parse_suite(text, where="x"), Suite)


def test_a_scenario_survives_json() -> None:
    """Encoding and decoding gives an equal scenario, and unknown keys are refused."""
    scenario = Scenario(network="lenet", contexts=("cpu(0)",), batch_size=7, hybridize=Hybridize.STATIC, cpu_threads=2)
    encoded = msgspec.json.encode(scenario)
    assert msgspec.json.decode(encoded, type=Scenario) == scenario
    with pytest.raises(msgspec.ValidationError, match="batch"):
        msgspec.json.decode(encoded.replace(b"batch_size", b"batch"), type=Scenario)
