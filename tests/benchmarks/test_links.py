"""The benchmark of the links measures every one of them, and others' software finds the instruments it wants."""

from __future__ import annotations

import socket
import sys

import links
import pytest
import third_party
from third_party_instruments import EchoInstrument

from labctl.simulated_instruments.servers.tcp import TcpServer


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_every_link_is_measured_against_the_floor_of_its_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "EXCHANGES", 3)
    rows = {row["link"]: row for row in links.measured(rounds=1)}
    assert len(rows) == 9
    for row in rows.values():
        assert row["exchanges_per_s"] > 0
        assert row["read_mb_per_s"] > 0
        if row["floor"]:
            for key in ("exchanges_per_s", "read_mb_per_s"):
                assert row[f"{key}_ratio"] == pytest.approx(row[key] / rows[row["floor"]][key])


def test_what_is_received_is_sent_back_with_every_byte() -> None:
    with TcpServer(EchoInstrument()) as server, socket.create_connection((server.host, server.port), 10) as connection:
        for message in (b"te\rst\r\n", b"#212\x01\x0a345678'#2\"9\n", b"\n"):
            connection.sendall(b"RECEIVE\n" + message + b"SEND\n*OPC?\n")
            expected = message + b"1\n"
            received = b""
            while len(received) < len(expected):
                received += connection.recv(100)
            assert received == expected


def test_a_client_that_is_not_there_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(third_party.shutil, "which", lambda _: None)
    for ask in (third_party.lxi_tools, third_party.sigrok):
        row = ask()
        assert (row.passed, row.failed) == (0, 0)
        assert row.skipped
        assert row.detail.startswith("not installed: apt install ")
