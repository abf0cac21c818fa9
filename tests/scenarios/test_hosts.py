"""A hosts file in both of its forms, and every way to get one wrong: a line that says where, and what to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigurationError
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host, check_slots, is_loopback, load_hosts, parse_hosts, placement, unused
from bench.scenarios.scenario import Scenario

TOML = """
# Two machines and a container.
[[hosts]]
address = "10.0.0.1"
launch = []

[[hosts]]
address = "node1"
ssh = "ana@gateway"
slots = 4
python = "~/bench/bin/python"
framework_python = { torch = "/opt/torch/bin/python" }
data_directory = "~/mnist"
interface = "eth1"
price_per_hour = 0.34

[[hosts]]
address = "fe80::1"
launch = ["docker", "exec", "-i", "c1"]
"""

LINES = """
# As Open MPI has them.
node1 slots=2   # a comment

ana@node2 slots = 4 max_slots=8
10.0.0.7
[fe80::1] slots=3
FE80::2
bob@::1
"""


def test_toml_says_all_of_a_host() -> None:
    here, far, container = parse_hosts(TOML, where="hosts.toml")
    assert here == Host(address="10.0.0.1", launch=())
    assert far == Host(
        address="node1",
        ssh="ana@gateway",
        slots=4,
        python="~/bench/bin/python",
        framework_python={Framework.TORCH: "/opt/torch/bin/python"},
        data_directory="~/mnist",
        interface="eth1",
        price_per_hour=0.34,
    )
    assert container == Host(address="fe80::1", launch=("docker", "exec", "-i", "c1"))


def test_lines_are_read_as_launchers_of_mpi_read_them() -> None:
    assert parse_hosts(LINES, where="hosts") == (
        Host(address="node1", slots=2),
        Host(address="node2", slots=4, ssh="ana@node2"),
        Host(address="10.0.0.7"),
        Host(address="fe80::1", slots=3),
        Host(address="FE80::2"),
        Host(address="::1", ssh="bob@::1"),
    )


def test_toml_is_told_by_its_content_whatever_the_name_of_the_file() -> None:
    assert parse_hosts(TOML, where="cluster") == parse_hosts(TOML, where="hosts.toml")


def test_a_file_may_begin_with_a_byte_order_mark_and_end_lines_as_windows_does(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"\xef\xbb\xbfnode1 slots=2\r\nnode2\r\n")
    assert load_hosts(tmp_path / "hosts") == (Host(address="node1", slots=2), Host(address="node2"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no host in it: write a line such as 'node1 slots=1' for each"),
        ("# nothing\n\n", "no host in it"),
        ("node1\n\nnode1", "line 3: node1 is listed twice (first on line 1): write it once, with slots=2"),
        ("Node1\nana@node1", "line 2: node1 is listed twice (first on line 1)"),
        ("fe80::1\n[fe80:0::1]", "line 2: fe80:0::1 is listed twice"),
        ("node1 slot=2", "line 1: unknown setting 'slot=2'; did you mean 'slots'?"),
        ("node1 2", "line 1: unknown setting '2' (known: slots, max_slots); such as 'node1 slots=2'"),
        ("node1 slots=0", "line 1: slots=0: expected a whole number of at least 1, at most 1,000"),
        ("node1 slots=-1", "line 1: slots=-1: expected a whole number"),
        ("node1 slots=1e3", "line 1: slots=1e3: expected a whole number"),
        ("node1 slots=", "line 1: slots=: expected a whole number"),
        ("node1 slots=99999999999", "line 1: slots=99999999999: expected a whole number"),
        ("node1 slots=٣", "line 1: slots=٣: expected a whole number"),
        ("node1:2", "line 1: node1:2: write 'node1 slots=2' for ranks; a port belongs into ~/.ssh/config"),
        ("ana@[fe80::1]:22", "line 1: ana@[fe80::1]:22: write 'ana@[fe80::1] slots=22' for ranks"),
        ("node1,node2", "line 1: 'node1,node2' is neither a host's name nor an IP address"),
        ("10.0.0.256", "line 1: '10.0.0.256' is neither a host's name nor an IP address"),
        ("-oProxyCommand=x", "line 1: '-oProxyCommand=x' is neither"),
        ("-oProxyCommand=x@node1", "line 1: ssh '-oProxyCommand=x@node1': expected text"),
        ("ana@", "line 1: '' is neither a host's name nor an IP address: write such as node1 or 10.0.0.1"),
        ("n" * 254, "is neither a host's name"),
    ],
)
def test_a_fault_of_a_line(text: str, words: str) -> None:
    check(text, "hosts", words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no host in it: write a table [[hosts]] with its address for each"),
        ("hosts = []", "no host in it"),
        ("hosts = 3", "hosts: expected at least one [[hosts]]"),
        ("[[hosts]]\naddress = 1", "line 2: [[hosts]] 1: address: expected text in quotes"),
        ('[[hosts]]\n\nslots = 2\n[[hosts]]\naddress = "a"', "line 1: [[hosts]] 1: address is missing"),
        ('[[hosts]]\naddress = "a"\nslot = 2', "line 3: [[hosts]] 1: unknown field 'slot'; did you mean 'slots'?"),
        ('[[hosts]]\naddress = "a"\nslots = 0', "line 3: [[hosts]] 1: slots: expected a whole number of at least 1"),
        ('[[hosts]]\naddress = "a"\nslots = "2"', "line 3: [[hosts]] 1: slots: expected a whole number of at least 1"),
        ('[[hosts]]\naddress = "a"\nprice_per_hour = -1', "line 3: [[hosts]] 1: price_per_hour: expected a number"),
        ('[[hosts]]\naddress = "a"\nprice_per_hour = nan', "line 3: [[hosts]] 1: price_per_hour: expected a number"),
        ('[[hosts]]\naddress = "a"\nlaunch = "srun"', "line 3: [[hosts]] 1: launch: expected a list in brackets"),
        (
            '[[hosts]]\naddress = "a"\nframework_python = { tensorflow = "p" }',
            "line 3: [[hosts]] 1: framework_python: unknown value 'tensorflow' (known: mxnet, torch, jax)",
        ),
        (
            '[[hosts]]\naddress = "a"\nframework_python = { torch = 3 }',
            "line 3: [[hosts]] 1: framework_python: expected text in quotes",
        ),
        (
            '[[hosts]]\naddress = "a"\nframework_python = "p"',
            "line 3: [[hosts]] 1: framework_python: expected a table in braces",
        ),
        ('[[hosts]]\naddress = "a"\n\n[[hosts]]\naddress = "a"', "line 4: a is listed twice (first on line 1)"),
        ('hosts = [{ address = "a" }, { address = "a" }]', "hosts.toml: a is listed twice: write it once"),
        ('[[hosts]]\naddress = "ana@a"', 'line 1: address = "ana@a": write address = "a" and ssh = "ana@a"'),
        (
            '[[hosts]]\naddress = "a"\nssh = "b"\nlaunch = []',
            "line 1: a has both ssh and launch: leave one of them out",
        ),
        ('[[hosts]]\naddress = "a"\nssh = "-v"', "line 1: ssh '-v': expected text"),
        ('[[hosts]]\naddress = "a"\nssh = "b -p 22"', "line 1: ssh 'b -p 22': write the host alone"),
        ('[[hosts]]\naddress = "a"\npython = ""', "line 1: python '': expected text"),
        ('[[hosts]]\naddress = "a"\npython = "p\\u0000"', "line 1: python 'p\\x00': expected text"),
        ('[[hosts]]\naddress = "a"\ndata_directory = " "', "line 1: data_directory ' ': expected text"),
        ('[[hosts]]\naddress = "a"\nframework_python = { jax = "-c" }', "framework_python.jax '-c': expected text"),
        ('[[hosts]]\naddress = "a"\ninterface = "a/b"', "line 1: interface 'a/b': expected the name of one"),
        ('[[hosts]]\naddress = "a"\nlaunch = ["srun", ""]', "line 1: launch has an empty word"),
        (
            '[[hosts]]\naddress = "a"\nlaunch = ["/usr/bin/ssh", "b"]',
            'line 1: launch begins with /usr/bin/ssh: write ssh = "b"; options belong into ~/.ssh/config',
        ),
        (
            '[[hosts]]\naddress = "a"\nlaunch = ["srun"]\npython = "~/p"',
            "line 1: python begins with ~, which only a shell knows, and launch has none: write the whole path",
        ),
        ("[[hosts]]\naddress = 'a", "(at end of document)"),
        ("[[hosts]]\naddress = 'b'\n[[host]]\naddress = 'a'", "unknown field 'host'; did you mean 'hosts'?"),
        (f"[[hosts]]\nlaunch = {'[' * 5000}", "hosts.toml"),
    ],
)
def test_a_fault_of_toml(text: str, words: str) -> None:
    check(text, "hosts.toml", words)


def check(text: str, where: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        parse_hosts(text, where=where)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"hosts file {where}")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file or directory"), (b"node\xff", "not UTF-8 text")], ids=["none", "bytes"]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "hosts"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(f"hosts file {path}: {words}")):
        load_hosts(path)


NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z0-9]", fullmatch=True)
ADDRESSES = NAMES | st.ip_addresses().map(str)


@given(st.lists(st.tuples(ADDRESSES, st.integers(1, 1000)), min_size=1, unique_by=lambda pair: pair[0]))
def test_written_hosts_are_read_again(hosts: list[tuple[str, int]]) -> None:
    """Both forms say the same, whatever stands between the hosts."""
    expected = tuple(Host(address=address, slots=slots) for address, slots in hosts)
    lines = "".join(f"  {address}\tslots={slots} # {address}\n\n" for address, slots in hosts)
    toml = "".join(f'[[hosts]]\nslots = {slots}\naddress = "{address}"\n' for address, slots in hosts)
    assert parse_hosts(lines, where="hosts") == expected
    assert parse_hosts(toml, where="hosts.toml") == expected


@given(st.text() | st.text(alphabet='nod1[]=:#@ .\n"hst-slu{},'), st.sampled_from(["hosts", "hosts.toml"]))
def test_any_text_is_hosts_or_one_line(text: str, where: str) -> None:
    said = ""
    hosts: tuple[Host, ...] = ()
    try:
        hosts = parse_hosts(text, where=where)
    except ConfigurationError as error:
        said = str(error)
    assert hosts or said.startswith(f"hosts file {where}")
    assert len(said.splitlines()) <= 1
    assert all(not host.address.startswith("-") and host.address.isprintable() for host in hosts)


def test_loopback_is_told_by_name_and_number() -> None:
    assert all(map(is_loopback, ("localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("10.0.0.1", "node1", "fe80::1")))


@given(ranks=st.integers(1, 20), hosts=st.integers(1, 20), first=st.integers(0, 20))
def test_ranks_are_spread_over_their_machines(ranks: int, hosts: int, first: int) -> None:
    """The first machine has rank 0; each has one before any has two, and none has two more than another."""
    hosts = min(ranks, hosts)
    places = placement(Scenario(network="mlp", ranks=ranks, hosts=hosts, first_host=first))
    assert places[:hosts] == tuple(range(first, first + hosts))
    counts = [places.count(place) for place in range(first, first + hosts)]
    assert sum(counts) == len(places) == ranks
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[-1] <= 1


def test_no_machine_gets_more_ranks_than_its_slots() -> None:
    hosts = [Host(address="a", slots=2), Host(address="b")]
    check_slots([Scenario(network="mlp", ranks=2, hosts=2), Scenario(network="mlp", ranks=2)], hosts)
    check_slots([Scenario(network="mlp", ranks=3, hosts=2)], hosts)
    with pytest.raises(ConfigurationError, match="puts 2 ranks on b, whose slots are 1: write slots = 2"):
        check_slots([Scenario(network="mlp", ranks=4, hosts=2)], hosts)


def test_machines_without_a_rank_are_known() -> None:
    hosts = [Host(address=name) for name in "abc"]
    scenarios = [Scenario(network="mlp"), Scenario(network="mlp", ranks=2, hosts=2)]
    assert [host.address for host in unused(scenarios, hosts)] == ["c"]
