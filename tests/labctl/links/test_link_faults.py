"""A VISA link on a wire that fails: what a fault leaves behind is never taken for an answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.errors import InstrumentError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.links.visa import VisaLink
from labctl.simulated_instruments.faults import FaultyWire
from labctl.simulated_instruments.faults.plan import parse_plan
from labctl.simulated_instruments.instruments.test_board import build
from labctl.simulated_instruments.servers.hislip import HislipServer
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site

ADVANCE = ":SYSTem:TIME:ADVance 1;:SYSTem:TIME?"


@contextlib.contextmanager
def linked(folder: Path, kind: str, *faults: dict[str, Any], timeout_s: float = 5.0) -> Iterator[VisaLink]:
    """A link by raw socket or HiSLIP to a board; `*IDN?` on connecting is message 1."""
    board = build({"chip": "T-1", "rows": 4, "cols": 4}, Site(folder))
    wire = FaultyWire(board, parse_plan({"faults": list(faults)}, "plan", folder), "board")
    with HislipServer({"hislip0": wire}, port=0) if kind == "hislip" else TcpServer(wire) as server:
        name = server.resource_name("hislip0") if isinstance(server, HislipServer) else server.resource_name
        try:
            with VisaLink(name, visa_library="@py", timeout_s=timeout_s) as link:
                yield link
        finally:
            wire.close()


@pytest.mark.parametrize("direction", ["to", "from"])
def test_an_answer_that_comes_twice_is_not_taken_for_the_next(tmp_path: Path, direction: str) -> None:
    """Messages that let time pass, so that no two answers are the same."""
    fault = {"kind": "duplicate", "direction": direction, "messages": [3]}
    with linked(tmp_path, "tcp", fault) as link:
        first, second = (float(link.query(ADVANCE)) for _ in range(2))
        time.sleep(0.1)  # the second copy has come by then
        third = float(link.query(ADVANCE))
    twice = 2.0 if direction == "to" else 1.0
    assert (second - first, third - second) == (1.0, twice)


def test_a_connection_that_ended_meanwhile_is_opened_anew_before_anything_is_sent(tmp_path: Path) -> None:
    """What is sent into a connection that is gone is lost, and nobody can say whether it was carried out."""
    with linked(tmp_path, "tcp", {"kind": "close", "at": 37, "messages": [3]}) as link:
        first = float(link.query(ADVANCE))
        answer = link.query(ADVANCE)  # its last byte arrives, and then the connection ends
        time.sleep(0.1)
        assert float(link.query(ADVANCE)) - first == 2.0
    assert float(answer) - first == 1.0


@pytest.mark.parametrize("kind", ["tcp", "hislip"])
@pytest.mark.parametrize("at", [0, 5])
def test_a_connection_that_ends_is_a_link_that_is_closed_and_the_next_exchange_opens_it(
    tmp_path: Path, kind: str, at: int
) -> None:
    with linked(tmp_path, kind, {"kind": "close", "at": at, "messages": [3]}) as link:
        before = float(link.query(ADVANCE))
        with pytest.raises(LinkClosedError, match="waiting for the answer to :SYSTem:TIME:ADVance"):
            link.query(ADVANCE)
        assert float(link.query(ADVANCE)) - before == 2.0


@pytest.mark.parametrize("kind", ["tcp", "hislip"])
def test_a_message_whose_header_suffered_is_refused_with_what_the_instrument_made_of_it(
    tmp_path: Path, kind: str
) -> None:
    fault = {"kind": "corrupt", "direction": "to", "at": [2], "flips": [1], "messages": [2]}
    with linked(tmp_path, kind, fault) as link:
        with pytest.raises(InstrumentError, match='-113,"Undefined header'):
            link.query(ADVANCE)
        assert float(link.query(ADVANCE)) > 0


@pytest.mark.parametrize("kind", ["tcp", "hislip"])
def test_a_board_that_hangs_for_good_is_given_up_in_time_each_time(tmp_path: Path, kind: str) -> None:
    with linked(tmp_path, kind, {"kind": "hang", "messages": [2]}, timeout_s=0.4) as link:
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(LinkError):
                link.query(ADVANCE)
            assert time.monotonic() - started < 3


def test_an_answer_that_trickles_in_time_is_whole_and_one_that_does_not_is_late(tmp_path: Path) -> None:
    faults = [{"kind": "trickle", "rate": rate, "piece": 1, "messages": [n]} for n, rate in ((2, 200.0), (3, 5.0))]
    with linked(tmp_path, "tcp", *faults, timeout_s=2.0) as link:
        before = float(link.query(ADVANCE))
        with pytest.raises(LinkTimeoutError, match="the answer did not go on after"):
            link.query(ADVANCE)
        assert float(link.query(ADVANCE)) - before == 2.0
