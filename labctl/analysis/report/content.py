"""What a page holds, as plain values: sections of tables, charts and maps; nothing of how they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GENERATOR = "labctl report"
"""What the `generator` of a page of ours begins with."""


@dataclass(frozen=True, slots=True)
class Card:
    """A key figure: its value with unit, the interval that holds the true one 95 times of 100 (or nothing), a note."""

    label: str
    value: str
    interval: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column heads. numeric: columns that are set flush right. folded: shown when asked for."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """Names and what they are, one line each; empty ones are left out."""

    caption: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart. low, high: its ends, where the data are not to choose them."""

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line, set of points or row of bars of a chart.

    x, y: (n,). Of `bars` x has one value more, the edges, and of `area` low and high, (n,), are the band about the
    line; of `points` and `line` they are the ends of intervals. dashed: a line that guides the eye.
    """

    kind: Literal["line", "steps", "area", "points", "bars"]
    x: Floats
    y: Floats
    label: str = ""
    low: Floats | None = None
    high: Floats | None = None
    colour: str = "#4c72b0"
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Density:
    """How many fall into each cell of a grid: counts (y, x) between x_edges and y_edges."""

    x_edges: Floats
    y_edges: Floats
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chart:
    """A diagram. told: what it shows, for who cannot see it."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    told: str
    density: Density | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One map of the array, (rows, cols): numbers in `unit` (NaN: none), or codes of `flags`.

    signed: zero is the middle of its colours. flags: code to (name, colour) of a map of outcomes.
    """

    name: str
    label: str
    values: NDArray[np.generic]
    unit: str = ""
    signed: bool = False
    flags: Mapping[int, tuple[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Maps:
    """Maps of one array, one shown at a time."""

    layers: Sequence[Layer]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as PNG. told: what it shows. always: not only for browsers that draw nothing. wide: over all columns."""

    png: bytes
    told: str
    always: bool = False
    wide: bool = True


Block = Table | Terms | Text | Chart | Maps | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading; key: its name within the page."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report. state: one word on how it stands (`finished`). doubts: what a reader has to be warned of."""

    title: str
    subtitle: str
    state: str
    sentence: str
    doubts: Sequence[str]
    cards: Sequence[Card]
    sections: Sequence[Section]
    source: str
