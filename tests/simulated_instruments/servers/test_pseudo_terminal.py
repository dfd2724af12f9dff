"""A simulated instrument on a serial port that any program can open: pyserial, PyVISA, plain file descriptors."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvisa
import serial
from wires_that_break import BreakingWire

from labctl.links.visa import VisaLink
from labctl.simulated_instruments.scpi import Instrument
from labctl.simulated_instruments.servers.hosting import load
from labctl.simulated_instruments.servers.pacing import PacedWire
from labctl.simulated_instruments.servers.pseudo_terminal import PtyServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@pytest.fixture
def instrument(bench: Path) -> Iterator[Instrument]:
    loaded = load(bench)
    yield loaded.wire(loaded.entries["socket"])
    loaded.close()


@pytest.fixture
def server(instrument: Instrument) -> Iterator[PtyServer]:
    with PtyServer(instrument) as running:
        yield running


def path_of(server: PtyServer) -> str:
    return server.resource_name.removeprefix("ASRL").removesuffix("::INSTR")


def opened(server: PtyServer, **settings: object) -> serial.Serial:
    return serial.Serial(path_of(server), timeout=5, **settings)


def test_programs_come_and_go_and_each_is_answered(server: PtyServer) -> None:
    for number, baud_rate in enumerate((9600, 115200, 921600)):
        with opened(server, baudrate=baud_rate) as port:
            port.write(b"LEV?;:LEV %d;*IDN?\n" % number)
            assert port.readline() == b"%.1f;Toys,Toy,one,1\n" % max(number - 1, 0)


def test_every_byte_crosses_it_both_ways(server: PtyServer) -> None:
    every = bytes(range(256)) * 8
    with opened(server) as port:
        port.write(b"FORM INT;FORM:BORD SWAP;:MEM #42048" + every + b"\nMEM?\n")
        assert port.read(2055) == b"#42048" + every + b"\n"


def test_there_is_no_echo_even_for_a_program_that_sets_nothing(server: PtyServer) -> None:
    line = os.open(path_of(server), os.O_RDWR | os.O_NOCTTY)
    os.write(line, b"LEV 2\n*OPC?\n")
    assert os.read(line, 100) == b"1\n"
    os.close(line)


def test_blocks_of_megabytes_cross_it_unharmed(server: PtyServer) -> None:
    codes = np.random.default_rng(1).integers(0, 65536, 1 << 20, np.uint16).astype("<u2").tobytes()
    message = b"#7%d" % len(codes) + codes + b"\n"
    with opened(server) as port:
        port.write(b"FORM INT;FORM:BORD SWAP;:MEM " + message + b"MEM?\n")
        assert port.read(len(message)) == message


def test_what_a_program_left_unread_does_not_come_to_the_next_one(server: PtyServer) -> None:
    for _ in range(3):
        with opened(server) as port:
            port.write(b"FORM INT;:COUN? 500000\n")
            assert port.read(4) == b"#710"
        time.sleep(0.05)
        with opened(server) as port:
            port.write(b"*IDN?\n")
            assert port.readline() == b"Toys,Toy,one,1\n"


def test_an_instrument_that_hangs_up_is_back_at_the_same_path(instrument: Instrument) -> None:
    with PtyServer(BreakingWire(instrument, after=6)) as server:
        with opened(server) as port:
            port.write(b"*IDN?\n")
            assert port.read(6) == b"Toys,T"
            with pytest.raises(serial.SerialException):
                port.read(1)
        with opened(server) as port:
            port.write(b"*IDN?\n")
            assert port.readline() == b"Toys,Toy,one,1\n"


def test_it_is_made_where_it_is_wanted_and_taken_away_again(instrument: Instrument, tmp_path: Path) -> None:
    path = tmp_path / "port"
    with PtyServer(instrument, path) as server:
        assert server.resource_name == f"ASRL{path}::INSTR"
        with pytest.raises(FileExistsError, match="is there already"):
            PtyServer(instrument, path).start()
    assert not os.path.lexists(path)
    path.symlink_to("/dev/pts/of-one-that-was-killed")
    with PtyServer(instrument, path) as server, opened(server) as port:
        port.write(b"*OPC?\n")
        assert port.readline() == b"1\n"
    server.close()
    path.write_text("somebody's file")
    with pytest.raises(FileExistsError, match="is there already"):
        PtyServer(instrument, path).start()
    assert path.read_text() == "somebody's file"


def test_nothing_is_left_behind(instrument: Instrument) -> None:
    threads, files = set(threading.enumerate()), len(os.listdir("/dev/fd"))
    with PtyServer(instrument) as server:
        folder = Path(path_of(server)).parent
        opened(server).close()
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/dev/fd")) == files
    assert not folder.exists()


def test_a_port_kept_to_a_speed_takes_the_time_its_bytes_need(instrument: Instrument) -> None:
    with PtyServer(PacedWire(instrument, 38400)) as server, opened(server) as port:
        port.write(b"FORM INT\n")
        begin = time.monotonic()
        port.write(b"COUN? 1000\n")
        assert len(port.read(2007)) == 2007
        assert 0.5 < time.monotonic() - begin < 3.0  # 2018 bytes of ten bits at 38400 a second: 0.526 s


def test_pyvisa_py_talks_to_it(server: PtyServer) -> None:
    manager = pyvisa.ResourceManager("@py")
    with manager.open_resource(server.resource_name, read_termination="\n", write_termination="\n") as toy:
        assert toy.query("*IDN?") == "Toys,Toy,one,1"
        toy.write("FORM INT;FORM:BORD SWAP")
        toy.write_binary_values("MEM ", range(300), datatype="H")
        assert toy.query_binary_values("MEM?", datatype="H") == list(range(300))
    manager.close()


def test_a_link_works_whole_over_it(server: PtyServer) -> None:
    codes = np.arange(100_000, dtype="<u2")
    with VisaLink(server.resource_name, visa_library="@py", timeout_s=5) as link:
        link.write("FORM INT;FORM:BORD SWAP")
        link.exchange(":MEM ", codes)
        (block,) = link.exchange(":MEM?")
        assert (block.view("<u2") == codes).all()
        assert link.idn == "Toys,Toy,one,1"
