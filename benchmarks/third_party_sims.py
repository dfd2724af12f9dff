"""labctl's drivers against the pyvisa-sim files that QCoDeS publishes for its own: is what we send spelled as they do?

    python benchmarks/third_party_sims.py [--json]

Those files match bytes, and know the few commands that QCoDeS's drivers send. So every command of ours is asked of the
file by itself, by PyVISA and pyvisa-sim, and where that is no use with the header in the file's form, long or short.
Passed: the file has it. Failed: the file has a command of this header and as many parameters, and takes ours for a
mistake. Skipped: the file knows no such command.

Each file has a process of its own, in a virtual environment with `qcodes` and `pyvisa-sim`, made where it is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from third_party_check import Check

ROOT = Path(__file__).resolve().parents[1]


# -- in the environment of the others ---------------------------------------------------------------------------------


class NotInFile(Exception):
    """The file has no answer to what a driver has to know."""


class FileLink:
    """Stands where a driver has its link: every command goes to the file by itself, and what became of it is kept."""

    def __init__(self, path: Path, resource_name: str) -> None:
        import pyvisa

        self.timeout_s = 1.0
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.skipped: list[str] = []
        self._register = _register(path)
        self._known = {_shape(each): each for each in _queries(path)}
        manager = pyvisa.ResourceManager(f"{path}@sim")
        self._session: Any = manager.open_resource(resource_name, read_termination="\n", write_termination="\n")
        self._session.timeout = 200
        self.idn = str(self._session.query("*IDN?")).strip()

    def exchange(self, message: str, **_: object) -> list[str]:
        answers = []
        for command in _commands(message):
            parts = [self._ask(part) for part in _parts(command)]
            if None in parts and _is_query(command):
                raise NotInFile(command)
            if any(parts):
                answers.append("\t".join(map(str, parts)))
        return answers

    def query(self, message: str, **_: object) -> str:
        return self.exchange(message)[0]

    def write(self, message: str, **_: object) -> None:
        self.exchange(message)

    def _ask(self, command: str) -> str | None:
        """The file's answer, empty where there is none to give; None where it does not take the command."""
        for spelling in dict.fromkeys((command, command.lstrip(":"), self._as_in_file(command))):
            self._session.write(spelling)
            answer = self._answer()
            if not (answer.upper().startswith("ERROR") or self._complains()):
                self.passed.append(command)
                return answer
        (self.failed if _shape(command) in self._known else self.skipped).append(command)
        return None

    def _complains(self) -> bool:
        """Whether the file counts an error, where it does so in a register instead of answering with a word."""
        if not self._register:
            return False
        self._session.write(self._register)
        return self._answer() not in ("0", "")

    def _as_in_file(self, command: str) -> str:
        """With the header that the file has for it, which is the same in its long and its short form."""
        theirs = self._known.get(_shape(command), command)
        return " ".join([theirs.split(" ")[0], *command.split(" ")[1:]])

    def _answer(self) -> str:
        import pyvisa

        try:
            return str(self._session.read()).strip()
        except pyvisa.errors.VisaIOError:
            return ""


def _commands(message: str) -> list[str]:
    """A SCPI message at its semicolons, a TSP chunk at its spaces, what is in brackets or quotes left whole."""
    if "=" in message or "(" in message.split("(@")[0]:
        return re.findall(r'(?:\([^()]*(?:\([^()]*\)[^()]*)*\)|"[^"]*"|[^\s"(])+', message)
    return [each for each in message.split(";") if each]


def _parts(command: str) -> list[str]:
    """`print(a,b)` as `print(a)` and `print(b)`; all else whole."""
    if not command.startswith("print("):
        return [command]
    return [f"print({each})" for each in re.findall(r"(?:\([^()]*\)|[^,()])+", command[len("print(") : -1])]


def _is_query(command: str) -> bool:
    return "?" in command or command.startswith("print(")


def _shape(command: str) -> tuple[str, int]:
    """Header in its short form, and how many parameters there are. What is printed is a header of its own."""
    if command.startswith("print("):
        return command, 0
    header, _, parameters = re.sub(r"[=(]", " ", command.strip().lstrip(":")).partition(" ")
    nodes = [re.sub(r"[a-z]+(?=\d*\??$)", "", node) if re.match(r"[A-Z]", node) else node for node in header.split(":")]
    count = len(parameters.split(",")) if parameters.strip() else 0
    return ":".join(nodes).upper(), count


def _register(path: Path) -> str:
    """The query that says whether there was an error, empty where the file has none."""
    import yaml

    devices = yaml.safe_load(path.read_text(encoding="utf-8"))["devices"]
    errors = [device["error"] for device in devices.values() if isinstance(device.get("error"), dict)]
    return str(errors[0]["status_register"][0]["q"]) if errors else ""


def _queries(path: Path) -> Iterator[str]:
    """Every `q` of a pyvisa-sim file, its channels filled in."""
    import yaml

    def walk(tree: Any, channels: Iterable[Any]) -> Iterator[str]:
        if isinstance(tree, dict):
            ids = tree.get("ids", channels)
            for key, value in tree.items():
                if key == "q" and isinstance(value, str):
                    yield from (value.replace("{ch_id}", str(each)) for each in ids)
                elif key not in ("eom", "error"):
                    yield from walk(value, ids)
        elif isinstance(tree, list):
            for each in tree:
                yield from walk(each, channels)

    yield from walk(yaml.safe_load(path.read_text(encoding="utf-8"))["devices"], [""])


def _source_measure(unit: Any) -> list[Callable[[], object]]:
    """What such a unit is asked for in a day."""
    return [
        lambda: unit.source_voltage(0.5, 1e-3),
        lambda: unit.output(True),
        lambda: unit.measure(),
        lambda: unit.status(),
        lambda: unit.set_integration_time(1.0),
        lambda: unit.set_current_range(1e-4),
        lambda: unit.set_current_range(None),
        lambda: unit.sweep([0.1, 0.2], 1e-3),
        lambda: unit.source_current(1e-6, 1.0),
        lambda: unit.output(False),
    ]


def _matrix(unit: Any) -> list[Callable[[], object]]:
    return [lambda: unit.open_all(), lambda: unit.close_exactly([(2, 48)]), lambda: unit.closed()]


def _pulses(unit: Any) -> list[Callable[[], object]]:
    return [lambda: unit.output(True), lambda: unit.pulse(1.0, 1e-6), lambda: unit.output(False)]


_FILES: dict[str, tuple[str, str, str, Callable[[Any], list[Callable[[], object]]]]] = {
    "Keithley_2450.yaml": ("keithley_2450:Keithley2450", "GPIB::2::INSTR", "", _source_measure),
    "Keithley_2600.yaml": ("keithley_2600:Keithley2600", "GPIB::1::INSTR", "a", _source_measure),
    "Keithley_3706A.yaml": ("switch_matrix:Keithley3706A", "GPIB::11::INSTR", "", _matrix),
    "keysight_b220x.yaml": ("switch_matrix:KeysightB2201A", "GPIB::1::INSTR", "", _matrix),
    "Keysight_33xxx.yaml": ("pulse_generator:PulseGenerator", "GPIB::1::INSTR", "1", _pulses),
}
"""File -> our driver, its resource in the file, the channel, and what is done with it."""


def _against(name: str) -> dict[str, Any]:
    """One file, in the process that this is: what the driver sent, by what became of it."""
    import importlib

    import qcodes.instrument.sims as sims

    from labctl.errors import InstrumentError

    driver, resource_name, channel, use = _FILES[name]
    module, kind = driver.split(":")
    made = getattr(importlib.import_module(f"labctl.drivers.{module}"), kind)
    instrument = made(made.Settings(driver=name, resource_name=resource_name))
    link = FileLink(Path(next(iter(sims.__path__))) / name, resource_name)
    instrument.link = link
    first = [instrument.set_up, instrument.settings_now]
    calls = [*first, *use(instrument.channel(channel) if channel else instrument), instrument.safe_state]
    for call in calls:
        with contextlib.suppress(NotInFile, InstrumentError, ValueError, IndexError):  # answers that mean nothing
            call()
    return {kind: sorted(set(getattr(link, kind))) for kind in ("passed", "failed", "skipped")}


# -- in ours ----------------------------------------------------------------------------------------------------------


def environment(folder: Path) -> Path:
    """The Python of a virtual environment in `folder` with QCoDeS, pyvisa-sim and this labctl."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / ("python.exe" if os.name == "nt" else "python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, "qcodes", "pyvisa-sim", "-e", str(ROOT)], check=True, capture_output=True, text=True)
    return python


def checks(folder: Path) -> list[Check]:
    """One row a file; `folder` keeps the virtual environment."""
    python, found = environment(folder / "qcodes"), []
    for name in _FILES:
        done = subprocess.run(
            [str(python), __file__, "--against", name], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            found.append(Check("QCoDeS sims", name, 0, 1, 0, last))
            continue
        told = json.loads(done.stdout)
        counts = [len(told[kind]) for kind in ("passed", "failed", "skipped")]
        found.append(Check("QCoDeS sims", name, *counts, "; ".join(told["failed"])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="labctl's drivers against QCoDeS's pyvisa-sim files.")
    parser.add_argument("--folder", type=Path, help="where the virtual environment is kept")
    parser.add_argument("--against", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.against:
        print(json.dumps(_against(given.against)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        rows = checks(given.folder or Path(temporary))
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    for row in rows:
        counts = f"{row.passed:3} known, {row.failed:3} refused, {row.skipped:3} not in the file"
        print(f"{row.what:<24} {counts}  {row.detail}")
    sys.exit(any(row.failed for row in rows))


if __name__ == "__main__":
    main()
