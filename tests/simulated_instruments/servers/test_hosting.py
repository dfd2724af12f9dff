"""Bench files: instruments are built when asked for, saved when closed, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.simulated_instruments.servers.hosting import HostingError, SimulatedBench, canonical, load


def identity(bench: SimulatedBench, resource_name: str) -> str:
    entry = bench.find(resource_name)
    assert entry is not None
    return bench.wire(entry).identity[2]


def test_instruments_answer_at_any_spelling_of_their_resource_name(bench: Path) -> None:
    loaded = load(bench)
    assert [entry.resource_name for entry in loaded.entries.values()] == [
        "TCPIP0::127.0.0.1::5025::SOCKET",
        "GPIB0::24::INSTR",
    ]
    assert identity(loaded, "TCPIP::127.0.0.1::5025::SOCKET") == "one"
    assert identity(loaded, "TCPIP0::127.0.0.1::5025::SOCKET") == "one"
    assert identity(loaded, "gpib::24") == "two"
    assert loaded.find("GPIB0::25::INSTR") is None
    loaded.close()


def test_an_instrument_is_built_once_and_only_when_it_is_asked_for(bench: Path, tmp_path: Path) -> None:
    loaded = load(bench)
    loaded.close()
    assert not (tmp_path / "level.txt").exists()
    entry = loaded.entries["socket"]
    assert loaded.wire(entry) is loaded.wire(entry)
    loaded.close()
    loaded.close()
    assert (tmp_path / "level.txt").read_text() == "0.0"


def test_every_instrument_is_closed_even_where_one_fails_to(bench: Path, tmp_path: Path) -> None:
    text = bench.read_text().replace('"toy"\nresource_name = "GPIB', '"unsaveable"\nresource_name = "GPIB')
    bench.write_text(text)
    loaded = load(bench)
    for entry in loaded.entries.values():
        loaded.wire(entry)
    with pytest.raises(OSError, match="disk full"):
        loaded.close()
    assert (tmp_path / "level.txt").exists()
    loaded.close()


def test_a_bench_without_simulated_instruments_has_none(tmp_path: Path) -> None:
    path = tmp_path / "real.toml"
    path.write_text('name = "real"')
    assert load(path).entries == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = ", "Invalid value"),
        ("simulated = 1", "$.simulated: expected tables, as in [simulated.board]"),
        ("[simulated]\nx = 1", "$.simulated.x: expected a table"),
        ("[simulated.x]", "$.simulated.x.simulator: expected text"),
        ('[simulated.x]\nsimulator = "toy"\nresource_name = 5', "$.simulated.x.resource_name: expected text"),
        (
            '[simulated.x]\nsimulator = "toy"\nresource_name = "nonsense"',
            "$.simulated.x.resource_name: 'nonsense' is not a VISA resource name",
        ),
        (
            '[simulated.x]\nsimulator = "toy"\nresource_name = "GPIB::1"\n'
            '[simulated.y]\nsimulator = "toy"\nresource_name = "GPIB0::1::INSTR"',
            "$.simulated.y.resource_name: GPIB0::1::INSTR is already x's",
        ),
    ],
)
def test_a_malformed_bench_file_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(text)
    with pytest.raises(HostingError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_a_missing_bench_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostingError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            'simulator = "x"',
            "$.simulated.board.simulator: no simulator called 'x'; there are: absent, ",
        ),
        ('simulator = "broken"', "$.simulated.board.simulator: the simulator 'broken' cannot be loaded: "),
        ('simulator = "absent"', "$.simulated.board.simulator: the simulator 'absent' cannot be loaded: "),
        ('simulator = "toy"\nrefuse = "no"', "$.simulated.board: $.refuse: no"),
        ('simulator = "leaf"', "$.simulated.board.resource_name: has nothing to talk to: leave it out"),
        ('simulator = "grafted"\non = "tree"', "$.simulated.board: there is no [simulated.tree]; there are: board"),
        ('simulator = "grafted"\non = "board"', "$.simulated.board: needs itself, by way of board"),
    ],
)
def test_what_a_simulator_lacks_or_refuses_is_said_when_it_is_built(
    plugin: Path, tmp_path: Path, options: str, sentence: str
) -> None:
    assert plugin.exists()
    path = tmp_path / "bench.toml"
    path.write_text(f'[simulated.board]\nresource_name = "GPIB::1"\n{options}')
    loaded = load(path)
    with pytest.raises(HostingError) as caught:
        loaded.wire(loaded.entries["board"])
    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_the_package_has_a_bench_of_its_own() -> None:
    assert load(None).entries


def test_a_canonical_name_spells_out_what_may_be_left_out() -> None:
    assert canonical("TCPIP::h::5025::SOCKET") == "TCPIP0::h::5025::SOCKET"
    assert canonical("GPIB::3") == "GPIB0::3::INSTR"


def test_what_has_no_wire_is_found_by_name_and_closed_after_those_who_need_it(plugin: Path, tmp_path: Path) -> None:
    assert plugin.exists()
    path = tmp_path / "bench.toml"
    path.write_text(
        '[simulated.leaf]\nsimulator = "leaf"\n'
        '[simulated.first]\nsimulator = "grafted"\nresource_name = "GPIB::1"\non = "leaf"\nserial = "first"\n'
        '[simulated.second]\nsimulator = "grafted"\nresource_name = "GPIB::2"\non = "leaf"\nserial = "second"\n'
    )
    loaded = load(path)
    assert [entry.name for entry in loaded.wired] == ["first", "second"]
    first, second = (loaded.simulated(entry).on for entry in loaded.wired)
    assert first is second is loaded.simulated(loaded.entries["leaf"])
    loaded.close()
    assert first.closings == ["second", "first", "leaf"]


def test_what_can_be_talked_to_needs_a_resource_name(plugin: Path, tmp_path: Path) -> None:
    assert plugin.exists()
    path = tmp_path / "bench.toml"
    path.write_text('[simulated.board]\nsimulator = "toy"')
    loaded = load(path)
    with pytest.raises(HostingError, match=r"\$\.simulated\.board\.resource_name: missing"):
        loaded.simulated(loaded.entries["board"])
