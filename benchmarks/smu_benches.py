"""Benches of source-measure units, a switch matrix and a pulse generator around a bare chip, all simulated."""

from __future__ import annotations

from pathlib import Path

_INSTRUMENT = """
[instruments.{name}]
driver = "{driver}"
resource_name = "TCPIP0::127.0.0.1::{port}::SOCKET"
visa_library = "@labctl"
{settings}
[simulated.{name}]
simulator = "{simulator}"
resource_name = "TCPIP0::127.0.0.1::{port}::SOCKET"
{options}
"""
_MATRICES = {"707B": "keithley_707b", "3706A": "keithley_3706a", "B2201A": "keysight_b2201a"}


def write_smu_bench(
    folder: Path,
    *,
    rows: int = 8,
    cols: int = 8,
    chip: str = "T-1",
    smu: str = "keithley_2400",
    matrix: str = "B2201A",
    pulser: bool = True,
    ground_by: str | None = None,
    die: str = "",
    array: str = "",
    limits: str = "",
    smu_settings: str = "",
    name: str = "smu.toml",
) -> Path:
    """The file. ground_by: what holds input 4 of the matrix at 0 V, which is else wired to ground. die, array, limits,
    smu_settings: further lines of these tables, as they are."""
    ground = "" if ground_by else "ground = 4"
    two_channels = smu == "keithley_2600"
    wires = 'wired_to = { a = "matrix.1", b = "matrix.2" }' if two_channels else 'wired_to = "matrix.1"'
    tables = [_instrument("smu", smu, smu, 6001, smu_settings, wires)]
    if not two_channels:
        tables.append(_instrument("gate", smu, smu, 6002, "", 'wired_to = "matrix.2"\nserial = "7654321"'))
    tables.append(
        _instrument(
            "matrix", _MATRICES[matrix], "switch_matrix", 6003, "", f'model = "{matrix}"\ndevice = "die"\n{ground}'
        )
    )
    generator = (
        'wired_to = { 1 = "matrix.3" }' if ground_by is None else 'wired_to = { 1 = "matrix.3", 2 = "matrix.4" }'
    )
    tables.append(_instrument("pulser", "pulse_generator", "pulse_generator", 6004, "", generator))
    tables.append(_instrument("clock", "bench_clock", "bench_clock", 6005, "", 'of = "die"'))
    units = ('smu = "smu.a"', 'gate = "smu.b"') if two_channels else ('smu = "smu"', 'gate = "gate"')
    bench = [
        'name = "smu bench"\nruns = "runs"\n[instruments.array]\ndriver = "smu_matrix"',
        *units,
        'matrix = "matrix"\nclock = "clock"',
        *([f'ground = "{ground_by}"'] if ground_by else []),
        *(['pulse_generator = "pulser.1"'] if pulser else []),
        f'chip = "{chip}"\nrows = {rows}\ncols = {cols}',
        array,
        f'[arrays.main]\ninstrument = "array"\n{limits}',
        *tables,
        f'[simulated.die]\nsimulator = "bare_array"\nchip = "{chip}"\nrows = {rows}\ncols = {cols}\n{die}\n',
    ]
    path = folder / name
    path.write_text("\n".join(bench), encoding="utf-8")
    return path


def _instrument(name: str, driver: str, simulator: str, port: int, settings: str, options: str) -> str:
    return _INSTRUMENT.format(
        name=name, driver=driver, simulator=simulator, port=port, settings=settings, options=options
    )
