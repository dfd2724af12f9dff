"""Relays in two languages: what is asked for is closed, all else is open, and what was not done is not believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from instruments import ResistorLead, served
from wires import Peer, RogueInstrument

from labctl.drivers.switch_matrix import Keithley707B, Keithley3706A, KeysightB2201A, SwitchMatrix
from labctl.errors import InstrumentError
from labctl.links.wire_log import read_wire_log
from labctl.simulated_instruments.instruments import switch_matrix

MODELS = {"707B": Keithley707B, "B2201A": KeysightB2201A}


class Touching(ResistorLead):
    """A probe that remembers which lines it is on."""

    def __init__(self) -> None:
        super().__init__(1e6)
        self.lines: frozenset[str] = frozenset()

    def touch(self, lines: Iterable[str]) -> None:
        self.lines = frozenset(lines)


class Posts:
    """A device of 24 lines with nothing between them."""

    lines = tuple(f"L{number}" for number in range(1, 25))

    def __init__(self) -> None:
        self.probes: list[Touching] = []
        self.clock = Touching().clock

    def probe(self) -> Touching:
        self.probes.append(Touching())
        return self.probes[-1]


@pytest.fixture(params=MODELS)
def matrix(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Posts, Path]]:
    """A connected driver, the device behind the simulated matrix, and the wire log."""
    posts, log = Posts(), tmp_path / "log"
    options = {"model": request.param, "device": "die"}
    with (
        served(switch_matrix.build, options, die=posts) as instrument,
        instrument.driver(MODELS[request.param], wire_log=str(log)) as driver,
    ):
        yield driver, posts, log


def touched(posts: Posts) -> set[str]:
    return {line for probe in posts.probes for line in probe.lines if line in posts.lines}


def test_these_crosspoints_are_closed_and_no_others_in_one_crossing(matrix: tuple[Any, Posts, Path]) -> None:
    driver, posts, log = matrix
    assert isinstance(driver, SwitchMatrix)
    driver.close_exactly([(1, 3), (2, 13), (2, 24)])
    assert driver.closed() == {(1, 3), (2, 13), (2, 24)}
    before = len(list(read_wire_log(log)))
    driver.close_exactly({(1, 4), (2, 24)})
    assert [direction for _, direction, _ in read_wire_log(log)][before:] == [">", "<"]
    assert driver.closed() == {(1, 4), (2, 24)}
    assert touched(posts) >= {"L4", "L24"}
    assert not touched(posts) & {"L3", "L13"}
    assert driver.snapshot()["closed"] == [[1, 4], [2, 24]]
    assert driver.last_closed == {(1, 4), (2, 24)}
    driver.open_all()
    assert driver.closed() == driver.last_closed == frozenset()
    assert not touched(posts)


def test_safe_state_opens_everything(matrix: tuple[Any, Posts, Path]) -> None:
    driver, posts, _ = matrix
    driver.close_exactly([(1, 1)])
    driver.safe_state()
    assert not touched(posts)
    assert driver.last_closed == frozenset()


@pytest.mark.parametrize("point", [(0, 1), (99, 1), (1, 0), (1, 97)])
def test_a_crosspoint_that_is_not_there_is_refused_before_anything_moves(
    matrix: tuple[Any, Posts, Path], point: tuple[int, int]
) -> None:
    driver, _, _ = matrix
    driver.close_exactly([(1, 1)])
    with pytest.raises(ValueError, match="is not on a matrix of"):
        driver.close_exactly([(2, 2), point])
    assert driver.closed() == {(1, 1)}


def answering(identity: bytes, closed: bytes, error: bytes, ending: bytes) -> RogueInstrument:
    def behave(peer: Peer) -> None:
        for line in peer.lines():
            if line.startswith(b"*IDN?"):
                peer.send(identity + b"\n")
            elif line.endswith(ending) and (b"CARD?" in line):
                peer.send(closed + b";" + error)
            elif b"getclose" in line:
                peer.send(closed + b"\n")
            elif line.endswith(ending):
                peer.send(error)

    return RogueInstrument(behave)


@pytest.mark.parametrize(
    ("kind", "identity", "closed", "error", "ending"),
    [
        (KeysightB2201A, b"KEYSIGHT,B2201A,1,1", b"(@00101)", b'0,"No error"\n', b":SYST:ERR?"),
        (Keithley3706A, b"KEITHLEY,MODEL 3706A,1,1", b"1101", b"0\tQueue Is Empty\t0\t1\n", b"next())"),
    ],
)
def test_a_relay_that_did_not_move_is_an_error(
    kind: Any, identity: bytes, closed: bytes, error: bytes, ending: bytes
) -> None:
    with answering(identity, closed, error, ending) as rogue:
        settings = kind.Settings(driver="x", resource_name=rogue.resource_name, visa_library="@py", timeout=1.0)
        driver = kind(settings)
        driver.connect()
        try:
            driver.close_exactly([(1, 1)])
            with pytest.raises(InstrumentError, match="1-1 are closed where 1-1, 2-17 should be"):
                driver.close_exactly([(1, 1), (2, 17)])
            assert driver.last_closed == {(1, 1)}
        finally:
            driver.close()


def test_channels_of_a_matrix_are_named_as_the_makers_do() -> None:
    names = {Keithley707B: "2C05", Keithley3706A: "2301"}
    for kind, name in names.items():
        driver = kind(kind.Settings(driver="x", resource_name="TCPIP0::127.0.0.1::1::SOCKET"))
        assert driver._name((3, 17)) == name
        assert driver._points(f"{name};1{kind.rows[0]}12") == {(3, 17), (1, 12)}
        assert driver._points("nil") == frozenset()
