"""HiSLIP as IVI-6.1 has it, message by message, and as PyVISA uses it."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvisa
from hislip_client import FIRST_MESSAGE, Channel, Client
from wires_that_break import BreakingWire

from labctl.errors import LinkError, LinkTimeoutError
from labctl.links.visa import VisaLink
from labctl.simulated_instruments.scpi import Instrument
from labctl.simulated_instruments.servers.hislip import HislipServer
from labctl.simulated_instruments.servers.hosting import load

IDENTITY = b"Toys,Toy,one,1\n"
FATAL, ERROR, DATA, DATA_END, TRIGGER = 2, 3, 6, 7, 12


@pytest.fixture
def instrument(bench: Path) -> Iterator[Instrument]:
    loaded = load(bench)
    yield loaded.wire(loaded.entries["socket"])
    loaded.close()


@pytest.fixture
def server(instrument: Instrument) -> Iterator[HislipServer]:
    with HislipServer({"hislip0": instrument}, port=0) as running:
        yield running


@pytest.fixture
def client(server: HislipServer) -> Iterator[Client]:
    with Client(server.port) as opened:
        yield opened


# -- initialization


@pytest.mark.parametrize(("asked", "agreed"), [(0x0100, 0x0100), (0x0101, 0x0101), (0x0200, 0x0200), (0x0300, 0x0200)])
def test_the_older_version_of_the_two_is_agreed_on_and_synchronized_mode(
    server: HislipServer, asked: int, agreed: int
) -> None:
    with Client(server.port, version=asked) as client:
        assert client.initialized.kind == 1
        assert client.initialized.control == 0
        assert client.initialized.parameter >> 16 == agreed
        assert client.query(b"*IDN?\n") == IDENTITY


def test_instruments_of_one_port_are_told_apart_by_their_sub_addresses(bench: Path) -> None:
    loaded = load(bench)
    instruments = {"hislip0": loaded.wire(loaded.entries["socket"]), "hislip1": loaded.wire(loaded.entries["gpib"])}
    with HislipServer(instruments, port=0) as server:
        with Client(server.port) as first, Client(server.port, b"HiSLIP1") as second:
            assert first.query(b"*IDN?") == IDENTITY
            assert second.query(b"*IDN?") == IDENTITY.replace(b"one", b"two")
        with Channel(server.port) as channel:
            refused = channel.ask(0, 0, 0x0100 << 16, b"hislip2")
        assert (refused.kind, refused.control) == (FATAL, 3)
        assert refused.payload == b"no instrument at hislip2; there are: hislip0, hislip1"
    loaded.close()


def test_any_number_of_clients_share_the_instrument_and_nothing_else(server: HislipServer) -> None:
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(Client(server.port)) for _ in range(40)]
        assert len({client.session for client in clients}) == 40
        for number, client in enumerate(clients):
            client.write(b"LEV %d;LEV?\n" % number)
        for number, client in enumerate(clients):
            assert client.sync.receive().payload == b"%.1f\n" % number


@pytest.mark.parametrize("kind", [7, 12, 8])
def test_a_session_needs_both_its_channels(server: HislipServer, kind: int) -> None:
    with Channel(server.port) as channel:
        channel.ask(0, 0, 0x0100 << 16, b"hislip0")
        refused = channel.ask(kind, 0, FIRST_MESSAGE)
        assert (refused.kind, refused.control) == (FATAL, 2)
        with pytest.raises(EOFError):
            channel.receive()


def test_a_second_channel_of_no_session_is_sent_away(server: HislipServer, client: Client) -> None:
    for session in (client.session, client.session + 1):
        with Channel(server.port) as channel:
            refused = channel.ask(17, 0, session)
        assert (refused.kind, refused.control) == (FATAL, 3)
    assert client.query(b"*OPC?") == b"1\n"


def test_closing_either_channel_closes_the_other(server: HislipServer) -> None:
    for name in ("sync", "asynchronous"):
        client = Client(server.port)
        getattr(client, name).socket.close()
        with pytest.raises(EOFError):
            (client.asynchronous if name == "sync" else client.sync).receive()
        client.close()


# -- messages


def test_answers_carry_the_number_of_what_they_answer_and_its_end(client: Client) -> None:
    number = client.write(b"*IDN?\n")
    assert client.sync.receive() == (DATA_END, 0, number, IDENTITY)
    client.write(b"*ID", kind=DATA)
    number = client.write(b"N?")
    assert client.sync.receive() == (DATA_END, 0, number, IDENTITY)


def test_blocks_cross_it_in_messages_of_the_size_that_the_client_takes(client: Client) -> None:
    size = client.asynchronous.ask(15, payload=(1000).to_bytes(8, "big"))
    assert size.kind == 16
    assert int.from_bytes(size.payload, "big") >= 1 << 28
    codes = np.random.default_rng(1).integers(0, 65536, 5000, np.uint16).astype("<u2").tobytes()
    client.write(b"FORM INT;FORM:BORD SWAP;:MEM #510000" + codes)
    number = client.write(b"MEM?")
    messages = [client.sync.receive() for _ in range(11)]
    assert [each.kind for each in messages] == [DATA] * 10 + [DATA_END]
    assert {each.parameter for each in messages} == {number}
    assert all(len(each.payload) == 984 for each in messages[:10])
    assert b"".join(each.payload for each in messages) == b"#510000" + codes + b"\n"


def test_newlines_in_a_block_without_length_are_data_up_to_the_end(client: Client) -> None:
    client.write(b"FORM INT;FORM:BORD SWAP;:MEM #0\n\n", kind=DATA)
    client.write(b"\n\n\n", kind=DATA_END)
    assert client.query(b"MEM?") == b"#14\n\n\n\n\n"


def test_a_trigger_is_carried_out_in_its_turn(client: Client) -> None:
    client.write(b"LEV 1")
    client.write(b"", kind=TRIGGER)
    assert client.query(b"LEV?") == b"2.0\n"


def test_a_message_before_the_answer_was_read_interrupts_it(client: Client) -> None:
    client.write(b"*CLS;*IDN?")
    assert client.sync.receive().payload == IDENTITY
    number = client.write(b"SYST:ERR?", delivered=False)
    assert client.sync.receive() == (13, 0, number, b"")
    assert client.sync.receive().payload == b'-410,"Query INTERRUPTED"\n'
    assert client.asynchronous.receive() == (14, 0, number, b"")
    assert client.query(b"SYST:ERR?") == b'0,"No error"\n'


# -- status


def test_message_available_stands_until_the_client_says_it_has_read(client: Client) -> None:
    assert client.status() & 0x10 == 0
    client.write(b"*IDN?")
    client.sync.receive()
    assert client.status() & 0x10
    assert client.status() & 0x10
    assert client.status(delivered=True) & 0x10 == 0
    client.write(b"LEV 3", delivered=False)
    assert client.query(b"SYST:ERR?") == b'0,"No error"\n'


def test_a_request_for_service_is_announced_once_until_it_is_polled(client: Client) -> None:
    client.write(b"*CLS;*ESE 32;*SRE 32")
    client.write(b"NONSENSE")
    heard = client.asynchronous.receive()
    assert (heard.kind, heard.control) == (20, 0x40 | 0x20 | 0x04)
    assert client.query(b"*ESR?;:SYST:ERR?") == b'32;-113,"Undefined header;NONSENSE"\n'
    client.write(b"NONSENSE")
    assert client.query(b"*OPC?") == b"1\n"
    assert client.status(delivered=True) == 0x40 | 0x20 | 0x04
    assert client.status() == 0x20 | 0x04
    client.write(b"*CLS")
    client.write(b"NONSENSE")
    assert client.asynchronous.receive().kind == 20


def test_a_request_that_somebody_else_caused_is_announced_too(server: HislipServer, client: Client) -> None:
    assert client.query(b"*CLS;*ESE 32;*SRE 32;*OPC?") == b"1\n"
    with Client(server.port) as other:
        other.write(b"NONSENSE")
        assert client.asynchronous.receive().kind == 20
        assert other.asynchronous.receive().kind == 20


# -- device clear


def test_device_clear_drops_what_was_sent_and_what_was_to_be_said(client: Client) -> None:
    client.write(b"*CLS;*IDN?")
    client.write(b"LEV 1;MEM #71", kind=DATA)
    acknowledged = client.asynchronous.ask(19)
    assert (acknowledged.kind, acknowledged.control) == (23, 0)
    client.write(b"LEV 7")
    client.sync.send(8, 1)  # wishes for overlapped mode
    heard = [client.sync.receive()]
    while heard[-1].kind != 9:
        heard.append(client.sync.receive())
    assert heard[-1].control == 0
    client.number = FIRST_MESSAGE
    assert client.query(b"LEV?;:SYST:ERR?") in (b'0.0;0,"No error"\n', b'1.0;0,"No error"\n')


def test_device_clear_gets_through_while_an_answer_is_stuck(client: Client) -> None:
    client.write(b"FORM INT;" + b";".join([b":COUN? 60000"] * 400))
    time.sleep(0.2)
    assert client.asynchronous.ask(19).kind == 23
    client.sync.send(8)
    received = 0
    while (heard := client.sync.receive()).kind != 9:
        received += len(heard.payload)
    assert received < 400 * 120_000
    assert client.query(b"*IDN?") == IDENTITY


# -- locks


def test_a_lock_keeps_others_out_until_it_is_released(server: HislipServer, client: Client) -> None:
    with Client(server.port) as other:
        assert client.asynchronous.ask(4, 1, 1000).control == 1
        assert client.asynchronous.ask(4, 1, 1000).control == 3
        assert client.asynchronous.ask(24) == (25, 1, 1, b"")
        assert other.asynchronous.ask(4, 1, 50).control == 0
        assert other.asynchronous.ask(4, 1, 50, b"key").control == 0
        assert other.asynchronous.ask(4, 0).control == 3
        other.write(b"LEV 5;LEV?")
        assert client.query(b"LEV?") == b"0.0\n"
        last = client.write(b"LEV 1")
        assert client.asynchronous.ask(4, 0, last) == (5, 1, 0, b"")
        assert other.sync.receive().payload == b"5.0\n"
        assert client.asynchronous.ask(24) == (25, 0, 0, b"")


def test_a_shared_lock_lets_in_who_knows_its_key(server: HislipServer, client: Client) -> None:
    with Client(server.port) as friend, Client(server.port) as stranger:
        assert client.asynchronous.ask(4, 1, 0, b"key").control == 1
        assert friend.asynchronous.ask(4, 1, 0, b"key").control == 1
        assert stranger.asynchronous.ask(4, 1, 50, b"other").control == 0
        assert client.asynchronous.ask(24) == (25, 0, 2, b"")
        assert client.query(b"*OPC?") == friend.query(b"*OPC?") == b"1\n"
        assert client.asynchronous.ask(4, 0).control == 2
        assert friend.asynchronous.ask(4, 0).control == 2
        assert stranger.query(b"*OPC?") == b"1\n"


def test_who_leaves_leaves_no_lock(server: HislipServer, client: Client) -> None:
    with Client(server.port) as other:
        assert other.asynchronous.ask(4, 1, 0).control == 1
    assert client.asynchronous.ask(4, 1, 5000).control == 1


# -- what is no HiSLIP


def test_what_is_no_message_ends_the_session(client: Client) -> None:
    client.sync.socket.sendall(b"GET / HTTP/1.1\r\n")
    refused = client.sync.receive()
    assert (refused.kind, refused.control) == (FATAL, 1)
    with pytest.raises(EOFError):
        client.sync.receive()
    with pytest.raises(EOFError):
        client.asynchronous.receive()


def test_unknown_messages_are_refused_and_skipped(client: Client) -> None:
    for channel in (client.sync, client.asynchronous):
        for kind, reason in ((26, 1), (99, 1), (200, 3)):
            refused = channel.ask(kind, payload=b"x" * 100_000)
            assert (refused.kind, refused.control) == (ERROR, reason)
    assert client.query(b"*OPC?") == b"1\n"


def test_hostile_bytes_harm_nobody_else(server: HislipServer, client: Client) -> None:
    """Valid messages with bytes changed, cut or made up, on either channel, and whatever comes of it."""
    random_source = random.Random(4)
    before = threading.active_count()
    for _ in range(300):
        opened = Client(server.port)
        messages = bytearray()
        for _ in range(random_source.randint(1, 6)):
            payload = random_source.randbytes(random_source.choice([0, 1, 8, 40])) + b"*IDN?\n"
            kind, length = random_source.randrange(256), random_source.choice([len(payload)] * 9 + [1 << 62])
            header = b"HS" + bytes([random_source.choice([kind, kind % 26]), random_source.randrange(2)])
            messages += header + random_source.randbytes(4) + length.to_bytes(8, "big") + payload
        for _ in range(random_source.choice([0, 0, 1, 3])):
            messages[random_source.randrange(len(messages))] = random_source.randrange(256)
        channel = random_source.choice([opened.sync, opened.asynchronous])
        with contextlib.suppress(OSError):
            channel.socket.sendall(messages)
        opened.close()
    assert client.query(b"*CLS;*IDN?") == IDENTITY
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


# -- hanging up


def test_closing_hangs_up_on_clients_and_leaves_no_thread(instrument: Instrument) -> None:
    before = set(threading.enumerate())
    with HislipServer({"hislip0": instrument}, port=0) as server:
        client = Client(server.port)
        waiting = Client(server.port)
        assert client.asynchronous.ask(4, 1).control == 1
        waiting.asynchronous.send(4, 1, 0xFFFF_FFFF)
    for channel in (client.sync, client.asynchronous, waiting.sync, waiting.asynchronous):
        if channel is waiting.asynchronous:
            with contextlib.suppress(EOFError, ConnectionError):
                assert channel.receive().kind == 5  # the lock it has got at last
        with pytest.raises((EOFError, ConnectionError)):
            channel.receive()
    client.close()
    waiting.close()
    assert set(threading.enumerate()) <= before


def test_an_instrument_that_hangs_up_does_so_at_that_byte(instrument: Instrument) -> None:
    with HislipServer({"hislip0": BreakingWire(instrument, after=6)}, port=0) as server:
        with Client(server.port) as client:
            client.write(b"*IDN?")
            assert client.sync.receive().payload == b"Toys,T"
            with pytest.raises(EOFError):
                client.sync.receive()
        with Client(server.port) as client:
            assert client.query(b"*IDN?") == IDENTITY


def test_a_port_that_is_taken_raises(server: HislipServer, instrument: Instrument) -> None:
    with pytest.raises(OSError, match="in use"):
        HislipServer({"hislip0": instrument}, port=server.port).start()


# -- PyVISA and the link


def test_pyvisa_py_talks_to_it(server: HislipServer) -> None:
    manager = pyvisa.ResourceManager("@py")
    toy = manager.open_resource(server.resource_name("hislip0"), read_termination="\n", write_termination="\n")
    try:
        assert toy.query("*IDN?") == "Toys,Toy,one,1"
        toy.write("FORM INT;FORM:BORD SWAP")
        toy.write_binary_values("MEM ", range(300_000 // 5), datatype="H")
        assert toy.query_binary_values("MEM?", datatype="H") == list(range(300_000 // 5))
        toy.write("*IDN?")
        deadline = time.monotonic() + 5
        while not toy.read_stb() & 0x10 and time.monotonic() < deadline:
            pass
        assert toy.read() == "Toys,Toy,one,1"
        assert toy.read_stb() & 0x10 == 0
        toy.write("MEM #71", termination="")
        toy.clear()
        assert toy.query("LEV?") == "0.0"
    finally:
        toy.close()
        manager.close()


def test_a_link_works_whole_over_it(server: HislipServer) -> None:
    codes = np.random.default_rng(2).integers(0, 65536, 1 << 20, np.uint16).astype("<u2")
    with VisaLink(server.resource_name("hislip0"), visa_library="@py", timeout_s=5) as link:
        assert link.idn == "Toys,Toy,one,1"
        link.write("FORM INT;FORM:BORD SWAP")
        for _ in range(3):
            link.exchange(":MEM ", codes)
            (block,) = link.exchange(":MEM?")
            assert (block.view("<u2") == codes).all()


@pytest.mark.parametrize("late", [0.2, 1.0])
def test_a_link_finds_its_place_again_after_an_answer_that_came_late(
    instrument: Instrument, server: HislipServer, late: float
) -> None:
    with VisaLink(server.resource_name("hislip0"), visa_library="@py", timeout_s=3) as link:
        with instrument.lock:
            with pytest.raises(LinkTimeoutError, match=r"waiting for the answer to LEV\?"):
                link.query("LEV?", timeout_s=0.1)
            time.sleep(late)
        assert [link.exchange("LEV?;*OPC?") for _ in range(3)] == [["0.0", "1"]] * 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a socket that pyvisa-py forgets
def test_a_link_says_when_the_server_is_gone(instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # a log would keep the socket

    def asked_in_vain(link: VisaLink) -> None:
        with pytest.raises(LinkError, match="hislip0"):
            link.query("*OPC?")

    with HislipServer({"hislip0": instrument}, port=0) as server:
        link = VisaLink(server.resource_name("hislip0"), visa_library="@py", timeout_s=1)
        link.connect()
    asked_in_vain(link)
    link.close()
    gc.collect()  # now, while its warning is expected
