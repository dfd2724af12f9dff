"""`labctl bench init|check|show`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from labctl.bench.live import AssociativeBenchArray, Bench, BenchArray, load_bench
from labctl.bench.settings import check_text, read_bench
from labctl.cli.console import print_json, print_table
from labctl.errors import BenchError, LabctlError
from labctl.links.resources import canonical_resource_name
from labctl.units import format_quantity

_HEAD = """\
# A bench: which instruments there are, which arrays hang on them, and what they stand.
# Quantities are text with a unit. `labctl bench show` prints every value in force and where it comes from.

name = {name}
operator = ""
runs = "runs"                       # where run files go, from this file's folder

[instruments.board]
{reached}
timeout = "5 s"
"""

_MEMORY = """\
rows = {rows}
cols = {cols}
read_voltage = "200 mV"
current_range = "16 uA"

[arrays.main]
instrument = "board"

[arrays.main.limits]                # what this bench allows
max_form_voltage = "4.2 V"
max_set_voltage = "3.5 V"
max_reset_voltage = "3.5 V"
max_gate_voltage = "3.3 V"
max_width = "100 us"

[arrays.main.cell_limits]           # what the cells stand, counted per connection
# max_pulses = 10000
# max_dose = "10 mVs"
"""

_ASSOCIATIVE = """\
rows = {rows}
tracks = {tracks}
domains = {domains}
ports = {ports}
sense_threshold = 0.5               # of a match line: 0 is the signal of a match, 1 that of one mismatch
verify_every = {verify_every}                    # shifts of a track after which its positions are verified; 0: never

[arrays.main]
instrument = "board"
"""

_ON_VISA = """\
driver = "{driver}"
resource_name = {resource_name}
visa_library = {visa_library}     # PyVISA's: "@py", "" for an installed VISA, "@labctl" for [simulated] below"""

_ON_A_PORT = """\
driver = "serial_board"
resource_name = {resource_name}
baud_rate = 115200"""

_SIMULATED = """
[simulated.board]                   # served to this process by "@labctl", to others by `labctl sim serve`
simulator = "{driver}"
resource_name = {resource_name}
chip = "{chip}"                     # the serial number: another number is another chip
cells = "{cells}"
{shape}
state = "{chip}.h5"                 # what the chip remembers between commands; remove the line for a fresh one
"""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Of benches, by the cells of their chips. serial: of a chip. template: of the board's keys. shape: of the chip."""

    serial: str
    driver: str
    template: str
    shape: Mapping[str, int]
    others: Mapping[str, int] = field(default_factory=dict)


_RACETRACK = {"rows": 65_536, "tracks": 128, "domains": 64, "ports": 2}
_KINDS = {
    "rram_40nm": _Kind("R40-0001", "test_board", _MEMORY, {"rows": 512, "cols": 512}),
    "pcm_90nm": _Kind("P90-0001", "test_board", _MEMORY, {"rows": 512, "cols": 2048}),
    "racetrack": _Kind("RT-0001", "associative_board", _ASSOCIATIVE, _RACETRACK, {"verify_every": 1}),
    "racetrack_ideal": _Kind("RT-0001", "associative_board", _ASSOCIATIVE, _RACETRACK, {"verify_every": 0}),
}


@click.group()
def bench() -> None:
    """Make, check and show bench files."""


@bench.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("bench.toml"))
@click.option(
    "--resource",
    "resource_name",
    help="VISA resource name of a real board, a serial one's begins with ASRL; without it the bench is simulated.",
)
@click.option("--visa-library", default="@py", show_default=True, help="PyVISA library for a real board.")
@click.option(
    "--cells",
    type=click.Choice(list(_KINDS)),
    default="rram_40nm",
    show_default=True,
    help="Of the chip: 512 x 512 RRAM or 512 x 2048 PCM cells, or racetracks of an associative processor.",
)
@click.option("--chip", help="Serial number of the simulated chip.  [default: R40-0001, P90-0001 or RT-0001]")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(path: Path, resource_name: str | None, visa_library: str, cells: str, chip: str | None, force: bool) -> None:
    """Write a bench file to start from."""
    if path.exists() and not force:
        raise BenchError(f"{path} exists already: choose another name, or say --force")
    text = _bench_text(path.stem, resource_name, visa_library, cells, chip)
    check_text(text, path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise BenchError(f"{path}: cannot be written: {problem.strerror}") from None
    click.echo(f"{path} written; try: labctl bench check {path}")


def _bench_text(name: str, resource_name: str | None, visa_library: str, cells: str, chip: str | None) -> str:
    """A bench file with these values, which may be any text."""
    kind = _KINDS[cells]
    chip = kind.serial if chip is None else chip
    if not re.fullmatch(r"[\w.-]+", chip):
        raise BenchError(f"--chip {chip!r}: a serial number is letters, digits, points, dashes and underlines")
    simulated = resource_name is None
    if resource_name is not None:
        try:
            canonical_resource_name(resource_name)
        except ValueError as problem:
            raise BenchError(f"--resource: {problem}") from None
    resource = json.dumps(resource_name or "TCPIP0::127.0.0.1::5025::SOCKET")
    library = "@labctl" if simulated else visa_library
    is_port = kind.template is _MEMORY and (resource_name or "").upper().startswith("ASRL")
    way = _ON_A_PORT if is_port else _ON_VISA
    reached = way.format(driver=kind.driver, resource_name=resource, visa_library=json.dumps(library))
    text = _HEAD.format(name=json.dumps(name), reached=reached) + kind.template.format(**kind.shape, **kind.others)
    if not simulated:
        return text
    shape = "\n".join(f"{key} = {number}" for key, number in kind.shape.items())
    simulated_board = {"driver": kind.driver, "resource_name": resource, "chip": chip, "cells": cells, "shape": shape}
    return text + _SIMULATED.format(**simulated_board)


@bench.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--offline", is_flag=True, help="Check the file only; talk to no instrument.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check(path: Path | None, offline: bool, as_json: bool) -> int:
    """Check a bench file, and whether each of its arrays answers."""
    live = load_bench(path)
    found = [_checked(live, name, offline) for name in live.file.settings.arrays]
    if as_json:
        print_json(found)
    else:
        print_table([(each["array"], each["state"]) for each in found], ("array", "state"))
    return next((each["exit_code"] for each in found if each["exit_code"]), 0)


def _described(array: BenchArray) -> str:
    """What is on it, and how far it can be read."""
    geometry = array.geometry
    if isinstance(array, AssociativeBenchArray):
        shape = array.associative
        tracks = f"{shape.tracks} tracks of {shape.domains} domains with {shape.ports} ports"
        return f"{shape.rows} rows of {tracks}, {geometry.cell}"
    top = format_quantity(float(array.adc.values(array.adc.top)), "S")
    return f"{geometry.rows} x {geometry.cols} {geometry.cell}, reads up to {top}"


def _checked(live: Bench, name: str, offline: bool) -> dict[str, Any]:
    if offline:
        return {"array": name, "state": "file ok", "exit_code": 0}
    try:
        with live.array(name) as array:
            snapshot = array.snapshot()
            state = f"{snapshot['idn']}: chip {array.chip_serial}, {_described(array)}"
            return {"array": name, "state": state, "exit_code": 0, "snapshot": dict(snapshot)}
    except LabctlError as problem:
        return {"array": name, "state": str(problem), "exit_code": problem.exit_code}


@bench.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(path: Path | None, as_json: bool) -> None:
    """Print the bench in force: every value, and whether file, environment or default gave it."""
    file = read_bench(path)
    rows = list(file.origins())
    if as_json:
        print_json({"file": str(file.path), "values": {key: {"value": v, "origin": o} for key, v, o in rows}})
        return
    click.echo(f"bench file: {file.path}", err=True)
    print_table(
        [(key, "" if value is None else value, origin) for key, value, origin in rows], ("key", "value", "origin")
    )
