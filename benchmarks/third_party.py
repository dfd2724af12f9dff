"""Other people's software against labctl's simulated instruments and drivers, all on loopback, as a table.

    python benchmarks/third_party.py [--venv FOLDER] [--json]

Each client is installed into a virtual environment (`--venv`, default a temporary folder), runs in a process of its
own and is bounded in time; one that cannot be had here is a row that says so. PyVISA's own socket tests want an
instrument on port 5025 of this machine. A test of theirs that is marked as expected to fail counts as skipped where
it fails, and as passed where it passes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import third_party_sims
import third_party_smus
from third_party_check import Check
from third_party_instruments import EchoInstrument, power_supply, rohde_schwarz

from labctl.simulated_instruments.servers.hislip import HislipServer
from labctl.simulated_instruments.servers.tcp import TcpServer

HOST = "127.0.0.1"
PACKAGES = ("pyvisa", "pyvisa-py", "numpy", "pytest", "socketscpi", "RsInstrument")
SOCKET_TESTS = "pyvisa_py.testsuite.keysight_assisted_tests.test_tcpip_resources"
REQUESTS = 10_000
_PATIENCE = 300.0  # s for one client


def environment(folder: Path) -> Path:
    """The Python of a virtual environment in `folder` with the clients that are Python's."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / ("python.exe" if os.name == "nt" else "python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        _run([python, "-m", "pip", "install", "-q", *PACKAGES])
    return python


def pyvisa_py_tests(python: Path, folder: Path) -> Check:
    """pyvisa-py's own tests of its socket sessions. Those of its INSTR sessions speak VXI-11, which labctl does not."""
    report = folder / "pyvisa.xml"
    surroundings = {**os.environ, "PYVISA_KEYSIGHT_VIRTUAL_INSTR": "0", "PYVISA_LIBRARY": "@py"}
    with TcpServer(EchoInstrument(), HOST, 5025):
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", SOCKET_TESTS, "-k", "Socket"]
        _run([*command, f"--junitxml={report}"], may_fail=True, env=surroundings, cwd=folder)
    suite = next(ET.parse(report).getroot().iter("testsuite"))
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    names = [case.get("name", "") for case in suite.iter("testcase") if case.find("failure") is not None]
    passed = count["tests"] - failed - count["skipped"]
    return Check("pyvisa-py", "its own socket tests", passed, failed, count["skipped"], "; ".join(names))


def python_client(python: Path, name: str, client: str, what: str, *, hislip: bool = False) -> Check:
    """One of `third_party_clients.py`, against an instrument of the maker that it wants to see."""
    instrument = rohde_schwarz()
    script = Path(__file__).with_name("third_party_clients.py")
    with TcpServer(instrument, HOST) as raw, HislipServer({"hislip0": instrument}, HOST, 0) as gateway:
        port = gateway.port if hislip else raw.port
        told: list[tuple[str, bool]] = json.loads(_run([python, script, name, HOST, str(port)]))
    failed = [each for each, well in told if not well]
    return Check(client, what, len(told) - len(failed), len(failed), 0, "; ".join(failed))


def lxi_tools() -> Check:
    """Its two commands over a raw socket, the second one as a benchmark."""
    if shutil.which("lxi") is None:
        return Check("lxi-tools", "scpi, benchmark", 0, 0, 2, "not installed: apt install lxi-tools")
    with TcpServer(rohde_schwarz(), HOST) as server:
        address = ["-a", HOST, "-p", str(server.port), "-r"]
        identity = _run(["lxi", "scpi", *address, "*IDN?"]).strip()
        told = _run(["lxi", "benchmark", *address, "-c", str(REQUESTS)])
    rate = re.search(r"([\d.]+) requests/second", told)
    well = [identity.startswith("Rohde&Schwarz,NRX"), rate is not None]
    return Check(
        "lxi-tools", "scpi, benchmark", sum(well), 2 - sum(well), 0, f"{rate[1]} requests/s" if rate else told[-200:]
    )


def sigrok() -> Check:
    """sigrok-cli finds a supply on SCPI over TCP, and samples its nine channels."""
    if shutil.which("sigrok-cli") is None:
        return Check("sigrok-cli", "scpi-pps", 0, 0, 2, "not installed: apt install sigrok-cli")
    with TcpServer(power_supply(), HOST) as server:
        place = ["sigrok-cli", "-d", f"scpi-pps:conn=tcp-raw/{HOST}/{server.port}"]
        found = _run([*place, "--scan"], may_fail=True)
        sampled = _run([*place, "--samples", "1", "-O", "analog"], may_fail=True)
    readings = set(re.findall(r"(V[123]): ([\d.]+)", sampled))
    well = ["Rigol DP832" in found, {("V1", "1.5"), ("V2", "3"), ("V3", "4.5")} <= _rounded(readings)]
    return Check(
        "sigrok-cli", "scpi-pps: scan, sample", sum(well), 2 - sum(well), 0, "" if all(well) else sampled[-200:]
    )


def _rounded(readings: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(name, f"{float(value):g}") for name, value in readings}


def checks(folder: Path) -> list[Check]:
    """Every row; `folder` keeps the virtual environments."""
    python = folder / "none"
    found: list[Check] = []

    def row(client: str, what: str, ask: Callable[[], Check | list[Check]]) -> None:
        """A client that fails as a whole, or cannot be had, is a row too."""
        print(f"{client}: {what} ...", file=sys.stderr)
        try:
            asked = ask()
        except (subprocess.SubprocessError, OSError, ValueError, ET.ParseError) as problem:
            asked = Check(client, what, 0, 1, 0, _word(problem))
        found.extend(asked if isinstance(asked, list) else [asked])

    try:
        python = environment(folder / "clients")
    except (subprocess.SubprocessError, OSError) as problem:
        found.append(Check("pip", f"install {', '.join(PACKAGES)}", 0, 1, 0, _word(problem)))
    else:
        row("pyvisa-py", "its own socket tests", lambda: pyvisa_py_tests(python, folder))
        for name, client, what, hislip in (
            ("pyvisa_hislip", "pyvisa-py", "HiSLIP", True),
            ("socketscpi", "socketscpi", "raw socket", False),
            ("rsinstrument", "RsInstrument", "raw socket", False),
            ("rsinstrument_hislip", "RsInstrument", "HiSLIP", True),
        ):
            row(client, what, lambda: python_client(python, name, client, what, hislip=hislip))  # noqa: B023 -- asked at once
    row("lxi-tools", "scpi, benchmark", lxi_tools)
    row("sigrok-cli", "scpi-pps", sigrok)
    row("PyMeasure, QCoDeS", "source-measure units", lambda: third_party_smus.checks(folder))
    row("QCoDeS sims", "our drivers against them", lambda: third_party_sims.checks(folder))
    return found


def _run(command: list[Any], *, may_fail: bool = False, both: bool = False, **more: Any) -> str:
    """What it printed. Raises SubprocessError where it fails or takes too long."""
    done = subprocess.run(
        [str(part) for part in command],
        check=not may_fail,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        stdin=subprocess.DEVNULL,
        **more,
    )
    return done.stdout + (done.stderr if both else "")


def _word(problem: Exception) -> str:
    """The last line of what it said."""
    said = getattr(problem, "stderr", None) or str(problem)
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return text.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="the folder that keeps the virtual environments")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.venv or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        rows = checks(folder)
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print(f"{'client':<14} {'what':<42} {'passed':>6} {'failed':>6} {'skipped':>7}")
        for row in rows:
            print(f"{row.client:<14} {row.what:<42} {row.passed:6} {row.failed:6} {row.skipped:7}  {row.detail}")
        print(f"{time.monotonic() - started:.0f} s")
    sys.exit(any(row.failed for row in rows))


if __name__ == "__main__":
    main()
