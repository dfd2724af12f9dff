"""Other people's drivers against the simulated source-measure units, each on a resistor of 10 kOhm.

    python benchmarks/third_party_smus.py [--venv FOLDER] [--json]

Each client runs in a process of its own, in a virtual environment with PyMeasure and QCoDeS, made where it is missing,
and reaches the instruments through PyVISA: `bench.toml@labctl`. PyMeasure's device tests come from its source
distribution, of the version that is installed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from third_party_check import Check

ROOT = Path(__file__).resolve().parents[1]
OHMS = 10e3
TOLERANCE = 1e-3  # of a reading: 30 times the noise on the ranges used here
AT_2400, AT_2450 = "GPIB0::24::INSTR", "USB0::0x05E6::0x2450::01234567::INSTR"
_BENCH = f"""
[simulated.load]
simulator = "resistor"
resistance = {OHMS:g}

[simulated.smu]
simulator = "keithley_2400"
resource_name = "{AT_2400}"
wired_to = "load.hi"

[simulated.touch]
simulator = "keithley_2450"
resource_name = "{AT_2450}"
wired_to = "other.hi"

[simulated.other]
simulator = "resistor"
resistance = {OHMS:g}
"""
_PACKAGES = ("pymeasure", "qcodes", "pytest")
_DEVICE_TESTS = "tests/instruments/keithley/test_keithley2400_with_device.py"


# -- in the environment of the others: (what, whether it went well) --------------------------------------------------


def pymeasure_2450(bench: str) -> Iterator[tuple[str, bool]]:
    """Every setting of PyMeasure's 2450 that a 2450 in its own language has, and readings of each kind.

    Its buffer methods are not among them: PyMeasure says itself that they want the 2400's language.
    """
    from pymeasure.instruments.keithley import Keithley2450

    smu: Any = Keithley2450(AT_2450, visa_library=f"{bench}@labctl")
    smu.reset()
    for name, wanted in _SETTINGS_2450.items():
        setattr(smu, name, wanted)
        yield f"{name} = {wanted}", getattr(smu, name) == wanted and not smu.check_errors()
    smu.reset()
    smu.apply_voltage(compliance_current=1e-3)
    smu.enable_source()
    smu.ramp_to_voltage(0.5, steps=5, pause=0)
    smu.measure_current()
    yield "current", _near(smu.current, 0.5 / OHMS) and not smu.check_errors()
    smu.measure_voltage()
    yield "voltage", _near(smu.voltage, 0.5) and not smu.check_errors()
    smu.measure_resistance()
    yield "resistance", _near(smu.resistance, OHMS) and not smu.check_errors()
    smu.reset()
    smu.apply_current(compliance_voltage=0.5)
    smu.source_current = 1e-4
    smu.enable_source()
    smu.measure_voltage()
    yield "voltage in compliance", _near(smu.voltage, 0.5) and not smu.check_errors()
    yield "means", _near(smu.means, 0.5) and not smu.check_errors()
    for call in (smu.use_rear_terminals, smu.use_front_terminals, smu.trigger, lambda: smu.beep(440, 0.1)):
        call()
        yield "terminals, trigger, beeper", not smu.check_errors()
    smu.shutdown()
    yield "shutdown", not smu.source_enabled


_SETTINGS_2450 = {
    "current_range": 0.01,
    "current_nplc": 0.1,
    "compliance_current": 0.02,
    "source_current": 0.001,
    "source_current_range": 0.01,
    "source_current_delay": 0.25,
    "source_current_delay_auto": True,
    "voltage_nplc": 5.0,
    "compliance_voltage": 15.0,
    "source_voltage": 1.5,
    "source_voltage_range": 20.0,
    "source_voltage_delay": 0.5,
    "source_voltage_delay_auto": True,
    "resistance_range": 2e4,
    "resistance_nplc": 2.0,
    "wires": 4,
    "buffer_points": 1000,
    "current_filter_type": "MOV",
    "current_filter_count": 20,
    "voltage_filter_type": "REP",
    "voltage_filter_count": 30,
    "current_output_off_state": "HIMP",
    "voltage_output_off_state": "ZERO",
    "source_mode": "current",
    "voltage_range": 2.0,
}


def qcodes_2450(bench: str) -> Iterator[tuple[str, bool]]:
    """A snapshot that asks for every parameter, then sweeps and buffers.

    Two things are told beforehand, as the driver cannot ask for them: which user delay is meant, and a sweep.
    """
    from qcodes.instrument_drivers.Keithley import Keithley2450

    warned = _Warnings()
    logging.getLogger().addHandler(warned)
    smu: Any = Keithley2450("smu", AT_2450, visalib=f"{bench}@labctl")
    for part in smu.submodules.values():
        if "user_number" in part.parameters:
            part.user_number(1)
    smu.sense_function("current")
    smu.source_function("current")
    smu.source.sweep_setup(0, 5e-5, 6)
    smu.source_function("voltage")
    smu.source.sweep_setup(0, 1, 11)
    snapshot = smu.snapshot(update=True)
    for owner in (snapshot, *snapshot["submodules"].values()):
        for name in owner["parameters"]:
            yield name, not any(f"update parameter {name} " in each.replace(":", "") + " " for each in warned.texts)
    yield "no other warning", not warned.texts
    smu.source.limit(1e-3)
    smu.output_enabled(True)
    smu.source.voltage(0.5)
    yield "current", _near(smu.sense.current(), 0.5 / OHMS)
    swept = smu.sense.sweep()
    levels = smu.source.get_sweep_axis()
    yield "sweep", all(_near(amps, volts / OHMS) for amps, volts in zip(swept, levels, strict=True))
    smu.source.voltage(0.5)  # a sweep leaves the source where it ended
    yield from _qcodes_buffer(smu)
    yield "no error", smu.ask("SYST:ERR?").startswith("0,")


def _qcodes_buffer(smu: Any) -> Iterator[tuple[str, bool]]:
    with smu.buffer("mine", 100) as buffer:
        smu.output_enabled(True)
        smu.sense.count(3)
        buffer.trigger_start()
        yield "readings in the buffer", (buffer.number_of_readings(), buffer.size()) == (3, 100)
        yield "data", all(_near(amps, 0.5 / OHMS) for amps in buffer.get_data(1, 3))
        for element in sorted(buffer.available_elements):
            buffer.elements([element])
            yield element, len(buffer.get_data(1, 3)) == 3 and bool(buffer.get_last_reading())
        buffer.clear_buffer()
        yield "cleared", buffer.number_of_readings() == 0


class _Warnings(logging.Handler):
    """What was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _near(found: float, expected: float) -> bool:
    return abs(found - expected) <= TOLERANCE * abs(expected) + 5e-9  # 5 nA: what the smallest currents are lost in


_CLIENTS: dict[str, tuple[str, str, Callable[[str], Iterator[tuple[str, bool]]]]] = {
    "pymeasure_2450": ("PyMeasure", "Keithley2450: settings and readings", pymeasure_2450),
    "qcodes_2450": ("QCoDeS", "Keithley2450: snapshot, sweep, buffers", qcodes_2450),
}


# -- in ours ----------------------------------------------------------------------------------------------------------


def environment(folder: Path) -> Path:
    """The Python of a virtual environment in `folder` with the clients and this labctl."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / ("python.exe" if os.name == "nt" else "python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        _run([str(python), "-m", "pip", "install", "-q", *_PACKAGES, "-e", str(ROOT)])
    return python


def checks(folder: Path) -> list[Check]:
    """One row a client; `folder` keeps the virtual environment and what was downloaded."""
    python = environment(folder / "smus")
    with tempfile.TemporaryDirectory() as temporary:
        bench = Path(temporary) / "bench.toml"
        bench.write_text(_BENCH)
        return [_device_tests(python, folder, bench), *(_client(python, name, bench) for name in _CLIENTS)]


def _device_tests(python: Path, folder: Path, bench: Path) -> Check:
    """PyMeasure's own tests of a real 2400."""
    report = bench.with_name("report.xml")
    try:
        sources = _sources(python, folder)
        command = [str(python), "-m", "pytest", "-q", _DEVICE_TESTS, "--device-address", AT_2400]
        surroundings = {**os.environ, "PYVISA_LIBRARY": f"{bench}@labctl"}
        _run([*command, f"--junitxml={report}"], may_fail=True, cwd=sources, env=surroundings)
        suites = ET.parse(report).getroot().iter("testsuite")
    except (subprocess.SubprocessError, OSError, ET.ParseError) as problem:
        return Check("PyMeasure", "Keithley2400: its device tests", 0, 1, 0, _word(problem))
    counts = [{key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")} for suite in suites]
    total = {key: sum(each[key] for each in counts) for key in counts[0]}
    failed = total["failures"] + total["errors"]
    passed = total["tests"] - failed - total["skipped"]
    return Check("PyMeasure", "Keithley2400: its device tests", passed, failed, total["skipped"], sources.name)


def _sources(python: Path, folder: Path) -> Path:
    """PyMeasure's source distribution, unpacked, of the version in the environment."""
    version = _run([str(python), "-c", "import pymeasure; print(pymeasure.__version__)"]).strip()
    sources = folder / f"pymeasure-{version}"
    if not sources.exists():
        wanted = ["--no-deps", "--no-binary", ":all:", f"pymeasure=={version}", "-d", str(folder)]
        _run([str(python), "-m", "pip", "download", "-q", *wanted])
        with tarfile.open(sources.with_name(f"{sources.name}.tar.gz")) as archive:
            archive.extractall(folder, filter="data")
    return sources


def _client(python: Path, name: str, bench: Path) -> Check:
    client, what, _ = _CLIENTS[name]
    try:
        told: list[tuple[str, bool]] = json.loads(_run([str(python), __file__, "--client", name, str(bench)]))
    except (subprocess.SubprocessError, OSError, ValueError) as problem:
        return Check(client, what, 0, 1, 0, _word(problem))
    failed = [each for each, well in told if not well]
    return Check(client, what, len(told) - len(failed), len(failed), 0, "; ".join(failed))


def _run(command: list[str], may_fail: bool = False, **more: Any) -> str:
    done = subprocess.run(command, check=not may_fail, capture_output=True, text=True, timeout=1200, **more)
    return str(done.stdout)


def _word(problem: Exception) -> str:
    said = getattr(problem, "stderr", None)
    return (said or str(problem)).strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Other people's drivers against the simulated source-measure units.")
    parser.add_argument("--venv", type=Path, help="the folder that keeps the virtual environment")
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.client:
        name, bench = given.client
        sys.stdout, told = sys.stderr, sys.stdout  # some clients print
        print(json.dumps(list(_CLIENTS[name][2](bench))), file=told)
        return
    with tempfile.TemporaryDirectory() as temporary:
        rows = checks(given.venv or Path(temporary))
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            counts = f"{row.passed:3} passed, {row.failed} failed, {row.skipped} skipped"
            print(f"{row.client:<10} {row.what:<40} {counts}  {row.detail}")
    sys.exit(any(row.failed for row in rows))


if __name__ == "__main__":
    main()
