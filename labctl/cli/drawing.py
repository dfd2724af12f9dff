"""Pictures made of characters: maps in half blocks, curves in braille, bars. Nothing here knows what they are of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

Line = list[Segment]

VIRIDIS = ("#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")
DIVERGING = ("#2166ac", "#67a9cf", "#d1e5f0", "#f2f2f2", "#fddbc7", "#ef8a62", "#b2182b")
"""From the first end over the middle to the last."""

_TONES = 64
_SHADES = " ░▒▓█"
_MOST_STRETCHED = 4  # rows a column, or columns a row, beyond which cells are not drawn as squares
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint16)  # of a braille character


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A map made to fit. values: (h, w), NaN where nothing is known. rows, cols: of cells, whose mean one value is."""

    values: NDArray[np.float64]
    rows: int
    cols: int


def shrink(values: NDArray[np.floating], height: int, width: int) -> Shrunk:
    """(rows, cols) `values` in at most so many pixels, which are means of the known cells of a block; or, where there
    are few cells, some pixels a cell."""
    rows, cols = values.shape
    down, across = math.ceil(rows / height), math.ceil(cols / width)
    if max(rows, cols) <= _MOST_STRETCHED * min(rows, cols):
        down = across = max(down, across)
    pixels: NDArray[np.float64] = values.astype(np.float64)
    if down > 1 or across > 1:
        starts = np.arange(0, rows, down), np.arange(0, cols, across)
        known = np.isfinite(pixels)
        total, count = (_sums(each, *starts) for each in (np.where(known, pixels, 0.0), known.astype(np.float64)))
        pixels = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    larger = max(1, min(height // pixels.shape[0], width // pixels.shape[1]))
    return Shrunk(pixels.repeat(larger, axis=0).repeat(larger, axis=1), down, across)


def _sums(values: NDArray[np.float64], rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[np.float64]:
    along: NDArray[np.float64] = np.add.reduceat(values, rows, axis=0)
    both: NDArray[np.float64] = np.add.reduceat(along, cols, axis=1)
    return both


def map_lines(values: NDArray[np.float64], low: float, high: float, colours: Sequence[str]) -> list[Line]:
    """(h, w) pixels, two rows a line; what is below `low` looks like `low`. Unknown ones are left empty."""
    span = high - low
    tones = np.nan_to_num((values - low) / span if span > 0 else values * 0 + 0.5, nan=-1.0)
    tone = np.where(np.isfinite(values), (tones.clip(0, 1) * (_TONES - 1)).round(), -1).astype(np.int64)
    if len(tone) % 2:
        tone = np.vstack([tone, np.full((1, tone.shape[1]), -1)])
    scale = tuple(colours)
    return [_half_blocks(upper, lower, scale) for upper, lower in zip(tone[::2], tone[1::2], strict=True)]


def _half_blocks(upper: NDArray[np.int64], lower: NDArray[np.int64], colours: tuple[str, ...]) -> Line:
    """Neighbours of equal look as one segment."""
    breaks = np.flatnonzero((upper[1:] != upper[:-1]) | (lower[1:] != lower[:-1])) + 1
    line = []
    for first, last in zip([0, *breaks], [*breaks, len(upper)], strict=True):
        character, style = _pair(int(upper[first]), int(lower[first]), colours)
        line.append(Segment(character * int(last - first), style))
    return line


@lru_cache(maxsize=_TONES * _TONES * 4)
def _pair(upper: int, lower: int, colours: tuple[str, ...]) -> tuple[str, Style | None]:
    if upper < 0 and lower < 0:
        return " ", None
    if lower < 0:
        return "▀", Style(color=_tone(upper, colours))
    if upper < 0:
        return "▄", Style(color=_tone(lower, colours))
    return "▀", Style(color=_tone(upper, colours), bgcolor=_tone(lower, colours))


@lru_cache(maxsize=_TONES * 4)
def _tone(tone: int, colours: tuple[str, ...]) -> Color:
    """The colour of a tone, between its two neighbours on the scale."""
    place = tone / (_TONES - 1) * (len(colours) - 1)
    index = min(int(place), len(colours) - 2)
    before, after = (Color.parse(colours[each]).get_truecolor() for each in (index, index + 1))
    share = place - index
    return Color.from_rgb(*(round(a + (b - a) * share) for a, b in zip(before, after, strict=True)))


def shade_lines(values: NDArray[np.float64], low: float, high: float) -> list[Line]:
    """The same without colour: two rows a line, their mean as one of five shades; unknown is `·`."""
    if len(values) % 2:
        values = np.vstack([values, np.full((1, values.shape[1]), np.nan)])
    pairs = np.stack([values[::2], values[1::2]])
    known = np.isfinite(pairs)
    count = known.sum(axis=0)
    mean = np.where(known, pairs, 0).sum(axis=0) / np.maximum(count, 1)
    place = (mean - low) / (high - low) if high > low else mean * 0
    index = (place.clip(0, 1) * (len(_SHADES) - 1)).round().astype(int)
    characters = np.where(count > 0, np.array(list(_SHADES))[index], "·")
    return [[Segment("".join(line))] for line in characters]


def colour_bar(width: int, colours: Sequence[str], *, coloured: bool) -> Line:
    """The scale of a map, from its low end to its high one."""
    ramp = np.linspace(0, 1, width)[None, :].repeat(2, axis=0)
    return (map_lines(ramp, 0, 1, colours) if coloured else shade_lines(ramp, 0, 1))[0]


def curve_lines(
    x: NDArray[np.int64], y: NDArray[np.float64], height: int, width: int, low: float, high: float, style: str
) -> list[Line]:
    """A line through points whose x rise, in braille: two dots across and four up a character."""
    across, up = 2 * width - 1, 4 * height - 1
    span = float(x[-1] - x[0])
    column = np.rint((x - x[0]) / span * across).astype(int) if span > 0 else np.zeros(len(x), int)
    share = (y - low) / (high - low) if high > low else np.full(len(y), 0.5)
    first, last = _reached(column, up - np.rint(share.clip(0, 1) * up).astype(int))
    canvas = np.zeros((height, width), np.uint16)
    for place, (top, bottom) in enumerate(zip(first, last, strict=True)):
        for dot in range(top, bottom + 1):
            canvas[dot // 4, place // 2] |= _DOTS[dot % 4, place % 2]
    given = Style.parse(style)
    return [[Segment("".join(chr(0x2800 + int(each)) for each in line), given)] for line in canvas]


def _reached(column: NDArray[np.int_], row: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Of a curve through such dots, the first and the last row in each column: no gap between neighbours."""
    first = np.rint(np.interp(np.arange(column[-1] + 1), column, row)).astype(int)
    last = first.copy()
    np.minimum.at(first, column, row)
    np.maximum.at(last, column, row)
    joined_first, joined_last = first.copy(), last.copy()
    joined_first[1:] = np.minimum(first[1:], last[:-1] + 1)
    joined_last[1:] = np.maximum(last[1:], first[:-1] - 1)
    return joined_first, joined_last


def bar(share: float, width: int, style: str) -> Line:
    """How much of a whole is done."""
    done = round(min(max(share, 0.0), 1.0) * width)
    return [Segment("━" * done, Style.parse(style)), Segment("─" * (width - done), Style(dim=True))]


def nice_above(value: float) -> float:
    """The first of 1, 2, 5, 10, ... that is not below `value` > 0, so that a scale does not change all the time."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
