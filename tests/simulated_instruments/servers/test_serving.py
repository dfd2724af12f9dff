"""A bench served whole: what each resource name says, side by side, and what cannot be served."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvisa
from wires_that_break import BreakingWire

from labctl.errors import LinkError
from labctl.links.visa import VisaLink
from labctl.simulated_instruments.servers.hosting import HostingError, load
from labctl.simulated_instruments.servers.serving import Service, serve
from labctl.simulated_instruments.servers.tcp import TcpServer

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def two_free_ports() -> int:
    """The first one."""
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            socket.create_server(("127.0.0.1", port + 1)).close()
            return port


def described(folder: Path, *resource_names: str) -> Path:
    path = folder / "bench.toml"
    tables = (
        f'[simulated.toy{number}]\nsimulator = "toy"\nresource_name = "{name}"\nserial = "S{number}"\n'
        for number, name in enumerate(resource_names)
    )
    path.write_text("\n".join(tables))
    return path


def identities(service: Service) -> Iterator[tuple[str, str]]:
    """(name, serial number) of who answers at each address."""
    manager = pyvisa.ResourceManager("@py")
    for bound in service.bound:
        resource = manager.open_resource(bound.resource_name, read_termination="\n", write_termination="\n")
        with contextlib.closing(resource):
            yield bound.name, resource.query("*IDN?").split(",")[2]
    manager.close()


@posix_only
def test_every_kind_of_wire_is_served_side_by_side(plugin: Path, tmp_path: Path) -> None:
    assert plugin.exists()
    raw, hislip, serial_port = free_port(), free_port(), free_port()
    path = described(
        tmp_path,
        f"TCPIP0::10.0.0.5::{raw}::SOCKET",
        f"TCPIP0::10.0.0.6::hislip3,{hislip}::INSTR",
        "GPIB0::24::INSTR",
        f"ASRL{tmp_path}/port::INSTR",
        f"ASRLsocket://10.0.0.7:{serial_port}::INSTR",
        "ASRL/dev/ttyUSB0::INSTR",
    )
    with serve(path) as service:
        named = [bound.resource_name for bound in service.bound]
        assert named[0] == f"TCPIP0::127.0.0.1::{raw}::SOCKET"
        assert named[1] == f"TCPIP0::127.0.0.1::hislip3,{hislip}::INSTR"
        assert named[2].endswith("::SOCKET")
        assert named[3].startswith("TCPIP0::127.0.0.1::hislip0,")
        assert named[4] == f"ASRL{tmp_path}/port::INSTR"
        assert named[5] == f"ASRLsocket://127.0.0.1:{serial_port}::INSTR"
        assert named[6].endswith("/port::INSTR")
        assert list(identities(service)) == [
            (f"toy{number}", f"S{number}") for number in (0, 1, 2, 2, 3, 4, 5)
        ]  # the GPIB one twice


def test_hislip_beside_everything_is_one_port_with_a_name_for_each(plugin: Path, tmp_path: Path) -> None:
    assert plugin.exists()
    path = described(tmp_path, "TCPIP0::h::5025::SOCKET", "USB0::1::2::A::INSTR", "TCPIP0::h::hislip7::INSTR")
    with serve(path, port=0, hislip=0) as service:
        gateways = [bound for bound in service.bound if "hislip" in bound.resource_name]
        assert [bound.name for bound in gateways] == ["toy0", "toy1", "toy2"]
        assert [bound.resource_name.split("::")[2].split(",")[0] for bound in gateways] == [
            "hislip0",
            "hislip1",
            "hislip7",
        ]
        assert len({bound.resource_name.split(",")[1] for bound in gateways}) == 1
        assert list(identities(service)) == [
            ("toy0", "S0"),
            ("toy0", "S0"),
            ("toy1", "S1"),
            ("toy1", "S1"),
            ("toy2", "S2"),
        ]


@pytest.mark.parametrize("is_same_port", [False, True])
def test_hislip_beside_everything_leaves_an_instrument_the_name_and_port_it_has(
    plugin: Path, tmp_path: Path, is_same_port: bool
) -> None:
    assert plugin.exists()
    own, raw = free_port(), free_port()
    path = described(tmp_path, f"TCPIP0::h::{raw}::SOCKET", f"TCPIP0::h::hislip0,{own}::INSTR")
    with serve(path, hislip=own if is_same_port else 0) as service:
        named = {name: where for name, where in service.bound if "hislip" in where}
        assert named["toy1"] == f"TCPIP0::127.0.0.1::hislip0,{own}::INSTR"
        assert named["toy0"].startswith(f"TCPIP0::127.0.0.1::hislip{int(is_same_port)},")
        assert (f",{own}::" in named["toy0"]) == is_same_port
        assert list(identities(service)) == [("toy0", "S0"), ("toy0", "S0"), ("toy1", "S1")]


def test_those_that_name_the_same_port_get_one_each(plugin: Path, tmp_path: Path) -> None:
    assert plugin.exists()
    port = free_port()
    names = [f"TCPIP0::10.0.0.{host}::{port}::SOCKET" for host in (1, 2)]
    path = described(tmp_path, *names, f"ASRLsocket://h:{port}::INSTR", f"TCPIP0::h::hislip0,{port}::INSTR")
    with serve(path) as service:
        assert service.bound[3].resource_name == f"TCPIP0::127.0.0.1::hislip0,{port}::INSTR"
        assert list(identities(service)) == [(f"toy{number}", f"S{number}") for number in range(4)]


def test_counting_up_passes_over_the_port_of_hislip(bench: Path) -> None:
    port = two_free_ports()
    with serve(bench, port=port, hislip=port) as service:
        assert service.bound[0].resource_name == f"TCPIP0::127.0.0.1::{port + 1}::SOCKET"
        assert service.bound[1].resource_name == f"TCPIP0::127.0.0.1::hislip0,{port}::INSTR"


def test_two_that_want_the_same_hislip_name_get_different_ones(plugin: Path, tmp_path: Path) -> None:
    assert plugin.exists()
    port = free_port()
    path = described(tmp_path, *(f"TCPIP0::10.0.0.{host}::hislip0,{port}::INSTR" for host in (1, 2)))
    with serve(path) as service:
        assert list(identities(service)) == [("toy0", "S0"), ("toy1", "S1")]


def test_ports_are_those_of_the_file_or_count_up_from_the_one_given(bench: Path, tmp_path: Path) -> None:
    port = two_free_ports()
    bench.write_text(bench.read_text().replace("5025", str(port)))
    with serve(bench) as service:
        assert service.bound[0] == ("socket", f"TCPIP0::127.0.0.1::{port}::SOCKET")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"LEV 3;*OPC?\n")
            assert connection.recv(2) == b"1\n"
    service.close()
    assert (tmp_path / "level.txt").read_text() == "3.0"
    with serve(bench, port=port) as service:
        assert service.bound[0].resource_name == f"TCPIP0::127.0.0.1::{port}::SOCKET"
        assert service.bound[1].resource_name == f"TCPIP0::127.0.0.1::{port + 1}::SOCKET"


def test_what_is_served_is_what_the_same_process_has_in_process(bench: Path) -> None:
    manager = pyvisa.ResourceManager(f"{bench}@labctl")
    with serve(bench, port=0) as service, manager.open_resource("GPIB0::24::INSTR") as inside:
        inside.write("LEV 8")
        port = int(service.bound[1].resource_name.split("::")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"LEV?\n")
            assert connection.recv(10) == b"8.0\n"
    manager.close()


@pytest.mark.parametrize("where", ["TCPIP0::h::{}::SOCKET", "ASRLsocket://h:{}::INSTR"])
def test_a_port_that_is_taken_is_one_sentence_and_nothing_is_left_running(
    plugin: Path, tmp_path: Path, where: str
) -> None:
    assert plugin.exists()
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = described(tmp_path, "GPIB::1", where.format(port))
        with pytest.raises(HostingError, match=f"'toy1' on 127.0.0.1 port {port}: it is in use by another program$"):
            serve(path)
        with pytest.raises(HostingError, match=f"^cannot serve HiSLIP on 127.0.0.1 port {port}: .*in use"):
            serve(path, port=0, hislip=port)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("TCPIP0::h::70000::SOCKET", "cannot serve 'toy0' on 127.0.0.1 port 70000: "),
        ("TCPIP0::h::hislip0,70000::INSTR", "cannot serve HiSLIP on 127.0.0.1 port 70000: "),
        ("ASRLsocket://h:70000::INSTR", "cannot serve 'toy0': socket://h:70000: "),
        ("ASRLrfc2217://h:7000::INSTR", "cannot serve 'toy0': of the ports that are no terminals, only socket://"),
        ("ASRL/no/such/folder/port::INSTR", "cannot serve 'toy0' on a serial port: "),
    ],
)
def test_a_port_that_cannot_be_is_one_sentence(plugin: Path, tmp_path: Path, name: str, sentence: str) -> None:
    assert plugin.exists()
    with pytest.raises(HostingError) as caught:
        serve(described(tmp_path, name))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_faults_cannot_be_put_on_a_bench_that_is_powered_on_already(bench: Path, tmp_path: Path) -> None:
    with serve(bench, port=0), pytest.raises(HostingError, match="powered on in this process already"):
        serve(bench, port=0, faults=tmp_path / "faults.toml")


def test_a_serial_port_can_keep_to_a_speed(plugin: Path, tmp_path: Path) -> None:
    assert plugin.exists()
    port = free_port()
    with (
        serve(described(tmp_path, f"ASRLsocket://h:{port}::INSTR"), baud_rate=4800),
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(b"*IDN?\n" * 10)
        begin = time.monotonic()
        received = b""
        while len(received) < 140:
            received += connection.recv(1000)
        assert received == b"Toys,Toy,S0,1\n" * 10
        assert 0.35 < time.monotonic() - begin < 3.0  # 200 bytes of ten bits at 4800 a second: 0.42 s


def test_an_instrument_that_hangs_up_closes_the_connection_at_that_byte(bench: Path) -> None:
    loaded = load(bench)
    wire = loaded.wire(loaded.entries["socket"])
    with TcpServer(BreakingWire(wire, after=6)) as server:
        with socket.create_connection((server.host, server.port), timeout=10) as connection:
            connection.sendall(b"*IDN?\n" * 100_000)
            received = b""
            while piece := connection.recv(100):
                received += piece
            assert received == b"Toys,T"
        with socket.create_connection((server.host, server.port), timeout=10) as connection:
            connection.sendall(b"*IDN?\n")
            assert connection.recv(100) == b"Toys,Toy,one,1\n"
    loaded.close()


@posix_only
@pytest.mark.parametrize(
    "resource_name", ["TCPIP0::h::{port}::SOCKET", "TCPIP0::h::hislip0,{port}::INSTR", "ASRL{folder}/port::INSTR"]
)
def test_faults_strike_on_every_kind_of_wire_and_the_link_survives(
    plugin: Path, tmp_path: Path, resource_name: str
) -> None:
    assert plugin.exists()
    faults = tmp_path / "faults.toml"
    faults.write_text(
        '[[faults]]\nkind = "close"\ndirection = "from"\nat = 1\nmessages = [3]\n'
        '[[faults]]\nkind = "drop"\ndirection = "from"\nmessages = [8]\n'
        '[[faults]]\nkind = "latency"\ndirection = "from"\nseconds = 0.3\nmessages = [14]\n'
    )
    path = described(tmp_path, resource_name.format(port=free_port(), folder=tmp_path))
    with (
        serve(path, faults=faults) as service,
        VisaLink(service.bound[0].resource_name, visa_library="@py", timeout_s=2) as link,
    ):
        failed = 0
        for number in range(20):
            try:
                assert link.query(f"LEV {number};LEV?", timeout_s=0.2 if number > 10 else 1) == f"{number}.0"
            except LinkError:
                failed += 1
        assert failed in (2, 3)
        assert link.query("LEV?") == "19.0"
