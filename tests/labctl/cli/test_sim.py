"""`labctl sim serve` as a process: what it prints, how it ends, and what it says it cannot do."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from benches import LABCTL, labctl, started

from labctl.errors import LinkError
from labctl.links.visa import VisaLink

BENCH = """
[simulated.first]
simulator = "test_board"
resource_name = "TCPIP0::127.0.0.1::5025::SOCKET"
chip = "T-1"
state = "T-1.h5"
rows = 8
cols = 8

[simulated.second]
simulator = "test_board"
resource_name = "GPIB0::3::INSTR"
chip = "T-2"
rows = 8
cols = 8

[simulated.third]
simulator = "test_board"
resource_name = "ASRLsocket://127.0.0.1:5026::INSTR"
chip = "T-3"
rows = 8
cols = 8
"""


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "bench.toml"
    path.write_text(BENCH)
    return path


def serial_number(resource_name: str) -> str:
    with VisaLink(resource_name, visa_library="@py", timeout_s=10) as link:
        return link.idn.split(",")[2]


def ended(server: subprocess.Popen[str], number: int) -> str:
    """What it had to say for itself."""
    server.send_signal(number)
    _, said = server.communicate(timeout=20)
    assert server.returncode == 0
    return said


def test_every_address_is_listed_with_its_name(bench: Path) -> None:
    server = started("sim", "serve", bench, "--port", "0", "--hislip", "0", cwd=bench.parent)
    assert server.stdout is not None
    listed = [server.stdout.readline().split() for _ in range(6)]
    assert [name for name, _ in listed] == ["first", "first", "second", "second", "third", "third"]
    assert [serial_number(where) for _, where in listed] == ["T-1", "T-1", "T-2", "T-2", "T-3", "T-3"]
    assert ended(server, signal.SIGTERM) == ""


def test_the_list_is_json_where_asked_for(bench: Path) -> None:
    server = started("sim", "serve", bench, "--port", "0", "--json", cwd=bench.parent)
    assert server.stdout is not None
    text = ""
    while not text.endswith("]\n"):
        text += server.stdout.readline()
    listed = json.loads(text)
    assert [each["name"] for each in listed] == ["first", "second", "second", "third"]
    assert re.fullmatch(r"ASRLsocket://127\.0\.0\.1:\d+::INSTR", listed[3]["resource_name"])
    assert ended(server, signal.SIGINT if os.name != "nt" else signal.SIGTERM) == ""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_state_is_saved_whichever_way_it_is_told_to_go(bench: Path, name: str) -> None:
    server = started("sim", "serve", bench, "--port", "0", cwd=bench.parent)
    assert server.stdout is not None
    server.stdout.readline()
    assert not (bench.parent / "T-1.h5").exists()
    ended(server, getattr(signal, name))
    assert (bench.parent / "T-1.h5").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_server_started_with_nohup_stays(bench: Path) -> None:
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", ignoring, *LABCTL, "sim", "serve", str(bench), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=bench.parent,
    )
    assert server.stdout is not None
    _, where = server.stdout.readline().split()
    server.send_signal(signal.SIGHUP)
    assert serial_number(where) == "T-1"
    ended(server, signal.SIGTERM)


@pytest.mark.parametrize("text", ["", '[simulated.die]\nsimulator = "bare_array"\n'])
def test_a_bench_with_nothing_to_serve_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bench.toml").write_text(text)
    done = labctl("sim", "serve", "bench.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "bench.toml: no [simulated.NAME] table with a resource_name" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="links that end with their server are Linux's")
def test_the_port_of_a_killed_server_leads_nowhere_and_the_next_one_has_it(tmp_path: Path) -> None:
    port = tmp_path / "port"
    (tmp_path / "bench.toml").write_text(
        f'[simulated.board]\nsimulator = "test_board"\nresource_name = "ASRL{port}::INSTR"\nrows = 4\ncols = 4\n'
    )
    first = started("sim", "serve", "bench.toml", cwd=tmp_path)
    assert first.stdout is not None
    where = first.stdout.readline().split()[1]
    terminal = port.resolve()
    assert serial_number(where) == "R40-0001"
    first.kill()
    first.communicate(timeout=20)
    ours, theirs = os.openpty()  # of somebody else, who may well be given the same number
    try:
        assert os.path.lexists(port)
        assert not port.exists(), (terminal, os.ttyname(theirs))
        with pytest.raises(LinkError):
            serial_number(where)
        second = started("sim", "serve", "bench.toml", cwd=tmp_path)
        assert second.stdout is not None
        assert second.stdout.readline().split()[1] == where
        assert serial_number(where) == "R40-0001"
        ended(second, signal.SIGTERM)
        assert not os.path.lexists(port)
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_cannot_be_served_is_one_sentence(bench: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("--port", "--hislip"):
            done = labctl("sim", "serve", bench, option, port, cwd=bench.parent)
            assert done.returncode == 2
            assert done.stdout == ""
            assert re.fullmatch(
                rf".*cannot serve .* on 127\.0\.0\.1 port {port}: it is in use by [a-z ]*\n", done.stderr
            )
    done = labctl("sim", "serve", bench, "--baud-rate", "0", cwd=bench.parent)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
