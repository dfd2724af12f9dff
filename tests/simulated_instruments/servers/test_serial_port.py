"""A serial port inside this process: pyserial's face, and one bench with the in-process VISA backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvisa
import serial

from labctl.plugins import load_plugin
from labctl.simulated_instruments.servers.hosting import HostingError
from labctl.simulated_instruments.servers.serial_port import SimulatedPort, open_port
from labctl.simulated_instruments.wire import HungUp

PORT = "ASRL/dev/ttyACM0::INSTR"


@pytest.fixture
def serial_bench(bench: Path) -> Path:
    bench.write_text(bench.read_text().replace("GPIB0::24::INSTR", PORT))
    return bench


@pytest.fixture
def port(serial_bench: Path) -> Iterator[SimulatedPort]:
    opened = open_port(serial_bench, PORT, 1.0)
    yield opened
    opened.close()


def test_it_is_found_where_labctl_looks_for_it() -> None:
    assert load_plugin("labctl.servers", "serial") is open_port


def test_it_reads_and_writes_as_pyserials_do(port: SimulatedPort) -> None:
    assert isinstance(port, serial.SerialBase)
    assert port.write(b"*IDN?\n") == 6
    assert port.in_waiting == 15
    assert port.read() == b"T"
    assert port.read(3) == b"oys"
    assert port.readline() == b",Toy,two,1\n"
    port.write(bytearray(b"*OPC?\n*OPC?\n"))
    memory = bytearray(8)
    assert port.readinto(memory) == 4
    assert memory[:4] == b"1\n1\n"
    port.timeout = 0.5
    assert port.read(10) == b""
    assert port.timeout == 0.5


def test_what_is_flushed_is_gone(port: SimulatedPort) -> None:
    port.write(b"*IDN?\n")
    port.reset_input_buffer()
    port.reset_output_buffer()
    port.flush()
    assert port.in_waiting == 0
    port.write(b"*OPC?\n")
    assert port.read(10) == b"1\n"


def test_blocks_of_megabytes_cross_it_unharmed(port: SimulatedPort) -> None:
    codes = np.random.default_rng(1).integers(0, 65536, 1 << 20, np.uint16).astype("<u2")
    port.write(b"FORM INT;FORM:BORD SWAP;:MEM #7%d" % codes.nbytes)
    port.write(codes.data)
    port.write(b"\nMEM?\n")
    received = np.empty(codes.nbytes + 10, np.uint8)
    assert port.readinto(received.data) == len(received)
    assert (received[9:-1].view("<u2") == codes).all()


def test_an_instrument_that_is_not_heard_out_stops_to_listen(port: SimulatedPort) -> None:
    def flood() -> None:
        for _ in range(100):
            port.write(b"FORM INT;:COUN? 60000\n" * 1000)

    with pytest.raises(serial.SerialTimeoutException):
        flood()


def test_a_port_that_is_closed_says_so(port: SimulatedPort) -> None:
    port.close()
    port.close()
    assert not port.is_open
    with pytest.raises(serial.PortNotOpenError):
        port.read()
    with pytest.raises(serial.PortNotOpenError):
        port.write(b"*IDN?\n")


def test_it_shares_the_instruments_with_pyvisa_in_the_same_process(serial_bench: Path, tmp_path: Path) -> None:
    socket = "TCPIP0::127.0.0.1::5025::SOCKET"
    with open_port(serial_bench, socket, 1.0) as port:
        port.write(b"LEV 4\n")
        manager = pyvisa.ResourceManager(f"{serial_bench}@labctl")
        with manager.open_resource(socket, read_termination="\n", write_termination="\n") as other:
            assert other.query("LEV?") == "4.0"
            other.write("LEV 5")
        manager.close()
        assert not (tmp_path / "level.txt").exists()
        port.write(b"LEV?\n")
        assert port.read(10) == b"5.0\n"
    assert (tmp_path / "level.txt").read_text() == "5.0"


def test_after_the_last_one_has_closed_it_begins_anew(serial_bench: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with open_port(serial_bench, PORT, 1.0) as port:
            port.write(b"LEV?;LEV 7\n")
            assert port.read(10) == b"0.0\n"
    assert not (tmp_path / "level.txt").exists()


def test_what_cannot_be_opened_is_said_and_holds_nothing(serial_bench: Path, tmp_path: Path) -> None:
    with pytest.raises(HostingError, match=r"nothing at ASRL9::INSTR; there are: TCPIP0::.*, ASRL/dev/ttyACM0::INSTR"):
        open_port(serial_bench, "ASRL9::INSTR", 1.0)
    with pytest.raises(HostingError, match="No such file"):
        open_port(tmp_path / "none.toml", PORT, 1.0)
    serial_bench.write_text(serial_bench.read_text().replace('"two"', '"three"'))
    with open_port(serial_bench, PORT, 1.0) as port:
        port.write(b"*IDN?\n")
        assert port.read(50) == b"Toys,Toy,three,1\n"


def test_an_instrument_that_hangs_up_is_a_port_that_broke(port: SimulatedPort, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(*_: object) -> None:
        raise HungUp

    monkeypatch.setattr(port._conversation, "write", hang_up)
    for _ in range(2):
        with pytest.raises(serial.SerialException, match="has hung up"):
            port.write(b"*IDN?\n")
    with pytest.raises(serial.SerialException, match="has hung up"):
        port.read()
