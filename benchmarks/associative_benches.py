"""Benches of a simulated associative-processor board whose chip has just the faults that are asked for."""

from __future__ import annotations

from pathlib import Path

_RESOURCE = "TCPIP0::127.0.0.1::5025::SOCKET"
_BENCH = """
name = "associative test bench"
runs = "runs"

[instruments.board]
driver = "associative_board"
resource_name = "{resource}"
visa_library = "{library}"
{shape}
verify_every = {verify_every}
{instrument}

[arrays.main]
instrument = "board"

[simulated.board]
simulator = "associative_board"
resource_name = "{resource}"
chip = "{chip}"
cells = "racetrack_ideal"
{shape}
{faults}
"""


def write_associative_bench(
    folder: Path,
    *,
    rows: int = 65_536,
    tracks: int = 128,
    domains: int = 64,
    ports: int = 2,
    chip: str = "RT-1",
    verify_every: int = 0,
    resource: str = _RESOURCE,
    library: str = "@labctl",
    instrument: str = "",
    **faults: float,
) -> Path:
    """A bench file in `folder`.

    instrument: further lines of its table. faults: what a `[simulated.NAME]` table of such a board overrides, as
    `shift_error`.
    """
    path = folder / "bench.toml"
    shape = {"rows": rows, "tracks": tracks, "domains": domains, "ports": ports}
    lines = ["\n".join(f"{name} = {value!r}" for name, value in each.items()) for each in (shape, faults)]
    path.write_text(
        _BENCH.format(
            resource=resource,
            library=library,
            instrument=instrument,
            chip=chip,
            verify_every=verify_every,
            shape=lines[0],
            faults=lines[1],
        ),
        encoding="utf-8",
    )
    return path
