"""A map of a chip's record as a picture in the terminal, and as a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.segment import Segment, Segments

from labctl.chips import ChipRecord
from labctl.chips.maps import MapOf, values_of
from labctl.cli.drawing import VIRIDIS, Line, colour_bar, map_lines, shade_lines, shrink
from labctl.errors import UsageError
from labctl.units import format_quantity

_PICTURES = (".png", ".svg", ".pdf")
_PLAIN_WIDTH = 64  # characters, where there is no terminal
_BAR = 16
_AROUND = 5  # lines of a terminal: what stands above and below the map, and the prompt
_SHARES = ("defects", "excluded")
"""Maps of which a pixel is the share of its cells that are concerned."""


def print_map(record: ChipRecord, of: MapOf) -> None:
    """On stdout: in colour on a terminal, else in shades."""
    console = Console(file=sys.stdout, highlight=False, no_color=bool(os.environ.get("NO_COLOR")) or None)
    coloured = console.is_terminal and console.color_system is not None and not console.no_color
    width, height = (console.width, console.height - _AROUND) if console.is_terminal else (_PLAIN_WIDTH, _PLAIN_WIDTH)
    for line in _picture(record, of, max(2 * height, 2), width, coloured):
        console.print(Segments([*line, Segment.line()]), end="")


def save_map(record: ChipRecord, of: MapOf, output: Path) -> None:
    """(rows, cols) in SI units as .npy or .csv (a line a row), or as a picture. Raises UsageError."""
    kind = output.suffix.lower()
    if kind in _PICTURES:
        from labctl.analysis.figures.chip_map import save_chip_map

        save_chip_map(record, of, output)
        return
    values = record.map(getattr(record, of))
    _, label, unit = values_of(record, of)
    try:
        if kind == ".npy":
            np.save(output, values, allow_pickle=False)
        elif kind == ".csv":
            head = f"chip {record.serial}: {label}{f', {unit}' if unit else ''}; a line a row of the array"
            whole = values.dtype.kind != "f"
            np.savetxt(output, values, "%d" if whole else "%.6g", delimiter=",", header=head, encoding="utf-8")
        else:
            raise UsageError(f"{output}: name the kind of file by an ending: {', '.join(_PICTURES)}, .csv or .npy")
    except OSError as problem:
        raise UsageError(f"{output}: cannot be written: {problem.strerror or problem}") from None


def _picture(record: ChipRecord, of: MapOf, height: int, width: int, coloured: bool) -> list[Line]:
    """At most `height` pixels high, two a line."""
    values, label, unit = values_of(record, of)
    if of in _SHARES:
        values, unit = (values > 0).astype(np.float64), "%"
        label = "bad cells" if of == "defects" else label
    shrunk = shrink(values, height, width)
    known = shrunk.values[np.isfinite(shrunk.values)]
    title = f"chip {record.serial}, {record.rows} x {record.cols} cells: {label}"
    if not known.size:
        return [[Segment(title)], [Segment("nothing is known of any cell")]]
    low, high = (0.0 if of in (*_SHARES, "pulses", "dose") else float(known.min())), float(known.max())
    pixels = map_lines(shrunk.values, low, high, VIRIDIS) if coloured else shade_lines(shrunk.values, low, high)
    bar = colour_bar(_BAR, VIRIDIS, coloured=coloured)
    scale: Line = [Segment(f"{_amount(low, unit)} "), *bar, Segment(f" {_amount(high, unit)}")]
    many = shrunk.rows * shrunk.cols > 1
    note = f"a pixel: {shrunk.rows} x {shrunk.cols} cells" if many else "a pixel: no more than a cell"
    return [[Segment(title)], scale, *pixels, [Segment(note)]]


def _amount(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.1%}"
    return f"{value:,.4g}" if unit in ("", "1") else format_quantity(value, unit.replace(" ", ""), 3)
