"""A VISA link on HiSLIP: straight on the two sockets inside pyvisa-py's session."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from labctl.errors import LinkClosedError, LinkTimeoutError
from labctl.links.hislip import HislipTransport
from labctl.links.visa import VisaLink
from labctl.simulated_instruments.scpi import Block, Command, Instrument
from labctl.simulated_instruments.servers.hislip import HislipServer


class Keeper:
    """An instrument that gives back the block it was given."""

    def __init__(self) -> None:
        self.block = np.zeros(0, "<u2")
        keep = Command("BLOCk", set=self.keep, parameters=(Block(dtype=np.uint16),), query=lambda: self.block)
        self.wire = Instrument(("labctl", "KEEPER", "1", "1"), [keep])

    def keep(self, block: np.ndarray) -> None:
        self.block = block


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def server(keeper: Keeper) -> Iterator[HislipServer]:
    with HislipServer({"hislip0": keeper.wire}, port=0) as running:
        yield running


@pytest.fixture
def link(server: HislipServer) -> Iterator[VisaLink]:
    with VisaLink(server.resource_name("hislip0"), visa_library="@py", timeout_s=10) as opened:
        yield opened


def transport_of(link: VisaLink) -> HislipTransport:
    found = link._transport
    assert isinstance(found, HislipTransport)
    return found


@pytest.mark.parametrize("most", [100, 4096, 1 << 30])
def test_blocks_go_in_messages_of_the_size_that_is_taken(link: VisaLink, most: int) -> None:
    transport_of(link)._most = most
    link.write("FORM INT;FORM:BORD SWAP")
    for count in (0, 1, 41, 2048, 50_000):
        codes = np.random.default_rng(count).integers(0, 65536, count, np.uint16)
        link.exchange(":BLOC ", codes)
        (block,) = link.exchange(":BLOC?")
        assert (block.view("<u2") == codes).all()


def test_an_answer_that_came_late_is_cleared_away_in_the_same_session(keeper: Keeper, link: VisaLink) -> None:
    transport = transport_of(link)
    keeper.block = np.arange(100_000, dtype="<u2")
    link.write("FORM INT;FORM:BORD SWAP")
    for _ in range(3):
        with (
            keeper.wire.lock,
            pytest.raises(LinkTimeoutError, match=r"no answer after .* waiting for the answer to :BLOC\?"),
        ):
            link.exchange(":BLOC?", timeout_s=0.1)
        time.sleep(0.1)
        assert [link.query("*OPC?") for _ in range(3)] == ["1"] * 3
    assert link._transport is transport


def test_a_block_whose_reading_broke_off_is_cleared_away_too(keeper: Keeper, link: VisaLink) -> None:
    transport = transport_of(link)
    keeper.block = np.arange(1_000_000, dtype="<u2")
    link.write("FORM INT;FORM:BORD SWAP")
    deadline = time.monotonic() + 10
    transport.send([b":BLOC?\n"], deadline)
    transport.read_into(memoryview(bytearray(1000)), deadline)
    link.resynchronise()
    assert link._transport is transport
    (block,) = link.exchange(":BLOC?")
    assert (block.view("<u2") == keeper.block).all()


def test_an_unread_answer_is_interrupted_and_never_taken_for_the_next(link: VisaLink) -> None:
    transport = transport_of(link)
    deadline = time.monotonic() + 10
    transport.send([b"*IDN?\n"], deadline)
    time.sleep(0.1)
    transport.send([b"*OPC?;:SYST:ERR?\n"], deadline)
    assert transport.read_line(deadline) == b'1;-410,"Query INTERRUPTED"'


def test_what_the_instrument_says_on_leaving_is_told(link: VisaLink) -> None:
    transport = transport_of(link)
    deadline = time.monotonic() + 10
    transport._socket.sendall(b"no HiSLIP at all")
    with pytest.raises(LinkClosedError, match="ended the session: a message begins with HS"):
        transport.read_line(deadline)
    link.resynchronise()
    assert link.query("*OPC?") == "1"
