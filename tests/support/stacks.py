"""Bench files of several simulated boards that are one array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_BOARD = """
[instruments.{name}]
driver = "test_board"
resource_name = "{resource}"
visa_library = "{library}"
rows = {rows}
cols = {cols}
{instrument}
"""

_SIMULATED = """
[simulated.{name}]
simulator = "test_board"
resource_name = "{resource}"
chip = "C-{name}"
rows = {rows}
cols = {cols}
{simulated}
"""

_STACK = """
[instruments.stack]
driver = "stacked_boards"
boards = [{boards}]

[arrays.main]
instrument = "stack"
{arrays}
"""


def write_stack(
    folder: Path,
    boards: Sequence[str] = "ab",
    *,
    rows: int = 16,
    cols: int = 32,
    resources: Sequence[str] = (),
    arrays: str = "",
    instrument: str = "",
    simulated: str = "",
    **of_board: str,
) -> Path:
    """Boards of these names with the chips C-NAME; at `resources`, else in this process.

    instrument, simulated: further lines of every board's table, where NAME stands for its name. of_board: name to
    further lines of its instrument's table alone.
    """
    text = 'runs = "runs"\n'
    for place, name in enumerate(boards):
        given = {
            "name": name,
            "resource": resources[place] if resources else f"TCPIP0::127.0.0.1::{5025 + place}::SOCKET",
            "library": "@py" if resources else "@labctl",
            "rows": rows,
            "cols": cols,
            "instrument": instrument + of_board.get(name, ""),
            "simulated": simulated.replace("NAME", name),
        }
        text += _BOARD.format(**given) + ("" if resources else _SIMULATED.format(**given))
    path = folder / "stack.toml"
    listed = ", ".join(f'"{name}"' for name in boards)
    path.write_text(text + _STACK.format(boards=listed, arrays=arrays), encoding="utf-8")
    return path
