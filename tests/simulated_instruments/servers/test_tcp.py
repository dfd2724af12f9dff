"""A simulated instrument on a real socket, spoken to by plain sockets and by PyVISA."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvisa

from labctl.links.blocks import encode_header
from labctl.simulated_instruments.scpi import Instrument
from labctl.simulated_instruments.servers import sending
from labctl.simulated_instruments.servers.hosting import load
from labctl.simulated_instruments.servers.tcp import TcpServer


@pytest.fixture
def instrument(bench: Path) -> Iterator[Instrument]:
    loaded = load(bench)
    yield loaded.wire(loaded.entries["socket"])
    loaded.close()


@pytest.fixture
def server(instrument: Instrument) -> Iterator[TcpServer]:
    with TcpServer(instrument) as running:
        yield running


def connect(server: TcpServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=10)


def receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "the server hung up"
        data += piece
    return bytes(data)


def flood(connection: socket.socket, message: bytes) -> None:
    """Send `message` again and again until the server takes no more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(message)


def test_answers_come_back_in_order_however_the_messages_are_cut(server: TcpServer) -> None:
    with connect(server) as connection:
        for piece in (b"*ID", b"N?\nLEV 1", b"5 MV;LEV?\n*OPC?\n*OPC?", b"\n"):
            connection.sendall(piece)
        expected = b"Toys,Toy,one,1\n0.015\n1\n1\n"
        assert receive(connection, len(expected)) == expected


def test_thousands_of_messages_in_flight_are_all_answered(server: TcpServer) -> None:
    with connect(server) as connection:
        sender = threading.Thread(target=connection.sendall, args=(b"*OPC?\n" * 20_000,))
        sender.start()
        assert receive(connection, 40_000) == b"1\n" * 20_000
        sender.join()


def test_blocks_cross_both_ways_unharmed(server: TcpServer) -> None:
    codes = np.random.default_rng(1).integers(0, 65536, 500_000, np.uint16).astype("<u2").tobytes()
    message = encode_header(len(codes)) + codes + b"\n"
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(b"FORM INT;FORM:BORD SWAP;:MEM " + message + b"MEM?\n")
            assert receive(connection, len(message)) == message


def test_many_large_answers_in_one_message_are_all_sent(server: TcpServer) -> None:
    block = b"#6100000" + np.arange(50_000, dtype="<u2").tobytes()
    with connect(server) as connection:
        connection.sendall(b"FORM INT;FORM:BORD SWAP;:" + b";".join([b"COUN? 50000"] * 50) + b"\n")
        assert receive(connection, 50 * (len(block) + 1)) == b";".join([block] * 50) + b"\n"


@pytest.mark.parametrize("gathers", [True, False])
def test_systems_without_gathered_sending_send_the_same(
    server: TcpServer, monkeypatch: pytest.MonkeyPatch, gathers: bool
) -> None:
    monkeypatch.setattr(sending, "_CAN_GATHER", gathers and sending._CAN_GATHER)
    with connect(server) as connection:
        connection.sendall(b"FORM INT;:COUN? 9000;*OPC?\n")
        expected = b"#518000" + np.arange(9000, dtype=">u2").tobytes() + b";1\n"
        assert receive(connection, len(expected)) == expected


def test_what_a_client_began_is_dropped_when_it_leaves(server: TcpServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"*CLS\n*OPC?\nMEM #71000000abc")
        assert receive(connection, 2) == b"1\n"
    with connect(server) as connection:
        connection.sendall(b"SYST:ERR?;:MEM?\n")
        assert receive(connection, 14) == b'0,"No error";\n'


def test_a_client_that_does_not_read_holds_up_nobody(server: TcpServer) -> None:
    with connect(server) as deaf, connect(server) as other:
        deaf.setblocking(False)
        flood(deaf, b"FORM INT;:COUN? 60000\n" * 1000)
        other.sendall(b"*IDN?\n")
        assert receive(other, 15) == b"Toys,Toy,one,1\n"


def test_a_client_that_only_sends_and_shuts_down_is_answered(server: TcpServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"*IDN?\n")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 15) == b"Toys,Toy,one,1\n"
        assert connection.recv(1) == b""


def test_a_client_that_resets_the_connection_is_forgotten(server: TcpServer) -> None:
    connection = connect(server)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.sendall(b"FORM INT;:COUN? 65535\n" * 100)
    connection.close()
    with connect(server) as other:
        other.sendall(b"*IDN?\n")
        assert receive(other, 15) == b"Toys,Toy,one,1\n"


def test_closing_hangs_up_on_clients_and_frees_the_port(instrument: Instrument) -> None:
    server = TcpServer(instrument)
    server.close()
    server.start()
    with connect(server) as connection:
        connection.sendall(b"*OPC?\n")
        receive(connection, 2)
        server.close()
        server.close()
        assert connection.recv(1) == b""
    with TcpServer(instrument, port=server.port) as again, connect(again) as connection:
        connection.sendall(b"*OPC?\n")
        assert receive(connection, 2) == b"1\n"


def test_pyvisa_py_talks_to_it(server: TcpServer) -> None:
    manager = pyvisa.ResourceManager("@py")
    toy = manager.open_resource(server.resource_name, read_termination="\n", write_termination="\n")
    try:
        assert toy.query("*IDN?") == "Toys,Toy,one,1"
        toy.write("FORM INT;FORM:BORD SWAP")
        toy.write_binary_values("MEM ", range(3000), datatype="H")
        assert toy.query_binary_values("MEM?", datatype="H") == list(range(3000))
        assert toy.query_ascii_values("FORM ASC;:REAL?") == [0.5, 1.5, 9.91e37]
    finally:
        toy.close()
        manager.close()


def test_no_thread_is_left_behind(instrument: Instrument) -> None:
    before = set(threading.enumerate())
    with TcpServer(instrument) as server, connect(server):
        pass
    assert set(threading.enumerate()) <= before
